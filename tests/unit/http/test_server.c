// SPDX-License-Identifier: Apache-2.0
//
// Whole requests against a server on its own thread: answers, order, and what happens to the connection. Time-outs and
// what clients do wrong are in test_limits.c.

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

#define GET(path)                "GET " path " HTTP/1.1\r\nHost: loom\r\n\r\n"
#define POST(path, length, more) "POST " path " HTTP/1.1\r\nHost: loom\r\nContent-Length: " length "\r\n" more "\r\n"
#define CHUNKED(path)            "POST " path " HTTP/1.1\r\nHost: loom\r\nTransfer-Encoding: chunked\r\n\r\n"

static struct rig rig;

static int start(void **state)
{
    (void)state;
    rig_start(&rig, HTTP_LIMITS_DEFAULT);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    rig_stop(&rig);
    return 0;
}

static void test_answer_as_bytes(void **state)
{
    int fd = rig_connect(&rig);
    struct buf got = BUF_EMPTY;

    (void)state;
    rig_say(fd, POST("/echo", "2", "") "hi");
    rig_read(fd, &got, true);
    // Date: Mon, 23 Nov 2026 17:02:21 GMT
    char *date = strstr(got.data, "Date: ");
    assert_non_null(date);
    assert_memory_equal(date + strlen("Date: Mon, 23 Nov 2026 17:02:21"), " GMT\r\n", 6);
    memmove(date, strchr(date, '\n') + 1, strlen(strchr(date, '\n') + 1) + 1);
    assert_string_equal(got.data,
                        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\nX-Rig: 1\r\n\r\nhi");
    buf_fini(&got);
    close(fd);
}

static void test_keep_alive(void **state)
{
    int fd = rig_connect(&rig);

    (void)state;
    for (int i = 0; i < 100; i++) {
        rig_say(fd, POST("/echo", "5", "") "hello");
        rig_expect(fd, "HTTP/1.1 200", "hello");
        rig_say(fd, GET("/none"));
        rig_expect(fd, "HTTP/1.1 404", "none");
    }
    assert_int_equal(http_server_connections(rig.server), 1);
    rig_say(fd, "GET /none HTTP/1.1\r\nHost: loom\r\nConnection: close\r\n\r\n");
    rig_expect(fd, "HTTP/1.1 404", "none");
    rig_expect_end(fd);
}

static void test_http_1_0(void **state)
{
    struct buf got = BUF_EMPTY;
    int fd = rig_connect(&rig);

    (void)state;
    rig_say(fd, "GET /none HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    rig_read(fd, &got, true);
    assert_non_null(strstr(got.data, "\r\nConnection: keep-alive\r\n"));
    rig_say(fd, "GET /none HTTP/1.0\r\n\r\n");
    rig_read(fd, &got, true);
    assert_non_null(strstr(got.data, "\r\nConnection: close\r\n"));
    rig_expect_end(fd);
    buf_fini(&got);
}

static void test_head(void **state)
{
    struct buf got = BUF_EMPTY;
    int fd = rig_connect(&rig);

    (void)state;
    rig_say(fd, "HEAD /none HTTP/1.1\r\nHost: loom\r\n\r\n" GET("/none"));
    rig_read(fd, &got, false);
    assert_non_null(strstr(got.data, "\r\nContent-Length: 4\r\n"));
    rig_expect(fd, "HTTP/1.1 404", "none"); // no body between the two
    buf_fini(&got);
    close(fd);
}

// Every shape of delivery: the same request in pieces of each size.
static void test_in_pieces(void **state)
{
    static const char request[] = CHUNKED("/echo") "5\r\nhello\r\n1;x\r\n \r\n005\r\nworld\r\n0\r\nA: b\r\n\r\n";
    int fd = rig_connect_local(&rig);

    (void)state;
    for (size_t size = 1; size < sizeof request; size++) {
        for (size_t at = 0; at < sizeof request - 1; at += size)
            rig_send(fd, request + at, size < sizeof request - 1 - at ? size : sizeof request - 1 - at);
        rig_expect(fd, "HTTP/1.1 200", "hello world");
    }
    close(fd);
}

static void test_large_body(void **state)
{
    const size_t len = 3u << 20;
    char *body = mem_alloc(len + 1), head[128];
    int fd = rig_connect(&rig);

    (void)state;
    for (size_t i = 0; i < len; i++)
        body[i] = (char)('a' + i * 7 % 23);
    body[len] = '\0';
    snprintf(head, sizeof head, "POST /echo HTTP/1.1\r\nHost: loom\r\nContent-Length: %zu\r\n\r\n", len);
    rig_say(fd, head);
    rig_send(fd, body, len);
    rig_expect(fd, "HTTP/1.1 200", body);
    mem_free(body);
    close(fd);
}

// Answers from outside of a turn, in the order of the requests.
static void test_pipelining(void **state)
{
    int fd = rig_connect(&rig);

    (void)state;
    rig_say(fd, POST("/later", "1", "") "1" POST("/echo", "1", "") "2" POST("/later", "1", "") "3" GET("/none")
                    CHUNKED("/later") "1\r\n4\r\n0\r\n\r\n" POST("/later", "2", ""));
    rig_expect(fd, "HTTP/1.1 200", "1");
    rig_expect(fd, "HTTP/1.1 200", "2");
    rig_expect(fd, "HTTP/1.1 200", "3");
    rig_expect(fd, "HTTP/1.1 404", "none");
    rig_expect(fd, "HTTP/1.1 200", "4");
    rig_say(fd, "55");
    rig_expect(fd, "HTTP/1.1 200", "55");
    close(fd);
}

// A handler that answers at once, and holds its loop at /hold until the test lets go.
struct turns {
    atomic_uint held, go;
    atomic_uint answered; // requests so far
    atomic_uint single;   // which one of them was /single, from 1
};

static void on_turns_headers(void *ctx, struct http_request *request)
{
    struct turns *turns = ctx;
    unsigned number = atomic_fetch_add(&turns->answered, 1) + 1;

    if (text_eq(request->path, TEXT("/single")))
        atomic_store(&turns->single, number);
    if (text_eq(request->path, TEXT("/hold"))) {
        atomic_store(&turns->held, 1);
        rig_until(&turns->go, 1);
    }
    http_respond_word(request, 404, "none", NULL);
}

// A client with a thousand small requests in one read does not make another wait for all of them.
static void test_pipelining_is_fair(void **state)
{
    enum { FLOOD = 1000 };
    static const struct http_handler handler = {.on_headers = on_turns_headers};
    struct turns turns = {0};
    struct rig own;
    struct buf flood = BUF_EMPTY;

    (void)state;
    rig_start_with(&own, &handler, &turns);
    int hold = rig_connect_local(&own), many = rig_connect_local(&own), single = rig_connect_local(&own);
    for (int i = 0; i < FLOOD; i++)
        buf_str(&flood, GET("/many"));
    rig_say(hold, GET("/hold"));
    rig_until(&turns.held, 1);
    rig_send(many, flood.data, flood.len);
    rig_say(single, GET("/single"));
    shutdown(many, SHUT_WR); // which ends nothing before all is answered
    atomic_store(&turns.go, 1);
    rig_expect(single, "HTTP/1.1 404", "{\"error\":\"none\"}");
    assert_in_range(turns.single, 2, 2 + 2 * 16);
    for (int i = 0; i < FLOOD; i++)
        rig_expect(many, "HTTP/1.1 404", "{\"error\":\"none\"}");
    rig_expect_end(many);
    close(hold);
    close(single);
    rig_stop(&own);
    buf_fini(&flood);
}

// The next request is not even looked at while an answer is owed, and not read without end either.
static void test_back_pressure(void **state)
{
    static const char request[] = GET("/wait");
    int fd = rig_connect_local(&rig), full = 0;
    size_t sent = 0;

    (void)state;
    for (; full < 3; sent += sizeof request - 1) {
        if (send(fd, request, sizeof request - 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
            full++;
            usleep(10000); // time for a server that would go on reading
        }
        assert_true(sent < 4u << 20);
    }
    rig_until(&rig.completes, 1);
    assert_int_equal(rig.headers, 1);
    rig_answer(&rig);
    rig_expect(fd, "HTTP/1.1 200", "waited");
    rig_until(&rig.completes, 2);
    assert_int_equal(rig.headers, 2);
    close(fd);
}

static void test_expect_continue(void **state)
{
    struct buf got = BUF_EMPTY;
    int fd = rig_connect(&rig);

    (void)state;
    rig_say(fd, POST("/echo", "2", "Expect: 100-continue\r\n"));
    rig_read(fd, &got, true);
    assert_string_equal(got.data, "HTTP/1.1 100 Continue\r\n\r\n");
    rig_say(fd, "hi");
    rig_expect(fd, "HTTP/1.1 200", "hi");

    rig_say(fd, POST("/echo", "2", "Expect: 100-continue\r\n") "hi"); // it has not waited
    rig_expect(fd, "HTTP/1.1 200", "hi");

    rig_say(fd, POST("/echo", "0", "Expect: 100-continue\r\n")); // nothing to wait for
    rig_expect(fd, "HTTP/1.1 200", "");

    // Refused: no 100, and nobody knows whether a body follows.
    rig_say(fd, POST("/early", "2", "Expect: 100-continue\r\n"));
    rig_read(fd, &got, true);
    assert_memory_equal(got.data, "HTTP/1.1 413", 12);
    assert_non_null(strstr(got.data, "\r\nConnection: close\r\n"));
    rig_expect_end(fd);
    buf_fini(&got);
}

static void test_refused_body_is_skipped(void **state)
{
    int fd = rig_connect(&rig);

    (void)state;
    rig_say(fd, POST("/early", "5", "") "hello" GET("/none"));
    rig_expect(fd, "HTTP/1.1 413", "early");
    rig_expect(fd, "HTTP/1.1 404", "none");

    rig_say(fd, POST("/early", "5", ""));
    rig_expect(fd, "HTTP/1.1 413", "early");
    rig_say(fd, "hello" POST("/half", "5", "") "he");
    rig_expect(fd, "HTTP/1.1 413", "half");
    rig_say(fd, "llo" POST("/half", "1", "") "x" GET("/none"));
    rig_expect(fd, "HTTP/1.1 413", "half");
    rig_expect(fd, "HTTP/1.1 404", "none");
    close(fd);
}

// For how many bytes the system wakes the server.
static void until_it_waits_for(int bytes)
{
    int64_t deadline_ns = clock_mono_ns() + 60 * NS_PER_S;
    int low_water = 0;

    while (low_water != bytes) {
        socklen_t len = sizeof low_water;
        assert_int_equal(getsockopt(rig.accepted, SOL_SOCKET, SO_RCVLOWAT, &low_water, &len), 0);
        assert_true(clock_mono_ns() < deadline_ns);
        usleep(500);
    }
}

// Nothing less than the rest of a body is of use; but what follows one, or a refusal, is looked at byte by byte.
static void test_rest_of_a_body_is_waited_for(void **state)
{
    char *bytes = mem_alloc(20001);
    int fd = rig_connect(&rig);

    (void)state;
    memset(bytes, 'x', 20000);
    bytes[20000] = '\0';
    rig_say(fd, POST("/echo", "20000", "") "x");
    until_it_waits_for(19999);
    rig_say(fd, bytes + 1);
    rig_expect(fd, "HTTP/1.1 200", bytes);
    until_it_waits_for(1);

    rig_say(fd, POST("/echo", "20000", "Expect: 100-continue\r\n"));
    until_it_waits_for(20000);
    rig_expect(fd, "HTTP/1.1 100", "");
    rig_say(fd, bytes);
    rig_expect(fd, "HTTP/1.1 200", bytes);

    rig_say(fd, POST("/half", "20000", ""));
    until_it_waits_for(20000);
    rig_say(fd, bytes);
    rig_say(fd, POST("/early", "20000", ""));
    rig_expect(fd, "HTTP/1.1 413", "half");
    rig_expect(fd, "HTTP/1.1 413", "early");
    until_it_waits_for(1);
    rig_say(fd, bytes);
    rig_say(fd, GET("/none"));
    rig_expect(fd, "HTTP/1.1 404", "none");
    close(fd);
    mem_free(bytes);
}

// A client that sends all before it reads: its answer must not be lost in a reset.
static void send_all_then_read(const char *head, const char *body)
{
    const size_t len = 10u << 20;
    char *bytes = mem_alloc(len);
    int fd = rig_connect(&rig);

    memset(bytes, 'x', len);
    rig_say(fd, head);
    rig_send(fd, bytes, len);
    rig_expect(fd, "HTTP/1.1 413", body);
    rig_expect_end(fd);
    mem_free(bytes);
}

static void test_lingering_close(void **state)
{
    (void)state;
    send_all_then_read(POST("/early", "10485760", ""), "early");
    send_all_then_read(POST("/half", "10485760", ""), "half");
    send_all_then_read(CHUNKED("/half") "A00000\r\n", "half");
}

static void test_slow_reader(void **state)
{
    struct buf got = BUF_EMPTY;
    int fd = rig_connect_local(&rig); // whose buffer holds a small part of it

    (void)state;
    rig_say(fd, GET("/large") GET("/none"));
    rig_read(fd, &got, true);
    size_t body = (size_t)(strstr(got.data, "\r\n\r\n") + 4 - got.data);
    assert_int_equal(got.len - body, RIG_LARGE);
    for (size_t i = body; i < got.len; i++)
        assert_int_equal(got.data[i], 'x');
    rig_expect(fd, "HTTP/1.1 404", "none");
    buf_fini(&got);
    close(fd);
}

static void test_many_connections(void **state)
{
    int fds[200];

    (void)state;
    for (unsigned i = 0; i < 200; i++)
        fds[i] = rig_connect_local(&rig);
    assert_int_equal(http_server_connections(rig.server), 200);
    for (unsigned i = 0; i < 200; i++)
        rig_say(fds[i], POST("/later", "2", "") "hi");
    for (unsigned i = 0; i < 200; i++) {
        rig_expect(fds[i], "HTTP/1.1 200", "hi");
        close(fds[i]);
    }
    while (http_server_connections(rig.server) > 0)
        usleep(1000);
}

static void test_drain(void **state)
{
    struct buf got = BUF_EMPTY;
    int fresh = rig_connect(&rig), idle = rig_connect(&rig), waiting = rig_connect(&rig), sending = rig_connect(&rig);

    (void)state;
    rig_say(idle, GET("/none"));
    rig_expect(idle, "HTTP/1.1 404", "none");
    rig_say(waiting, GET("/wait"));
    rig_say(sending, POST("/echo", "2", "") "h");
    rig_until(&rig.completes, 2);
    rig_until(&rig.headers, 3);

    rig_drain(&rig);
    rig_expect_end(fresh);
    rig_expect_end(idle);
    assert_int_equal(rig.drained, 0);
    int late = rig_connect(&rig);
    rig_expect_end(late);

    rig_say(sending, "i");
    rig_read(sending, &got, true);
    assert_non_null(strstr(got.data, "\r\nConnection: close\r\n"));
    rig_expect_end(sending);
    assert_int_equal(rig.drained, 0);
    rig_answer(&rig);
    rig_read(waiting, &got, true);
    assert_non_null(strstr(got.data, "\r\nConnection: close\r\n"));
    rig_expect_end(waiting);
    rig_until(&rig.drained, 1); // where the server has been freed
    buf_fini(&got);
}

static void test_drain_without_connections(void **state)
{
    (void)state;
    rig_drain(&rig);
    rig_until(&rig.drained, 1);
}

static void test_free_aborts(void **state)
{
    int waiting = rig_connect(&rig), sending = rig_connect(&rig);

    (void)state;
    rig_say(waiting, GET("/wait"));
    rig_say(sending, POST("/echo", "2", "") "h");
    rig_until(&rig.headers, 2);
    rig_until(&rig.completes, 1);
    rig_stop(&rig);
    assert_int_equal(rig.aborts[HTTP_ABORT_SHUTDOWN], 2);
    rig_expect_end(waiting);
    rig_expect_end(sending);
    rig_start(&rig, HTTP_LIMITS_DEFAULT); // for `stop`
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_answer_as_bytes),
        TEST(test_keep_alive),
        TEST(test_http_1_0),
        TEST(test_head),
        TEST(test_in_pieces),
        TEST(test_large_body),
        TEST(test_pipelining),
        TEST(test_pipelining_is_fair),
        TEST(test_back_pressure),
        TEST(test_expect_continue),
        TEST(test_refused_body_is_skipped),
        TEST(test_rest_of_a_body_is_waited_for),
        TEST(test_lingering_close),
        TEST(test_slow_reader),
        TEST(test_many_connections),
        TEST(test_drain),
        TEST(test_drain_without_connections),
        TEST(test_free_aborts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
