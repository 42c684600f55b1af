// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/metric.h"

static void bounds_ascend(void **state)
{
    (void)state;
    const uint64_t *const all[] = {histogram_duration_ns, histogram_size_bytes, histogram_events};
    for (size_t h = 0; h < 3; h++)
        for (unsigned i = 1; i < HISTOGRAM_BUCKETS; i++)
            assert_true(all[h][i] > all[h][i - 1]);
    assert_int_equal(histogram_duration_ns[0], 100000);
    assert_int_equal(histogram_duration_ns[HISTOGRAM_BUCKETS - 1], INT64_C(30000000000));
    assert_int_equal(histogram_size_bytes[HISTOGRAM_BUCKETS - 1], 4 << 20);
    assert_int_equal(histogram_events[HISTOGRAM_BUCKETS - 1], 500);
}

static void values_count_in_one_bucket(void **state)
{
    (void)state;
    struct histogram h = {0};
    static const uint64_t values[] = {0, 1, 2, 3, 500, 501, UINT32_MAX};
    uint64_t sum = 0;
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        histogram_add(&h, histogram_events, values[i]);
        sum += values[i];
    }
    assert_int_equal(counter_get(&h.buckets[0]), 2);                     // 0 and 1: a bound belongs to its bucket
    assert_int_equal(counter_get(&h.buckets[1]), 1);                     // 2
    assert_int_equal(counter_get(&h.buckets[2]), 1);                     // 3
    assert_int_equal(counter_get(&h.buckets[HISTOGRAM_BUCKETS - 1]), 1); // 500
    assert_int_equal(counter_get(&h.buckets[HISTOGRAM_BUCKETS]), 2);     // beyond
    assert_int_equal(counter_get(&h.sum), sum);
}

static void counters_add(void **state)
{
    (void)state;
    counter c = 0;
    counter_add(&c, 3);
    counter_bump(&c, 4);
    assert_int_equal(counter_get(&c), 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bounds_ascend),
        cmocka_unit_test(values_count_in_one_bucket),
        cmocka_unit_test(counters_add),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
