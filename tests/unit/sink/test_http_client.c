// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sink/http_client.h"

#include <curl/curl.h>
#include <dlfcn.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "base/clock.h"
#include "base/mem.h"
#include "http_server.h"

#define ANSWER(status, headers, body) "HTTP/1.1 " status "\r\n" headers "\r\n" body
#define OK(body, length)              ANSWER("200 OK", "Content-Length: " length "\r\n", body)
#define REPLY_MAX                     1000

struct fixture {
    struct loop *loop;
    struct http_client *client;
    struct http_request request;
    unsigned done;
    unsigned stop_after;
    char urls[3][64];
    char *list[4];
};

static struct fixture fixture;

static int set_up(void **state)
{
    memset(&fixture, 0, sizeof fixture);
    signal(SIGPIPE, SIG_IGN);
    unsetenv("http_proxy");
    fixture.loop = loop_new();
    assert_non_null(fixture.loop);
    fixture.stop_after = 1;
    *state = &fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    http_request_fini(&f->request);
    http_client_close(f->client);
    loop_free(f->loop);
    return 0;
}

static void open_ports(struct fixture *f, const int *ports, size_t count, const char *authorization)
{
    struct err err = {0};
    for (size_t i = 0; i < count; i++) {
        snprintf(f->urls[i], sizeof f->urls[i], "http://127.0.0.1:%d%s", ports[i], i == 0 ? "/base/" : "");
        f->list[i] = f->urls[i];
    }
    const struct http_client_conf conf = {.loop = f->loop,
                                          .urls = f->list,
                                          .authorization = authorization,
                                          .ca_file = "",
                                          .client_cert_file = "",
                                          .client_key_file = "",
                                          .connect_ms = 5000,
                                          .total_ms = 20000,
                                          .stall_s = 20,
                                          .set_aside_ms = 60000,
                                          .reply_max = REPLY_MAX};
    if (http_client_open(&conf, &f->client, &err) != 0)
        fail_msg("%s", err.text);
}

static void open_server(struct fixture *f, struct http_server *server)
{
    int port = http_server_port(server);
    open_ports(f, &port, 1, "Basic c2VjcmV0");
}

static void on_done(struct http_request *request)
{
    (void)request;
    if (++fixture.done == fixture.stop_after)
        loop_stop(fixture.loop);
}

static void start(struct fixture *f, const char *method, const char *body)
{
    http_request_fini(&f->request);
    f->request = (struct http_request){.method = method, .path = "/x/_bulk?a=b", .on_done = on_done};
    if (body != NULL) {
        f->request.content_type = "application/x-ndjson";
        f->request.body = text_of(body);
    }
    http_client_start(f->client, &f->request);
}

static void run(struct fixture *f, const char *method, const char *body)
{
    f->done = 0;
    start(f, method, body);
    assert_int_equal(f->done, 0); // not from within
    loop_run(f->loop);
    assert_int_equal(f->done, 1);
}

static void expect_reply(struct fixture *f, unsigned status, const char *reply)
{
    assert_int_equal(f->request.failure, HTTP_ANSWERED);
    assert_int_equal(f->request.status, status);
    assert_true(text_eq((struct text){f->request.reply.data, f->request.reply.len}, text_of(reply)));
    assert_string_equal(f->request.error, "");
}

static void request_and_reply(void **state)
{
    struct fixture *f = *state;
    static const struct http_answer answers[] = {
        {.text = OK("hello", "5")},
        {.text = ANSWER("404 Not Found", "Content-Length: 3\r\n", "no\n")},
        {.text = ANSWER("201 Created", "Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")},
    };
    struct http_server *server = http_server_start(answers, 3);
    open_server(f, server);
    run(f, "POST", "line\n");
    expect_reply(f, 200, "hello");
    assert_string_equal(f->request.url, f->urls[0]);
    run(f, "GET", NULL);
    expect_reply(f, 404, "no\n");
    run(f, "PUT", "{}");
    expect_reply(f, 201, "abcde");
    assert_int_equal(http_server_connections(server), 1); // kept alive

    const char *post = http_server_request(server, 0), *get = http_server_request(server, 1);
    assert_non_null(strstr(post, "POST /base/x/_bulk?a=b HTTP/1.1\r\n"));
    assert_non_null(strstr(post, "\r\nContent-Type: application/x-ndjson\r\n"));
    assert_non_null(strstr(post, "\r\nContent-Length: 5\r\n"));
    assert_non_null(strstr(post, "\r\nAuthorization: Basic c2VjcmV0\r\n"));
    assert_non_null(strstr(post, "\r\n\r\nline\n"));
    assert_null(strstr(post, "Expect"));
    assert_null(strstr(post, "Content-Encoding"));
    assert_non_null(strstr(get, "GET /base/x/_bulk?a=b HTTP/1.1\r\n"));
    assert_null(strstr(get, "Content-"));
    assert_non_null(strstr(http_server_request(server, 2), "PUT /base/x/_bulk?a=b HTTP/1.1\r\n"));
    http_server_stop(server);
}

