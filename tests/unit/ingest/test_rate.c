// SPDX-License-Identifier: Apache-2.0
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "ingest/rate.h"

#define NOW (INT64_C(1000) * NS_PER_S)

static int64_t take_all(int64_t *due, int64_t now, int64_t per_s)
{
    int64_t passed = 0;
    while (rate_take(due, now, per_s, 1) == 0)
        passed++;
    return passed;
}

// A fresh bucket gives exactly one second's worth at once, also where a unit is no whole number of nanoseconds.
static void test_burst_is_one_second(void **state)
{
    (void)state;
    static const int64_t rates[] = {1, 2, 3, 7, 50, 999, 1000, 999999, 1000000};
    for (size_t i = 0; i < sizeof rates / sizeof *rates; i++) {
        int64_t due = 0;
        assert_int_equal(take_all(&due, NOW, rates[i]), rates[i]);
        assert_int_equal(take_all(&due, NOW, rates[i]), 0);
    }
}

// The wait that is told is exact: a nanosecond before it nothing passes, then one unit does.
static void test_wait_is_exact(void **state)
{
    (void)state;
    static const int64_t rates[] = {1, 3, 50, 1000000};
    for (size_t i = 0; i < sizeof rates / sizeof *rates; i++) {
        int64_t due = 0;
        take_all(&due, NOW, rates[i]);
        int64_t before = due;
        int64_t wait = rate_take(&due, NOW, rates[i], 1);
        assert_int_equal(wait, (NS_PER_S + rates[i] - 1) / rates[i]);
        assert_int_equal(due, before); // refused is not charged
        assert_int_equal(rate_take(&due, NOW + wait - 1, rates[i], 1), 1);
        assert_int_equal(rate_take(&due, NOW + wait, rates[i], 1), 0);
        assert_true(rate_take(&due, NOW + wait, rates[i], 1) > 0);
    }
}

static void test_refills_to_one_second_and_no_more(void **state)
{
    (void)state;
    int64_t due = 0;
    assert_int_equal(take_all(&due, NOW, 50), 50);
    assert_int_equal(take_all(&due, NOW + NS_PER_S / 2, 50), 25);
    assert_int_equal(take_all(&due, NOW + 3600 * NS_PER_S, 50), 50);
}

// Over a long time no more passes than the rate and the first burst; with a rate of whole nanoseconds no less either.
static void test_steady_rate(void **state)
{
    (void)state;
    int64_t due = 0, passed = 0;
    for (int64_t ms = 0; ms <= 10000; ms++)
        passed += take_all(&due, NOW + ms * NS_PER_MS, 40);
    assert_int_equal(passed, 40 + 10 * 40);

    due = passed = 0;
    for (int64_t ms = 0; ms <= 10000; ms++)
        passed += take_all(&due, NOW + ms * NS_PER_MS, 7);
    assert_int_equal(passed, 7 + 10 * 7 - 1); // rounded up: the last one is a few nanoseconds late
}

static void test_cost(void **state)
{
    (void)state;
    int64_t due = 0;
    assert_int_equal(rate_take(&due, NOW, 10, 7), 0);
    assert_int_equal(rate_take(&due, NOW, 10, 4), NS_PER_S / 10);
    assert_int_equal(rate_take(&due, NOW, 10, 3), 0);
    assert_int_equal(rate_take(&due, NOW, 10, 1), NS_PER_S / 10);
    assert_int_equal(rate_take(&due, NOW, 10, 0), 0);

    // More than ever fits: passes at a full bucket, and is paid back.
    due = 0;
    assert_int_equal(rate_take(&due, NOW, 10, 30), 0);
    assert_int_equal(rate_take(&due, NOW, 10, 1), 2 * NS_PER_S + NS_PER_S / 10);
    assert_int_equal(rate_take(&due, NOW, 10, 30), 3 * NS_PER_S);
    assert_int_equal(rate_take(&due, NOW + 3 * NS_PER_S, 10, 30), 0);
}

static void test_charge_and_wait(void **state)
{
    (void)state;
    int64_t due = 0;
    assert_int_equal(rate_wait(&due, NOW, 100), 0);
    rate_charge(&due, NOW, 100, 100);
    assert_int_equal(rate_wait(&due, NOW, 100), 0); // empty is no debt
    rate_charge(&due, NOW, 100, 1);
    assert_int_equal(rate_wait(&due, NOW, 100), NS_PER_S / 100);
    rate_charge(&due, NOW, 100, 400);
    int64_t wait = rate_wait(&due, NOW, 100);
    assert_int_equal(wait, 4 * NS_PER_S + NS_PER_S / 100);
    assert_int_equal(rate_wait(&due, NOW + wait - 1, 100), 1);
    assert_int_equal(rate_wait(&due, NOW + wait, 100), 0);
    int64_t before = due;
    rate_charge(&due, NOW, 100, 0);
    assert_int_equal(due, before);
}

