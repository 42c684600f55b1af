// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "deliver/pump.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/loop.h"
#include "store/memory.h"

// The pump between a real memory store and a sink that does as the test says. Every line is the number of its event,
// which says what becomes of it. The test's thread is the worker that appends and hears the answers.

#define EVENTS_MAX 20000
#define LINE_BYTES 8
#define SOON_NS    (60 * NS_PER_S) // for what takes milliseconds on an idle machine

struct fake {
    struct sink sink;
    struct sink_report report;
    struct loop_timer timer;
    struct handover *handover; // asynchronous: under way
};

// What the sink is to do, and what it has seen. `retries` and `reject` are set before the events are appended.
static struct {
    bool down, blocked, interrupted; // atomic
    bool asynchronous, refuse_open;
    unsigned hand_overs; // atomic
    unsigned retries[EVENTS_MAX];
    bool reject[EVENTS_MAX];
    // The pump's thread; read after pump_stop.
    unsigned seen[EVENTS_MAX];
    unsigned order[EVENTS_MAX]; // delivered events
    unsigned delivered;
    uint64_t most_bytes;
    size_t most_items;
} script;

static bool get(const bool *flag)
{
    return __atomic_load_n(flag, __ATOMIC_ACQUIRE);
}

static void set(bool *flag, bool value)
{
    __atomic_store_n(flag, value, __ATOMIC_RELEASE);
}

static enum verdict fake_verdict(unsigned event)
{
    script.seen[event]++;
    if (get(&script.down) || get(&script.interrupted))
        return VERDICT_RETRY;
    if (script.retries[event] > 0) {
        script.retries[event]--;
        return VERDICT_RETRY;
    }
    if (script.reject[event])
        return VERDICT_REJECTED;
    script.order[script.delivered++] = event;
    return VERDICT_DELIVERED;
}

static void fake_report(struct fake *fake, struct handover *handover)
{
    const struct sink_item *items = handover->items;
    bool retry = false;
    for (size_t i = 0; i < handover->count; i++) {
        struct batch *batch = items[i].batch;
        uint32_t end = items[i].first + items[i].count;
        for (uint32_t e = items[i].first; e < end; e++) {
            unsigned event = (unsigned)strtoul(batch_event(batch, e).at, NULL, 10);
            enum verdict verdict = fake_verdict(event);
            retry |= verdict == VERDICT_RETRY;
            if (verdict == VERDICT_REJECTED)
                fake->report.reject(fake->report.ctx, handover, batch, e, 400, TEXT("kind"), TEXT("reason"));
            else
                fake->report.settle(fake->report.ctx, handover, batch, e, 1, verdict);
        }
    }
    fake->report.done(
        fake->report.ctx, handover,
        &(struct sink_outcome){.result = retry ? SINK_DOWN : SINK_OK, .error = retry ? "fake: not now" : ""});
}

static void on_fake_timer(struct loop_timer *timer)
{
    struct fake *fake = (struct fake *)((char *)timer - offsetof(struct fake, timer));
    if (get(&script.blocked) && !get(&script.interrupted))
        loop_timer_start(fake->report.loop, timer, 1, on_fake_timer);
    else
        fake_report(fake, fake->handover);
}

static void fake_deliver(struct sink *sink, struct handover *handover)
{
    struct fake *fake = (struct fake *)sink;
    uint64_t bytes = 0;
    for (size_t i = 0; i < handover->count; i++)
        bytes += handover->items[i].batch->lines.len;
    script.most_bytes = bytes > script.most_bytes ? bytes : script.most_bytes;
    script.most_items = handover->count > script.most_items ? handover->count : script.most_items;
    __atomic_fetch_add(&script.hand_overs, 1, __ATOMIC_RELEASE);
    if (script.asynchronous) {
        fake->handover = handover;
        loop_timer_start(fake->report.loop, &fake->timer, 1, on_fake_timer);
        return;
    }
    while (get(&script.blocked) && !get(&script.interrupted))
        poll(NULL, 0, 1);
    fake_report(fake, handover);
}

