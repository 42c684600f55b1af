// SPDX-License-Identifier: Apache-2.0
//
// Clients that are too slow, too large, wrong or gone, against a server on its own thread.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/mem.h"
#include "rig.h"

enum {
    SHORT_MS = 150,
    IN_TIME_MS = 1000, // for what the test has to do in time itself
};

#define GET(path)          "GET " path " HTTP/1.1\r\nHost: loom\r\n\r\n"
#define POST(path, length) "POST " path " HTTP/1.1\r\nHost: loom\r\nContent-Length: " length "\r\n\r\n"
#define TIMEOUT_BODY       "{\"error\":\"request_timeout\"}"

static struct rig rig;

static void start(struct http_limits limits)
{
    rig_start(&rig, limits);
}

// ---- too slow ----

static void test_headers_timeout(void **state)
{
    struct http_limits limits = HTTP_LIMITS_DEFAULT;

    (void)state;
    limits.headers_ms = IN_TIME_MS;
    start(limits);
    int silent = rig_connect(&rig), begun = rig_connect(&rig), second = rig_connect(&rig);
    rig_say(begun, "GET / HTTP/1.1\r\n");
    rig_say(second, GET("/none") "GET");
    rig_expect(second, "HTTP/1.1 404", "none");

    rig_expect_end(silent); // it has asked for nothing
    rig_expect(begun, "HTTP/1.1 408", TIMEOUT_BODY);
    rig_expect_end(begun);
    rig_expect(second, "HTTP/1.1 408", TIMEOUT_BODY);
    rig_expect_end(second);
    assert_int_equal(rig.refusals, 2);
    assert_int_equal(rig.refused_status, 408);
    rig_stop(&rig);
}

// An empty line after a request begins none.
static void test_stray_line_is_idle(void **state)
{
    struct http_limits limits = HTTP_LIMITS_DEFAULT;

    (void)state;
    limits.headers_ms = IN_TIME_MS;
    start(limits);
    int fd = rig_connect(&rig);
    for (int i = 0; i < 2; i++) {
        rig_say(fd, GET("/none") "\r\n");
        rig_expect(fd, "HTTP/1.1 404", "none");
        usleep(3 * IN_TIME_MS * 1000 / 2);
    }
    rig_say(fd, "\r\n" GET("/none")); // a second one is still let pass by the parser
    rig_expect(fd, "HTTP/1.1 404", "none");
    assert_int_equal(rig.refusals, 0);
    rig_say(fd, "\r\n\r\n"); // but not without end
    rig_expect(fd, "HTTP/1.1 408", TIMEOUT_BODY);
    rig_expect_end(fd);
    rig_stop(&rig);
}

// Sends a byte now and then until the server answers; 408 must come though the client is never silent for long.
static void drip(int fd, char byte)
{
    struct timeval pause = {.tv_usec = SHORT_MS * 1000 / 10};
    int64_t began_ns = clock_mono_ns();
    char first;

    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &pause, sizeof pause);
    while (recv(fd, &first, 1, MSG_PEEK) < 0) {
        assert_true(clock_mono_ns() - began_ns < 60 * NS_PER_S);
        send(fd, &byte, 1, MSG_NOSIGNAL);
    }
    pause = (struct timeval){.tv_sec = 30};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &pause, sizeof pause);
    rig_expect(fd, "HTTP/1.1 408", TIMEOUT_BODY);
    close(fd);
}

static void test_dripping_headers(void **state)
{
    struct http_limits limits = HTTP_LIMITS_DEFAULT;

    (void)state;
    limits.headers_ms = IN_TIME_MS;
    start(limits);
    int fd = rig_connect(&rig);
    rig_say(fd, "GET /");
    drip(fd, 'x');
    rig_stop(&rig);
}

static void test_dripping_body(void **state)
{
    struct http_limits limits = HTTP_LIMITS_DEFAULT;

    (void)state;
    limits.body_ms = SHORT_MS;
    start(limits);
    int fd = rig_connect(&rig);
    rig_say(fd, POST("/echo", "100000"));
    drip(fd, 'x');
    assert_int_equal(rig.aborts[HTTP_ABORT_TIMEOUT], 1);
    rig_stop(&rig);
}

