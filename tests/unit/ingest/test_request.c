// SPDX-License-Identifier: Apache-2.0
//
// The ingest handler behind a real HTTP server, on a loop of its own thread, before a store whose behaviour each test
// chooses. What the contract says of a request from outside stands in tests/e2e; here is what only the inside shows.

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "http/server.h"
#include "ingest/ingest.h"

enum store_mode { STORE_SAFE, STORE_FAILS, STORE_HOLDS, STORE_REFUSES };

struct fake_store {
    struct store store;
    enum store_mode mode; // atomic
    bool closed;          // accepts() says no
    unsigned kicks;       // atomic
    struct batch *held;   // STORE_HOLDS; atomic
    char lines[4096];     // of the last batch
};

static bool fake_accepts(struct store *store)
{
    return !((struct fake_store *)store)->closed;
}

static void settle(struct batch *batch, int status)
{
    batch->status = status;
    mailbox_send(batch->home, &batch->mail);
}

static int fake_append(struct store *store, struct batch *batch)
{
    struct fake_store *fake = (struct fake_store *)store;
    enum store_mode mode = __atomic_load_n(&fake->mode, __ATOMIC_ACQUIRE);

    if (mode == STORE_REFUSES)
        return -EAGAIN;
    snprintf(fake->lines, sizeof fake->lines, "%.*s", (int)batch->lines.len, batch->lines.data);
    if (mode == STORE_HOLDS)
        __atomic_store_n(&fake->held, batch, __ATOMIC_RELEASE);
    else
        settle(batch, mode == STORE_SAFE ? 0 : -ENOSPC);
    return 0;
}

static void fake_kick(struct store *store)
{
    __atomic_add_fetch(&((struct fake_store *)store)->kicks, 1, __ATOMIC_RELAXED);
}

static const struct store_ops fake_ops = {
    .name = "fake", .accepts = fake_accepts, .append = fake_append, .kick = fake_kick};

struct bench {
    struct fake_store store;
    struct budget budget;
    struct ingest ingest;
    struct loop *loop;
    struct ingest_worker *worker;
    struct http_server *server;
    pthread_t thread;
};

static void *run_loop(void *ctx)
{
    loop_run(((struct bench *)ctx)->loop);
    return NULL;
}

static struct bench *bench_new(void)
{
    static const char *const env[] = {"LOOM_SENSOR_s1=token-one", "LOOM_SENSOR_s2=second", NULL};
    struct bench *b = mem_zalloc(sizeof *b);
    struct buf problems = BUF_EMPTY, warnings = BUF_EMPTY;

    b->store.store.ops = &fake_ops;
    budget_init(&b->budget, 10000);
    b->ingest = (struct ingest){
        .limits = {.max_body_size_bytes = 1000,
                   .max_events_per_batch = 3,
                   .max_event_size_bytes = 200,
                   .per_sensor_rps = -1,
                   .per_sensor_events_rps = -1,
                   .ack_timeout_ms = 60000},
        .budget = &b->budget,
        .store = &b->store.store,
    };
    assert_int_equal(auth_open((char *const *)env, NULL, &b->ingest.auth, &problems, &warnings), 0);
    buf_fini(&problems);
    buf_fini(&warnings);
    b->loop = loop_new();
    b->worker = ingest_worker_new(&b->ingest, b->loop);
    b->server = http_server_new(&(struct http_server_conf){
        .loop = b->loop, .handler = &ingest_handler, .ctx = b->worker, .limits = HTTP_LIMITS_DEFAULT});
    return b;
}

