// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "store/files.h"
#include "yard.h"

static void appended_taken_settled(void **state)
{
    struct yard *yard = *state;
    yard_open(yard);
    assert_true(yard->store->ops->durable);
    assert_true(store_accepts(yard->store));
    yard_append(yard, 0, 3);
    assert_int_equal(yard->status[0], 0);

    struct batch *batch = yard_take_one(yard);
    yard_assert_batch(batch, 0, 3);
    uint32_t first;
    assert_int_equal(yard->store->ops->next_open(yard->store, batch, 0, &first), 3);
    assert_int_equal(first, 0);
    struct store_stats stats;
    yard->store->ops->stats(yard->store, &stats);
    assert_int_equal(stats.batches, 1);
    assert_int_equal(stats.events, 3);
    assert_true(stats.bytes > 0);
    assert_int_equal(stats.commits, 1);
    assert_int_equal(stats.commit_batches.sum, 1);
    assert_true(stats.oldest_real_ns == batch->arrived_real_ns);

    yard->store->ops->settle(yard->store, batch, 0, 3, VERDICT_DELIVERED);
    yard_wait_bytes(yard, 0); // the row is deleted without another append
    yard->store->ops->stats(yard->store, &stats);
    assert_int_equal(stats.batches, 0);
    assert_int_equal(stats.events, 0);
    assert_int_equal(stats.oldest_real_ns, 0);
    yard_close(yard);
}

static void order_is_kept(void **state)
{
    struct yard *yard = *state;
    yard_open(yard);
    for (unsigned i = 0; i < 200; i++)
        yard_push(yard, i, 1 + i % 5);
    store_kick(yard->store);
    yard_wait_answers(yard, 200);
    for (unsigned i = 0; i < 200; i++) {
        struct batch *batch = yard_take_one(yard);
        yard_assert_batch(batch, i, 1 + i % 5);
        yard->store->ops->settle(yard->store, batch, 0, batch->count, VERDICT_DELIVERED);
    }
    yard_assert_empty(yard);
    yard_close(yard);
    yard_open(yard);
    yard_assert_empty(yard);
    yard_close(yard);
}

static void partly_settled_over_restarts(void **state)
{
    struct yard *yard = *state;
    uint32_t first;
    yard_open(yard);
    for (unsigned i = 0; i < 3; i++)
        yard_push(yard, i, 20);
    store_kick(yard->store);
    yard_wait_answers(yard, 3);
    struct batch *batch[3];
    for (unsigned i = 0; i < 3; i++)
        batch[i] = yard_take_one(yard);
    // All of the one in the middle, some of the others.
    yard->store->ops->settle(yard->store, batch[1], 0, 20, VERDICT_DELIVERED);
    yard->store->ops->settle(yard->store, batch[0], 0, 5, VERDICT_DELIVERED);
    yard->store->ops->settle(yard->store, batch[0], 7, 13, VERDICT_REJECTED);
    yard->store->ops->settle(yard->store, batch[2], 19, 1, VERDICT_DELIVERED);
    yard->store->ops->give_back(yard->store, batch[0]);
    yard->store->ops->give_back(yard->store, batch[2]);
    yard_close(yard);

    yard_open(yard);
    struct store_stats stats;
    yard->store->ops->stats(yard->store, &stats);
    assert_int_equal(stats.events, 2 + 19);
    assert_int_equal(stats.batches, 2);
    batch[0] = yard_take_one(yard);
    yard_assert_batch(batch[0], 0, 20);
    assert_int_equal(yard->store->ops->next_open(yard->store, batch[0], 0, &first), 2);
    assert_int_equal(first, 5);
    assert_int_equal(yard->store->ops->next_open(yard->store, batch[0], 7, &first), 0);
    batch[2] = yard_take_one(yard);
    yard_assert_batch(batch[2], 2, 20);
    assert_int_equal(yard->store->ops->next_open(yard->store, batch[2], 0, &first), 19);
    assert_int_equal(first, 0);
    yard_assert_empty(yard);
    yard->store->ops->settle(yard->store, batch[0], 5, 2, VERDICT_DELIVERED);
    yard->store->ops->settle(yard->store, batch[2], 0, 19, VERDICT_DELIVERED);
    yard_close(yard);

    yard_open(yard);
    yard_assert_empty(yard);
    yard->store->ops->stats(yard->store, &stats);
    assert_int_equal(stats.bytes, 0);
    yard_close(yard);
}

// Workers append while the pump takes and settles: what was accepted comes exactly once, in each worker's order.
#define WORKERS 3
#define EACH    400

struct worker {
    pthread_t thread;
    struct store *store;
    struct mailbox home;
    unsigned index, answered;
    bool woken; // atomic
};
struct worker_batch {
    struct batch batch; // first
    struct worker *worker;
};

static void on_worker_answer(struct mail *mail)
{
    struct worker_batch *own = (struct worker_batch *)mail;
    if (own->batch.status == 0) // cmocka's checks are for the main thread
        own->worker->answered++;
    mem_free(own->batch.ends);
    buf_fini(&own->batch.lines);
    mem_free(own);
}

static void worker_wake(void *ctx)
{
    __atomic_store_n(&((struct worker *)ctx)->woken, true, __ATOMIC_RELEASE);
}

