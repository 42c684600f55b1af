// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "rig.h"

#include <poll.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "net/loop.h"
#include "store/memory.h"

struct rig_script script;
struct rig_worker worker;

static unsigned number_of(const struct batch *batch, uint32_t event)
{
    return (unsigned)strtoul(batch_event(batch, event).at + strlen("{\"n\":"), NULL, 10);
}

// ---- The sink

struct fake {
    struct sink sink;
    struct sink_report report;
};

struct pending {
    struct loop_timer timer;
    struct fake *fake;
    struct handover *handover;
    struct call *call;
};

static bool has_poison(const struct handover *handover)
{
    for (size_t i = 0; i < handover->count; i++)
        for (uint32_t e = 0; e < handover->items[i].count; e++)
            if (script.poison[number_of(handover->items[i].batch, handover->items[i].first + e)])
                return true;
    return false;
}

static enum sink_result result_of(const struct handover *handover)
{
    int result = __atomic_load_n(&script.result, __ATOMIC_ACQUIRE);
    if (__atomic_load_n(&script.interrupted, __ATOMIC_ACQUIRE))
        return SINK_DOWN;
    if (result != SINK_OK)
        return (enum sink_result)result;
    if (script.takes_bytes > 0 && handover->bytes > script.takes_bytes)
        return SINK_TOO_LARGE;
    return !__atomic_load_n(&script.healed, __ATOMIC_ACQUIRE) && has_poison(handover) ? SINK_FAILED : SINK_OK;
}

// True: it is to come again.
static bool report_event(struct fake *fake, struct handover *handover, struct batch *batch, uint32_t event, bool ok)
{
    const struct sink_report *report = &fake->report;
    unsigned number = number_of(batch, event);
    script.seen[number]++;
    if (ok && script.retries[number] == 0 && script.reject[number]) {
        report->reject(report->ctx, handover, batch, event, 400, TEXT("mapper_parsing_exception"), TEXT("no \"date\""));
        return false;
    }
    bool retry = !ok || script.retries[number] > 0;
    script.retries[number] -= ok && retry ? 1 : 0;
    report->settle(report->ctx, handover, batch, event, 1, retry ? VERDICT_RETRY : VERDICT_DELIVERED);
    return retry;
}

static void finish(struct fake *fake, struct handover *handover, struct call *call)
{
    const enum sink_result result = result_of(handover);
    uint32_t left = handover->events;
    bool retry = false;
    for (size_t i = 0; i < handover->count; i++) {
        struct batch *batch = handover->items[i].batch; // which may be gone with its last event
        uint32_t first = handover->items[i].first, count = handover->items[i].count;
        for (uint32_t e = 0; e < count; e++, left--)
            retry |= report_event(fake, handover, batch, first + e, result == SINK_OK || (script.partly && left > 1));
    }
    call->result = result;
    call->done_ns = clock_mono_ns();
    for (struct call *before = script.call; before < call; before++)
        if (before->done_ns == 0) {
            script.done_out_of_order++;
            break;
        }
    script.in_flight--;
    const struct sink_outcome outcome = {
        .result = result, .retry_after_ms = script.retry_after_ms, .error = retry ? "fake: not now" : ""};
    fake->report.done(fake->report.ctx, handover, &outcome);
}

static void on_pending(struct loop_timer *timer)
{
    struct pending *pending = (struct pending *)timer;
    bool held = __atomic_load_n(&script.held, __ATOMIC_ACQUIRE);
    if (held && !__atomic_load_n(&script.interrupted, __ATOMIC_ACQUIRE)) {
        loop_timer_start(pending->fake->report.loop, timer, 1, on_pending);
        return;
    }
    struct pending copy = *pending;
    loop_timer_close(timer);
    mem_free(pending);
    finish(copy.fake, copy.handover, copy.call);
}