// A client's end of a connection to the server.
static int bench_connect(struct bench *b)
{
    int pair[2];
    struct address peer = {.len = sizeof(sa_family_t)};
    struct timeval patience = {.tv_sec = 60};

    peer.sa.ss_family = AF_UNIX;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    setsockopt(pair[1], SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    http_server_adopt(b->server, pair[0], &peer, NULL);
    return pair[1];
}

static void bench_start(struct bench *b)
{
    assert_int_equal(pthread_create(&b->thread, NULL, run_loop, b), 0);
}

static void bench_stop(struct bench *b)
{
    loop_stop(b->loop);
    pthread_join(b->thread, NULL);
}

static void bench_free(struct bench *b)
{
    http_server_free(b->server);
    assert_int_equal(ingest_worker_outstanding(b->worker), 0);
    ingest_worker_free(b->worker);
    auth_close(b->ingest.auth);
    loop_free(b->loop);
    assert_int_equal(budget_used(&b->budget), 0); // whatever happened, every byte was given back
    mem_free(b);
}

static void bench_end(struct bench *b)
{
    bench_stop(b);
    bench_free(b);
}

static void post(int fd, const char *body)
{
    char request[4096];
    int len = snprintf(request, sizeof request,
                       "POST / HTTP/1.1\r\nHost: loom\r\nAuthorization: Bearer token-one\r\n"
                       "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                       strlen(body), body);
    assert_int_equal(write(fd, request, (size_t)len), len);
}

static uint64_t sensor_count_of(const struct sensor *sensor, unsigned status)
{
    for (size_t i = 0; i < SENSOR_STATUS_COUNT; i++)
        if (sensor_status[i] == status)
            return counter_get(&sensor->requests[i]);
    return 0;
}

// The status of the next answer; its body, if any, stays in `text`.
static int answer(int fd, char *text, size_t size)
{
    size_t len = 0;
    int status = 0, length = 0;
    const char *body = NULL, *header;

    while (body == NULL || (size_t)(text + len - body) < (size_t)length) {
        ssize_t n;
        do // libuv may be at work in the kernel for this process (io_uring), which interrupts a read with a time-out
            n = read(fd, text + len, size - 1 - len);
        while (n < 0 && errno == EINTR);
        assert_true(n > 0);
        len += (size_t)n;
        text[len] = '\0';
        if ((body = strstr(text, "\r\n\r\n")) != NULL)
            body += 4;
        if ((header = strstr(text, "Content-Length: ")) != NULL)
            length = atoi(header + 16);
    }
    assert_int_equal(sscanf(text, "HTTP/1.1 %d", &status), 1);
    return status;
}

static struct batch *wait_for_batch(struct bench *b)
{
    struct batch *batch;
    while ((batch = __atomic_exchange_n(&b->store.held, NULL, __ATOMIC_ACQ_REL)) == NULL)
        usleep(1000);
    return batch;
}

static void test_safe_is_204(void **state)
{
    char text[4096];
    struct bench *b = bench_new();
    int fd = bench_connect(b);
    (void)state;

    bench_start(b);
    post(fd, " [ {\"a\" :1.0},\n{\"b\":\n2} ] ");
    assert_int_equal(answer(fd, text, sizeof text), 204);
    assert_string_equal(b->store.lines, "{\"a\" :1.0}\n{\"b\":2}\n");
    post(fd, "[]");
    assert_int_equal(answer(fd, text, sizeof text), 204);
    close(fd);
    bench_end(b);
}

static void test_store_says_no(void **state)
{
    static const enum store_mode modes[] = {STORE_FAILS, STORE_REFUSES};
    (void)state;

    for (size_t i = 0; i < 2; i++) {
        char text[4096];
        struct bench *b = bench_new();
        int fd = bench_connect(b);
        b->store.mode = modes[i];
        bench_start(b);
        post(fd, "[{}]");
        assert_int_equal(answer(fd, text, sizeof text), 503);
        assert_non_null(strstr(text, "{\"error\":\"unavailable\"}"));
        assert_non_null(strstr(text, "Retry-After: "));
        close(fd);
        bench_end(b);
    }
}

static void test_closed_store_is_refused_before_the_body(void **state)
{
    static const char head[] = "POST / HTTP/1.1\r\nHost: loom\r\nAuthorization: Bearer token-one\r\n"
                               "Content-Type: application/json\r\nContent-Length: 900\r\n\r\n";
    char text[4096];
    struct bench *b = bench_new();
    int fd = bench_connect(b);
    (void)state;

    b->store.closed = true;
    bench_start(b);
    assert_int_equal(write(fd, head, sizeof head - 1), sizeof head - 1);
    assert_int_equal(answer(fd, text, sizeof text), 503);
    close(fd);
    bench_end(b);
}

// The answer is due, the store has not spoken: 503. Its word comes later and finds nobody.
static void test_ack_timeout(void **state)
{
    char text[4096];
    struct bench *b = bench_new();
    int fd = bench_connect(b);
    (void)state;

    b->ingest.limits.ack_timeout_ms = 1000; // the second batch has its answer by then, however slow the machine is
    b->store.mode = STORE_HOLDS;
    bench_start(b);
    post(fd, "[{}]");
    assert_int_equal(answer(fd, text, sizeof text), 503);
    assert_non_null(strstr(text, "Retry-After: 5\r\n"));
    struct batch *late = wait_for_batch(b);
    assert_true(budget_used(&b->budget) > 0); // what the store still has counts
    settle(late, 0);

    __atomic_store_n(&b->store.mode, STORE_SAFE, __ATOMIC_RELEASE);
    post(fd, "[{\"next\":1}]"); // the connection goes on, and so does its worker
    assert_int_equal(answer(fd, text, sizeof text), 204);
    assert_string_equal(b->store.lines, "{\"next\":1}\n");
    close(fd);
    bench_end(b);
}

static void test_client_gone_while_waiting(void **state)
{
    char text[4096];
    struct bench *b = bench_new();
    int gone = bench_connect(b);
    int fd = bench_connect(b);
    (void)state;

    b->store.mode = STORE_HOLDS;
    bench_start(b);
    post(gone, "[{\"gone\":1}]");
    struct batch *batch = wait_for_batch(b);
    close(gone);
    post(fd, "[{}]");
    settle(wait_for_batch(b), 0);
    assert_int_equal(answer(fd, text, sizeof text), 204);
    settle(batch, 0);
    post(fd, "[{}]");
    settle(wait_for_batch(b), 0);
    assert_int_equal(answer(fd, text, sizeof text), 204);
    close(fd);
    bench_end(b);
}

// The server goes while the store still has a batch: the request is aborted, and the mail finds nobody to answer.
static void test_shutdown_while_waiting(void **state)
{
    struct bench *b = bench_new();
    int fd = bench_connect(b);
    (void)state;

    b->store.mode = STORE_HOLDS;
    bench_start(b);
    post(fd, "[{}]");
    struct batch *batch = wait_for_batch(b);
    bench_stop(b);
    http_server_free(b->server);
    b->server = NULL;
    assert_int_equal(counter_get(&ingest_worker_stats(b->worker)->aborted), 1);
    assert_int_equal(ingest_worker_outstanding(b->worker), 1);
    settle(batch, 0);
    assert_true(mailbox_run(loop_mailbox(b->loop)));
    close(fd);
    bench_free(b);
}

static void test_memory_is_admitted(void **state)
{
    char text[4096];
    struct bench *b = bench_new();
    int fd = bench_connect(b);
    (void)state;

    budget_charge(&b->budget, 9999);
    bench_start(b);
    post(fd, "[{}]");
    assert_int_equal(answer(fd, text, sizeof text), 503);
    budget_release(&b->budget, 9999);
    close(fd);
    bench_end(b);
}

static void wait_for_used(struct bench *b, int64_t bytes)
{
    for (int i = 0; i < 10000 && budget_used(&b->budget) != bytes; i++)
        usleep(2000);
    assert_int_equal(budget_used(&b->budget), bytes);
}

static void announce(int fd, unsigned length)
{
    char head[256];
    int len = snprintf(head, sizeof head,
                       "POST / HTTP/1.1\r\nHost: loom\r\nAuthorization: Bearer token-one\r\n"
                       "Content-Type: application/json\r\nContent-Length: %u\r\n\r\n",
                       length);
    assert_int_equal(write(fd, head, (size_t)len), len);
}

// An announced length takes little; the rest is admitted as it comes, and refused where it no longer fits.
static void test_memory_is_admitted_as_it_comes(void **state)
{
    static char blank[400000];
    char text[4096];
    struct bench *b = bench_new();
    int fd = bench_connect(b), small = bench_connect(b), second = bench_connect(b);
    (void)state;

    memset(blank, ' ', sizeof blank);
    b->budget.limit = 1000000;
    b->ingest.limits.max_body_size_bytes = 1000000;
    bench_start(b);
    announce(fd, 900000);
    wait_for_used(b, 65536);
    announce(small, 1000);
    wait_for_used(b, 66536);
    announce(second, 950000); // would not fit as it stands
    assert_int_equal(answer(second, text, sizeof text), 503);
    assert_int_equal(write(fd, blank, 65537), 65537);
    wait_for_used(b, 131072 + 1000);
    budget_charge(&b->budget, 600000);
    assert_int_equal(write(fd, blank, 200000), 200000); // 262144 and then what is needed
    wait_for_used(b, 262144 + 3393 + 1000 + 600000);
    assert_int_equal(send(fd, blank, sizeof blank, MSG_NOSIGNAL), sizeof blank);
    assert_int_equal(answer(fd, text, sizeof text), 503); // in the midst of it
    wait_for_used(b, 1000 + 600000);
    assert_int_equal(write(small, blank, 998), 998);
    assert_int_equal(write(small, "[]", 2), 2);
    assert_int_equal(answer(small, text, sizeof text), 204);
    wait_for_used(b, 600000);
    close(fd);
    close(small);
    close(second);
    bench_stop(b);
    budget_release(&b->budget, 600000);
    bench_free(b);
}

static void test_limits_and_detail(void **state)
{
    static const struct {
        const char *body;
        int status;
        const char *answer;
    } rows[] = {
        {"[{},{},{}]", 204, ""},
        {"[{},{},{},{}]", 413, "{\"error\":\"batch_too_large\",\"detail\":\"more events than max_events_per_batch\"}"},
        {"[{},{},{},{},5]", 400, "\"error\":\"invalid_request\""}, // wins over what is too large
        {"[{},7]", 400, "event 1, at byte 4\"}"},
        {"{}", 400, "\"error\":\"invalid_request\""},
        {"[{}", 400, "\"error\":\"invalid_request\""},
    };
    char text[4096], large[512];
    (void)state;

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct bench *b = bench_new();
        int fd = bench_connect(b);
        bench_start(b);
        post(fd, rows[i].body);
        assert_int_equal(answer(fd, text, sizeof text), rows[i].status);
        assert_non_null(strstr(text, rows[i].answer));
        close(fd);
        bench_end(b);
    }
    for (int over = 0; over <= 1; over++) { // an event of exactly 200 bytes, and one of 201
        struct bench *b = bench_new();
        int fd = bench_connect(b);
        snprintf(large, sizeof large, "[{},{\"k\":\"%0*d\"}]", 192 + over, 0);
        bench_start(b);
        post(fd, large);
        assert_int_equal(answer(fd, text, sizeof text), over ? 413 : 204);
        assert_true(!over ||
                    strstr(text, "\"event_too_large\",\"detail\":\"larger than max_event_size_bytes, event 1") != NULL);
        close(fd);
        bench_end(b);
    }
}

// Each row has every fault of the rows before it put right, so the answers come in the order of the contract.
static void test_headers_in_order(void **state)
{
    static const struct {
        const char *headers;
        int status;
        const char *answer;
    } rows[] = {
        {"Content-Length: 1001\r\n", 415, "{\"error\":\"invalid_content_type\"}"},
        {"Content-Type: application/jsonx\r\nContent-Length: 1001\r\n", 415, "\"invalid_content_type\""},
        {"Content-Type: application/json\r\nContent-Type: application/json\r\nContent-Length: 1001\r\n", 415,
         "\"invalid_content_type\""},
        {"Content-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: 1001\r\n", 415,
         "\"invalid_content_type\""},
        {"Content-Type: application/json\r\nContent-Length: 1001\r\n", 401, "WWW-Authenticate: Bearer\r\n"},
        {"Content-Type: application/json\r\nAuthorization: Bearer token-two\r\nContent-Length: 1001\r\n", 401,
         "{\"error\":\"unauthorized\"}"},
        {"Content-Type: application/json\r\nAuthorization: Bearer token-one\r\nX-Spip-ID: s2\r\n"
         "Content-Length: 1001\r\n",
         401, "{\"error\":\"unauthorized\"}"},
        {"Content-Type: application/json\r\nAuthorization: Bearer token-one\r\n"
         "Authorization: Bearer token-one\r\nContent-Length: 1001\r\n",
         401, "{\"error\":\"unauthorized\"}"},
        {"Content-Type: application/json\r\nAuthorization: Bearer token-one\r\nContent-Length: 1001\r\n", 413,
         "{\"error\":\"payload_too_large\",\"detail\":\"larger than max_body_size_bytes\"}"},
        {"Content-Type: Application/JSON ; charset=utf-8\r\nContent-Encoding: identity\r\nX-Spip-ID: s1\r\n"
         "Authorization: bearer token-one\r\nContent-Length: 2\r\n",
         204, ""},
    };
    char text[4096], request[1024];
    (void)state;

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct bench *b = bench_new();
        int fd = bench_connect(b);
        bench_start(b);
        int len = snprintf(request, sizeof request, "POST / HTTP/1.1\r\nHost: loom\r\n%s\r\n%s", rows[i].headers,
                           rows[i].status == 204 ? "[]" : "");
        assert_int_equal(write(fd, request, (size_t)len), len);
        assert_int_equal(answer(fd, text, sizeof text), rows[i].status);
        assert_non_null(strstr(text, rows[i].answer));
        close(fd);
        bench_end(b);
    }
}