static int fake_open(const struct conf_output *conf, const struct sink_report *report, struct sink_limits *limits,
                     struct sink **out, struct err *err);

static void fake_interrupt(struct sink *sink)
{
    (void)sink;
    set(&script.interrupted, true);
}

static void fake_close(struct sink *sink)
{
    loop_timer_close(&((struct fake *)sink)->timer);
    mem_free(sink);
}

static const struct sink_ops fake_ops = {
    .name = "fake", .open = fake_open, .deliver = fake_deliver, .interrupt = fake_interrupt, .close = fake_close};

static int fake_open(const struct conf_output *conf, const struct sink_report *report, struct sink_limits *limits,
                     struct sink **out, struct err *err)
{
    (void)conf;
    if (script.refuse_open)
        return err_set(err, ERR_OUTPUT, "fake: no such place");
    struct fake *fake = mem_zalloc(sizeof *fake);
    fake->sink.ops = &fake_ops;
    fake->report = *report;
    *limits = (struct sink_limits){.max_bytes = 1 << 20, .max_events = UINT32_MAX, .in_flight = 1, .ordered = true};
    *out = &fake->sink;
    return 0;
}

// ---- The worker

static struct {
    struct store *store;
    struct pump *pump;
    struct mailbox home;
    sem_t woken;
    struct batch *batches[EVENTS_MAX];
    unsigned appended, answered, answered_safe;
    unsigned next_event;
    char dir[32]; // of the dead letters
    int log_file; // standard error of the test
    int real_stderr;
} worker;

static void on_answer(struct mail *mail)
{
    worker.answered++;
    worker.answered_safe += ((struct batch *)mail)->status == 0;
}

static void post(void *ctx)
{
    sem_post(ctx);
}

static struct batch *batch_new(uint32_t events, size_t line_bytes)
{
    struct batch *batch = mem_zalloc(sizeof *batch);
    batch->mail.run = on_answer;
    batch->home = &worker.home;
    batch->status = 1;
    batch->count = events;
    batch->ends = mem_array(events, sizeof *batch->ends);
    for (uint32_t i = 0; i < events; i++) {
        buf_printf(&batch->lines, "%-*u\n", (int)line_bytes - 1, worker.next_event++);
        batch->ends[i] = (uint32_t)batch->lines.len;
    }
    return batch;
}

static void batch_free(struct batch *batch)
{
    buf_fini(&batch->lines);
    mem_free(batch->ends);
    mem_free(batch);
}

static void append_lines(uint32_t events, size_t line_bytes)
{
    struct batch *batch = batch_new(events, line_bytes);
    worker.batches[worker.appended++] = batch;
    assert_int_equal(store_append(worker.store, batch), 0);
    store_kick(worker.store);
}

static void append(uint32_t events)
{
    append_lines(events, LINE_BYTES);
}

static void wait_answers(unsigned count)
{
    while (worker.answered < count) {
        sem_wait(&worker.woken);
        mailbox_run(&worker.home);
    }
}

static void start_with(const struct sink_ops *ops, int64_t backoff_ms, int64_t stuck_ms)
{
    static struct conf_output output; // outlives the pump
    output = (struct conf_output){.type = (char *)"stdout",
                                  .outbox = {.dir = worker.dir,
                                             .dead_letter_max_bytes = 1 << 20,
                                             .retry_backoff_ms = backoff_ms,
                                             .retry_max_backoff_ms = backoff_ms}};
    struct err err = {0};
    worker.store = store_memory_new();
    const struct pump_conf conf = {.output = &output, .stuck_ms = stuck_ms};
    assert_int_equal(pump_start(&conf, ops, worker.store, &worker.pump, &err), 0);
}

static void start(int64_t backoff_ms)
{
    start_with(&fake_ops, backoff_ms, 60000);
}

static uint64_t stop(int64_t grace_ms)
{
    worker.store->ops->drain(worker.store);
    uint64_t given_back = pump_stop(worker.pump, grace_ms);
    mailbox_run(&worker.home);
    return given_back;
}

