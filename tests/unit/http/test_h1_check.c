// SPDX-License-Identifier: Apache-2.0
//
// The check alone, without a parser behind it: what it knows of a head, where the head ends, and how early it refuses.
// What both make of whole messages is in test_h1.c.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"
#include "http/h1_check.h"

// What is left of a check: "METHOD minor hosts [length] [chunked] behind=N", or "status reason", or "more".
static char *told(const struct h1_head_check *check, bool whole, size_t len)
{
    struct buf out = BUF_EMPTY;
    if (whole) {
        buf_text(&out, check->method);
        buf_printf(&out, " 1.%u hosts=%u", check->minor, check->hosts);
        if (check->has_length)
            buf_printf(&out, " length=%llu", (unsigned long long)check->length);
        buf_printf(&out, "%s behind=%zu", check->chunked ? " chunked" : "", len - check->checked);
    } else if (check->refusal.status != 0) {
        buf_printf(&out, "%u %s", check->refusal.status, check->refusal.reason);
    } else {
        buf_str(&out, "more");
    }
    buf_char(&out, '\0');
    return out.data;
}

// Gives the first `step` bytes, then as many more, each time from another place in memory.
static char *checked_in_steps(struct text head, size_t step)
{
    struct h1_head_check check = {0};
    bool whole = false;
    char *result = NULL;
    for (size_t given = step; result == NULL; given += step) {
        size_t len = given < head.len ? given : head.len;
        char *moved = mem_array(len + 1, 1);
        memcpy(moved, head.at, len);
        whole = h1_head_check(&check, (struct text){moved, len});
        if (whole || check.refusal.status != 0 || len == head.len)
            result = told(&check, whole, check.done ? head.len : len);
        mem_free(moved);
    }
    return result;
}

struct row {
    struct text head;
    const char *expected;
};

#define GET "GET / HTTP/1.1\r\nHost: h\r\n"