// A connection that is kept is no one's: a token that was good or bad says nothing of the next, nor of the sensor's name.
static void test_token_of_each_request(void **state)
{
    static const struct {
        const char *headers;
        int status;
    } rows[] = {
        {"Authorization: Bearer token-one\r\n", 204},
        {"Authorization: Bearer token-two\r\n", 401}, // as long as the right one
        {"Authorization: Bearer token-one\r\n", 204},
        {"Authorization: Bearer token-o\r\n", 401},
        {"Authorization: Bearer second\r\nX-Spip-ID: s2\r\n", 204},
        {"Authorization: Bearer token-one\r\nX-Spip-ID: s2\r\n", 401},
        {"", 401},
        {"Authorization: Bearer token-one\r\nX-Spip-ID: s1\r\n", 204},
    };
    char text[4096], request[1024];
    struct bench *b = bench_new();
    int fd = bench_connect(b);
    (void)state;

    bench_start(b);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int len = snprintf(request, sizeof request,
                           "POST / HTTP/1.1\r\nHost: loom\r\n%sContent-Type: application/json\r\n"
                           "Content-Length: 2\r\n\r\n[]",
                           rows[i].headers);
        assert_int_equal(write(fd, request, (size_t)len), len);
        assert_int_equal(answer(fd, text, sizeof text), rows[i].status);
    }
    struct auth *auth = b->ingest.auth;
    assert_int_equal(sensor_count_of(auth_sensor(auth, 0), 204), 3);
    assert_int_equal(sensor_count_of(auth_sensor(auth, 0), 401), 1); // right token, another's name
    assert_int_equal(sensor_count_of(auth_sensor(auth, 1), 204), 1);
    assert_int_equal(sensor_count_of(auth_unknown(auth), 401), 3);
    close(fd);
    bench_end(b);
}

