// SPDX-License-Identifier: Apache-2.0
#include "base/endpoint.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void test_parts(void **state)
{
    static const struct {
        const char *text, *host, *port;
        bool numeric;
    } rows[] = {
        {":8443", "", "8443", false},
        {"no.such.name.invalid:1", "no.such.name.invalid", "1", false}, // nobody is asked
        {"[::1]:0", "::1", "0", true},
        {"[fe80::1%eth0]:80", "fe80::1%eth0", "80", true},
        {"127.0.0.1:65535", "127.0.0.1", "65535", false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct endpoint endpoint;
        struct err err = {0};
        assert_int_equal(endpoint_parse(rows[i].text, &endpoint, &err), 0);
        assert_null(endpoint.path);
        assert_string_equal(endpoint.host, rows[i].host);
        assert_string_equal(endpoint.port, rows[i].port);
        assert_int_equal(endpoint.numeric, rows[i].numeric);
    }
    struct endpoint endpoint;
    assert_int_equal(endpoint_parse("unix:/run/loom.sock", &endpoint, NULL), 0);
    assert_string_equal(endpoint.path, "/run/loom.sock");
}

// net/test_address.c has what else is wrong, with its words.
static void test_bad(void **state)
{
    static const char *const rows[] = {"", "8443", "[::1", "[::1]", "[zz]:1", "[::1%]x:1", ":x", "unix:x", "a:b:1"};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct endpoint endpoint;
        struct err err = {0};
        assert_int_equal(endpoint_parse(rows[i], &endpoint, &err), ERR_CONFIG);
        assert_non_null(strstr(err.text, rows[i]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_parts), cmocka_unit_test(test_bad)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