static void wait_up(bool up, struct pump_state *state)
{
    int64_t deadline_ns = clock_mono_ns() + SOON_NS;
    do {
        pump_state(worker.pump, state);
        if (state->up == up)
            return;
        poll(NULL, 0, 1);
    } while (clock_mono_ns() < deadline_ns);
    fail_msg("the pump never went %s", up ? "up" : "down");
}

static void wait_hand_overs(unsigned count)
{
    int64_t deadline_ns = clock_mono_ns() + SOON_NS;
    while (__atomic_load_n(&script.hand_overs, __ATOMIC_ACQUIRE) < count) {
        assert_true(clock_mono_ns() < deadline_ns);
        poll(NULL, 0, 1);
    }
}

static int set_up(void **state)
{
    (void)state;
    memset(&script, 0, sizeof script);
    memset(&worker, 0, sizeof worker);
    sem_init(&worker.woken, 0, 0);
    mailbox_init(&worker.home, post, &worker.woken);
    snprintf(worker.dir, sizeof worker.dir, "/tmp/loom-test-XXXXXX");
    if (mkdtemp(worker.dir) == NULL)
        return -1;
    char path[] = "/tmp/loom-test-XXXXXX";
    worker.log_file = mkstemp(path);
    unlink(path);
    worker.real_stderr = dup(STDERR_FILENO);
    return dup2(worker.log_file, STDERR_FILENO) < 0;
}

static int tear_down(void **state)
{
    (void)state;
    pump_free(worker.pump);
    if (worker.store != NULL)
        worker.store->ops->close(worker.store);
    for (unsigned i = 0; i < worker.appended; i++)
        batch_free(worker.batches[i]);
    char letters[64];
    snprintf(letters, sizeof letters, "%s/dead-letters.ndjson", worker.dir);
    unlink(letters);
    rmdir(worker.dir);
    sem_destroy(&worker.woken);
    dup2(worker.real_stderr, STDERR_FILENO);
    close(worker.real_stderr);
    close(worker.log_file);
    return 0;
}

static unsigned logged(const char *message)
{
    static char text[65536];
    ssize_t len = pread(worker.log_file, text, sizeof text - 1, 0);
    unsigned count = 0;
    text[len > 0 ? len : 0] = '\0';
    for (const char *at = text; (at = strstr(at, message)) != NULL; at++)
        count++;
    return count;
}

static void assert_order(const unsigned *expected, unsigned count)
{
    assert_int_equal(script.delivered, count);
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(script.order[i], expected[i]);
}

// ---- Delivery

static void batches_in_order(void **state)
{
    (void)state;
    start(1);
    for (unsigned i = 0; i < 500; i++)
        append(1 + i % 5);
    wait_answers(500);
    assert_int_equal(worker.answered_safe, 500);
    assert_int_equal(counter_get(&pump_sink_stats(worker.pump)->events), worker.next_event);
    assert_int_equal(stop(10000), 0);
    assert_int_equal(script.delivered, worker.next_event);
    for (unsigned i = 0; i < script.delivered; i++)
        assert_int_equal(script.order[i], i);
}

static void hand_overs_are_bounded(void **state)
{
    (void)state;
    start(1);
    set(&script.blocked, true);
    append(1);
    wait_hand_overs(1);
    for (unsigned i = 0; i < 200; i++)
        append(1);
    for (unsigned i = 0; i < 30; i++)
        append_lines(1, 100000);
    set(&script.blocked, false);
    wait_answers(231);
    assert_int_equal(stop(10000), 0);
    assert_int_equal(script.most_items, 64);
    assert_in_range(script.most_bytes, 1000000, 1024 * 1024);
    assert_true(script.hand_overs <= 10); // and not one a batch
}

static void retry_in_the_middle_comes_before_what_is_newer(void **state)
{
    (void)state;
    script.retries[3] = 1;
    script.retries[4] = 1;
    script.retries[7] = 2;
    start(1);
    set(&script.blocked, true);
    append(10);
    wait_hand_overs(1);
    append(2); // waits in the store
    set(&script.blocked, false);
    wait_answers(2);
    assert_int_equal(stop(10000), 0);
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
    start(1);
    set(&script.blocked, true);
    append(1);
    wait_hand_overs(1);
    append(3);
    append(3);
    append(3);
    set(&script.blocked, false);
    wait_answers(4);
    assert_int_equal(stop(10000), 0);
    static const unsigned expected[] = {0, 3, 6, 9, 1, 4, 7, 2, 5, 8};
    assert_order(expected, 10);
}