static void retry_after(void **state)
{
    struct fixture *f = *state;
    char date[64], dated[256];
    time_t soon = (time_t)(clock_real_ns() / NS_PER_S) + 120;
    struct tm utc;
    gmtime_r(&soon, &utc);
    strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", &utc);
    snprintf(dated, sizeof dated,
             "HTTP/1.1 503 x\r\nRetry-After: %s\r\nContent-Type: application/json\r\nContent-Length: 0\r\n\r\n", date);
    const struct http_answer answers[] = {
        {.text = ANSWER("429 x", "Retry-After: 7\r\nContent-Length: 0\r\n", "")},
        {.text = dated},
        {.text = ANSWER("429 x", "Retry-After: -7\r\nContent-Length: 0\r\n", "")},
        {.text = ANSWER("429 x", "Retry-After: soon\r\nContent-Length: 0\r\n", "")},
        {.text = ANSWER("429 x", "Retry-After: 99999999999999999\r\nContent-Length: 0\r\n", "")},
        {.text = ANSWER("429 x", "Content-Length: 0\r\n", "")},
    };
    struct http_server *server = http_server_start(answers, 6);
    open_server(f, server);
    run(f, "GET", NULL);
    assert_int_equal(f->request.retry_after_ms, 7000);
    run(f, "GET", NULL);
    assert_in_range(f->request.retry_after_ms, 60000, 121000);
    run(f, "GET", NULL);
    assert_int_equal(f->request.retry_after_ms, 0);
    run(f, "GET", NULL);
    assert_int_equal(f->request.retry_after_ms, 0);
    run(f, "GET", NULL);
    assert_in_range(f->request.retry_after_ms, 0, 86400000);
    run(f, "GET", NULL);
    assert_int_equal(f->request.retry_after_ms, 0);
    http_server_stop(server);
}

static void cut_and_closed(void **state)
{
    struct fixture *f = *state;
    static const struct http_answer answers[] = {
        {.text = NULL},
        {.text = NULL, .reset = true},
        {.text = "HTTP/1.1 20", .close = true},
        {.text = OK("hell", "5"), .close = true},
        {.text = OK("hell", "5"), .reset = true},
        {.text = ANSWER("200 OK", "Transfer-Encoding: chunked\r\n", "5\r\nhel"), .close = true},
        {.text = "this is no HTTP\r\n\r\n", .close = true},
        {.text = OK("hello", "5")},
    };
    struct http_server *server = http_server_start(answers, 8);
    open_server(f, server);
    for (int i = 0; i < 7; i++) {
        run(f, "POST", "x\n");
        if (f->request.failure != HTTP_LOST)
            fail_msg("answer %d: %d, %s", i, f->request.failure, f->request.error);
        assert_int_equal(f->request.status, 0);
        assert_true(f->request.error[0] != '\0');
    }
    run(f, "POST", "x\n");
    expect_reply(f, 200, "hello");
    assert_int_equal(http_server_requests(server), 8); // none was sent again by itself
    http_server_stop(server);
}

static void early_answer(void **state)
{
    struct fixture *f = *state;
    static const struct http_answer answers[] = {
        {.text = ANSWER("413 x", "Content-Length: 0\r\nConnection: close\r\n", ""), .close = true, .unread = true}};
    struct http_server *server = http_server_start(answers, 1);
    open_server(f, server);
    size_t size = 8 * 1024 * 1024;
    char *body = mem_alloc(size + 1);
    memset(body, 'x', size);
    body[size] = '\0';
    run(f, "POST", body);
    // Seen when the answer arrives before the reset does; else the connection is lost, which makes it come smaller too.
    if (f->request.failure == HTTP_ANSWERED)
        assert_int_equal(f->request.status, 413);
    else
        assert_int_equal(f->request.failure, HTTP_LOST);
    mem_free(body);
    http_server_stop(server);
}

