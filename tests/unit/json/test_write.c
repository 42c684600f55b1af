// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <float.h>
#include <stdlib.h>
#include <string.h>

#include "json/write.h"

static void expect_written(struct text text, const char *expected)
{
    struct buf out = BUF_EMPTY;
    json_write_string(&out, text);
    buf_char(&out, '\0');
    assert_string_equal(out.data, expected);
    buf_fini(&out);
}

static void test_string(void **state)
{
    (void)state;
    expect_written(TEXT(""), "\"\"");
    expect_written(TEXT("plain /<>&' text\x7f"), "\"plain /<>&' text\x7f\"");
    expect_written(TEXT("a\"b\\c"), "\"a\\\"b\\\\c\"");
    expect_written(TEXT("\b\f\n\r\t"), "\"\\b\\f\\n\\r\\t\"");
    expect_written(TEXT("\0\x01\x1f"), "\"\\u0000\\u0001\\u001f\"");
    expect_written(TEXT("Zürich 東京 \xf0\x9f\x98\x80"), "\"Zürich 東京 \xf0\x9f\x98\x80\"");
}

static void test_string_repair(void **state)
{
    (void)state;
    expect_written(TEXT("a\xffz"), "\"a\xef\xbf\xbdz\"");
    expect_written(TEXT("\xc3"), "\"\xef\xbf\xbd\"");
    expect_written(TEXT("\xed\xa0\x80"), "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");
    expect_written(TEXT("\xc3\"\xa9"), "\"\xef\xbf\xbd\\\"\xef\xbf\xbd\"");
}

static void expect_double(double value, const char *expected)
{
    struct buf out = BUF_EMPTY;
    json_write_double(&out, value);
    buf_char(&out, '\0');
    assert_string_equal(out.data, expected);
    buf_fini(&out);
}

static void test_double(void **state)
{
    (void)state;
    expect_double(0, "0");
    expect_double(-0.0, "-0");
    expect_double(52.374, "52.374");
    expect_double(-122.0748, "-122.0748");
    expect_double(0.1, "0.1");
    expect_double(0.1 + 0.2, "0.30000000000000004");
    expect_double(180, "180");
    expect_double(1e21, "1e+21");
    expect_double(DBL_MAX, "1.7976931348623157e+308");
    expect_double(5e-324, "5e-324");
}

static void test_double_round_trip(void **state)
{
    (void)state;
    uint64_t bits = 88172645463325252U; // xorshift64, by its usual first state
    for (int i = 0; i < 20000; i++) {
        double value;
        struct buf out = BUF_EMPTY;
        bits ^= bits << 13;
        bits ^= bits >> 7;
        bits ^= bits << 17;
        memcpy(&value, &bits, sizeof value);
        if (value != value || value - value != 0) // NaN, infinity
            continue;
        json_write_double(&out, value);
        buf_char(&out, '\0');
        assert_true(strtod(out.data, NULL) == value);
        buf_fini(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_string),
        cmocka_unit_test(test_string_repair),
        cmocka_unit_test(test_double),
        cmocka_unit_test(test_double_round_trip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