// Batches taken at once make hand-overs of 1 MiB, ten each; one of the second hand-over comes back.
static void retry_comes_before_what_was_not_handed_over_yet(void **state)
{
    (void)state;
    script.retries[14] = 1;
    start(1);
    set(&script.blocked, true);
    append(1);
    wait_hand_overs(1);
    for (unsigned i = 0; i < 40; i++)
        append_lines(1, 100000);
    set(&script.blocked, false);
    wait_answers(41);
    assert_int_equal(stop(10000), 0);
    unsigned expected[41];
    for (unsigned i = 0; i < 41; i++)
        expected[i] = i < 14 || i > 20 ? i : i < 20 ? i + 1 : 14;
    assert_order(expected, 41);
}

static void rejected_is_final(void **state)
{
    (void)state;
    script.reject[1] = true;
    start(1);
    append(3);
    wait_answers(1);
    assert_int_equal(worker.answered_safe, 1);
    assert_int_equal(counter_get(&pump_sink_stats(worker.pump)->rejected), 1);
    assert_int_equal(counter_get(&pump_sink_stats(worker.pump)->events), 2);
    assert_int_equal(stop(10000), 0);
    assert_int_equal(script.seen[1], 1);
    assert_int_equal(logged("\"output rejected events\",\"output\":\"stdout\",\"events\":1"), 1);
}

// ---- Up and down

static void down_until_a_delivery_succeeds(void **state)
{
    (void)state;
    struct pump_state now;
    start(1);
    pump_state(worker.pump, &now);
    assert_true(now.up);
    assert_string_equal(now.reason, "");
    set(&script.down, true);
    append(2);
    wait_up(false, &now);
    assert_string_equal(now.reason, "fake: not now");
    assert_true(now.since_real_ns <= clock_real_ns());
    wait_hand_overs(5); // it goes on trying
    assert_false(store_accepts(worker.store));
    struct batch *refused = batch_new(1, LINE_BYTES);
    assert_int_equal(store_append(worker.store, refused), -EAGAIN);
    batch_free(refused);
    assert_int_equal(worker.answered, 0);
    set(&script.down, false);
    wait_answers(1);
    wait_up(true, &now);
    assert_string_equal(now.reason, "");
    assert_true(store_accepts(worker.store));
    assert_int_equal(stop(10000), 0);
    assert_int_equal(logged("\"output down\",\"reason\":\"fake: not now\""), 1); // the change, not every try
    assert_int_equal(logged("\"output up again\",\"down_ms\":"), 1);
}

static void stuck_is_down(void **state)
{
    (void)state;
    struct pump_state now;
    start_with(&fake_ops, 1, 500); // and not for the time that it takes to tell of a delivery
    set(&script.blocked, true);
    append(1);
    wait_up(false, &now);
    assert_memory_equal(now.reason, "fake: blocked for ", 18);
    assert_false(store_accepts(worker.store));
    set(&script.blocked, false);
    wait_answers(1);
    wait_up(true, &now);
    assert_true(store_accepts(worker.store));
    assert_int_equal(stop(10000), 0);
    assert_int_equal(logged("\"output down\",\"reason\":\"fake: blocked"), 1);
    assert_int_equal(logged("\"output up again\""), 1);
}

static void open_fails(void **state)
{
    (void)state;
    const struct conf_output output = {.type = (char *)"stdout",
                                       .outbox = {.retry_backoff_ms = 1, .retry_max_backoff_ms = 1}};
    const struct pump_conf conf = {.output = &output, .stuck_ms = 1000};
    struct err err = {0};
    script.refuse_open = true;
    worker.store = store_memory_new();
    assert_int_equal(pump_start(&conf, &fake_ops, worker.store, &worker.pump, &err), ERR_OUTPUT);
    assert_string_equal(err.text, "fake: no such place");
    assert_null(worker.pump);
    assert_false(store_accepts(worker.store));
}