// A chunked body is admitted piece by piece: over the limit, over the budget, and as large as it may be.
static void test_body_without_length(void **state)
{
    static const struct {
        int length;
        uint64_t taken;
        int status;
        const char *answer;
    } rows[] = {
        {1000, 0, 204, ""},
        {1001, 0, 413, "{\"error\":\"payload_too_large\",\"detail\":\"larger than max_body_size_bytes\"}"},
        {1000, 9000, 204, ""},
        {1000, 9001, 503, "{\"error\":\"unavailable\"}"},
    };
    char text[4096], request[2048];
    (void)state;

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct bench *b = bench_new();
        int fd = bench_connect(b);
        budget_charge(&b->budget, rows[i].taken);
        bench_start(b);
        int len = snprintf(request, sizeof request,
                           "POST / HTTP/1.1\r\nHost: loom\r\nAuthorization: Bearer token-one\r\n"
                           "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
                           "1\r\n[\r\n%x\r\n%*s]\r\n0\r\n\r\n",
                           (unsigned)rows[i].length - 1, rows[i].length - 2, "");
        assert_int_equal(write(fd, request, (size_t)len), len);
        assert_int_equal(answer(fd, text, sizeof text), rows[i].status);
        assert_non_null(strstr(text, rows[i].answer));
        close(fd);
        bench_stop(b);
        budget_release(&b->budget, rows[i].taken);
        bench_free(b);
    }
}

