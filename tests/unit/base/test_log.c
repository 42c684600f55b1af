// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/text.h"

#define STAMP "2026-11-23T17:02:21.123456Z"

// Standard error is a pipe while a test runs; taken() is what was logged into it.
static int real_stderr;
static int log_end;
static char taken_text[1 << 17];

static int redirect(void **state)
{
    (void)state;
    int ends[2];
    real_stderr = dup(STDERR_FILENO);
    if (pipe(ends) != 0 || dup2(ends[1], STDERR_FILENO) < 0)
        return -1;
    close(ends[1]);
    log_end = ends[0];
    fcntl(log_end, F_SETFL, O_NONBLOCK);
    log_setup(LOG_INFO, LOG_JSON);
    return 0;
}

static int restore(void **state)
{
    (void)state;
    dup2(real_stderr, STDERR_FILENO);
    close(real_stderr);
    close(log_end);
    return 0;
}

static const char *taken(void)
{
    size_t len = 0;
    ssize_t got;
    while ((got = read(log_end, taken_text + len, sizeof taken_text - 1 - len)) > 0)
        len += (size_t)got;
    taken_text[len] = '\0';
    return taken_text;
}

// A time stamp of the right shape; what follows it.
static const char *after_time(const char *line)
{
    assert_true(strlen(line) > strlen(STAMP));
    for (size_t i = 0; i < strlen(STAMP); i++) {
        if (STAMP[i] >= '0' && STAMP[i] <= '9')
            assert_true(line[i] >= '0' && line[i] <= '9');
        else
            assert_int_equal(line[i], STAMP[i]);
    }
    return line + strlen(STAMP);
}

static void json_line(void **state)
{
    (void)state;
    LOG(LOG_INFO, "listening", LOG_STR("address", ":8443"), LOG_INT("workers", 2), LOG_INT("min", INT64_MIN), LOG_NONE,
        LOG_TEXT("none", ((struct text){NULL, 0})));
    const char *line = taken();
    assert_memory_equal(line, "{\"time\":\"", 9);
    assert_string_equal(after_time(line + 9), "\",\"level\":\"info\",\"message\":\"listening\",\"address\":\":8443\","
                                              "\"workers\":2,\"min\":-9223372036854775808,\"none\":\"\"}\n");
}

static void console_line(void **state)
{
    (void)state;
    log_setup(LOG_INFO, LOG_CONSOLE);
    LOG(LOG_WARN, "two words", LOG_STR("plain", "a/b:c"), LOG_STR("spaced", "a b"), LOG_STR("empty", ""),
        LOG_INT("n", -3));
    // A pipe is no terminal: no colours.
    assert_string_equal(after_time(taken()), " WARN  two words plain=a/b:c spaced=\"a b\" empty=\"\" n=-3\n");
}

static void level_is_a_threshold(void **state)
{
    (void)state;
    LOG(LOG_DEBUG, "not seen");
    assert_string_equal(taken(), "");
    assert_false(log_enabled(LOG_DEBUG));
    log_setup(LOG_DEBUG, LOG_JSON);
    LOG(LOG_DEBUG, "seen");
    assert_non_null(strstr(taken(), "\"message\":\"seen\"}\n"));
}

static void what_is_no_text_is_escaped(void **state)
{
    (void)state;
    static const struct {
        struct text in;
        const char *out;
    } rows[] = {
        {TEXT("q\"b\\"), "q\\\"b\\\\"},
        {TEXT("a\nb\tc\x1b[2J\x7f"), "a\\nb\\u0009c\\u001b[2J\\u007f"},
        {TEXT("nul\0nul"), "nul\\u0000nul"},
        {TEXT("\xc3\xa4\xe2\x82\xac\xf0\x9f\x90\x9d"), "\xc3\xa4\xe2\x82\xac\xf0\x9f\x90\x9d"},
        {TEXT("\xc2\x9b"), "\\u009b"},                              // C1: the one-byte CSI of terminals
        {TEXT("\xff"), "\\ufffd"},                                  // in no UTF-8
        {TEXT("\xc0\xaf"), "\\ufffd\\ufffd"},                       // overlong
        {TEXT("\xe0\x80\xaf"), "\\ufffd\\ufffd\\ufffd"},            // overlong
        {TEXT("\xed\xa0\x80"), "\\ufffd\\ufffd\\ufffd"},            // surrogate
        {TEXT("\xf4\x90\x80\x80"), "\\ufffd\\ufffd\\ufffd\\ufffd"}, // above U+10FFFF
        {TEXT("\xe2\x82"), "\\ufffd\\ufffd"},                       // cut off
        {TEXT("\xc3("), "\\ufffd("},                                // no continuation
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char expected[256];
        LOG(LOG_INFO, "m", LOG_TEXT("k", rows[i].in));
        snprintf(expected, sizeof expected, "\"message\":\"m\",\"k\":\"%s\"}\n", rows[i].out);
        const char *at = strstr(taken(), "\"message\"");
        assert_non_null(at);
        assert_string_equal(at, expected);
    }
}