static void fake_deliver(struct sink *sink, struct handover *handover)
{
    struct fake *fake = (struct fake *)sink;
    unsigned calls = script.calls;
    uint64_t bytes = 0, events = 0;
    assert_in_range(calls, 0, CALLS_MAX - 1);
    struct call *call = &script.call[calls];
    for (size_t i = 0; i < handover->count; i++) {
        const struct sink_item *item = &handover->items[i];
        bytes += batch_begin(item->batch, item->first + item->count) - batch_begin(item->batch, item->first);
        events += item->count;
    }
    assert_int_equal(bytes, handover->bytes);
    assert_int_equal(events, handover->events);
    assert_true(events == 1 || bytes <= script.limits.max_bytes);
    assert_in_range(events, 1, script.limits.max_events);
    *call =
        (struct call){.at_ns = clock_mono_ns(), .items = handover->count, .events = handover->events, .bytes = bytes};
    call->first = number_of(handover->items[0].batch, handover->items[0].first);
    script.in_flight++;
    script.most_in_flight = script.in_flight > script.most_in_flight ? script.in_flight : script.most_in_flight;
    assert_in_range(script.in_flight, 1, script.limits.in_flight);
    __atomic_store_n(&script.calls, calls + 1, __ATOMIC_RELEASE);
    if (script.delay_ms < 0) {
        while (__atomic_load_n(&script.held, __ATOMIC_ACQUIRE) &&
               !__atomic_load_n(&script.interrupted, __ATOMIC_ACQUIRE))
            poll(NULL, 0, 1);
        finish(fake, handover, call);
        return;
    }
    struct pending *pending = mem_zalloc(sizeof *pending);
    pending->fake = fake;
    pending->handover = handover;
    pending->call = call;
    int64_t delay_ms = script.backwards ? 40 - 10 * (calls % 4) : script.delay_ms;
    loop_timer_start(fake->report.loop, &pending->timer, delay_ms, on_pending);
}

static void fake_interrupt(struct sink *sink)
{
    (void)sink;
    __atomic_store_n(&script.interrupted, true, __ATOMIC_RELEASE);
}

static void fake_close(struct sink *sink)
{
    mem_free(sink);
}

static int fake_open(const struct conf_output *conf, const struct sink_report *report, struct sink_limits *limits,
                     struct sink **out, struct err *err);
const struct sink_ops rig_sink = {
    .name = "fake", .open = fake_open, .deliver = fake_deliver, .interrupt = fake_interrupt, .close = fake_close};

static int fake_open(const struct conf_output *conf, const struct sink_report *report, struct sink_limits *limits,
                     struct sink **out, struct err *err)
{
    (void)conf;
    if (script.refuse_open)
        return err_set(err, ERR_OUTPUT, "fake: no such place");
    struct fake *fake = mem_zalloc(sizeof *fake);
    fake->sink.ops = &rig_sink;
    fake->report = *report;
    *limits = script.limits;
    *out = &fake->sink;
    return 0;
}

// ---- The store: a memory store; with script.durable it says of itself that it is durable, never refuses, and of some events
// says that they were settled before the start.

static const struct store_ops *memory;
static struct store_reader pump_side;

static bool always(void *ctx)
{
    (void)ctx;
    return true;
}

static void test_attach(struct store *store, const struct store_reader *reader)
{
    pump_side = *reader;
    if (script.durable)
        pump_side.delivering = always;
    memory->attach(store, &pump_side);
}

static size_t test_take(struct store *store, struct batch **out, size_t max)
{
    size_t count = memory->take(store, out, max);
    for (size_t i = 0; i < count; i++) {
        for (uint32_t e = 0; e < out[i]->count; e++)
            out[i]->settled += script.settled_before[number_of(out[i], e)];
        __atomic_fetch_add(&script.taken_bytes, out[i]->lines.len, __ATOMIC_RELEASE);
    }
    return count;
}

static uint32_t test_next_open(struct store *store, const struct batch *batch, uint32_t from, uint32_t *first)
{
    (void)store;
    while (from < batch->count && script.settled_before[number_of(batch, from)])
        from++;
    *first = from;
    while (from < batch->count && !script.settled_before[number_of(batch, from)])
        from++;
    return from - *first;
}

