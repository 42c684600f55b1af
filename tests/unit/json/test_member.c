// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "json/member.h"

static void expect_text(struct text text, const char *expected)
{
    assert_int_equal(text.len, strlen(expected));
    assert_memory_equal(text.at, expected, text.len);
}

static void test_next(void **state)
{
    (void)state;
    static const char object[] =
        "{ \"a\" : 1 ,\"b\\\"}\":\"x,\\\"}\", \"c\":[1,{\"]\":\"[\"}] ,\"d\":{\"e\":{}},\n\"f\":null}, \"next\":1";
    static const char *const expected[][2] = {
        {"a", "1"}, {"b\\\"}", "\"x,\\\"}\""}, {"c", "[1,{\"]\":\"[\"}]"}, {"d", "{\"e\":{}}"}, {"f", "null"},
    };
    const char *at = object + 1, *end = object + sizeof object - 1;
    struct member member;
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        assert_true(member_next(&at, end, &member));
        expect_text(member.key, expected[i][0]);
        expect_text(member.value, expected[i][1]);
        assert_int_equal(member_is_object(&member), i == 3);
    }
    assert_false(member_next(&at, end, &member));
    assert_memory_equal(at, "}, \"next\"", 9);
}

// Additions are members without braces: the end of the text ends them, even within a number.
static void test_next_without_braces(void **state)
{
    (void)state;
    static const char members[] = "\"a\":{},\"b\":12";
    const char *at = members, *end = members + sizeof members - 2;
    struct member member;
    assert_true(member_next(&at, end, &member));
    expect_text(member.value, "{}");
    assert_true(member_next(&at, end, &member));
    expect_text(member.value, "1");
    assert_false(member_next(&at, end, &member));
    assert_ptr_equal(at, end);
}

static void test_unescape(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"", ""},
        {"plain \xc3\xa9", "plain \xc3\xa9"},
        {"\\\"\\\\\\/\\b\\f\\n\\r\\t", "\"\\/\b\f\n\r\t"},
        {"\\u0041\\u00e9\\u20AC", "A\xc3\xa9\xe2\x82\xac"},
        {"\\ud83d\\ude00", "\xf0\x9f\x98\x80"},
        {"\\ud83d", "\xef\xbf\xbd"},
        {"\\ud83d\\u0041", "\xef\xbf\xbd"
                           "A"},
        {"\\ude00\\ud83d", "\xef\xbf\xbd\xef\xbf\xbd"},
        {"\\ud83d\\n", "\xef\xbf\xbd\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char out[64];
        bool fits;
        size_t len = member_unescape(text_of(cases[i][0]), out, sizeof out, &fits);
        assert_true(fits);
        expect_text((struct text){out, len}, cases[i][1]);
    }
}

static void test_unescape_too_long(void **state)
{
    (void)state;
    char out[4];
    bool fits;
    assert_int_equal(member_unescape(TEXT("abcd"), out, sizeof out, &fits), 4);
    assert_true(fits);
    assert_int_equal(member_unescape(TEXT("abcde"), out, sizeof out, &fits), 4);
    assert_false(fits);
    assert_int_equal(member_unescape(TEXT("abc\\u00e9"), out, sizeof out, &fits), 3);
    assert_false(fits);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_next),
        cmocka_unit_test(test_next_without_braces),
        cmocka_unit_test(test_unescape),
        cmocka_unit_test(test_unescape_too_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
