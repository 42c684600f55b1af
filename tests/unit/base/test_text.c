// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/text.h"

static void equal_means_bytes(void **state)
{
    (void)state;
    assert_true(text_eq(TEXT("a"), text_of("a")));
    assert_false(text_eq(TEXT("a"), TEXT("A")));
    assert_false(text_eq(TEXT("a"), TEXT("a\0")));
    assert_true(text_eq((struct text){NULL, 0}, TEXT("")));
}

static void nocase_is_ascii_only(void **state)
{
    (void)state;
    assert_true(text_eq_nocase(TEXT("BeArEr"), TEXT("bEaReR")));
    assert_false(text_eq_nocase(TEXT("bearer"), TEXT("bearers")));
    assert_false(text_eq_nocase(TEXT("["), TEXT("{"))); // 0x5b and 0x7b: not letters
    assert_false(text_eq_nocase(TEXT("@"), TEXT("`")));
    assert_false(text_eq_nocase(TEXT("\xc4"), TEXT("\xe4"))); // Latin-1 letters
}

static void trim_takes_spaces_and_tabs(void **state)
{
    (void)state;
    assert_true(text_eq(text_trim(TEXT(" \t a b\t ")), TEXT("a b")));
    assert_true(text_eq(text_trim(TEXT(" \t ")), TEXT("")));
    assert_true(text_eq(text_trim(TEXT("")), TEXT("")));
    assert_true(text_eq(text_trim(TEXT("\ra\n")), TEXT("\ra\n")));
}

static void lines_are_taken_one_by_one(void **state)
{
    (void)state;
    struct text rest = TEXT("a\n\nb\r\nlast");
    struct text line;
    assert_true(text_line(&rest, &line));
    assert_true(text_eq(line, TEXT("a")));
    assert_true(text_line(&rest, &line));
    assert_true(text_eq(line, TEXT(""))); // an empty line is one, too
    assert_true(text_line(&rest, &line));
    assert_true(text_eq(line, TEXT("b\r")));
    assert_true(text_line(&rest, &line));
    assert_true(text_eq(line, TEXT("last"))); // without its newline at the end
    assert_false(text_line(&rest, &line));
    rest = TEXT("only\n");
    assert_true(text_line(&rest, &line));
    assert_false(text_line(&rest, &line)); // no empty line after the last newline
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_are_taken_one_by_one),
        cmocka_unit_test(equal_means_bytes),
        cmocka_unit_test(nocase_is_ascii_only),
        cmocka_unit_test(trim_takes_spaces_and_tabs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
