// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "store/memory.h"

#include <pthread.h>
#include <sched.h>
#include <string.h>

#include "base/mem.h"

#define WORKERS 4
#define BATCHES 5000

struct test_batch {
    struct batch batch; // first
    uint32_t ends[3];
    unsigned worker, number;
};

// The pump as the store sees it. Shared by the threads of a test.
struct reader {
    unsigned wakes; // atomic
    bool delivering;
};

static struct mailbox home;
static unsigned home_wakes;
static unsigned answered;   // mails run
static int answered_status; // of the last one

static void on_answer(struct mail *mail)
{
    answered++;
    answered_status = ((struct batch *)mail)->status;
}

static void count_wake(void *ctx)
{
    __atomic_fetch_add((unsigned *)ctx, 1, __ATOMIC_RELAXED);
}

static bool is_delivering(void *ctx)
{
    return ((struct reader *)ctx)->delivering;
}

// Three events: "a\n", "bb\n", "ccc\n".
static void fill(struct test_batch *test)
{
    memset(test, 0, sizeof *test);
    test->batch.mail.run = on_answer;
    test->batch.home = &home;
    test->batch.status = 1;
    test->batch.lines = (struct buf){(char *)"a\nbb\nccc\n", 9, 9};
    test->ends[0] = 2;
    test->ends[1] = 5;
    test->ends[2] = 9;
    test->batch.ends = test->ends;
    test->batch.count = 3;
}

static struct store *store_with(struct reader *reader)
{
    *reader = (struct reader){.delivering = true};
    home_wakes = answered = 0;
    mailbox_init(&home, count_wake, &home_wakes);
    struct store *store = store_memory_new();
    store->ops->attach(store, &(struct store_reader){count_wake, is_delivering, reader});
    return store;
}

static void events_have_their_bytes(void **state)
{
    (void)state;
    struct test_batch test;
    fill(&test);
    assert_true(text_eq(batch_event(&test.batch, 0), TEXT("a\n")));
    assert_true(text_eq(batch_event(&test.batch, 1), TEXT("bb\n")));
    assert_true(text_eq(batch_event(&test.batch, 2), TEXT("ccc\n")));
}

static void taken_in_order_of_arrival(void **state)
{
    (void)state;
    struct reader reader;
    struct store *store = store_with(&reader);
    struct test_batch tests[5];
    struct batch *taken[5];
    for (int i = 0; i < 3; i++) {
        fill(&tests[i]);
        assert_int_equal(store_append(store, &tests[i].batch), 0);
    }
    assert_int_equal(reader.wakes, 0);
    store_kick(store);
    assert_int_equal(reader.wakes, 1); // once for all of them
    assert_int_equal(store->ops->take(store, taken, 2), 2);
    for (int i = 3; i < 5; i++) {
        fill(&tests[i]);
        assert_int_equal(store_append(store, &tests[i].batch), 0);
    }
    assert_int_equal(store->ops->take(store, taken + 2, 1), 1);
    assert_int_equal(store->ops->take(store, taken + 3, 5), 2);
    for (int i = 0; i < 5; i++)
        assert_ptr_equal(taken[i], &tests[i].batch);
    assert_int_equal(store->ops->take(store, taken, 5), 0);
    for (int i = 0; i < 5; i++)
        store->ops->settle(store, &tests[i].batch, 0, 3, VERDICT_DELIVERED);
    store->ops->close(store);
}

static void safe_with_the_last_verdict(void **state)
{
    (void)state;
    struct reader reader;
    struct store *store = store_with(&reader);
    struct test_batch test;
    struct batch *taken;
    struct store_stats stats;
    fill(&test);
    assert_int_equal(store_append(store, &test.batch), 0);
    store->ops->stats(store, &stats);
    assert_int_equal(stats.batches, 1);
    assert_int_equal(stats.events, 3);
    assert_int_equal(stats.bytes, 9);
    assert_int_equal(store->ops->take(store, &taken, 1), 1);
    store->ops->settle(store, taken, 2, 1, VERDICT_DELIVERED); // any order
    store->ops->settle(store, taken, 0, 1, VERDICT_REJECTED);
    assert_int_equal(home_wakes, 0);
    store->ops->settle(store, taken, 1, 1, VERDICT_DELIVERED);
    assert_true(mailbox_run(&home));
    assert_int_equal(answered, 1);
    assert_int_equal(answered_status, 0);
    store->ops->stats(store, &stats);
    assert_int_equal(stats.batches, 0);
    assert_int_equal(stats.events, 0);
    assert_int_equal(stats.bytes, 0);
    store->ops->close(store);
}

