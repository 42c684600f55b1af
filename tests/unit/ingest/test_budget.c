// SPDX-License-Identifier: Apache-2.0

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ingest/budget.h"

static void test_at_below_above(void **state)
{
    struct budget budget;
    (void)state;

    budget_init(&budget, 100);
    assert_true(budget_admit(&budget, 99));
    assert_true(budget_admit(&budget, 1));
    assert_false(budget_admit(&budget, 1));
    assert_true(budget_admit(&budget, 0));
    assert_int_equal(budget_used(&budget), 100);
    budget_release(&budget, 100);
    assert_int_equal(budget_used(&budget), 0);
    assert_false(budget_admit(&budget, 101));
    assert_false(budget_admit(&budget, UINT64_MAX));
    assert_int_equal(budget_used(&budget), 0);
}

static void test_room_takes_nothing(void **state)
{
    struct budget budget;
    (void)state;

    budget_init(&budget, 100);
    assert_true(budget_has_room(&budget, 100));
    assert_false(budget_has_room(&budget, 101));
    assert_false(budget_has_room(&budget, UINT64_MAX));
    assert_int_equal(budget_used(&budget), 0);
    budget_charge(&budget, 150);
    assert_false(budget_has_room(&budget, 0));
    budget_release(&budget, 60);
    assert_true(budget_has_room(&budget, 10));
    assert_false(budget_has_room(&budget, 11));
    budget_release(&budget, 90);
}

static void test_charge_keeps_the_next_out(void **state)
{
    struct budget budget;
    (void)state;

    budget_init(&budget, 100);
    budget_charge(&budget, 150);
    assert_false(budget_admit(&budget, 1));
    budget_release(&budget, 51);
    assert_true(budget_admit(&budget, 1));
    budget_release(&budget, 100);
}

static struct budget shared;
static int64_t over; // atomic: times the limit was seen exceeded

static void *hammer(void *ctx)
{
    (void)ctx;
    for (int i = 0; i < 20000; i++) {
        if (!budget_admit(&shared, 30))
            continue;
        static int64_t held; // atomic: what all threads hold by their own account
        if (__atomic_add_fetch(&held, 30, __ATOMIC_SEQ_CST) > 100)
            __atomic_add_fetch(&over, 1, __ATOMIC_SEQ_CST);
        __atomic_sub_fetch(&held, 30, __ATOMIC_SEQ_CST);
        budget_release(&shared, 30);
    }
    return NULL;
}

static void test_threads_never_exceed(void **state)
{
    pthread_t threads[4];
    (void)state;

    budget_init(&shared, 100);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, hammer, NULL), 0);
    for (size_t i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(over, 0);
    assert_int_equal(budget_used(&shared), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_at_below_above),
        cmocka_unit_test(test_room_takes_nothing),
        cmocka_unit_test(test_charge_keeps_the_next_out),
        cmocka_unit_test(test_threads_never_exceed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