static void test_idle_timeout(void **state)
{
    struct http_limits limits = HTTP_LIMITS_DEFAULT;

    (void)state;
    limits.idle_ms = SHORT_MS;
    start(limits);
    int fd = rig_connect(&rig), waiting = rig_connect(&rig);
    rig_say(waiting, GET("/wait"));
    rig_say(fd, GET("/none"));
    rig_expect(fd, "HTTP/1.1 404", "none");
    rig_expect_end(fd); // silently
    rig_answer(&rig);   // who waits for an answer is not idle
    rig_expect(waiting, "HTTP/1.1 200", "waited");
    rig_expect_end(waiting);
    assert_int_equal(rig.refusals, 0);
    rig_stop(&rig);
}

// A client that does not read its answer.
static void test_write_timeout(void **state)
{
    struct http_limits limits = HTTP_LIMITS_DEFAULT;
    size_t got = 0;
    char bytes[65536];

    (void)state;
    limits.write_ms = SHORT_MS;
    start(limits);
    int fd = rig_connect_local(&rig);
    rig_say(fd, GET("/large"));
    rig_until(&rig.completes, 1);
    while (http_server_connections(rig.server) > 0)
        usleep(1000);
    for (ssize_t n; (n = recv(fd, bytes, sizeof bytes, 0)) > 0;)
        got += (size_t)n;
    assert_true(got > 0 && got < RIG_LARGE);
    close(fd);
    rig_stop(&rig);
}

// After its answer a client may go on sending for a while only.
static void test_linger_timeout(void **state)
{
    struct http_limits limits = HTTP_LIMITS_DEFAULT;

    (void)state;
    limits.linger_ms = SHORT_MS;
    start(limits);
    int fd = rig_connect(&rig);
    rig_say(fd, POST("/early", "1000000"));
    rig_expect(fd, "HTTP/1.1 413", "early");
    while (http_server_connections(rig.server) > 0)
        usleep(1000);
    rig_expect_end(fd);
    rig_stop(&rig);
}

// ---- wrong ----

static void check_refused(const char *sent, size_t len, unsigned status, const char *body)
{
    unsigned refusals = rig.refusals;
    struct buf got = BUF_EMPTY;
    char line[32];
    int fd = rig_connect(&rig);

    rig_send(fd, sent, len);
    rig_read(fd, &got, true);
    snprintf(line, sizeof line, "HTTP/1.1 %u ", status);
    assert_memory_equal(got.data, line, strlen(line));
    assert_non_null(strstr(got.data, "\r\nConnection: close\r\n"));
    assert_non_null(strstr(got.data, "\r\nContent-Type: application/json\r\n"));
    assert_string_equal(strstr(got.data, "\r\n\r\n") + 4, body);
    rig_expect_end(fd);
    assert_int_equal(rig.refusals, refusals + 1);
    assert_int_equal(rig.refused_status, status);
    buf_fini(&got);
}

static void test_refusals(void **state)
{
    static const char smuggled[] =
        "POST / HTTP/1.1\r\nHost: loom\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n";
    static const char broken_chunk[] = "POST /echo HTTP/1.1\r\nHost: loom\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab";
    char large[20000];

    (void)state;
    start(HTTP_LIMITS_DEFAULT);
    check_refused(smuggled, sizeof smuggled - 1, 400,
                  "{\"error\":\"invalid_request\",\"detail\":\"Content-Length with Transfer-Encoding\"}");
    assert_int_equal(rig.headers, 0);
    check_refused(broken_chunk, sizeof broken_chunk - 1, 400,
                  "{\"error\":\"invalid_request\",\"detail\":\"invalid end of a chunk\"}");
    assert_int_equal(rig.headers, 1);
    assert_int_equal(rig.aborts[HTTP_ABORT_PROTOCOL], 1);
    memset(large, 'x', sizeof large);
    check_refused(large, sizeof large, 431, "{\"error\":\"headers_too_large\"}");
    rig_stop(&rig);
}