// ---- Stop

static void stop_delivers_what_is_in(void **state)
{
    (void)state;
    start(1);
    for (unsigned i = 0; i < 200; i++)
        append(3);
    assert_int_equal(stop(30000), 0);
    assert_int_equal(worker.answered_safe, 200);
}

static void stop_ends_a_blocked_delivery_after_its_grace(void **state)
{
    (void)state;
    for (int asynchronous = 0; asynchronous < 2; asynchronous++) {
        script.asynchronous = asynchronous;
        start(1);
        set(&script.blocked, true);
        append(2);
        wait_hand_overs(1);
        append(3); // never taken
        int64_t begin_ns = clock_mono_ns();
        assert_int_equal(stop(50), 5);
        assert_in_range(clock_mono_ns() - begin_ns, 50 * NS_PER_MS, SOON_NS);
        assert_int_equal(worker.answered, 2);
        assert_int_equal(worker.answered_safe, 0);
        for (unsigned i = 0; i < 2; i++)
            assert_int_equal(worker.batches[i]->status, -ESHUTDOWN);
        tear_down(state);
        set_up(state);
    }
}

static void stop_while_down_tries_once_more(void **state)
{
    (void)state;
    struct pump_state now;
    start(600000);
    set(&script.down, true);
    append(2);
    wait_up(false, &now);
    set(&script.down, false);
    assert_int_equal(stop(30000), 0); // did not wait for the ten minutes of its timer
    assert_int_equal(worker.answered_safe, 1);
}

static void stop_while_down_gives_back_what_is_not_out(void **state)
{
    (void)state;
    struct pump_state now;
    for (unsigned i = 1; i < 8; i += 2)
        script.retries[i] = 1000;
    start(600000);
    append(4);
    wait_up(false, &now);
    assert_int_equal(stop(20), 2); // 0 and 2 are out
    assert_int_equal(worker.answered, 1);
    assert_int_equal(worker.batches[0]->status, -ESHUTDOWN);
}

static void asynchronous_sink(void **state)
{
    (void)state;
    script.asynchronous = true;
    script.retries[5] = 2;
    start(1);
    set(&script.blocked, true);
    append(10);
    wait_hand_overs(1);
    append(10);
    set(&script.blocked, false);
    wait_answers(2);
    assert_int_equal(stop(10000), 0);
    assert_int_equal(script.delivered, 20);
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
    start(1);
    for (unsigned i = 0; i < PINGERS; i++) {
        sem_init(&pingers[i].woken, 0, 0);
        mailbox_init(&pingers[i].home, post, &pingers[i].woken);
        pingers[i].batch = batch_new(1, LINE_BYTES);
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
    assert_int_equal(stop(10000), 0);
    assert_int_equal(script.delivered, PINGS * PINGERS);
    for (unsigned i = 0; i < PINGERS; i++) {
        sem_destroy(&pingers[i].woken);
        batch_free(pingers[i].batch);
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
    start_with(&sink_stdout, 1, 20);
    append(20000); // 160 kB, and nobody reads
    wait_up(false, &now);
    assert_memory_equal(now.reason, "stdout: blocked for ", 20);
    for (int in_pipe = 0; in_pipe < 65536; poll(NULL, 0, 1)) // and not just slow
        assert_int_equal(ioctl(ends[0], FIONREAD, &in_pipe), 0);
    int64_t begin_ns = clock_mono_ns();
    uint64_t given_back = stop(50);
    int64_t took_ns = clock_mono_ns() - begin_ns;
    dup2(real_stdout, STDOUT_FILENO);
    close(real_stdout);
    close(ends[0]);
    assert_int_equal(given_back, 20000 - 65536 / LINE_BYTES); // what is in the pipe is delivered
    assert_in_range(took_ns, 50 * NS_PER_MS, SOON_NS);
    assert_int_equal(worker.batches[0]->status, -ESHUTDOWN);
}

int main(void)
{
#define PUMP_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
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
