// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "deliver/backoff.h"

static void doubles_up_to_the_limit(void **state)
{
    (void)state;
    struct backoff backoff;
    backoff_init(&backoff, 1000, 30000);
    static const int64_t ceilings[] = {2000, 4000, 8000, 16000, 30000, 30000, 30000};
    for (int round = 0; round < 100; round++) {
        for (size_t i = 0; i < sizeof ceilings / sizeof *ceilings; i++)
            assert_in_range(backoff_next_ms(&backoff), ceilings[i] / 2, ceilings[i]);
        backoff_reset(&backoff);
    }
}

static void differs_from_time_to_time(void **state)
{
    (void)state;
    struct backoff backoff;
    backoff_init(&backoff, 1000, 1000000);
    int same = 0;
    int64_t before = 0;
    for (int i = 0; i < 50; i++) {
        backoff_reset(&backoff);
        int64_t now = backoff_next_ms(&backoff);
        same += now == before;
        before = now;
    }
    assert_true(same < 10);
}

static void counted_tries_wait_as_long(void **state)
{
    (void)state;
    struct backoff backoff;
    backoff_init(&backoff, 1000, 30000);
    static const int64_t ceilings[] = {2000, 4000, 8000, 16000, 30000, 30000};
    for (int round = 0; round < 100; round++)
        for (unsigned i = 0; i < sizeof ceilings / sizeof *ceilings; i++)
            assert_in_range(backoff_nth_ms(&backoff, i), ceilings[i] / 2, ceilings[i]);
    assert_in_range(backoff_nth_ms(&backoff, UINT32_MAX), 15000, 30000);
    assert_in_range(backoff_next_ms(&backoff), 1000, 2000); // which goes on as if nothing was asked
}

static void narrow_bounds(void **state)
{
    (void)state;
    struct backoff backoff;
    backoff_init(&backoff, 5, 5);
    for (int i = 0; i < 10; i++)
        assert_int_equal(backoff_next_ms(&backoff), 5);
    backoff_init(&backoff, 10, 3); // a maximum below the minimum: the minimum is what was asked for
    for (int i = 0; i < 10; i++)
        assert_int_equal(backoff_next_ms(&backoff), 10);
    backoff_init(&backoff, 1, INT64_MAX); // no overflow however long it goes on
    for (int i = 0; i < 200; i++)
        assert_true(backoff_next_ms(&backoff) >= 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(doubles_up_to_the_limit),
        cmocka_unit_test(differs_from_time_to_time),
        cmocka_unit_test(counted_tries_wait_as_long),
        cmocka_unit_test(narrow_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