static void test_settle(struct store *store, struct batch *batch, uint32_t first, uint32_t count, enum verdict verdict)
{
    for (uint32_t e = first; e < first + count; e++) {
        if (verdict == VERDICT_DELIVERED && script.ordered < EVENTS_MAX)
            script.order[script.ordered++] = number_of(batch, e);
        if (verdict != VERDICT_RETRY)
            (verdict == VERDICT_REJECTED ? script.rejected : script.delivered)[number_of(batch, e)]++;
        script.let_go += verdict == VERDICT_RETRY;
        script.unsynced_rejections += verdict == VERDICT_REJECTED && script.syncs == 0;
    }
    memory->settle(store, batch, first, count, verdict);
}

// In the place of the C library's, so that the order of sync and verdict is seen.
int fdatasync(int fd)
{
    script.syncs++;
    return (int)syscall(SYS_fdatasync, fd);
}

static struct store_ops test_ops;

// ---- The worker

static void on_answer(struct mail *mail)
{
    worker.answered++;
    worker.answered_safe += ((struct batch *)mail)->status == 0;
}

static void post(void *ctx)
{
    sem_post(ctx);
}

struct batch *rig_batch_new(uint32_t events, int padding)
{
    struct batch *batch = mem_zalloc(sizeof *batch);
    batch->mail.run = on_answer;
    batch->home = &worker.home;
    batch->sensor = "vps-1";
    batch->id = (struct batch_id){.low = worker.appended, .high = 7};
    batch->arrived_real_ns = clock_real_ns() - (script.late ? 60 * NS_PER_S : 0);
    batch->count = events;
    batch->ends = mem_array(events, sizeof *batch->ends);
    for (uint32_t i = 0; i < events; i++) {
        buf_printf(&batch->lines, "{\"n\":%u,\"p\":\"%*s\"}\n", worker.events++, padding, "");
        batch->ends[i] = (uint32_t)batch->lines.len;
    }
    return batch;
}

void rig_batch_free(struct batch *batch)
{
    buf_fini(&batch->lines);
    mem_free(batch->ends);
    mem_free(batch);
}

void rig_append_padded(uint32_t events, int padding)
{
    struct batch *batch = rig_batch_new(events, padding);
    worker.batches[worker.appended++] = batch;
    assert_int_equal(store_append(worker.store, batch), 0);
}

void rig_append(uint32_t events)
{
    rig_append_padded(events, 0);
    store_kick(worker.store);
}

void rig_wait_answers(unsigned count)
{
    int64_t deadline_ns = clock_mono_ns() + SOON_NS;
    while (worker.answered < count) {
        if (!mailbox_run(&worker.home))
            poll(NULL, 0, 1);
        assert_true(clock_mono_ns() < deadline_ns);
    }
}

unsigned rig_calls(void)
{
    return __atomic_load_n(&script.calls, __ATOMIC_ACQUIRE);
}

void rig_wait_calls(unsigned count)
{
    int64_t deadline_ns = clock_mono_ns() + SOON_NS;
    while (rig_calls() < count) {
        assert_true(clock_mono_ns() < deadline_ns);
        poll(NULL, 0, 1);
    }
}

void rig_wait_in_flight(void)
{
    int64_t deadline_ns = clock_mono_ns() + SOON_NS;
    while (counter_get(&pump_sink_stats(worker.pump)->in_flight) == 0) {
        assert_true(clock_mono_ns() < deadline_ns);
        poll(NULL, 0, 1);
    }
}

void rig_wait_last_error(const char *word, struct pump_state *state)
{
    int64_t deadline_ns = clock_mono_ns() + SOON_NS;
    for (pump_state(worker.pump, state); strcmp(state->last_error, word) != 0; pump_state(worker.pump, state)) {
        assert_true(clock_mono_ns() < deadline_ns);
        poll(NULL, 0, 1);
    }
}

void rig_wait_up(bool up, struct pump_state *state)
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