// Every length around the limit, so that the cut falls on every part of a line.
static void long_lines_are_cut_and_stay_json(void **state)
{
    (void)state;
    char value[5000];
    for (size_t len = 3800; len < 4200; len++) {
        memset(value, '"', sizeof value);
        memset(value, 'x', len / 2);
        LOG(LOG_INFO, "m", LOG_TEXT("k", ((struct text){value, len / 2 + len / 4})), LOG_INT("number", 1234567890),
            LOG_STR("t", "text"), LOG_STR("last", "z"));
        const char *line = taken();
        size_t size = strlen(line);
        assert_true(size <= 4096);
        assert_string_equal(line + size - 2, "}\n");
        bool whole = strstr(line, ",\"number\":1234567890,\"t\":\"text\",\"last\":\"z\"}\n") != NULL;
        bool cut = strstr(line, ",\"truncated\":true}\n") != NULL;
        assert_true(whole != cut);
        // Between the strings' quotes no bare one, so quotes that are not escaped come in pairs.
        size_t quotes = 0;
        for (size_t i = 0; i < size; i++)
            quotes += line[i] == '"' && line[i - 1] != '\\';
        assert_int_equal(quotes % 2, 0);
    }
}

static void lines_that_would_block_are_dropped_and_counted(void **state)
{
    (void)state;
    char kilobyte[1024];
    memset(kilobyte, 'x', sizeof kilobyte);
    for (int i = 0; i < 200; i++) // more than any default pipe takes; blocks for ever if the log waits
        LOG(LOG_INFO, "m", LOG_TEXT("k", ((struct text){kilobyte, sizeof kilobyte})));
    size_t lines = 0;
    for (const char *at = taken(); (at = strchr(at, '\n')) != NULL; at++)
        lines++;
    assert_true(lines > 0 && lines < 200);
    char expected[64];
    snprintf(expected, sizeof expected, "\"message\":\"after\",\"dropped\":%zu}\n", 200 - lines);
    LOG(LOG_INFO, "after");
    assert_non_null(strstr(taken(), expected));
    LOG(LOG_INFO, "again");
    assert_non_null(strstr(taken(), "\"message\":\"again\"}\n"));
}

static void errno_is_kept(void **state)
{
    (void)state;
    close(STDERR_FILENO);
    errno = ENOENT;
    LOG(LOG_INFO, "to nobody");
    assert_int_equal(errno, ENOENT);
}

static void limit_holds_back_and_tells(void **state)
{
    (void)state;
    struct log_limit limit = {0};
    uint64_t held = 99;
    for (int i = 0; i < 3; i++) {
        assert_true(log_limit_pass(&limit, 1, 3, &held));
        assert_int_equal(held, 0);
    }
    // Ten calls take far less than the second after which one more would pass; on a machine where they do not, the
    // clock is taken into account.
    int64_t begin = clock_mono_ns();
    unsigned passed = 0;
    for (int i = 0; i < 10; i++)
        passed += log_limit_pass(&limit, 1, 3, NULL);
    assert_true(passed <= 1 + (clock_mono_ns() - begin) / NS_PER_S);
    uint64_t waiting = limit.held_back;
    limit.next_ns -= NS_PER_S; // a second goes by
    assert_true(log_limit_pass(&limit, 1, 3, &held));
    assert_int_equal(held, waiting);
    assert_int_equal(limit.held_back, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(json_line, redirect, restore),
        cmocka_unit_test_setup_teardown(console_line, redirect, restore),
        cmocka_unit_test_setup_teardown(level_is_a_threshold, redirect, restore),
        cmocka_unit_test_setup_teardown(what_is_no_text_is_escaped, redirect, restore),
        cmocka_unit_test_setup_teardown(long_lines_are_cut_and_stay_json, redirect, restore),
        cmocka_unit_test_setup_teardown(lines_that_would_block_are_dropped_and_counted, redirect, restore),
        cmocka_unit_test_setup_teardown(errno_is_kept, redirect, restore),
        cmocka_unit_test(limit_holds_back_and_tells),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
