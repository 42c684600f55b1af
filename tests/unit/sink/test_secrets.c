// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sink/secrets.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"

static char path[] = "/tmp/loom-secret-XXXXXX";

static int make_file(void **state)
{
    (void)state;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    return 0;
}

static int remove_file(void **state)
{
    (void)state;
    return unlink(path);
}

static void write_file(const void *data, size_t len)
{
    int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, len), (ssize_t)len);
    close(fd);
}

static void set(const char *value, const char *file)
{
    if (value != NULL)
        setenv("LOOM_TEST_X", value, 1);
    else
        unsetenv("LOOM_TEST_X");
    if (file != NULL)
        setenv("LOOM_TEST_X_FILE", file, 1);
    else
        unsetenv("LOOM_TEST_X_FILE");
}

static void expect(const char *value)
{
    struct err err = {0};
    char *secret;
    if (secret_read("LOOM_TEST_X", &secret, &err) != 0)
        fail_msg("%s", err.text);
    if (value == NULL)
        assert_null(secret);
    else
        assert_string_equal(secret, value);
    secret_free(secret);
}

static void expect_fault(const char *part)
{
    struct err err = {0};
    char *secret = NULL;
    assert_true(secret_read("LOOM_TEST_X", &secret, &err) < 0);
    assert_null(secret);
    assert_non_null(strstr(err.text, "LOOM_TEST_X"));
    if (strstr(err.text, part) == NULL)
        fail_msg("%s", err.text);
    assert_null(strstr(err.text, "geheim")); // which every secret here has in it
}

static void from_environment(void **state)
{
    (void)state;
    set(NULL, NULL);
    expect(NULL);
    set("", "");
    expect(NULL);
    set("geheim", NULL);
    expect("geheim");
    set(" geheim mit Blank und \xc3\xa4 ", "");
    expect(" geheim mit Blank und \xc3\xa4 ");
    set("geheim\n", NULL);
    expect_fault("control character");
    set("geheim\x7f", NULL);
    expect_fault("control character");
    set("geheim", path);
    expect_fault("both set");
    char *longest = mem_alloc(SECRET_MAX + 2);
    memset(longest, 'x', SECRET_MAX + 1);
    longest[SECRET_MAX + 1] = '\0';
    set(longest, NULL);
    expect_fault("longer");
    longest[SECRET_MAX] = '\0';
    set(longest, NULL);
    expect(longest);
    set(NULL, path);
    write_file(longest, SECRET_MAX);
    expect(longest);
    longest[SECRET_MAX] = 'x';
    write_file(longest, SECRET_MAX + 1);
    expect_fault("longer");
    mem_free(longest);
}

static void from_file(void **state)
{
    (void)state;
    static const struct {
        const char *content, *secret;
    } good[] = {
        {"geheim", "geheim"},       {"geheim\n", "geheim"},
        {"geheim\r\n", "geheim"},   {"geheim\nzweite Zeile\n", "geheim"},
        {" geheim \n", " geheim "},
    };
    set(NULL, path);
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        write_file(good[i].content, strlen(good[i].content));
        expect(good[i].secret);
    }
    write_file("", 0);
    expect_fault("empty");
    write_file("\n", 1);
    expect_fault("empty");
    write_file("\r\ngeheim", 8);
    expect_fault("empty");
    write_file("geheim\ttab\n", 11);
    expect_fault("control character");
    write_file("geheim\0x\n", 9);
    expect_fault("control character");
    set(NULL, "/nonexistent/file");
    expect_fault("No such file");
    set(NULL, "/tmp");
    expect_fault("directory");
}

static void basic(void **state)
{
    (void)state;
    static const struct {
        const char *user, *password, *value;
    } cases[] = {
        {"Aladdin", "open sesame", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="}, // RFC 7617, 2
        {"test", "123\xc2\xa3", "Basic dGVzdDoxMjPCow=="},                // RFC 7617, 2.1
        {"a", "b", "Basic YTpi"},
        {"a", "", "Basic YTo="},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *value = secret_basic(cases[i].user, cases[i].password);
        assert_string_equal(value, cases[i].value);
        secret_free(value);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(from_environment), cmocka_unit_test(from_file),
                                       cmocka_unit_test(basic)};
    return cmocka_run_group_tests(tests, make_file, remove_file);
}
