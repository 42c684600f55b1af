// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

static void assert_holds(const struct buf *buf, const char *expected)
{
    assert_int_equal(buf->len, strlen(expected));
    if (buf->len > 0)
        assert_memory_equal(buf->data, expected, buf->len);
}

static void appends_follow_each_other(void **state)
{
    (void)state;
    struct buf buf = BUF_EMPTY;
    buf_str(&buf, "a");
    buf_char(&buf, '-');
    buf_text(&buf, TEXT("bc"));
    buf_append(&buf, NULL, 0);
    buf_printf(&buf, " %d%%", 100);
    assert_int_equal(buf_try_append(&buf, "!", 1), 0);
    assert_holds(&buf, "a-bc 100%!");
    buf_fini(&buf);
    assert_null(buf.data);
    assert_int_equal(buf.cap, 0);
}

static void numbers_have_no_odd_cases(void **state)
{
    (void)state;
    static const int64_t signed_values[] = {0, 7, -1, 10, INT64_MAX, INT64_MIN};
    for (size_t i = 0; i < sizeof signed_values / sizeof *signed_values; i++) {
        struct buf buf = BUF_EMPTY;
        char expected[32];
        snprintf(expected, sizeof expected, "%" PRId64, signed_values[i]);
        buf_int(&buf, signed_values[i]);
        assert_holds(&buf, expected);
        buf_fini(&buf);
    }
    struct buf buf = BUF_EMPTY;
    buf_uint(&buf, UINT64_MAX);
    assert_holds(&buf, "18446744073709551615");
    buf_fini(&buf);
}

static void growth_keeps_content_and_is_geometric(void **state)
{
    (void)state;
    struct buf buf = BUF_EMPTY;
    size_t moves = 0;
    for (unsigned i = 0; i < 100000; i++) {
        size_t cap = buf.cap;
        buf_char(&buf, (char)(i % 251));
        moves += buf.cap != cap;
    }
    assert_true(moves < 20);
    for (unsigned i = 0; i < 100000; i++)
        assert_int_equal((unsigned char)buf.data[i], i % 251);
    buf_fini(&buf);
}

// The sanitizers' allocators end the process on an impossible size unless told to fail as malloc does.
const char *__asan_default_options(void);
const char *__tsan_default_options(void);
const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}
const char *__tsan_default_options(void)
{
    return "allocator_may_return_null=1";
}

static void impossible_sizes_leave_the_buffer_as_it_was(void **state)
{
    (void)state;
    struct buf buf = BUF_EMPTY;
    buf_str(&buf, "kept");
    size_t cap = buf.cap;
    assert_int_equal(buf_try_reserve(&buf, SIZE_MAX), -ENOMEM);     // the sum overflows
    assert_int_equal(buf_try_reserve(&buf, SIZE_MAX - 4), -ENOMEM); // the sum does not; no such memory
    assert_int_equal(buf.cap, cap);
    assert_holds(&buf, "kept");
    buf_fini(&buf);
}

static void consume_drops_the_front(void **state)
{
    (void)state;
    struct buf buf = BUF_EMPTY;
    buf_consume(&buf, 0);
    buf_str(&buf, "abcdef");
    buf_consume(&buf, 2);
    assert_holds(&buf, "cdef");
    buf_consume(&buf, 4);
    assert_holds(&buf, "");
    buf_fini(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(appends_follow_each_other),
        cmocka_unit_test(numbers_have_no_odd_cases),
        cmocka_unit_test(growth_keeps_content_and_is_geometric),
        cmocka_unit_test(impossible_sizes_leave_the_buffer_as_it_was),
        cmocka_unit_test(consume_drops_the_front),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
