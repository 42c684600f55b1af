// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "rig.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "sink/sink.h"

// An output that keeps order: one hand-over at a time, reported from within deliver; what came back of it is first in the next.

static int set_up(void **state)
{
    int rc = rig_set_up(state);
    script.limits =
        (struct sink_limits){.max_bytes = 1 << 20, .max_events = UINT32_MAX, .in_flight = 1, .ordered = true};
    script.delay_ms = -1;
    script.stuck_ms = 60000;
    return rc;
}

static void append_large(void)
{
    rig_append_padded(1, 100000);
    store_kick(worker.store);
}

static void set_held(bool held)
{
    __atomic_store_n(&script.held, held, __ATOMIC_RELEASE);
}

static void set_result(enum sink_result result)
{
    __atomic_store_n(&script.result, result, __ATOMIC_RELEASE);
}

static void assert_order(const unsigned *expected, unsigned count)
{
    assert_int_equal(script.ordered, count);
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(script.order[i], expected[i]);
}

// ---- Delivery

static void batches_in_order(void **state)
{
    (void)state;
    rig_start(1, 1);
    for (unsigned i = 0; i < 500; i++)
        rig_append(1 + i % 5);
    rig_wait_answers(500);
    assert_int_equal(worker.answered_safe, 500);
    assert_int_equal(counter_get(&pump_sink_stats(worker.pump)->events), worker.events);
    assert_int_equal(rig_stop(10000), 0);
    assert_int_equal(script.ordered, worker.events);
    for (unsigned i = 0; i < script.ordered; i++)
        assert_int_equal(script.order[i], i);
}

static void hand_overs_are_bounded(void **state)
{
    (void)state;
    rig_start(1, 1);
    set_held(true);
    rig_append(1);
    rig_wait_calls(1);
    for (unsigned i = 0; i < 200; i++)
        rig_append(1);
    for (unsigned i = 0; i < 30; i++)
        append_large();
    set_held(false);
    rig_wait_answers(231);
    assert_int_equal(rig_stop(10000), 0);
    size_t most_items = 0;
    uint64_t most_bytes = 0;
    for (unsigned i = 0; i < rig_calls(); i++) {
        most_items = script.call[i].items > most_items ? script.call[i].items : most_items;
        most_bytes = script.call[i].bytes > most_bytes ? script.call[i].bytes : most_bytes;
    }
    assert_int_equal(most_items, 64);
    assert_in_range(most_bytes, 1000000, 1024 * 1024);
    assert_true(rig_calls() <= 10); // and not one a batch
}

static void retry_in_the_middle_comes_before_what_is_newer(void **state)
{
    (void)state;
    script.retries[3] = 1;
    script.retries[4] = 1;
    script.retries[7] = 2;
    rig_start(1, 1);
    set_held(true);
    rig_append(10);
    rig_wait_calls(1);
    rig_append(2); // waits in the store
    set_held(false);
    rig_wait_answers(2);
    assert_int_equal(rig_stop(10000), 0);
    static const unsigned expected[] = {0, 1, 2, 5, 6, 8, 9, 3, 4, 7, 10, 11};
    assert_order(expected, 12);
    for (unsigned i = 0; i < 12; i++) // only what was not delivered came again
        assert_int_equal(script.seen[i], i == 7 ? 3 : i == 3 || i == 4 ? 2 : 1);
    assert_int_equal(counter_get(&pump_sink_stats(worker.pump)->errors), 2);
}

static void retry_of_several_batches_keeps_their_order(void **state)
{
    (void)state;
    for (unsigned i = 1; i < 9; i++)
        script.retries[i] = i % 3;
    rig_start(1, 1);
    set_held(true);
    rig_append(1);
    rig_wait_calls(1);
    rig_append(3);
    rig_append(3);
    rig_append(3);
    set_held(false);
    rig_wait_answers(4);
    assert_int_equal(rig_stop(10000), 0);
    static const unsigned expected[] = {0, 3, 6, 9, 1, 4, 7, 2, 5, 8};
    assert_order(expected, 10);
}

// Batches taken at once make hand-overs of 1 MiB, ten each; one of the second hand-over comes back.
static void retry_comes_before_what_was_not_handed_over_yet(void **state)
{
    (void)state;
    script.retries[14] = 1;
    rig_start(1, 1);
    set_held(true);
    rig_append(1);
    rig_wait_calls(1);
    for (unsigned i = 0; i < 40; i++)
        append_large();
    set_held(false);
    rig_wait_answers(41);
    assert_int_equal(rig_stop(10000), 0);
    unsigned expected[41];
    for (unsigned i = 0; i < 41; i++)
        expected[i] = i < 14 || i > 20 ? i : i < 20 ? i + 1 : 14;
    assert_order(expected, 41);
}

static void rejected_is_final(void **state)
{
    (void)state;
    script.reject[1] = true;
    rig_start(1, 1);
    rig_append(3);
    rig_wait_answers(1);
    assert_int_equal(worker.answered_safe, 1);
    assert_int_equal(counter_get(&pump_sink_stats(worker.pump)->rejected), 1);
    assert_int_equal(counter_get(&pump_sink_stats(worker.pump)->events), 2);
    assert_int_equal(rig_stop(10000), 0);
    assert_int_equal(script.seen[1], 1);
    assert_int_equal(rig_logged("\"output rejected events\",\"output\":\"fake\",\"events\":1"), 1);
}

