// SPDX-License-Identifier: Apache-2.0
//
// What a refused body is refused for, and where. json_scan gives these errors whatever the vector form.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "json/kernel.h"

static const struct {
    const char *body;
    const char *reason;
    size_t offset;
    int64_t index;
} refused[] = {
    {"", "empty body", 0, -1},
    {" \n", "empty body", 2, -1},
    {"\xef\xbb\xbf[]", "byte order mark before the array", 0, -1},
    {"{}", "not an array", 0, -1},
    {" {\"a\":1}\n{\"a\":1}", "not an array", 1, -1},
    {"1", "not an array", 0, -1},
    {"\"[]\"", "not an array", 0, -1},
    {"]", "not an array", 0, -1},
    {"\"a\":[{}]", "not an array", 0, -1},
    {"[", "unexpected end", 1, -1},
    {"[{}", "unexpected end", 3, -1},
    {"[]]", "text after the array", 2, -1},
    {"[] []", "text after the array", 3, -1},
    {"[{}]\0", "text after the array", 4, -1}, // its length is counted below
    {"[1]", "element is no object", 1, 0},
    {"[{}, null]", "element is no object", 5, 1},
    {"[{},{},[]]", "element is no object", 7, 2},
    {"[{},]", "value expected", 4, -1},
    {"[,{}]", "value expected", 1, -1},
    {"[{}{}]", "comma or ] expected", 3, -1},
    {"[{}}", "comma or ] expected", 3, -1},
    {"[x]", "value expected", 1, -1},
    {"[{]", "key expected", 2, 0},
    {"[{1:2}]", "key expected", 2, 0},
    {"[{},{\"a\":1,}]", "key expected", 11, 1},
    {"[{\"a\" 1}]", "colon expected", 6, 0},
    {"[{\"a\"}]", "colon expected", 5, 0},
    {"[{\"a\":}]", "value expected", 6, 0},
    {"[{\"a\":1 2}]", "comma or } expected", 8, 0},
    {"[{\"a\":1]", "comma or } expected", 7, 0},
    {"[{\"a\":01}]", "comma or } expected", 7, 0},
    {"[{\"a\":[1}]", "comma or ] expected", 8, 0},
    {"[{\"a\":+1}]", "value expected", 6, 0},
    {"[{\"a\":1.}]", "invalid number", 8, 0},
    {"[{\"a\":-}]", "invalid number", 7, 0},
    {"[{\"a\":1e+}]", "invalid number", 9, 0},
    {"[{\"a\":1.", "unexpected end", 8, 0},
    {"[{\"a\":trux}]", "invalid literal", 9, 0},
    {"[{\"a\":nul", "unexpected end", 9, 0},
    {"[{\"a\":truex}]", "comma or } expected", 10, 0},
    {"[{\"a\":NaN}]", "value expected", 6, 0},
    {"[{\"a", "unexpected end", 4, 0},
    {"[{\"a\\", "unexpected end", 5, 0},
    {"[{\"a\n\":1}]", "control character in a string", 4, 0},
    {"[{\"a\":\"\\x\"}]", "invalid escape in a string", 8, 0},
    {"[{\"a\":\"\\u12g4\"}]", "invalid \\u escape in a string", 11, 0},
    {"[{\"a\":\"\xc3\x28\"}]", "invalid UTF-8", 7, 0},
    {"[{},{\"a\":\"\xed\xa0\x80\"}]", "invalid UTF-8", 10, 1},
    {"[\xc2\xa0]", "value expected", 1, -1},
};

static void check(size_t i, const char *body, size_t len)
{
    struct json_events events = {0};
    struct json_error error = {0};
    assert_int_equal(json_exact((const uint8_t *)body, len, &events, &error), -EINVAL);
    if (strcmp(error.reason, refused[i].reason) != 0 || error.offset != refused[i].offset)
        print_error("%s: %s at %zu\n", body, error.reason, error.offset);
    assert_string_equal(error.reason, refused[i].reason);
    assert_int_equal(error.offset, refused[i].offset);
    assert_int_equal(error.index, refused[i].index);
    json_events_fini(&events);
}

static void test_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        size_t len = strlen(refused[i].body);
        bool with_zero = strcmp(refused[i].body, "[{}]") == 0;
        check(i, refused[i].body, with_zero ? len + 1 : len);
    }
}

static void test_accepted(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        "[]",
        " [ ] ",
        "[{}]",
        "[{\"\":\"\"}]",
        "[{\"a\":[0,-0,1.5,1e9,1E-9,-1.25e+10,true,false,null,\"\",[],{}]}]",
        "[{\"a\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0000\\ud800\\uDFFF\"}]",
        "[{\"a\":\"\x7f\xc2\x80\xe0\xa0\x80\xef\xbb\xbf\xf4\x8f\xbf\xbf\"}]",
        "[{\"a\":1,\"a\":1}]",
    };
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        struct json_events events = {0};
        struct json_error error;
        assert_int_equal(json_exact((const uint8_t *)bodies[i], strlen(bodies[i]), &events, &error), 0);
        json_events_fini(&events);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_refused), cmocka_unit_test(test_accepted)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