static void large_reply(void **state)
{
    struct fixture *f = *state;
    char body[REPLY_MAX + 2], fits[REPLY_MAX + 200], over[REPLY_MAX + 200];
    memset(body, 'x', sizeof body);
    snprintf(fits, sizeof fits, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%.*s", REPLY_MAX, REPLY_MAX, body);
    snprintf(over, sizeof over, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%.*s", REPLY_MAX + 1, REPLY_MAX + 1,
             body);
    const struct http_answer answers[] = {{.text = fits}, {.text = over}};
    struct http_server *server = http_server_start(answers, 2);
    open_server(f, server);
    run(f, "GET", NULL);
    assert_int_equal(f->request.failure, HTTP_ANSWERED);
    assert_int_equal(f->request.reply.len, REPLY_MAX);
    run(f, "GET", NULL);
    assert_int_equal(f->request.failure, HTTP_REPLY_LARGE);
    http_server_stop(server);
}

static void redirect_is_an_answer(void **state)
{
    struct fixture *f = *state;
    static const struct http_answer answers[] = {
        {.text = ANSWER("302 Found", "Location: http://127.0.0.1:1/\r\nContent-Length: 0\r\n", "")}};
    struct http_server *server = http_server_start(answers, 1);
    open_server(f, server);
    run(f, "POST", "x\n");
    expect_reply(f, 302, "");
    assert_int_equal(http_server_requests(server), 1);
    http_server_stop(server);
}

// Nobody listens there, and nobody else gets it: its socket stays open to the end of the program.
static int closed_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, len), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    return ntohs(address.sin_port);
}

static void unreachable(void **state)
{
    struct fixture *f = *state;
    int port = closed_port();
    open_ports(f, &port, 1, NULL);
    for (int i = 0; i < 3; i++) { // set aside or not, the only one is asked
        run(f, "GET", NULL);
        assert_int_equal(f->request.failure, HTTP_UNREACHABLE);
        assert_string_equal(f->request.error, "Connection refused");
    }
}

// In the place of curl's own.
static unsigned refusals;
CURLMcode curl_multi_add_handle(CURLM *multi, CURL *easy)
{
    if (refusals > 0) {
        refusals--;
        return CURLM_OUT_OF_MEMORY;
    }
    CURLMcode (*real)(CURLM *, CURL *);
    *(void **)&real = dlsym(RTLD_NEXT, "curl_multi_add_handle");
    return real(multi, easy);
}

static void refused_by_curl(void **state)
{
    struct fixture *f = *state;
    static const struct http_answer good[] = {{.text = OK("hello", "5")}};
    struct http_server *server = http_server_start(good, 1);
    const int ports[] = {http_server_port(server), http_server_port(server)};
    open_ports(f, ports, 2, NULL);
    refusals = 2; // on each of the nodes
    run(f, "POST", "x\n");
    assert_int_equal(f->request.failure, HTTP_UNREACHABLE);
    assert_string_equal(f->request.error, "Out of memory");
    refusals = 1;
    run(f, "POST", "x\n");
    assert_int_equal(f->request.failure, HTTP_UNREACHABLE); // all are set aside
    run(f, "POST", "x\n");
    expect_reply(f, 200, "hello");
    http_server_stop(server);
}

static void failover(void **state)
{
    struct fixture *f = *state;
    static const struct http_answer good[] = {{.text = OK("hello", "5")}};
    struct http_server *server = http_server_start(good, 1);
    const int ports[] = {closed_port(), http_server_port(server), closed_port()};
    open_ports(f, ports, 3, NULL);
    for (int i = 0; i < 6; i++) {
        run(f, "POST", "x\n");
        expect_reply(f, 200, "hello");
        assert_string_equal(f->request.url, f->urls[1]);
    }
    assert_int_equal(http_server_requests(server), 6);
    http_server_stop(server);
}