int rig_try_start(const struct sink_ops *ops, int64_t backoff_ms, int64_t max_backoff_ms, struct err *err)
{
    worker.output = (struct conf_output){.type = (char *)"fake",
                                         .network = true,
                                         .outbox = {.dir = worker.dir,
                                                    .dead_letter_max_bytes = worker.output.outbox.dead_letter_max_bytes,
                                                    .max_batch_size = -1,
                                                    .retry_backoff_ms = backoff_ms,
                                                    .retry_max_backoff_ms = max_backoff_ms}};
    worker.store = store_memory_new();
    memory = worker.store->ops;
    test_ops = *memory;
    test_ops.durable = script.durable;
    test_ops.attach = test_attach;
    test_ops.take = test_take;
    test_ops.next_open = test_next_open;
    test_ops.settle = test_settle;
    worker.store->ops = &test_ops;
    const struct pump_conf conf = {.output = &worker.output, .stuck_ms = script.stuck_ms > 0 ? script.stuck_ms : 10000};
    return pump_start(&conf, ops, worker.store, &worker.pump, err);
}

void rig_start(int64_t backoff_ms, int64_t max_backoff_ms)
{
    struct err err = {0};
    assert_int_equal(rig_try_start(&rig_sink, backoff_ms, max_backoff_ms, &err), 0);
}

uint64_t rig_stop(int64_t grace_ms)
{
    worker.store->ops->drain(worker.store);
    uint64_t given_back = pump_stop(worker.pump, grace_ms);
    mailbox_run(&worker.home);
    assert_int_equal(counter_get(&pump_sink_stats(worker.pump)->in_flight), 0);
    return given_back;
}

// All is over, and each event has had one verdict.
void rig_stop_clean(void)
{
    assert_int_equal(rig_stop(60000), 0);
    assert_int_equal(worker.answered_safe, worker.appended);
    for (unsigned i = 0; i < worker.events; i++) {
        assert_int_equal(script.delivered[i], script.reject[i] || script.settled_before[i] ? 0 : 1);
        assert_int_equal(script.rejected[i], script.reject[i] ? 1 : 0);
    }
    assert_int_equal(script.unsynced_rejections, 0);
}

int rig_set_up(void **state)
{
    (void)state;
    memset(&script, 0, sizeof script);
    memset(&worker, 0, sizeof worker);
    script.limits = (struct sink_limits){.max_bytes = 100000, .max_events = 1000, .in_flight = 4};
    worker.output.outbox.dead_letter_max_bytes = 1 << 20;
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

int rig_tear_down(void **state)
{
    (void)state;
    char path[64];
    pump_free(worker.pump);
    if (worker.store != NULL)
        worker.store->ops->close(worker.store);
    for (unsigned i = 0; i < worker.appended; i++)
        rig_batch_free(worker.batches[i]);
    snprintf(path, sizeof path, "%s/dead-letters.ndjson", worker.dir);
    unlink(path);
    rmdir(worker.dir);
    sem_destroy(&worker.woken);
    dup2(worker.real_stderr, STDERR_FILENO);
    close(worker.real_stderr);
    close(worker.log_file);
    return 0;
}

unsigned rig_logged(const char *message)
{
    static char text[65536];
    ssize_t len = pread(worker.log_file, text, sizeof text - 1, 0);
    unsigned count = 0;
    text[len > 0 ? len : 0] = '\0';
    for (const char *at = text; (at = strstr(at, message)) != NULL; at++)
        count++;
    return count;
}

void rig_wait_events(uint64_t count)
{
    int64_t deadline_ns = clock_mono_ns() + SOON_NS;
    while (counter_get(&pump_sink_stats(worker.pump)->events) < count) {
        assert_true(clock_mono_ns() < deadline_ns);
        poll(NULL, 0, 1);
    }
}

const char *rig_dead_letters(void)
{
    static char text[16384];
    char path[64];
    snprintf(path, sizeof path, "%s/dead-letters.ndjson", worker.dir);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    return text;
}