static void *worker_main(void *ctx)
{
    struct worker *worker = ctx;
    for (unsigned i = 0; i < EACH; i++) {
        struct worker_batch *own = mem_zalloc(sizeof *own);
        own->worker = worker;
        uint32_t *ends = mem_array(2, sizeof *ends);
        ends[0] = 3;
        ends[1] = 6;
        own->batch = (struct batch){.mail.run = on_worker_answer,
                                    .home = &worker->home,
                                    .sensor = "s",
                                    .id = {.low = worker->index, .high = i},
                                    .lines = {mem_strdup("{}\n{}\n"), 6, 7},
                                    .ends = ends,
                                    .count = 2};
        while (store_append(worker->store, &own->batch) != 0)
            sched_yield();
        if (i % 3 == 0)
            store_kick(worker->store);
        (void)mailbox_run(&worker->home);
    }
    store_kick(worker->store);
    while (worker->answered < EACH) {
        while (!__atomic_exchange_n(&worker->woken, false, __ATOMIC_ACQUIRE))
            usleep(200);
        (void)mailbox_run(&worker->home);
    }
    return NULL;
}

static void many_threads(void **state)
{
    struct yard *yard = *state;
    struct worker workers[WORKERS] = {0};
    unsigned next[WORKERS] = {0};
    yard_open(yard);
    for (unsigned i = 0; i < WORKERS; i++) {
        workers[i].store = yard->store;
        workers[i].index = i;
        mailbox_init(&workers[i].home, worker_wake, &workers[i]);
        assert_int_equal(pthread_create(&workers[i].thread, NULL, worker_main, &workers[i]), 0);
    }
    for (unsigned taken = 0; taken < WORKERS * EACH; taken++) {
        struct batch *batch = yard_take_one(yard);
        assert_in_range(batch->id.low, 0, WORKERS - 1);
        assert_int_equal(batch->id.high, next[batch->id.low]++);
        yard->store->ops->settle(yard->store, batch, 1, 1, VERDICT_DELIVERED);
        yard->store->ops->settle(yard->store, batch, 0, 1, VERDICT_DELIVERED);
    }
    for (unsigned i = 0; i < WORKERS; i++)
        pthread_join(workers[i].thread, NULL);
    yard_assert_empty(yard);
    yard_wait_bytes(yard, 0);
    struct store_stats stats;
    yard->store->ops->stats(yard->store, &stats);
    assert_int_equal(stats.events, 0);
    assert_int_equal(stats.batches, 0);
    assert_int_equal(stats.commit_batches.sum, WORKERS * EACH);
    yard_close(yard);
}

static void drained_takes_no_more(void **state)
{
    struct yard *yard = *state;
    yard_open(yard);
    yard_push(yard, 0, 1);
    yard->store->ops->drain(yard->store);
    assert_int_equal(yard_try_push(yard, 1, 1), -ESHUTDOWN);
    assert_false(store_accepts(yard->store));
    yard_close(yard); // without a kick
    assert_int_equal(yard->answered, 1);
    assert_int_equal(yard->status[0], 0);
    yard_open(yard);
    struct batch *batch = yard_take_one(yard);
    yard_assert_batch(batch, 0, 1);
    yard->store->ops->give_back(yard->store, batch);
    assert_null(yard_take_any(yard)); // not again in this run
    yard_close(yard);
    yard_open(yard);
    batch = yard_take_one(yard);
    yard->store->ops->give_back(yard->store, batch);
    yard_close(yard);
}

static void rows_are_bounded(void **state)
{
    struct yard *yard = *state;
    char path[256];
    yard_open(yard);
    // More than a row takes, all of it before the first kick; of bytes that do not get shorter.
    unsigned seed = 7;
    enum { BATCHES = 24, BYTES = 600000 };
    for (unsigned i = 0; i < BATCHES; i++) {
        char *lines = mem_alloc(BYTES);
        for (size_t at = 0; at < BYTES; at++)
            lines[at] = (char)(rand_r(&seed) >> 8);
        lines[BYTES - 1] = '\n';
        struct yard_batch *own = mem_zalloc(sizeof *own);
        own->number = i;
        own->batch = (struct batch){.mail.run = yard_on_answer,
                                    .home = &yard->home,
                                    .sensor = "s",
                                    .id.low = i,
                                    .lines = {lines, BYTES, BYTES},
                                    .ends = mem_array(1, sizeof(uint32_t)),
                                    .count = 1};
        own->batch.ends[0] = BYTES;
        assert_int_equal(store_append(yard->store, &own->batch), 0);
    }
    store_kick(yard->store);
    yard_wait_answers(yard, BATCHES);
    struct durable_report report;
    struct err err;
    assert_int_equal(store_durable_inspect(yard->dir, &report, &err), 0);
    assert_int_equal(report.batches, BATCHES);
    assert_in_range(report.rows, 2, BATCHES);
    for (unsigned i = 0; i < BATCHES; i++) {
        struct batch *batch = yard_take_one(yard);
        assert_int_equal(batch->id.low, i);
        yard->store->ops->settle(yard->store, batch, 0, 1, VERDICT_DELIVERED);
    }
    yard_wait_bytes(yard, 0);
    // Some seconds later the disk has its room back.
    yard_path(yard, "outbox.db", path);
    for (int i = 0; i < 60000 && files_size(path) > BATCHES * BYTES * 2 / 3; i++)
        usleep(1000);
    assert_in_range(files_size(path), 1, BATCHES * BYTES * 2 / 3);
    yard_close(yard);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(appended_taken_settled, yard_setup, yard_teardown),
        cmocka_unit_test_setup_teardown(order_is_kept, yard_setup, yard_teardown),
        cmocka_unit_test_setup_teardown(partly_settled_over_restarts, yard_setup, yard_teardown),
        cmocka_unit_test_setup_teardown(many_threads, yard_setup, yard_teardown),
        cmocka_unit_test_setup_teardown(drained_takes_no_more, yard_setup, yard_teardown),
        cmocka_unit_test_setup_teardown(rows_are_bounded, yard_setup, yard_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