// A proxy whose node is away says 502 in its own words; a cluster that is busy says 503 in JSON.
static void gateways(void **state)
{
    struct fixture *f = *state;
    static const struct http_answer first[] = {
        {.text = ANSWER("502 x", "Content-Type: text/html\r\nContent-Length: 2\r\n", "no")}};
    static const struct http_answer second[] = {
        {.text = OK("hello", "5")},
        {.text = ANSWER("503 x", "Content-Type: application/json; charset=UTF-8\r\nContent-Length: 2\r\n", "{}")}};
    struct http_server *a = http_server_start(first, 1), *b = http_server_start(second, 2);
    const int ports[] = {http_server_port(a), http_server_port(b)};
    open_ports(f, ports, 2, NULL);
    run(f, "POST", "x\n");
    expect_reply(f, 200, "hello");
    run(f, "POST", "x\n");
    expect_reply(f, 503, "{}");
    assert_int_equal(http_server_requests(a), 1);
    assert_int_equal(http_server_requests(b), 2);
    http_server_stop(a);
    http_server_stop(b);
}

static void on_due(struct loop_timer *timer)
{
    (void)timer;
    http_client_abort_all(fixture.client);
}

static void abort_all(void **state)
{
    struct fixture *f = *state;
    static const struct http_answer answers[] = {{.hang = true}};
    struct http_server *server = http_server_start(answers, 1);
    struct loop_timer timer = {0};
    struct http_request other = {.method = "GET", .path = "/", .on_done = on_done};
    open_server(f, server);
    f->stop_after = 2;
    start(f, "POST", "x\n");
    http_client_start(f->client, &other); // on a connection that nobody takes up
    loop_timer_start(f->loop, &timer, 50, on_due);
    loop_run(f->loop);
    assert_int_equal(f->done, 2);
    assert_int_equal(f->request.failure, HTTP_ABORTED);
    assert_int_equal(other.failure, HTTP_ABORTED);
    assert_string_equal(other.error, "interrupted");
    http_request_fini(&other);
    loop_timer_close(&timer);
    http_server_stop(server);
}

static void close_at_last(struct http_request *request)
{
    (void)request;
    http_client_close(fixture.client);
    fixture.client = NULL;
    loop_stop(fixture.loop);
}

static void closed_by_the_last(void **state)
{
    struct fixture *f = *state;
    static const struct http_answer answers[] = {{.text = OK("hello", "5")}};
    struct http_server *server = http_server_start(answers, 1);
    open_server(f, server);
    f->request = (struct http_request){.method = "GET", .path = "/", .on_done = close_at_last};
    http_client_start(f->client, &f->request);
    loop_run(f->loop);
    assert_null(f->client);
    expect_reply(f, 200, "hello");
    http_server_stop(server);
}

static void time_is_up(void **state)
{
    struct fixture *f = *state;
    static const struct http_answer answers[] = {{.hang = true}};
    struct http_server *server = http_server_start(answers, 1);
    snprintf(f->urls[0], sizeof f->urls[0], "http://127.0.0.1:%d", http_server_port(server));
    f->list[0] = f->urls[0];
    const struct http_client_conf conf = {.loop = f->loop,
                                          .urls = f->list,
                                          .ca_file = "",
                                          .client_cert_file = "",
                                          .client_key_file = "",
                                          .connect_ms = 5000,
                                          .total_ms = 1000,
                                          .stall_s = 20,
                                          .reply_max = REPLY_MAX};
    assert_int_equal(http_client_open(&conf, &f->client, NULL), 0);
    run(f, "POST", "x\n");
    assert_int_equal(f->request.failure, HTTP_LOST);
    http_server_stop(server);
}

static void bad_urls(void **state)
{
    (void)state;
    static const char *const bad[] = {"http://",        "http://a b/",    "http://user@host/", "http://u:secret@host/",
                                      "http://host/?q", "http://host/#f", "http://host:99999/"};
    static const char *const good[] = {"http://localhost:9200", "https://a.example/es/", "http://[::1]:9200"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct err err = {0};
        if (http_client_check_url(bad[i], &err) == 0)
            fail_msg("%s passes", bad[i]);
        assert_null(strstr(err.text, "secret"));
    }
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_int_equal(http_client_check_url(good[i], NULL), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(request_and_reply), TEST(retry_after),
        TEST(cut_and_closed),    TEST(early_answer),
        TEST(large_reply),       TEST(redirect_is_an_answer),
        TEST(unreachable),       TEST(refused_by_curl),
        TEST(failover),          TEST(gateways),
        TEST(abort_all),         TEST(closed_by_the_last),
        TEST(time_is_up),        cmocka_unit_test(bad_urls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
