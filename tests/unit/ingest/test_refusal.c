// SPDX-License-Identifier: Apache-2.0
//
// What is refused before the store has it: by headers, token, rate, memory and limits.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "bench.h"

static void test_memory_is_admitted(void **state)
{
    char text[4096];
    struct bench *b = bench_new();
    int fd = bench_connect(b);
    (void)state;

    budget_charge(&b->budget, 9999);
    bench_start(b);
    bench_post(fd, "[{}]");
    assert_int_equal(bench_answer(fd, text, sizeof text), 503);
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
    assert_int_equal(bench_answer(second, text, sizeof text), 503);
    assert_int_equal(write(fd, blank, 65537), 65537);
    wait_for_used(b, 131072 + 1000);
    budget_charge(&b->budget, 600000);
    assert_int_equal(write(fd, blank, 200000), 200000); // 262144 and then what is needed
    wait_for_used(b, 262144 + 3393 + 1000 + 600000);
    assert_int_equal(send(fd, blank, sizeof blank, MSG_NOSIGNAL), sizeof blank);
    assert_int_equal(bench_answer(fd, text, sizeof text), 503); // in the midst of it
    wait_for_used(b, 1000 + 600000);
    assert_int_equal(write(small, blank, 998), 998);
    assert_int_equal(write(small, "[]", 2), 2);
    assert_int_equal(bench_answer(small, text, sizeof text), 204);
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
        bench_post(fd, rows[i].body);
        assert_int_equal(bench_answer(fd, text, sizeof text), rows[i].status);
        assert_non_null(strstr(text, rows[i].answer));
        close(fd);
        bench_end(b);
    }
    for (int over = 0; over <= 1; over++) { // an event of exactly 200 bytes, and one of 201
        struct bench *b = bench_new();
        int fd = bench_connect(b);
        snprintf(large, sizeof large, "[{},{\"k\":\"%0*d\"}]", 192 + over, 0);
        bench_start(b);
        bench_post(fd, large);
        assert_int_equal(bench_answer(fd, text, sizeof text), over ? 413 : 204);
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
        assert_int_equal(bench_answer(fd, text, sizeof text), rows[i].status);
        assert_non_null(strstr(text, rows[i].answer));
        close(fd);
        bench_end(b);
    }
}

static uint64_t sensor_count_of(const struct sensor *sensor, unsigned status)
{
    for (size_t i = 0; i < SENSOR_STATUS_COUNT; i++)
        if (sensor_status[i] == status)
            return counter_get(&sensor->requests[i]);
    return 0;
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
        assert_int_equal(bench_answer(fd, text, sizeof text), rows[i].status);
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
        assert_int_equal(bench_answer(fd, text, sizeof text), rows[i].status);
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
        bench_post(fd, "[{},{}]");
        assert_int_equal(bench_answer(fd, text, sizeof text), 204);
        struct sensor *sensor = auth_sensor(b->ingest.auth, 0);
        int64_t *due_ns = rows[i].rps > 0 ? &sensor->requests_due_ns : &sensor->events_due_ns;
        assert_true(__atomic_load_n(due_ns, __ATOMIC_RELAXED) > 0);
        __atomic_store_n(due_ns, far_ns, __ATOMIC_RELAXED);
        bench_post(fd, "[{}]");
        assert_int_equal(bench_answer(fd, text, sizeof text), 429);
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
        cmocka_unit_test(test_memory_is_admitted),  cmocka_unit_test(test_memory_is_admitted_as_it_comes),
        cmocka_unit_test(test_headers_in_order),    cmocka_unit_test(test_token_of_each_request),
        cmocka_unit_test(test_body_without_length), cmocka_unit_test(test_rate_limits),
        cmocka_unit_test(test_limits_and_detail),
    };
    log_setup(LOG_ERROR, LOG_JSON);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
