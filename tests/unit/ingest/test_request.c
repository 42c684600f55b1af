// SPDX-License-Identifier: Apache-2.0
//
// A request that is taken, and what the store then says or does not say. What the contract says of a request from outside
// stands in tests/e2e; here is what only the inside shows.

#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "bench.h"

static struct batch *wait_for_batch(struct bench *b)
{
    struct batch *batch = NULL;
    for (int i = 0; i < 60000 && batch == NULL; i++) {
        batch = __atomic_exchange_n(&b->store.held, NULL, __ATOMIC_ACQ_REL);
        if (batch == NULL)
            usleep(1000);
    }
    assert_non_null(batch);
    return batch;
}

static void test_safe_is_204(void **state)
{
    char text[4096];
    struct bench *b = bench_new();
    int fd = bench_connect(b);
    (void)state;

    bench_start(b);
    bench_post(fd, " [ {\"a\" :1.0},\n{\"b\":\n2} ] ");
    assert_int_equal(bench_answer(fd, text, sizeof text), 204);
    assert_string_equal(b->store.lines, "{\"a\" :1.0}\n{\"b\":2}\n");
    bench_post(fd, "[]");
    assert_int_equal(bench_answer(fd, text, sizeof text), 204);
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
        bench_post(fd, "[{}]");
        assert_int_equal(bench_answer(fd, text, sizeof text), 503);
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
    assert_int_equal(bench_answer(fd, text, sizeof text), 503);
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
    bench_post(fd, "[{}]");
    assert_int_equal(bench_answer(fd, text, sizeof text), 503);
    assert_non_null(strstr(text, "Retry-After: 5\r\n"));
    struct batch *late = wait_for_batch(b);
    assert_true(budget_used(&b->budget) > 0); // what the store still has counts
    bench_settle(late, 0);

    __atomic_store_n(&b->store.mode, STORE_SAFE, __ATOMIC_RELEASE);
    bench_post(fd, "[{\"next\":1}]"); // the connection goes on, and so does its worker
    assert_int_equal(bench_answer(fd, text, sizeof text), 204);
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
    bench_post(gone, "[{\"gone\":1}]");
    struct batch *batch = wait_for_batch(b);
    close(gone);
    bench_post(fd, "[{}]");
    bench_settle(wait_for_batch(b), 0);
    assert_int_equal(bench_answer(fd, text, sizeof text), 204);
    bench_settle(batch, 0);
    bench_post(fd, "[{}]");
    bench_settle(wait_for_batch(b), 0);
    assert_int_equal(bench_answer(fd, text, sizeof text), 204);
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
    bench_post(fd, "[{}]");
    struct batch *batch = wait_for_batch(b);
    bench_stop(b);
    http_server_free(b->server);
    b->server = NULL;
    assert_int_equal(counter_get(&ingest_worker_stats(b->worker)->aborted), 1);
    assert_int_equal(ingest_worker_outstanding(b->worker), 1);
    bench_settle(batch, 0);
    assert_true(mailbox_run(loop_mailbox(b->loop)));
    close(fd);
    bench_free(b);
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
    };
    log_setup(LOG_ERROR, LOG_JSON);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