// What comes after a message that was refused is not looked at.
static void test_nothing_after_a_refusal(void **state)
{
    (void)state;
    start(HTTP_LIMITS_DEFAULT);
    int fd = rig_connect(&rig);
    rig_say(fd, "GET / HTTP/9.9\r\n\r\n" GET("/echo"));
    rig_expect(fd, "HTTP/1.1 400", "{\"error\":\"invalid_request\",\"detail\":\"unsupported HTTP version\"}");
    rig_say(fd, GET("/echo"));
    rig_expect_end(fd);
    assert_int_equal(rig.headers, 0);
    rig_stop(&rig);
}

// The request has its answer when its body turns out to be broken: no second one.
static void test_broken_after_the_answer(void **state)
{
    (void)state;
    start(HTTP_LIMITS_DEFAULT);
    int fd = rig_connect(&rig);
    rig_say(fd, "POST /half HTTP/1.1\r\nHost: loom\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n");
    rig_expect(fd, "HTTP/1.1 413", "half");
    rig_expect_end(fd);
    assert_int_equal(rig.refusals, 0);
    rig_stop(&rig);
}

// ---- gone ----

static void reset(int fd)
{
    struct linger hard = {.l_onoff = 1};

    setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    close(fd);
}

static void test_client_gone(void **state)
{
    (void)state;
    start(HTTP_LIMITS_DEFAULT);
    int in_head = rig_connect(&rig), in_body = rig_connect(&rig), waiting = rig_connect(&rig);
    rig_say(in_head, "GET");
    close(in_head);
    rig_say(in_body, POST("/echo", "5") "hell");
    rig_until(&rig.headers, 1);
    close(in_body);
    rig_until(&rig.aborts[HTTP_ABORT_CLIENT_GONE], 1);
    rig_say(waiting, GET("/wait"));
    rig_until(&rig.completes, 1);
    reset(waiting);
    rig_until(&rig.aborts[HTTP_ABORT_CLIENT_GONE], 2);
    while (http_server_connections(rig.server) > 0)
        usleep(1000);
    assert_int_equal(rig.refusals, 0);
    rig_stop(&rig);
}

// Who has closed only its sending side still gets the answers it asked for.
static void test_half_close(void **state)
{
    struct buf got = BUF_EMPTY;

    (void)state;
    start(HTTP_LIMITS_DEFAULT);
    int fd = rig_connect(&rig);
    rig_say(fd, POST("/later", "2") "hi" GET("/wait"));
    shutdown(fd, SHUT_WR);
    rig_read(fd, &got, true);
    assert_string_equal(strstr(got.data, "\r\n\r\n") + 4, "hi");
    rig_until(&rig.completes, 2);
    rig_answer(&rig);
    rig_read(fd, &got, true);
    assert_string_equal(strstr(got.data, "\r\n\r\n") + 4, "waited");
    rig_expect_end(fd);
    buf_fini(&got);
    rig_stop(&rig);
}

// Answers to clients that have gone, from inside and outside of a turn.
static void test_answers_nobody_reads(void **state)
{
    (void)state;
    start(HTTP_LIMITS_DEFAULT);
    for (unsigned i = 0; i < 50; i++) {
        int fd = rig_connect(&rig);
        rig_say(fd, GET("/later") GET("/large") GET("/echo"));
        if (i % 2 == 0)
            rig_until(&rig.headers, rig.headers + 1);
        reset(fd);
    }
    while (http_server_connections(rig.server) > 0)
        usleep(1000);
    rig_stop(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_headers_timeout),
        cmocka_unit_test(test_stray_line_is_idle),
        cmocka_unit_test(test_dripping_headers),
        cmocka_unit_test(test_dripping_body),
        cmocka_unit_test(test_idle_timeout),
        cmocka_unit_test(test_write_timeout),
        cmocka_unit_test(test_linger_timeout),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_nothing_after_a_refusal),
        cmocka_unit_test(test_broken_after_the_answer),
        cmocka_unit_test(test_client_gone),
        cmocka_unit_test(test_half_close),
        cmocka_unit_test(test_answers_nobody_reads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