// ---- Up and down

static void down_until_a_delivery_succeeds(void **state)
{
    (void)state;
    struct pump_state now;
    rig_start(1, 1);
    pump_state(worker.pump, &now);
    assert_true(now.up);
    assert_string_equal(now.reason, "");
    set_result(SINK_DOWN);
    rig_append(2);
    rig_wait_up(false, &now);
    assert_string_equal(now.reason, "fake: not now");
    assert_true(now.since_real_ns <= clock_real_ns());
    rig_wait_calls(5); // it goes on trying
    assert_false(store_accepts(worker.store));
    struct batch *refused = rig_batch_new(1, 0);
    assert_int_equal(store_append(worker.store, refused), -EAGAIN);
    rig_batch_free(refused);
    assert_int_equal(worker.answered, 0);
    set_result(SINK_OK);
    rig_wait_answers(1);
    rig_wait_up(true, &now);
    assert_string_equal(now.reason, "");
    assert_true(store_accepts(worker.store));
    assert_int_equal(rig_stop(10000), 0);
    assert_int_equal(rig_logged("\"output down\",\"reason\":\"fake: not now\""), 1); // the change, not every try
    assert_int_equal(rig_logged("\"output up again\",\"down_ms\":"), 1);
}

static void stuck_is_down(void **state)
{
    (void)state;
    struct pump_state now;
    script.stuck_ms = 500; // and not for the time that it takes to tell of a delivery
    rig_start(1, 1);
    set_held(true);
    rig_append(1);
    rig_wait_up(false, &now);
    assert_memory_equal(now.reason, "fake: blocked for ", 18);
    assert_false(store_accepts(worker.store));
    set_held(false);
    rig_wait_answers(1);
    rig_wait_up(true, &now);
    assert_true(store_accepts(worker.store));
    assert_int_equal(rig_stop(10000), 0);
    assert_int_equal(rig_logged("\"output down\",\"reason\":\"fake: blocked"), 1);
    assert_int_equal(rig_logged("\"output up again\""), 1);
}

static void open_fails(void **state)
{
    (void)state;
    struct err err = {0};
    script.refuse_open = true;
    assert_int_equal(rig_try_start(&rig_sink, 1, 1, &err), ERR_OUTPUT);
    assert_string_equal(err.text, "fake: no such place");
    assert_null(worker.pump);
    assert_false(store_accepts(worker.store));
}

// ---- Stop

static void stop_delivers_what_is_in(void **state)
{
    (void)state;
    rig_start(1, 1);
    for (unsigned i = 0; i < 200; i++)
        rig_append(3);
    assert_int_equal(rig_stop(30000), 0);
    assert_int_equal(worker.answered_safe, 200);
}

static void stop_ends_a_blocked_delivery_after_its_grace(void **state)
{
    (void)state;
    for (int asynchronous = 0; asynchronous < 2; asynchronous++) {
        script.delay_ms = asynchronous ? 1 : -1;
        rig_start(1, 1);
        set_held(true);
        rig_append(2);
        rig_wait_calls(1);
        rig_append(3); // never taken
        int64_t begin_ns = clock_mono_ns();
        assert_int_equal(rig_stop(50), 5);
        assert_in_range(clock_mono_ns() - begin_ns, 50 * NS_PER_MS, SOON_NS);
        assert_int_equal(worker.answered, 2);
        assert_int_equal(worker.answered_safe, 0);
        for (unsigned i = 0; i < 2; i++)
            assert_int_equal(worker.batches[i]->status, -ESHUTDOWN);
        rig_tear_down(state);
        set_up(state);
    }
}

static void stop_while_down_tries_once_more(void **state)
{
    (void)state;
    struct pump_state now;
    rig_start(600000, 600000);
    set_result(SINK_DOWN);
    rig_append(2);
    rig_wait_up(false, &now);
    set_result(SINK_OK);
    assert_int_equal(rig_stop(30000), 0); // did not wait for the ten minutes of its timer
    assert_int_equal(worker.answered_safe, 1);
}

static void stop_while_down_gives_back_what_is_not_out(void **state)
{
    (void)state;
    struct pump_state now;
    for (unsigned i = 1; i < 8; i += 2)
        script.retries[i] = 1000;
    rig_start(600000, 600000);
    rig_append(4);
    rig_wait_up(false, &now);
    assert_int_equal(rig_stop(20), 2); // 0 and 2 are out
    assert_int_equal(worker.answered, 1);
    assert_int_equal(worker.batches[0]->status, -ESHUTDOWN);
}

static void asynchronous_sink(void **state)
{
    (void)state;
    script.delay_ms = 1;
    script.retries[5] = 2;
    rig_start(1, 1);
    set_held(true);
    rig_append(10);
    rig_wait_calls(1);
    rig_append(10);
    set_held(false);
    rig_wait_answers(2);
    assert_int_equal(rig_stop(10000), 0);
    assert_int_equal(script.ordered, 20);
    assert_int_equal(script.order[9], 5);
    assert_int_equal(script.order[19], 19);
}

