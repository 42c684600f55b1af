// SPDX-License-Identifier: Apache-2.0
#include "net/address.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void test_good(void **state)
{
    static const struct {
        const char *text, *expected;
    } rows[] = {
        {":8443", "[::]:8443"},
        {":0", "[::]:0"},
        {"[::]:1", "[::]:1"},
        {"[::1]:65535", "[::1]:65535"},
        {"[2001:db8::7]:443", "[2001:db8::7]:443"},
        {"[::ffff:203.0.113.7]:80", "203.0.113.7:80"},
        {"127.0.0.1:8443", "127.0.0.1:8443"},
        {"0.0.0.0:08443", "0.0.0.0:8443"},
        {"unix:/run/loom.sock", "unix:/run/loom.sock"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct address address;
        struct err err = {0};
        char text[ADDRESS_TEXT_MAX];
        if (address_parse(rows[i].text, &address, &err) != 0)
            fail_msg("%s: %s", rows[i].text, err.text);
        assert_string_equal(address_text(&address, text), rows[i].expected);
    }
}

static void test_a_name_is_resolved(void **state)
{
    (void)state;
    struct address address;
    struct err err = {0};
    char text[ADDRESS_TEXT_MAX];
    assert_int_equal(address_parse("localhost:99", &address, &err), 0);
    // IPv4 where there is both: who writes localhost means 127.0.0.1 as well.
    struct addrinfo *found;
    const struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM};
    bool has_ipv4 = getaddrinfo("localhost", "99", &hints, &found) == 0;
    if (has_ipv4)
        freeaddrinfo(found);
    assert_string_equal(address_text(&address, text), has_ipv4 ? "127.0.0.1:99" : "[::1]:99");
}

static void test_bad(void **state)
{
    static const struct {
        const char *text, *says;
    } rows[] = {
        {"", "port is missing"},
        {"8443", "port is missing"},
        {"localhost", "port is missing"},
        {"[::1]", "port is missing"},
        {"[::1]8443", "port is missing"},
        {"[::1", "] after the IPv6 address is missing"},
        {"[]:80", "brackets are empty"},
        {"::1:8443", "stands in brackets"},
        {"http://localhost:80", "stands in brackets"},
        {":", "a number from 0 to 65535"},
        {"localhost:", "a number from 0 to 65535"},
        {":65536", "a number from 0 to 65535"},
        {":-1", "a number from 0 to 65535"},
        {":+1", "a number from 0 to 65535"},
        {": 1", "a number from 0 to 65535"},
        {":1 ", "a number from 0 to 65535"},
        {":https", "a number from 0 to 65535"},
        {":99999999999999999999", "a number from 0 to 65535"},
        {"[localhost]:80", "[localhost]:80: localhost: "},
        {"[1.2.3.4.5]:80", "1.2.3.4.5"},
        {"unix:", "whole path"},
        {"unix:loom.sock", "whole path"},
        {"unix:@loom", "whole path"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct address address;
        struct err err = {0};
        assert_true(address_parse(rows[i].text, &address, &err) < 0);
        if (strstr(err.text, rows[i].says) == NULL || strstr(err.text, rows[i].text) == NULL)
            fail_msg("%s: \"%s\" does not say \"%s\"", rows[i].text, err.text, rows[i].says);
        assert_true(address_parse(rows[i].text, &address, NULL) < 0);
    }
}

static void test_lengths(void **state)
{
    (void)state;
    struct address address;
    struct err err = {0};
    char path[256], text[ADDRESS_TEXT_MAX], host[600];

    memset(path, 'p', sizeof path);
    memcpy(path, "unix:/", 6);
    path[5 + 107] = '\0'; // all that sun_path holds beside its zero
    assert_int_equal(address_parse(path, &address, &err), 0);
    assert_string_equal(address_text(&address, text), path);
    path[5 + 107] = 'p';
    path[5 + 108] = '\0';
    assert_int_equal(address_parse(path, &address, &err), ERR_CONFIG);
    assert_non_null(strstr(err.text, "107 bytes"));

    memset(host, 'h', sizeof host);
    memcpy(host + sizeof host - 4, ":80", 4);
    assert_int_equal(address_parse(host, &address, &err), ERR_CONFIG);
    assert_non_null(strstr(err.text, "255 bytes"));
}

static void test_peers(void **state)
{
    (void)state;
    char text[ADDRESS_TEXT_MAX];
    struct address unnamed = {.len = sizeof(sa_family_t)};
    unnamed.sa.ss_family = AF_UNIX;
    assert_string_equal(address_text(&unnamed, text), "unix");

    struct address abstract = {.len = offsetof(struct sockaddr_un, sun_path) + 4};
    abstract.sa.ss_family = AF_UNIX;
    memcpy(((struct sockaddr_un *)&abstract.sa)->sun_path, "\0abc", 4);
    assert_string_equal(address_text(&abstract, text), "unix");

    // The kernel may hand over a path without its zero.
    struct address path = {.len = offsetof(struct sockaddr_un, sun_path) + 5};
    path.sa.ss_family = AF_UNIX;
    memcpy(((struct sockaddr_un *)&path.sa)->sun_path, "/a/bcXX", 7);
    assert_string_equal(address_text(&path, text), "unix:/a/bc");

    struct address link_local = {.len = sizeof(struct sockaddr_in6)};
    struct sockaddr_in6 *sin6 = (struct sockaddr_in6 *)&link_local.sa;
    sin6->sin6_family = AF_INET6;
    sin6->sin6_port = htons(9);
    sin6->sin6_scope_id = 3;
    assert_int_equal(inet_pton(AF_INET6, "fe80::1", &sin6->sin6_addr), 1);
    assert_string_equal(address_text(&link_local, text), "[fe80::1%3]:9");

    struct address none = {0};
    assert_string_equal(address_text(&none, text), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),  cmocka_unit_test(test_a_name_is_resolved),
        cmocka_unit_test(test_bad),   cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_peers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
