// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"

#include <string.h>

static void set_keeps_code_and_text(void **state)
{
    (void)state;
    struct err err;
    assert_int_equal(err_set(&err, -EINVAL, "port %d", 8443), -EINVAL);
    assert_int_equal(err.code, -EINVAL);
    assert_string_equal(err.text, "port 8443");
    assert_int_equal(err_set(NULL, -EINVAL, "nobody reads this"), -EINVAL);
}

static void text_is_always_one_line(void **state)
{
    (void)state;
    struct err err;
    err_set(&err, ERR_TLS, "first\nsecond\tthird");
    assert_string_equal(err.text, "first second third");
    err_prefix(&err, "a\nb");
    assert_string_equal(err.text, "a b: first second third");
}

static void prefix_goes_before(void **state)
{
    (void)state;
    struct err err;
    err_set(&err, ERR_DATABASE, "no metadata");
    assert_int_equal(err_prefix(&err, "%s", "/x.mmdb"), ERR_DATABASE);
    assert_string_equal(err.text, "/x.mmdb: no metadata");
}

static void long_texts_are_cut_at_the_end(void **state)
{
    (void)state;
    char longer[2 * ERR_TEXT_MAX];
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    struct err err;
    err_set(&err, -EIO, "%s", longer);
    assert_int_equal(strlen(err.text), ERR_TEXT_MAX - 1);
    err_prefix(&err, "where");
    assert_int_equal(strlen(err.text), ERR_TEXT_MAX - 1);
    assert_memory_equal(err.text, "where: xxx", 10);
    err_prefix(&err, "%s", longer);
    assert_int_equal(strlen(err.text), ERR_TEXT_MAX - 1);
}

static void codes_have_texts(void **state)
{
    (void)state;
    assert_string_equal(err_text(0), "no error");
    assert_string_equal(err_text(-ENOSPC), "No space left on device");
    assert_string_equal(err_text(ERR_UNBUILT), "not built into this version of Loom");
    assert_string_equal(err_text(-999), "unknown error");
    assert_string_equal(err_text(7), "unknown error");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(set_keeps_code_and_text), cmocka_unit_test(text_is_always_one_line),
        cmocka_unit_test(prefix_goes_before),      cmocka_unit_test(long_texts_are_cut_at_the_end),
        cmocka_unit_test(codes_have_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