// ---- Threads

#define PINGS   2000
#define PINGERS 4

struct pinger {
    pthread_t thread;
    struct mailbox home;
    sem_t woken;
    struct batch *batch;
    unsigned answered;
};

static void on_ping_answer(struct mail *mail)
{
    struct batch *batch = (struct batch *)mail;
    struct pinger *pinger = (struct pinger *)((char *)batch->home - offsetof(struct pinger, home));
    pinger->answered += batch->status == 0;
}

static void post(void *ctx)
{
    sem_post(ctx);
}

// One batch at a time, so the pump falls asleep and is woken all the time: a lost wake-up would end in silence.
static void *ping(void *arg)
{
    struct pinger *pinger = arg;
    for (unsigned i = 1; i <= PINGS; i++) {
        if (store_append(worker.store, pinger->batch) != 0)
            return pinger;
        store_kick(worker.store);
        while (pinger->answered < i) {
            sem_wait(&pinger->woken);
            mailbox_run(&pinger->home);
        }
    }
    return NULL;
}

static void wake_ups_are_not_lost(void **state)
{
    (void)state;
    struct pinger pingers[PINGERS] = {0};
    rig_start(1, 1);
    for (unsigned i = 0; i < PINGERS; i++) {
        sem_init(&pingers[i].woken, 0, 0);
        mailbox_init(&pingers[i].home, post, &pingers[i].woken);
        pingers[i].batch = rig_batch_new(1, 0);
        pingers[i].batch->home = &pingers[i].home;
        pingers[i].batch->mail.run = on_ping_answer;
    }
    for (unsigned i = 0; i < PINGERS; i++)
        assert_int_equal(pthread_create(&pingers[i].thread, NULL, ping, &pingers[i]), 0);
    for (unsigned i = 0; i < PINGERS; i++) {
        void *failed;
        pthread_join(pingers[i].thread, &failed);
        assert_null(failed);
    }
    assert_int_equal(rig_stop(10000), 0);
    assert_int_equal(script.ordered, PINGS * PINGERS);
    for (unsigned i = 0; i < PINGERS; i++) {
        sem_destroy(&pingers[i].woken);
        rig_batch_free(pingers[i].batch);
    }
}

// ---- The real standard output

static void blocked_stdout(void **state)
{
    (void)state;
    int ends[2];
    struct pump_state now;
    fflush(stdout);
    int real_stdout = dup(STDOUT_FILENO);
    assert_int_equal(pipe(ends), 0);
    dup2(ends[1], STDOUT_FILENO);
    close(ends[1]);
    struct err err = {0};
    script.stuck_ms = 20;
    assert_int_equal(rig_try_start(&sink_stdout, 1, 1, &err), 0);
    rig_append(EVENTS_MAX); // 150 kB, and nobody reads
    rig_wait_up(false, &now);
    assert_memory_equal(now.reason, "stdout: blocked for ", 20);
    for (int in_pipe = 0; in_pipe < 65536; poll(NULL, 0, 1)) // and not just slow
        assert_int_equal(ioctl(ends[0], FIONREAD, &in_pipe), 0);
    int64_t begin_ns = clock_mono_ns();
    uint64_t given_back = rig_stop(50);
    int64_t took_ns = clock_mono_ns() - begin_ns;
    dup2(real_stdout, STDOUT_FILENO);
    close(real_stdout);
    close(ends[0]);
    uint64_t in_the_pipe = 0; // that is delivered
    while (worker.batches[0]->ends[in_the_pipe] <= 65536)
        in_the_pipe++;
    assert_int_equal(given_back, EVENTS_MAX - in_the_pipe);
    assert_in_range(took_ns, 50 * NS_PER_MS, SOON_NS);
    assert_int_equal(worker.batches[0]->status, -ESHUTDOWN);
}

int main(void)
{
#define PUMP_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, rig_tear_down)
    const struct CMUnitTest tests[] = {
        PUMP_TEST(batches_in_order),
        PUMP_TEST(hand_overs_are_bounded),
        PUMP_TEST(retry_in_the_middle_comes_before_what_is_newer),
        PUMP_TEST(retry_of_several_batches_keeps_their_order),
        PUMP_TEST(retry_comes_before_what_was_not_handed_over_yet),
        PUMP_TEST(rejected_is_final),
        PUMP_TEST(down_until_a_delivery_succeeds),
        PUMP_TEST(stuck_is_down),
        PUMP_TEST(open_fails),
        PUMP_TEST(stop_delivers_what_is_in),
        PUMP_TEST(stop_ends_a_blocked_delivery_after_its_grace),
        PUMP_TEST(stop_while_down_tries_once_more),
        PUMP_TEST(stop_while_down_gives_back_what_is_not_out),
        PUMP_TEST(asynchronous_sink),
        PUMP_TEST(wake_ups_are_not_lost),
        PUMP_TEST(blocked_stdout),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
