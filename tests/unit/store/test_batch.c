// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "store/batch.h"

static void test_id_is_base64url(void **state)
{
    (void)state;
    const struct batch batch = {.id = {.low = 1, .high = 2}, .count = 500};
    for (uint32_t i = 0; i < batch.count; i++) {
        char id[EVENT_ID_LEN + 1] = "";
        batch_event_id(&batch, i, id);
        assert_int_equal(strspn(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"), EVENT_ID_LEN);
        // 128 bits leave two for the last letter (RFC 4648, 3.5): what is not zero would not read back the same.
        assert_non_null(strchr("AQgw", id[EVENT_ID_LEN - 1]));
    }
}

static void test_id_is_stable_and_of_batch_and_index(void **state)
{
    (void)state;
    const struct batch one = {.id = {.low = 1, .high = 2}}, same = one, other = {.id = {.low = 2, .high = 1}};
    char a[EVENT_ID_LEN], b[EVENT_ID_LEN];

    batch_event_id(&one, 7, a);
    batch_event_id(&same, 7, b);
    assert_memory_equal(a, b, sizeof a);
    batch_event_id(&one, 8, b);
    assert_memory_not_equal(a, b, sizeof a);
    batch_event_id(&other, 7, b);
    assert_memory_not_equal(a, b, sizeof a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_id_is_base64url),
        cmocka_unit_test(test_id_is_stable_and_of_batch_and_index),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
