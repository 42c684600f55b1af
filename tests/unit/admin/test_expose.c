// SPDX-License-Identifier: Apache-2.0

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "admin/expose.h"

static void assert_written(struct buf *out, const char *expected)
{
    buf_char(out, '\0');
    assert_string_equal(out->data, expected);
    buf_fini(out);
}

static void test_samples(void **state)
{
    struct buf out = BUF_EMPTY;
    (void)state;

    expose_family(&out, "loom_x_total", EXPOSE_COUNTER, "Things.");
    expose_sample(&out, "loom_x_total", NULL, 3);
    expose_sample(&out, "loom_x_total", (const char *const[]){"a", "1", "b", "2", NULL}, 0.5);
    assert_written(&out, "# HELP loom_x_total Things.\n# TYPE loom_x_total counter\n"
                         "loom_x_total 3\nloom_x_total{a=\"1\",b=\"2\"} 0.5\n");
}

static void test_label_values_are_escaped(void **state)
{
    struct buf out = BUF_EMPTY;
    (void)state;

    expose_sample(&out, "x", (const char *const[]){"a", "q\"b\\c\nd", NULL}, 1);
    assert_written(&out, "x{a=\"q\\\"b\\\\c\\nd\"} 1\n");
}

static void test_histogram_is_cumulative(void **state)
{
    struct histogram one = {0}, two = {0}, sum = {0};
    struct buf out = BUF_EMPTY;
    (void)state;

    histogram_add(&one, histogram_size_bytes, 1);
    histogram_add(&one, histogram_size_bytes, histogram_size_bytes[0]);
    histogram_add(&two, histogram_size_bytes, UINT64_C(1) << 40);
    expose_histogram_add(&sum, &one);
    expose_histogram_add(&sum, &two);
    expose_histogram(&out, "h", "H.", &sum, histogram_size_bytes, 1);
    buf_char(&out, '\0');
    assert_non_null(strstr(out.data, "# TYPE h histogram\nh_bucket{le=\"256\"} 2\n"));
    assert_non_null(strstr(out.data, "h_bucket{le=\"4194304\"} 2\nh_bucket{le=\"+Inf\"} 3\n"));
    assert_non_null(strstr(out.data, "h_sum 1099511628033\nh_count 3\n"));
    buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_samples),
        cmocka_unit_test(test_label_values_are_escaped),
        cmocka_unit_test(test_histogram_is_cumulative),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
