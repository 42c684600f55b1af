// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "conf/options.h"
#include "conf/suggest.h"

static void test_distance(void **state)
{
    (void)state;
    static const struct {
        const char *a, *b;
        size_t distance;
    } cases[] = {
        {"", "", 0},
        {"", "abc", 3},
        {"abc", "", 3},
        {"kitten", "sitting", 3},
        {"tls", "TLS", 0},
        {"flaw", "lawn", 2},
        {"abcdef", "abcdef", 0},
        {"ab", "ba", 2},
        {"listen_adress", "listen_address", 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(suggest_distance(text_of(cases[i].a), text_of(cases[i].b)), cases[i].distance);
        assert_int_equal(suggest_distance(text_of(cases[i].b), text_of(cases[i].a)), cases[i].distance);
    }
    char longest[SUGGEST_TEXT_MAX + 1];
    memset(longest, 'a', sizeof longest);
    struct text fits = {longest, SUGGEST_TEXT_MAX}, too_long = {longest, SUGGEST_TEXT_MAX + 1};
    assert_int_equal(suggest_distance(fits, fits), 0);
    assert_true(suggest_distance(too_long, fits) == SIZE_MAX);
    assert_true(suggest_distance(TEXT("a"), too_long) == SIZE_MAX);
}

static void assert_suggestion(struct buf *out, const char *expected)
{
    buf_char(out, '\0');
    assert_string_equal(out->data, expected);
    buf_fini(out);
}

static void test_keys(void **state)
{
    (void)state;
    static const struct {
        const char *section, *name, *suggestion;
    } cases[] = {
        {"server", "listen_adress", ", did you mean \"listen_address\"?"},
        {"server", "Listen_Address", ", did you mean \"listen_address\"?"},
        {"server", "cert", ", did you mean \"cert_file\"?"},
        {"server", "max_connections", "; it belongs in [limits]"},
        {"server", "max_conections", ", did you mean \"max_connections\" in [limits]?"},
        {"", "tls", "; it belongs in [server]"},
        {"output", "enabled", "; it belongs in [enrichment.dns] or [output.outbox]"},
        {"output", "brokers", ", did you mean \"kafka_brokers\"?"},
        {"limits", "max_body_size", ", did you mean \"max_body_size_bytes\"?"},
        {"output", "clickhouse_pasword",
         "; a secret does not belong in this file: set LOOM_CLICKHOUSE_PASSWORD in the "
         "environment"},
        {"server", "zzzzzz", ""},
        {"server", "x", ""},
        {"server", "", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf out = BUF_EMPTY;
        suggest_key(text_of(cases[i].section), text_of(cases[i].name), &out);
        assert_suggestion(&out, cases[i].suggestion);
    }
}

// Whoever writes a key twice misspelt should get to the right one: every key of the table is the nearest to itself.
static void test_every_key_with_a_letter_missing(void **state)
{
    (void)state;
    for (size_t i = 0; i < options_count; i++) {
        size_t len = strlen(options[i].name);
        if (len < 5 || options[i].type == OPTION_REFUSED)
            continue;
        struct buf out = BUF_EMPTY, expected = BUF_EMPTY;
        suggest_key(text_of(options[i].section), (struct text){options[i].name, len - 1}, &out);
        buf_printf(&expected, ", did you mean \"%s\"?", options[i].name);
        buf_char(&expected, '\0');
        assert_suggestion(&out, expected.data);
        buf_fini(&expected);
    }
}

static void test_sections(void **state)
{
    (void)state;
    static const struct {
        const char *path, *suggestion;
    } cases[] = {
        {"sever", ", did you mean [server]?"},
        {"dns", ", did you mean [enrichment.dns]?"},
        {"outbox", ", did you mean [output.outbox]?"},
        {"Limits", ", did you mean [limits]?"},
        {"output.outbx", ", did you mean [output.outbox]?"},
        {"tracing", ""},
        {"", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf out = BUF_EMPTY;
        suggest_section(text_of(cases[i].path), &out);
        assert_suggestion(&out, cases[i].suggestion);
    }
}

static void test_words(void **state)
{
    (void)state;
    const struct option_word *levels = option_find("logging.level")->words;
    struct buf out = BUF_EMPTY;
    suggest_word(levels, TEXT("warning"), &out);
    assert_suggestion(&out, ", did you mean \"warn\"?");
    suggest_word(levels, TEXT("DEBUG"), &out);
    assert_suggestion(&out, ", did you mean \"debug\"?");
    suggest_word(levels, TEXT("everything"), &out);
    assert_suggestion(&out, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_distance),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_every_key_with_a_letter_missing),
        cmocka_unit_test(test_sections),
        cmocka_unit_test(test_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
