// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "conf/options.h"

static void test_find(void **state)
{
    (void)state;
    assert_string_equal(option_find("server.tls")->name, "tls");
    assert_string_equal(option_find("enrichment.dns.enabled")->section, "enrichment.dns");
    static const char *const unknown[] = {"",
                                          "server",
                                          "server.",
                                          "tls",
                                          "server.tl",
                                          "server.tlsx",
                                          "xserver.tls",
                                          "server..tls",
                                          "enrichment.enabled",
                                          "Server.tls"};
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++)
        assert_null(option_find(unknown[i]));
    assert_non_null(option_section_find(TEXT("output.outbox")));
    assert_null(option_section_find(TEXT("outbox")));
}

// Mistakes in the table that no compiler sees.
static void test_table_is_sound(void **state)
{
    (void)state;
    for (size_t i = 0; i < options_count; i++) {
        const struct option *option = &options[i];
        assert_non_null(option_section_find(text_of(option->section)));
        assert_true(option->help != NULL && strlen(option->help) > 10);
        for (size_t j = 0; j < i; j++) {
            bool same_key =
                strcmp(option->section, options[j].section) == 0 && strcmp(option->name, options[j].name) == 0;
            bool same_field = option->offset == options[j].offset;
            assert_false(same_key);
            assert_false(same_field && option->type != OPTION_REFUSED && options[j].type != OPTION_REFUSED);
        }
        if (option->type == OPTION_INT) {
            assert_true(option->min >= 1 && option->min <= option->max); // 0 is the default, -1 is off
            bool special = option->number == 0 || (option->number == -1 && option->flags & OPTION_OFF);
            assert_true(special || (option->number >= option->min && option->number <= option->max));
            assert_true(!special || option->default_note != NULL);
        }
        assert_int_equal(option->type == OPTION_WORD, option->words != NULL);
        assert_true(option->type == OPTION_BOOL || !(option->flags & OPTION_UNBUILT));
    }
}

// The default of a word has to be one of the words, and one that works.
static void test_default_words(void **state)
{
    (void)state;
    for (size_t i = 0; i < options_count; i++) {
        if (options[i].type != OPTION_WORD)
            continue;
        bool found = false;
        for (const struct option_word *word = options[i].words; word->word != NULL; word++)
            found = found || (strcmp(word->word, options[i].text) == 0 && !word->unbuilt);
        assert_true(found);
    }
}

static void test_every_section_has_keys(void **state)
{
    (void)state;
    for (size_t i = 0; i < option_sections_count; i++) {
        size_t keys = 0;
        for (size_t j = 0; j < options_count; j++)
            keys += strcmp(options[j].section, option_sections[i].name) == 0;
        assert_true(keys > 0);
    }
}

static void test_expected(void **state)
{
    (void)state;
    static const struct {
        const char *path, *expected;
    } cases[] = {
        {"server.listen_address", "a string"},
        {"server.tls", "true or false"},
        {"server.workers", "a whole number from 1 to 256 (0: the default)"},
        {"limits.per_sensor_rps", "a whole number from 1 to 1000000 (0: the default, -1: off)"},
        {"logging.format", "one of \"json\", \"console\""},
        {"output.kafka_brokers", "a string or a list of strings"},
        {"auth.tokens", "nothing"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf out = BUF_EMPTY;
        option_print_expected(option_find(cases[i].path), &out);
        buf_char(&out, '\0');
        assert_string_equal(out.data, cases[i].expected);
        buf_fini(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_find),          cmocka_unit_test(test_table_is_sound),
        cmocka_unit_test(test_default_words), cmocka_unit_test(test_every_section_has_keys),
        cmocka_unit_test(test_expected),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
