// SPDX-License-Identifier: Apache-2.0

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/clock.h"
#include "http/response.h"

// Renders with a date that stands for all: "Date: D". The second may end in between; then it is done once more.
static struct buf rendered(const struct response_form *form)
{
    for (;;) {
        struct buf out = BUF_EMPTY;
        struct response_date date = {clock_real_ns() / NS_PER_S, "Date: D\r\n"};
        response_render(&out, form, &date);
        if (strcmp(date.line, "Date: D\r\n") == 0)
            return out;
        buf_fini(&out);
    }
}

static const struct row {
    const char *name;
    struct http_response response;
    bool http_1_0, keep, head;
    struct text expected;
} rows[] = {
    {"kept",
     {200, "text/plain", NULL, TEXT("hi")},
     false,
     true,
     false,
     TEXT("HTTP/1.1 200 OK\r\nDate: D\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nhi")},
    {"closed",
     {200, NULL, NULL, TEXT("hi")},
     false,
     false,
     false,
     TEXT("HTTP/1.1 200 OK\r\nDate: D\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi")},
    {"HTTP/1.0, kept",
     {200, NULL, NULL, TEXT("")},
     true,
     true,
     false,
     TEXT("HTTP/1.1 200 OK\r\nDate: D\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n")},
    {"HTTP/1.0, closed",
     {200, NULL, NULL, TEXT("")},
     true,
     false,
     false,
     TEXT("HTTP/1.1 200 OK\r\nDate: D\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")},
    {"HEAD has the length, not the body",
     {200, "a/b", NULL, TEXT("hello")},
     false,
     true,
     true,
     TEXT("HTTP/1.1 200 OK\r\nDate: D\r\nContent-Type: a/b\r\nContent-Length: 5\r\n\r\n")},
    {"204 has neither",
     {204, NULL, NULL, TEXT("hi")},
     false,
     true,
     false,
     TEXT("HTTP/1.1 204 No Content\r\nDate: D\r\n\r\n")},
    {"204 to HEAD", {204, NULL, NULL, TEXT("")}, false, true, true, TEXT("HTTP/1.1 204 No Content\r\nDate: D\r\n\r\n")},
    {"304 has neither, and no phrase",
     {304, NULL, "ETag: x\r\n", TEXT("hi")},
     false,
     true,
     false,
     TEXT("HTTP/1.1 304 \r\nDate: D\r\nETag: x\r\n\r\n")},
    {"further headers come last",
     {429, "a/b", "Retry-After: 1\r\nA: b\r\n", TEXT("x")},
     false,
     false,
     false,
     TEXT("HTTP/1.1 429 Too Many Requests\r\nDate: D\r\nConnection: close\r\nContent-Type: a/b\r\n"
          "Content-Length: 1\r\nRetry-After: 1\r\nA: b\r\n\r\nx")},
    {"empty further headers",
     {503, NULL, "", TEXT("")},
     false,
     true,
     false,
     TEXT("HTTP/1.1 503 Service Unavailable\r\nDate: D\r\nContent-Length: 0\r\n\r\n")},
    {"an unknown status has an empty phrase",
     {418, NULL, NULL, TEXT("")},
     false,
     true,
     false,
     TEXT("HTTP/1.1 418 \r\nDate: D\r\nContent-Length: 0\r\n\r\n")},
    {"any byte in a body",
     {200, NULL, NULL, TEXT("\0\r\n\r\n\xff")},
     false,
     true,
     false,
     TEXT("HTTP/1.1 200 OK\r\nDate: D\r\nContent-Length: 6\r\n\r\n\0\r\n\r\n\xff")},
};

static void test_heads_and_bodies(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct response_form form = {&rows[i].response, rows[i].http_1_0, rows[i].keep, rows[i].head};
        struct buf out = rendered(&form);
        if (!text_eq((struct text){out.data, out.len}, rows[i].expected))
            fail_msg("%s:\n%.*s", rows[i].name, (int)out.len, out.data);
        buf_fini(&out);
    }
}

// Pipelined answers go into one buffer.
static void test_appends(void **state)
{
    (void)state;
    struct http_response response = {404, NULL, NULL, TEXT("x")};
    struct response_form form = {.response = &response, .keep = true};
    struct response_date date = {0};
    struct buf out = BUF_EMPTY;
    buf_str(&out, "before");
    response_render(&out, &form, &date);
    size_t first = out.len;
    assert_memory_equal(out.data, "beforeHTTP/1.1 404 Not Found\r\nDate: ", 36);
    response_render(&out, &form, &date);
    assert_int_equal(out.len, 2 * first - 6);
    assert_memory_equal(out.data + first, "HTTP/1.1 404 Not Found\r\nDate: ", 30);
    buf_fini(&out);
}

static void test_statuses_with_a_body(void **state)
{
    (void)state;
    for (unsigned status = 100; status < 600; status++) {
        bool none = status < 200 || status == 204 || status == 304;
        if (response_status_has_body(status) == none)
            fail_msg("%u", status);
    }
}

// Read back as a date it is the second it was rendered in, and the week day is that day's.
static void test_date(void **state)
{
    (void)state;
    struct http_response response = {.status = 204};
    struct response_form form = {.response = &response, .keep = true};
    struct response_date date = {0};
    struct buf out = BUF_EMPTY;
    int64_t before = clock_real_ns() / NS_PER_S;
    response_render(&out, &form, &date);
    int64_t after = clock_real_ns() / NS_PER_S;

    struct tm tm = {0};
    const char *end = strptime(date.line, "Date: %a, %d %b %Y %H:%M:%S GMT", &tm);
    assert_non_null(end);
    assert_string_equal(end, "\r\n");
    assert_int_equal(strlen(date.line), sizeof "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n" - 1);
    int week_day = tm.tm_wday;
    time_t told = timegm(&tm); // sets the week day anew
    assert_int_equal(week_day, tm.tm_wday);
    assert_true(told >= before && told <= after);
    assert_int_equal(date.second, told);

    // A second that is over is rendered anew; that the present one is not, the tables above rely on.
    date.second--;
    memcpy(date.line, "Date: old\r\n", sizeof "Date: old\r\n");
    out.len = 0;
    response_render(&out, &form, &date);
    assert_string_not_equal(date.line, "Date: old\r\n");
    assert_memory_equal(out.data + sizeof "HTTP/1.1 204 No Content\r\n" - 1, date.line, strlen(date.line));
    buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_heads_and_bodies),
        cmocka_unit_test(test_appends),
        cmocka_unit_test(test_statuses_with_a_body),
        cmocka_unit_test(test_date),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