static const struct row rows[] = {
    {TEXT(""), "more"},
    {TEXT("\r"), "more"},
    {TEXT("GET / HTTP/1.1"), "more"},
    {TEXT(GET), "more"},
    {TEXT(GET "\r"), "more"},
    {TEXT(GET "\r\n"), "GET 1.1 hosts=1 behind=0"},
    {TEXT(GET "\r\nbody\n"), "GET 1.1 hosts=1 behind=5"},
    {TEXT("\r\n" GET "\r\n"), "GET 1.1 hosts=1 behind=0"},
    {TEXT("\r\n\r\n"), "400 invalid request line"}, // one empty line before it, not two
    {TEXT("X / HTTP/1.0\r\n\r\n"), "X 1.0 hosts=0 behind=0"},
    {TEXT(GET "Content-Length: 9223372036854775807\r\n\r\n"), "GET 1.1 hosts=1 length=9223372036854775807 behind=0"},
    {TEXT(GET "content-LENGTH:\t 007\r\n\r\n"), "GET 1.1 hosts=1 length=7 behind=0"},
    {TEXT(GET "transfer-encoding: CHUNKED\r\n\r\n0"), "GET 1.1 hosts=1 chunked behind=1"},
    {TEXT(GET "Content-Lengt: x\r\nHos: @\r\nTransfer-Encodin: x\r\n\r\n"), "GET 1.1 hosts=1 behind=0"},
    // Refused with the line that is wrong; the end of the head is not waited for.
    {TEXT("\x16"), "400 invalid request line"},
    {TEXT(" "), "400 invalid request line"},
    {TEXT("\n"), "400 bare LF"},
    {TEXT("GET / HTTP/1.1\n"), "400 bare LF"},
    {TEXT("GET\r\n"), "400 invalid request line"},
    {TEXT("GET /\r\n"), "400 invalid request line"},
    {TEXT("G\"T / HTTP/1.1\r\n"), "400 invalid method"},
    {TEXT("GET  / HTTP/1.1\r\n"), "400 invalid request target"},
    {TEXT("GET / HTTP/1.1 \r\n"), "400 invalid request line"},
    {TEXT("GET / HTTP/1.2\r\n"), "400 unsupported HTTP version"},
    {TEXT("GET / http/1.1\r\n"), "400 unsupported HTTP version"},
    {TEXT("GET / HTTP/1.10\r\n"), "400 invalid request line"},
    {TEXT(GET " x\r\n"), "400 folded header line"},
    {TEXT(GET "\tx\r\n"), "400 folded header line"},
    {TEXT(GET "x\r\n"), "400 invalid header line"},
    {TEXT(GET ":x\r\n"), "400 invalid header line"},
    {TEXT(GET "x :y\r\n"), "400 invalid header name"},
    {TEXT(GET "x: \x7f\r\n"), "400 invalid character in a header"},
    {TEXT(GET "x: \0\r\n"), "400 invalid character in a header"},
    {TEXT(GET "x: \r\r\n"), "400 invalid character in a header"},
    {TEXT(GET "Host: h\r\n"), "400 repeated Host"},
    {TEXT("GET / HTTP/1.1\r\nHost: a@b\r\n"), "400 invalid Host"},
    {TEXT("GET / HTTP/1.1\r\nHost: [::1\r\n"), "400 invalid Host"},
    {TEXT("GET / HTTP/1.1\r\nHost: h:8x\r\n"), "400 invalid Host"},
    {TEXT(GET "Content-Length: 9223372036854775808\r\n"), "400 invalid Content-Length"},
    {TEXT(GET "Content-Length: 1\r\nContent-Length: 1\r\n"), "400 repeated Content-Length"},
    {TEXT(GET "Transfer-Encoding: x\r\n"), "400 unknown Transfer-Encoding"},
    {TEXT(GET "Transfer-Encoding2: chunked\r\n"), "400 invalid header name"},
    // Known only at the end of the head.
    {TEXT("GET / HTTP/1.1\r\n"), "more"},
    {TEXT("GET / HTTP/1.1\r\n\r\n"), "400 no Host"},
    {TEXT("GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n"), "more"},
    {TEXT("GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), "400 Transfer-Encoding in HTTP/1.0"},
    {TEXT(GET "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n"), "400 Content-Length with Transfer-Encoding"},
};

static void test_heads_however_they_come(void **state)
{
    (void)state;
    size_t failed = 0;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct row *row = &rows[i];
        for (size_t step = 1; step <= row->head.len + 1; step++) {
            char *result = checked_in_steps(row->head, step);
            if (strcmp(result, row->expected) != 0) {
                print_error("%s (steps of %zu): %s, expected %s\n", row->head.at, step, result, row->expected);
                failed++;
            }
            mem_free(result);
        }
    }
    assert_int_equal(failed, 0);
}

static void test_number_of_headers(void **state)
{
    (void)state;
    for (unsigned more = 0; more <= 1; more++) {
        struct buf head = BUF_EMPTY;
        buf_str(&head, GET);
        for (unsigned i = 1; i < H1_MAX_FIELDS + more; i++)
            buf_str(&head, "a:\r\n");
        struct h1_head_check check = {0};
        assert_false(h1_head_check(&check, (struct text){head.data, head.len}));
        assert_int_equal(check.refusal.status, more == 0 ? 0 : 431);
        if (more == 0) {
            buf_str(&head, "\r\n");
            assert_true(h1_head_check(&check, (struct text){head.data, head.len}));
            assert_int_equal(check.checked, head.len);
        }
        buf_fini(&head);
    }
}

static void test_targets(void **state)
{
    (void)state;
    static const struct {
        struct text target;
        bool connect, lawful;
        const char *path, *query;
    } targets[] = {
        {TEXT(""), false, false, NULL, NULL},
        {TEXT("/"), false, true, "/", ""},
        {TEXT("/a?"), false, true, "/a", ""},
        {TEXT("/a?b?c"), false, true, "/a", "b?c"},
        {TEXT("//a"), false, true, "//a", ""},
        {TEXT("/a#b"), false, false, NULL, NULL},
        {TEXT("/\x80"), false, false, NULL, NULL},
        {TEXT("a"), false, false, NULL, NULL},
        {TEXT("?a"), false, false, NULL, NULL},
        {TEXT("*"), false, true, "*", ""},
        {TEXT("*a"), false, false, NULL, NULL},
        {TEXT("http://h"), false, true, "/", ""},
        {TEXT("HTTPS://h:1?q"), false, true, "/", "q"},
        {TEXT("http://[::1]:/p?q"), false, true, "/p", "q"},
        {TEXT("http://h?a/b"), false, true, "/", "a/b"},
        {TEXT("http://"), false, false, NULL, NULL},
        {TEXT("http:///a"), false, false, NULL, NULL},
        {TEXT("http://:1/a"), false, false, NULL, NULL},
        {TEXT("http://u@h/"), false, false, NULL, NULL},
        {TEXT("http://[::1/"), false, false, NULL, NULL},
        {TEXT("http://[::1]x/"), false, false, NULL, NULL},
        {TEXT("ftp://h/"), false, false, NULL, NULL},
        {TEXT("h:443"), false, false, NULL, NULL},
        {TEXT("h:443"), true, true, "h:443", ""},
        {TEXT("[::1]:443"), true, true, "[::1]:443", ""},
        {TEXT("h"), true, false, NULL, NULL},
        {TEXT(":443"), true, false, NULL, NULL},
        {TEXT("h:x"), true, false, NULL, NULL},
        {TEXT("/"), true, false, NULL, NULL},
    };
    for (size_t i = 0; i < sizeof targets / sizeof *targets; i++) {
        struct text path, query;
        bool lawful = h1_target_split(targets[i].target, targets[i].connect, &path, &query);
        if (lawful != targets[i].lawful)
            fail_msg("%s: %d", targets[i].target.at, lawful);
        if (lawful && (!text_eq(path, text_of(targets[i].path)) || !text_eq(query, text_of(targets[i].query))))
            fail_msg("%s: %.*s ? %.*s", targets[i].target.at, (int)path.len, path.at, (int)query.len, query.at);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_heads_however_they_come),
        cmocka_unit_test(test_number_of_headers),
        cmocka_unit_test(test_targets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
