// SPDX-License-Identifier: Apache-2.0
//
// The generated files in the repository are what the table gives. The argument is the root of the source tree.
// To bring them up to date: build/loom reference > docs/CONFIGURATION.md; build/loom example > loom.example.toml
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "conf/conf.h"
#include "conf/load.h"
#include "conf/options.h"

static const char *source_root;

static struct buf read_source_file(const char *name)
{
    char path[4096];
    struct buf text = BUF_EMPTY;
    snprintf(path, sizeof path, "%s/%s", source_root, name);
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        fail_msg("cannot open %s", path);
    char block[4096];
    for (size_t n; (n = fread(block, 1, sizeof block, file)) > 0;)
        buf_append(&text, block, n);
    fclose(file);
    return text;
}

static void assert_same(const struct buf *committed, const struct buf *printed, const char *name, const char *command)
{
    if (committed->len != printed->len || memcmp(committed->data, printed->data, printed->len) != 0)
        fail_msg("%s is not what the option table gives: build/loom %s > %s", name, command, name);
}

static void test_reference_is_up_to_date(void **state)
{
    (void)state;
    struct buf printed = BUF_EMPTY, committed = read_source_file("docs/CONFIGURATION.md");
    conf_print_reference(&printed);
    assert_same(&committed, &printed, "docs/CONFIGURATION.md", "reference");
    buf_fini(&printed);
    buf_fini(&committed);
}

static void test_example_is_up_to_date(void **state)
{
    (void)state;
    struct buf printed = BUF_EMPTY, committed = read_source_file("loom.example.toml");
    conf_print_example(&printed);
    assert_same(&committed, &printed, "loom.example.toml", "example");
    buf_fini(&printed);
    buf_fini(&committed);
}

static void assert_loads(const struct buf *text)
{
    struct conf conf;
    struct buf problems = BUF_EMPTY;
    if (conf_read("example", (struct text){text->data, text->len}, &conf, &problems) != 0)
        fail_msg("%.*s", (int)problems.len, problems.data);
    conf_fini(&conf);
    buf_fini(&problems);
}

static void test_example_loads(void **state)
{
    (void)state;
    struct buf example = BUF_EMPTY;
    conf_print_example(&example);
    assert_loads(&example);
    buf_fini(&example);
}

// Somebody will take every "#" away. Comments of words have a space after it, keys have none.
static void test_example_loads_with_every_key_in_force(void **state)
{
    (void)state;
    struct buf example = BUF_EMPTY, all = BUF_EMPTY;
    conf_print_example(&example);
    for (size_t i = 0; i < example.len; i++) {
        bool line_start = i == 0 || example.data[i - 1] == '\n';
        bool key = i + 1 < example.len && example.data[i + 1] >= 'a' && example.data[i + 1] <= 'z';
        if (!(line_start && key && example.data[i] == '#'))
            buf_char(&all, example.data[i]);
    }
    assert_loads(&all);

    // And every key that can stand in a file stands there once.
    struct toml_doc doc;
    struct toml_fault fault;
    assert_int_equal(toml_parse(all.data, all.len, &doc, &fault), 0);
    for (size_t i = 0; i < options_count; i++) {
        size_t found = 0;
        for (size_t j = 0; j < doc.count; j++)
            found += option_find(doc.nodes[j].path) == &options[i];
        assert_int_equal(found, options[i].type == OPTION_REFUSED ? 0 : 1);
    }
    toml_fini(&doc);
    buf_fini(&example);
    buf_fini(&all);
}

static void test_reference_has_every_key(void **state)
{
    (void)state;
    struct buf reference = BUF_EMPTY;
    conf_print_reference(&reference);
    buf_char(&reference, '\0');
    for (size_t i = 0; i < options_count; i++) {
        char row[128];
        if (options[i].type == OPTION_REFUSED)
            snprintf(row, sizeof row, "| `%s.%s` |", options[i].section, options[i].name);
        else
            snprintf(row, sizeof row, "| `%s` |", options[i].name);
        if (strstr(reference.data, row) == NULL)
            fail_msg("no %s", row);
    }
    assert_non_null(strstr(reference.data, "- `output.type = \"kafka\"`\n"));
    assert_non_null(strstr(reference.data, "- `enrichment.dns.enabled = true`\n"));
    assert_null(strstr(reference.data, "- `output.type = \"stdout\"`\n"));
    buf_fini(&reference);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s SOURCE_ROOT\n", argv[0]);
        return 2;
    }
    source_root = argv[1];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reference_is_up_to_date), cmocka_unit_test(test_example_is_up_to_date),
        cmocka_unit_test(test_example_loads),           cmocka_unit_test(test_example_loads_with_every_key_in_force),
        cmocka_unit_test(test_reference_has_every_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