static void not_safe_when_an_event_was_given_up(void **state)
{
    (void)state;
    struct reader reader;
    struct store *store = store_with(&reader);
    struct test_batch test;
    struct batch *taken;
    fill(&test);
    assert_int_equal(store_append(store, &test.batch), 0);
    assert_int_equal(store->ops->take(store, &taken, 1), 1);
    store->ops->settle(store, taken, 1, 1, VERDICT_RETRY);
    store->ops->settle(store, taken, 0, 1, VERDICT_DELIVERED);
    assert_int_equal(home_wakes, 0);
    store->ops->settle(store, taken, 2, 1, VERDICT_DELIVERED);
    assert_true(mailbox_run(&home));
    assert_int_equal(answered, 1);
    assert_int_equal(answered_status, -EAGAIN);
    store->ops->close(store);
}

static void refuses_what_would_wait(void **state)
{
    (void)state;
    struct store *unread = store_memory_new();
    struct test_batch test;
    fill(&test);
    store_kick(unread); // nobody to wake yet
    assert_false(store_accepts(unread));
    assert_int_equal(store_append(unread, &test.batch), -EAGAIN);
    unread->ops->close(unread);

    struct reader reader;
    struct store *store = store_with(&reader);
    assert_true(store_accepts(store));
    reader.delivering = false;
    assert_false(store_accepts(store));
    assert_int_equal(store_append(store, &test.batch), -EAGAIN);
    reader.delivering = true;
    assert_true(store_accepts(store));
    store->ops->drain(store);
    assert_false(store_accepts(store));
    assert_int_equal(store_append(store, &test.batch), -ESHUTDOWN);
    assert_int_equal(reader.wakes, 0);
    store->ops->close(store);
    assert_false(mailbox_run(&home));
}

static void what_is_not_delivered_is_given_back(void **state)
{
    (void)state;
    struct reader reader;
    struct store *store = store_with(&reader);
    struct test_batch tests[3];
    struct batch *taken;
    for (int i = 0; i < 3; i++) {
        fill(&tests[i]);
        assert_int_equal(store_append(store, &tests[i].batch), 0);
    }
    store->ops->drain(store);
    assert_int_equal(store->ops->take(store, &taken, 1), 1); // what is in goes on
    store->ops->settle(store, taken, 0, 2, VERDICT_DELIVERED);
    store->ops->give_back(store, taken);
    assert_true(mailbox_run(&home));
    assert_int_equal(answered, 1);
    assert_int_equal(answered_status, -ESHUTDOWN);
    store->ops->close(store); // the two that nobody took
    assert_true(mailbox_run(&home));
    assert_int_equal(answered, 3);
    for (int i = 0; i < 3; i++)
        assert_int_equal(tests[i].batch.status, -ESHUTDOWN);
}

struct worker {
    pthread_t thread;
    struct store *store;
    struct test_batch *batches;
};

static void *append_all(void *arg)
{
    struct worker *worker = arg;
    for (unsigned i = 0; i < BATCHES; i++)
        if (store_append(worker->store, &worker->batches[i].batch) != 0)
            return worker;
    return NULL;
}

static void many_workers_one_pump(void **state)
{
    (void)state;
    struct reader reader;
    struct store *store = store_with(&reader);
    struct worker workers[WORKERS];
    unsigned next[WORKERS] = {0};
    for (unsigned w = 0; w < WORKERS; w++) {
        workers[w] = (struct worker){.store = store, .batches = mem_array(BATCHES, sizeof(struct test_batch))};
        for (unsigned i = 0; i < BATCHES; i++) {
            fill(&workers[w].batches[i]);
            workers[w].batches[i].worker = w;
            workers[w].batches[i].number = i;
        }
    }
    for (unsigned w = 0; w < WORKERS; w++)
        assert_int_equal(pthread_create(&workers[w].thread, NULL, append_all, &workers[w]), 0);
    unsigned taken = 0;
    while (taken < WORKERS * BATCHES) {
        struct batch *batches[16];
        struct store_stats stats;
        size_t count = store->ops->take(store, batches, 16);
        for (size_t i = 0; i < count; i++) {
            struct test_batch *test = (struct test_batch *)batches[i];
            assert_int_equal(test->number, next[test->worker]++);
            store->ops->settle(store, batches[i], 0, 3, VERDICT_DELIVERED);
        }
        taken += count;
        store->ops->stats(store, &stats);
        assert_true(stats.events <= 3 * WORKERS * BATCHES); // never below zero
        if (count == 0)
            sched_yield();
    }
    assert_true(mailbox_run(&home));
    assert_int_equal(answered, WORKERS * BATCHES);
    for (unsigned w = 0; w < WORKERS; w++) {
        void *failed;
        pthread_join(workers[w].thread, &failed);
        assert_null(failed);
        mem_free(workers[w].batches);
    }
    store->ops->close(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_have_their_bytes),    cmocka_unit_test(taken_in_order_of_arrival),
        cmocka_unit_test(safe_with_the_last_verdict), cmocka_unit_test(not_safe_when_an_event_was_given_up),
        cmocka_unit_test(refuses_what_would_wait),    cmocka_unit_test(what_is_not_delivered_is_given_back),
        cmocka_unit_test(many_workers_one_pump),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