// Requests are paid for at the headers; events when they are counted, so a batch that overdraws keeps the next one out.
static void test_rate_limits(void **state)
{
    static const struct {
        int64_t rps, events_rps;
    } rows[] = {{1, -1}, {-1, 1}};
    char text[4096];
    (void)state;

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct bench *b = bench_new();
        int fd = bench_connect(b);
        b->ingest.limits.per_sensor_rps = rows[i].rps;
        b->ingest.limits.per_sensor_events_rps = rows[i].events_rps;
        int64_t far_ns = clock_mono_ns() + 3600 * NS_PER_S; // however slow the machine is
        bench_start(b);
        post(fd, "[{},{}]");
        assert_int_equal(answer(fd, text, sizeof text), 204);
        struct sensor *sensor = auth_sensor(b->ingest.auth, 0);
        int64_t *due_ns = rows[i].rps > 0 ? &sensor->requests_due_ns : &sensor->events_due_ns;
        assert_true(__atomic_load_n(due_ns, __ATOMIC_RELAXED) > 0);
        __atomic_store_n(due_ns, far_ns, __ATOMIC_RELAXED);
        post(fd, "[{}]");
        assert_int_equal(answer(fd, text, sizeof text), 429);
        assert_non_null(strstr(text, "{\"error\":\"rate_limit_exceeded\"}"));
        const char *retry = strstr(text, "Retry-After: ");
        assert_non_null(retry);
        assert_in_range(atoi(retry + 13), 3000, 3600);
        close(fd);
        bench_end(b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_safe_is_204),
        cmocka_unit_test(test_store_says_no),
        cmocka_unit_test(test_closed_store_is_refused_before_the_body),
        cmocka_unit_test(test_ack_timeout),
        cmocka_unit_test(test_client_gone_while_waiting),
        cmocka_unit_test(test_shutdown_while_waiting),
        cmocka_unit_test(test_memory_is_admitted),
        cmocka_unit_test(test_memory_is_admitted_as_it_comes),
        cmocka_unit_test(test_headers_in_order),
        cmocka_unit_test(test_token_of_each_request),
        cmocka_unit_test(test_body_without_length),
        cmocka_unit_test(test_rate_limits),
        cmocka_unit_test(test_limits_and_detail),
    };
    log_setup(LOG_ERROR, LOG_JSON);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