static void test_off(void **state)
{
    (void)state;
    static const int64_t off[] = {0, -1, INT64_MIN};
    for (size_t i = 0; i < sizeof off / sizeof *off; i++) {
        int64_t due = INT64_MAX;
        assert_int_equal(rate_take(&due, NOW, off[i], 1000), 0);
        assert_int_equal(rate_wait(&due, NOW, off[i]), 0);
        rate_charge(&due, NOW, off[i], 1000);
        assert_true(due == INT64_MAX);
    }
}

// A thread that looked at its clock a moment before another one.
static void test_older_now(void **state)
{
    (void)state;
    int64_t due = 0;
    assert_int_equal(take_all(&due, NOW, 5), 5);
    int64_t before = due;
    assert_int_equal(rate_take(&due, NOW - 10, 5, 1), NS_PER_S / 5 + 10);
    assert_int_equal(due, before);
}

// Whatever the numbers, nothing overflows (UBSan watches) and no wait is negative.
static void test_extremes(void **state)
{
    (void)state;
    static const int64_t values[] = {1, 2, 999999999, NS_PER_S, NS_PER_S + 1, INT64_MAX - 1, INT64_MAX};
    static const int64_t times[] = {0, 1, NOW, INT64_MAX - NS_PER_S, INT64_MAX};
    const size_t count = sizeof values / sizeof *values, time_count = sizeof times / sizeof *times;
    for (size_t i = 0; i < count * count * time_count * time_count; i++) {
        int64_t per_s = values[i % count], cost = values[i / count % count];
        int64_t now = times[i / count / count % time_count], due = times[i / count / count / time_count];
        int64_t before = due;
        assert_true(rate_wait(&due, now, per_s) >= 0);
        assert_true(rate_take(&due, now, per_s, cost) >= 0);
        assert_true(due >= before);
        rate_charge(&due, now, per_s, cost);
        assert_true(due >= now);
        assert_true(rate_wait(&due, now, per_s) >= 0);
    }
}

#define THREADS        4
#define TAKES          20000
#define SHARED_PER_S   10000
#define SHARED_STEP_NS 25000 // a quarter of what a unit takes, so that most are refused

struct shared {
    int64_t due;
    int64_t now; // atomic; every take moves it
    int64_t passed;
};

static void *take_shared(void *arg)
{
    struct shared *shared = arg;
    int64_t passed = 0;
    for (int i = 0; i < TAKES; i++) {
        int64_t now = __atomic_add_fetch(&shared->now, SHARED_STEP_NS, __ATOMIC_RELAXED);
        passed += rate_take(&shared->due, now, SHARED_PER_S, 1) == 0;
    }
    __atomic_add_fetch(&shared->passed, passed, __ATOMIC_RELAXED);
    return NULL;
}

// All threads together get what one would have got, however they interleave: not one more, and hardly one less (the
// last ones may be refused by a now that another thread has overtaken).
static void test_threads_share_one_bucket(void **state)
{
    (void)state;
    struct shared shared = {.now = NOW};
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, take_shared, &shared), 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    int64_t elapsed = shared.now - NOW;
    assert_int_equal(elapsed, (int64_t)THREADS * TAKES * SHARED_STEP_NS);
    int64_t most = SHARED_PER_S + elapsed / (NS_PER_S / SHARED_PER_S);
    assert_true(shared.passed <= most);
    assert_true(shared.passed > most / 2);
}

static void *take_at_once(void *arg)
{
    struct shared *shared = arg;
    __atomic_add_fetch(&shared->passed, take_all(&shared->due, NOW, SHARED_PER_S), __ATOMIC_RELAXED);
    return NULL;
}

static void test_threads_in_one_instant(void **state)
{
    (void)state;
    struct shared shared = {.now = NOW};
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, take_at_once, &shared), 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(shared.passed, SHARED_PER_S);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_burst_is_one_second),
        cmocka_unit_test(test_wait_is_exact),
        cmocka_unit_test(test_refills_to_one_second_and_no_more),
        cmocka_unit_test(test_steady_rate),
        cmocka_unit_test(test_cost),
        cmocka_unit_test(test_charge_and_wait),
        cmocka_unit_test(test_off),
        cmocka_unit_test(test_older_now),
        cmocka_unit_test(test_extremes),
        cmocka_unit_test(test_threads_share_one_bucket),
        cmocka_unit_test(test_threads_in_one_instant),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
