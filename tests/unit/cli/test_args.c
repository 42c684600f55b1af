// SPDX-License-Identifier: Apache-2.0

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "cli/args.h"

static int parse(struct args *args, struct err *err, const char *a, const char *b, const char *c)
{
    char *argv[] = {(char *)"loom", (char *)a, (char *)b, (char *)c, NULL};
    int argc = 1;
    while (argc < 4 && argv[argc] != NULL)
        argc++;
    return args_parse(argc, argv, args, err);
}

static void test_forms(void **state)
{
    static const struct {
        const char *argv[3];
        enum args_command command;
        const char *config;
    } rows[] = {
        {{NULL}, ARGS_RUN, "./loom.toml"},
        {{"-config", "a.toml"}, ARGS_RUN, "a.toml"},
        {{"--config", "a.toml"}, ARGS_RUN, "a.toml"},
        {{"-config=a=b.toml"}, ARGS_RUN, "a=b.toml"},
        {{"--config=a.toml"}, ARGS_RUN, "a.toml"},
        {{"check"}, ARGS_CHECK, "./loom.toml"},
        {{"check", "-config", "a.toml"}, ARGS_CHECK, "a.toml"},
        {{"-config", "a.toml", "check"}, ARGS_CHECK, "a.toml"},
        {{"-version"}, ARGS_VERSION, "./loom.toml"},
        {{"--version"}, ARGS_VERSION, "./loom.toml"},
        {{"-help"}, ARGS_HELP, "./loom.toml"},
        {{"-h"}, ARGS_HELP, "./loom.toml"},
        {{"example"}, ARGS_EXAMPLE, "./loom.toml"},
        {{"reference"}, ARGS_REFERENCE, "./loom.toml"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct args args;
        struct err err = {0};
        assert_int_equal(parse(&args, &err, rows[i].argv[0], rows[i].argv[1], rows[i].argv[2]), 0);
        assert_int_equal(args.command, rows[i].command);
        assert_string_equal(args.config, rows[i].config);
    }
}

static void test_refused(void **state)
{
    static const struct {
        const char *argv[3];
        const char *named;
    } rows[] = {
        {{"-config"}, "-config"},     {{"-config="}, "-config"},     {{"-token=secret"}, "-token"},
        {{"loom.toml"}, "loom.toml"}, {{"check", "check"}, "check"}, {{"-"}, "-"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct args args;
        struct err err = {0};
        assert_int_equal(parse(&args, &err, rows[i].argv[0], rows[i].argv[1], rows[i].argv[2]), -EINVAL);
        assert_non_null(strstr(err.text, rows[i].named));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_forms), cmocka_unit_test(test_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
