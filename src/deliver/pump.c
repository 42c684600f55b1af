// SPDX-License-Identifier: Apache-2.0
#include "deliver/pump.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "deliver/backoff.h"
#include "net/loop.h"

// One hand-over at a time: what is pending is handed to the sink in pieces, what comes back as RETRY is pending again,
// before all that is newer, and only when nothing is pending are batches taken from the store. So order is kept, and
// what lies between the store and the output is bounded.
//
// All runs on the pump's thread but for what others ask: is the output up (atomics: it is asked for every batch), why
// not (under the mutex), wake up (a mail) and stop. A sink may block that thread (a write to a full pipe), so "stuck"
// is found by who asks, from the time of the last progress.

#define TAKE_MAX_BATCHES     64
#define INTERRUPT_EVERY_MS   10
#define REJECTED_LINES_PER_S 1

struct items {
    struct sink_item *at;
    size_t count;
    size_t cap;
};

struct pump {
    const struct sink_ops *ops;
    struct sink *sink;
    struct store *store;
    const struct conf_output *output;
    struct loop *loop;
    pthread_t thread;
    int64_t stuck_ns;

    // The pump's thread.
    struct items pending; // what is neither delivered nor rejected, in order
    size_t pending_at;    // those before are done with
    struct items retry;   // of this hand-over
    struct sink_limits limits;
    struct handover handover; // under way; its items are the next of pending
    uint64_t unreported;      // events of this hand-over that have no verdict yet
    uint64_t rejected;        // events of this hand-over
    bool delivering;          // a hand-over is under way
    bool in_deliver;          // ... and the sink's function has not returned
    bool backing_off;         // ... or the last one failed and its timer runs
    bool asleep;              // the next append is to send wake_mail, or has done so
    bool wake_is_due;         // wake_mail is in the mailbox, so it must not be sent again
    bool over;
    struct backoff backoff;
    struct loop_timer timer;
    int64_t down_mono_ns;
    uint64_t given_back;

    // Any thread.
    struct sink_stats stats;
    struct mail wake_mail, stop_mail, abandon_mail;
    bool awake;          // atomic: a wake would change nothing
    bool up;             // atomic: the last hand-over went well
    int64_t progress_ns; // atomic: of the delivery under way: when it last got on; 0: none is
    bool stuck_told;     // atomic: the log says that it is stuck
    bool stopping;       // atomic: end when the store is empty
    bool abandoned;      // atomic: end now

    pthread_mutex_t mutex;
    pthread_cond_t changed;    // opened or ended
    bool opened, ended;        // under the mutex, as what follows
    int open_rc;               // what the sink's open has returned
    struct err *open_err;      // of pump_start, until opened
    char reason[ERR_TEXT_MAX]; // when down
    int64_t since_real_ns;
};

// ---- Up, down, stuck

static int64_t stuck_for_ns(struct pump *pump)
{
    int64_t progress_ns = __atomic_load_n(&pump->progress_ns, __ATOMIC_RELAXED);
    if (progress_ns == 0)
        return 0;
    int64_t for_ns = clock_mono_ns() - progress_ns;
    return for_ns > pump->stuck_ns ? for_ns : 0;
}

static void print_stuck(struct pump *pump, int64_t for_ns, char *text, size_t size)
{
    snprintf(text, size, "%s: blocked for %lld s", pump->ops->name, (long long)(for_ns / NS_PER_S));
}

// The store's question for each batch.
static bool pump_delivering(void *ctx)
{
    struct pump *pump = ctx;
    if (!__atomic_load_n(&pump->up, __ATOMIC_RELAXED))
        return false;
    int64_t for_ns = stuck_for_ns(pump);
    if (for_ns == 0)
        return true;
    // The pump's thread can't tell that it is stuck, so the first who finds out does.
    if (!__atomic_exchange_n(&pump->stuck_told, true, __ATOMIC_RELAXED)) {
        char reason[128];
        print_stuck(pump, for_ns, reason, sizeof reason);
        LOG(LOG_WARN, "output down", LOG_STR("reason", reason));
    }
    return false;
}

void pump_state(struct pump *pump, struct pump_state *out)
{
    pthread_mutex_lock(&pump->mutex);
    out->up = __atomic_load_n(&pump->up, __ATOMIC_RELAXED);
    out->since_real_ns = pump->since_real_ns;
    out->dead_letters[0] = '\0';
    snprintf(out->reason, sizeof out->reason, "%.*s", (int)sizeof out->reason - 1, out->up ? "" : pump->reason);
    pthread_mutex_unlock(&pump->mutex);
    if (!out->up || pump_delivering(pump))
        return;
    int64_t for_ns = stuck_for_ns(pump);
    if (for_ns == 0)
        return; // it has just got on
    out->up = false;
    out->since_real_ns = clock_real_ns() - for_ns;
    print_stuck(pump, for_ns, out->reason, sizeof out->reason);
}

const struct sink_stats *pump_sink_stats(struct pump *pump)
{
    return &pump->stats;
}

static void change_state(struct pump *pump, bool up, const char *reason)
{
    pthread_mutex_lock(&pump->mutex);
    snprintf(pump->reason, sizeof pump->reason, "%s", reason);
    if (up != pump->up)
        pump->since_real_ns = clock_real_ns();
    __atomic_store_n(&pump->up, up, __ATOMIC_RELAXED);
    pthread_mutex_unlock(&pump->mutex);
}

static void went_down(struct pump *pump, const char *reason)
{
    bool was_up = pump->up;
    change_state(pump, false, reason);
    if (!was_up)
        return;
    pump->down_mono_ns = clock_mono_ns();
    __atomic_store_n(&pump->stuck_told, false, __ATOMIC_RELAXED);
    LOG(LOG_WARN, "output down", LOG_STR("reason", reason));
}

static void went_up(struct pump *pump)
{
    if (pump->up)
        return;
    change_state(pump, true, "");
    LOG(LOG_INFO, "output up again", LOG_INT("down_ms", (clock_mono_ns() - pump->down_mono_ns) / NS_PER_MS));
}

static void made_progress(struct pump *pump)
{
    int64_t now_ns = clock_mono_ns();
    int64_t before_ns = __atomic_exchange_n(&pump->progress_ns, now_ns, __ATOMIC_RELAXED);
    if (__atomic_load_n(&pump->stuck_told, __ATOMIC_RELAXED) &&
        __atomic_exchange_n(&pump->stuck_told, false, __ATOMIC_RELAXED))
        LOG(LOG_INFO, "output up again", LOG_INT("down_ms", (now_ns - before_ns) / NS_PER_MS));
}

// ---- A hand-over

static void items_push(struct items *items, struct sink_item item)
{
    if (items->count == items->cap) {
        items->cap = items->cap > 0 ? items->cap * 2 : TAKE_MAX_BATCHES;
        items->at = mem_realloc(items->at, items->cap * sizeof *items->at);
    }
    items->at[items->count++] = item;
}

static void on_settle(void *ctx, struct handover *handover, struct batch *batch, uint32_t first, uint32_t count,
                      enum verdict verdict)
{
    struct pump *pump = ctx;
    (void)handover;
    INVARIANT(pump->delivering && count <= pump->unreported);
    pump->unreported -= count;
    if (count == 0)
        return;
    if (verdict == VERDICT_RETRY) {
        items_push(&pump->retry, (struct sink_item){batch, first, count});
        return;
    }
    made_progress(pump);
    if (verdict == VERDICT_REJECTED)
        pump->rejected += count;
    counter_bump(verdict == VERDICT_REJECTED ? &pump->stats.rejected : &pump->stats.events, count);
    pump->store->ops->settle(pump->store, batch, first, count, verdict);
}

static void on_reject(void *ctx, struct handover *handover, struct batch *batch, uint32_t event, unsigned status,
                      struct text kind, struct text reason)
{
    (void)status, (void)kind, (void)reason;
    on_settle(ctx, handover, batch, event, 1, VERDICT_REJECTED);
}

static void pump_work(struct pump *pump);

static void on_backoff_over(struct loop_timer *timer)
{
    struct pump *pump = (struct pump *)((char *)timer - offsetof(struct pump, timer));
    pump->backing_off = false;
    pump_work(pump);
}

static void back_off(struct pump *pump)
{
    pump->backing_off = true;
    // The loop's clock stands where this turn began, and the delivery may have taken long.
    int64_t behind_ms = (clock_mono_ns() - loop_now_ns(pump->loop)) / NS_PER_MS;
    loop_timer_start(pump->loop, &pump->timer, behind_ms + backoff_next_ms(&pump->backoff), on_backoff_over);
}

// Puts what is to be retried in the place of what was handed over.
static void pend_again(struct pump *pump)
{
    for (size_t i = pump->pending_at + pump->handover.count; i < pump->pending.count; i++)
        items_push(&pump->retry, pump->pending.at[i]);
    struct items spare = pump->pending;
    pump->pending = pump->retry;
    pump->pending_at = 0;
    pump->retry = spare;
    pump->retry.count = 0;
}

static void tell_rejected(struct pump *pump)
{
    static struct log_limit limit;
    uint64_t held_back;
    if (log_limit_pass(&limit, REJECTED_LINES_PER_S, REJECTED_LINES_PER_S, &held_back))
        LOG(LOG_ERROR, "output rejected events", LOG_STR("output", pump->ops->name), LOG_INT("events", pump->rejected),
            LOG_INT("lines_held_back", held_back));
    pump->rejected = 0;
}

static void on_done(void *ctx, struct handover *handover, const struct sink_outcome *outcome)
{
    struct pump *pump = ctx;
    INVARIANT(pump->delivering && pump->unreported == 0 && handover == &pump->handover);
    pump->delivering = false;
    __atomic_store_n(&pump->progress_ns, 0, __ATOMIC_RELAXED);
    if (pump->rejected > 0)
        tell_rejected(pump);
    if (pump->retry.count > 0) {
        pend_again(pump);
        counter_bump(&pump->stats.errors, 1);
        went_down(pump, outcome->error);
        back_off(pump);
    } else {
        pump->pending_at += handover->count;
        backoff_reset(&pump->backoff);
        went_up(pump);
    }
    if (!pump->in_deliver) // else who handed over goes on
        pump_work(pump);
}

static uint64_t item_bytes(const struct sink_item *item)
{
    return batch_begin(item->batch, item->first + item->count) - batch_begin(item->batch, item->first);
}

static void hand_over(struct pump *pump)
{
    struct sink_item *items = pump->pending.at + pump->pending_at;
    size_t waiting = pump->pending.count - pump->pending_at;
    struct handover *handover = &pump->handover;
    *handover = (struct handover){.items = items};
    while (handover->count < waiting && handover->bytes < pump->limits.max_bytes) {
        handover->bytes += item_bytes(&items[handover->count]);
        handover->events += items[handover->count++].count;
    }
    pump->unreported = handover->events;
    pump->delivering = true;
    pump->in_deliver = true;
    __atomic_store_n(&pump->progress_ns, clock_mono_ns(), __ATOMIC_RELAXED);
    pump->ops->deliver(pump->sink, handover);
    pump->in_deliver = false;
}

// ---- From the store

static size_t take(struct pump *pump)
{
    struct batch *batches[TAKE_MAX_BATCHES];
    size_t count = pump->store->ops->take(pump->store, batches, TAKE_MAX_BATCHES);
    pump->pending.count = 0;
    pump->pending_at = 0;
    for (size_t i = 0; i < count; i++)
        items_push(&pump->pending, (struct sink_item){batches[i], 0, batches[i]->count});
    return count;
}

// From here on appends send no mail. One that is on the way already is waited for before they may again.
static void wake_up(struct pump *pump)
{
    if (!pump->asleep)
        return;
    pump->asleep = false;
    pump->wake_is_due = __atomic_exchange_n(&pump->awake, true, __ATOMIC_SEQ_CST);
}

// False when the store has nothing; then a mail comes with the next append.
static bool take_or_sleep(struct pump *pump)
{
    if (take(pump) > 0)
        return true;
    if (pump->wake_is_due)
        return false;
    // Said before the last look, so that a batch that this look misses finds the pump asleep.
    pump->asleep = true;
    __atomic_store_n(&pump->awake, false, __ATOMIC_SEQ_CST);
    if (take(pump) == 0)
        return false;
    wake_up(pump);
    return true;
}

// The store's: something waits. Any thread.
static void pump_wake(void *ctx)
{
    struct pump *pump = ctx;
    if (!__atomic_load_n(&pump->awake, __ATOMIC_SEQ_CST) && !__atomic_exchange_n(&pump->awake, true, __ATOMIC_SEQ_CST))
        mailbox_send(loop_mailbox(pump->loop), &pump->wake_mail);
}

static int by_batch(const void *a, const void *b)
{
    uintptr_t left = (uintptr_t)((const struct sink_item *)a)->batch;
    uintptr_t right = (uintptr_t)((const struct sink_item *)b)->batch;
    return (left > right) - (left < right);
}

static void give_back_rest(struct pump *pump)
{
    do {
        struct sink_item *items = pump->pending.at + pump->pending_at;
        size_t count = pump->pending.count - pump->pending_at;
        if (count > 0)
            qsort(items, count, sizeof *items, by_batch); // several items may be of one batch, which goes back once
        for (size_t i = 0; i < count; i++) {
            pump->given_back += items[i].count;
            if (i + 1 == count || items[i + 1].batch != items[i].batch)
                pump->store->ops->give_back(pump->store, items[i].batch);
        }
    } while (take(pump) > 0);
}

static void end(struct pump *pump)
{
    pump->over = true;
    give_back_rest(pump);
    loop_timer_close(&pump->timer);
    pthread_mutex_lock(&pump->mutex);
    pump->ended = true; // from here on nobody interrupts the sink
    pthread_cond_signal(&pump->changed);
    pthread_mutex_unlock(&pump->mutex);
    pump->ops->close(pump->sink);
    loop_stop(pump->loop);
}

static void pump_work(struct pump *pump)
{
    wake_up(pump);
    while (!pump->over && !pump->delivering) {
        if (__atomic_load_n(&pump->abandoned, __ATOMIC_ACQUIRE))
            end(pump);
        else if (pump->backing_off)
            return;
        else if (pump->pending_at < pump->pending.count || take_or_sleep(pump))
            hand_over(pump);
        else if (__atomic_load_n(&pump->stopping, __ATOMIC_ACQUIRE))
            end(pump);
        else
            return;
    }
}

// ---- Start and stop

static void on_wake_mail(struct mail *mail)
{
    struct pump *pump = (struct pump *)((char *)mail - offsetof(struct pump, wake_mail));
    wake_up(pump);
    pump->wake_is_due = false; // this was it
    pump_work(pump);
}

// The last chance of what is pending does not wait for a timer.
static void on_stop_mail(struct mail *mail)
{
    struct pump *pump = (struct pump *)((char *)mail - offsetof(struct pump, stop_mail));
    pump->backing_off = false;
    loop_timer_stop(&pump->timer);
    pump_work(pump);
}

static void on_abandon_mail(struct mail *mail)
{
    pump_work((struct pump *)((char *)mail - offsetof(struct pump, abandon_mail)));
}

static void *pump_thread(void *arg)
{
    struct pump *pump = arg;
    pthread_setname_np(pthread_self(), "pump");
    const struct sink_report report = {.settle = on_settle,
                                       .reject = on_reject,
                                       .done = on_done,
                                       .ctx = pump,
                                       .stats = &pump->stats,
                                       .loop = pump->loop};
    int rc = pump->ops->open(pump->output, &report, &pump->limits, &pump->sink, pump->open_err);
    pthread_mutex_lock(&pump->mutex);
    pump->opened = true;
    pump->open_rc = rc;
    pthread_cond_signal(&pump->changed);
    pthread_mutex_unlock(&pump->mutex);
    if (rc == 0)
        loop_run(pump->loop);
    return NULL;
}

// Signals are for the main thread; a sink that wants one lets it through itself.
static int start_thread(struct pump *pump)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = -pthread_create(&pump->thread, NULL, pump_thread, pump);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}

static struct pump *pump_new(const struct pump_conf *conf, const struct sink_ops *ops, struct store *store)
{
    struct pump *pump = mem_zalloc(sizeof *pump);
    pump->ops = ops;
    pump->store = store;
    pump->output = conf->output;
    pump->stuck_ns = conf->stuck_ms * NS_PER_MS;
    pump->asleep = true;
    pump->up = true;
    pump->since_real_ns = clock_real_ns();
    pump->wake_mail.run = on_wake_mail;
    pump->stop_mail.run = on_stop_mail;
    pump->abandon_mail.run = on_abandon_mail;
    backoff_init(&pump->backoff, conf->output->outbox.retry_backoff_ms, conf->output->outbox.retry_max_backoff_ms);
    pthread_mutex_init(&pump->mutex, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&pump->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    return pump;
}

void pump_free(struct pump *pump)
{
    if (pump == NULL)
        return;
    loop_free(pump->loop);
    pthread_cond_destroy(&pump->changed);
    pthread_mutex_destroy(&pump->mutex);
    mem_free(pump->pending.at);
    mem_free(pump->retry.at);
    mem_free(pump);
}

int pump_start(const struct pump_conf *conf, const struct sink_ops *ops, struct store *store, struct pump **out,
               struct err *err)
{
    struct pump *pump = pump_new(conf, ops, store);
    int rc = -ENOMEM;
    pump->open_err = err;
    pump->loop = loop_new();
    if (pump->loop != NULL)
        rc = start_thread(pump);
    if (rc < 0) {
        err_set(err, rc, "%s: can't start its thread: %s", ops->name, err_text(rc));
        goto out;
    }
    pthread_mutex_lock(&pump->mutex);
    while (!pump->opened)
        pthread_cond_wait(&pump->changed, &pump->mutex);
    rc = pump->open_rc;
    pthread_mutex_unlock(&pump->mutex);
    if (rc < 0) {
        pthread_join(pump->thread, NULL);
        goto out;
    }
    const struct store_reader reader = {.wake = pump_wake, .delivering = pump_delivering, .ctx = pump};
    store->ops->attach(store, &reader);
    pump_wake(pump); // a store may hold batches from before
    *out = pump;
    pump = NULL;
out:
    pump_free(pump);
    return rc;
}

// Under the mutex: whether the thread has ended by then.
static bool ended_by(struct pump *pump, int64_t until_mono_ns)
{
    struct timespec until = {until_mono_ns / NS_PER_S, until_mono_ns % NS_PER_S};
    while (!pump->ended)
        if (pthread_cond_timedwait(&pump->changed, &pump->mutex, &until) != 0)
            break;
    return pump->ended;
}

uint64_t pump_stop(struct pump *pump, int64_t grace_ms)
{
    __atomic_store_n(&pump->stopping, true, __ATOMIC_RELEASE);
    mailbox_send(loop_mailbox(pump->loop), &pump->stop_mail);
    pthread_mutex_lock(&pump->mutex);
    if (!ended_by(pump, clock_mono_ns() + grace_ms * NS_PER_MS)) {
        __atomic_store_n(&pump->abandoned, true, __ATOMIC_RELEASE);
        mailbox_send(loop_mailbox(pump->loop), &pump->abandon_mail);
        do
            pump->ops->interrupt(pump->sink);
        while (!ended_by(pump, clock_mono_ns() + INTERRUPT_EVERY_MS * NS_PER_MS));
    }
    pthread_mutex_unlock(&pump->mutex);
    pthread_join(pump->thread, NULL);
    return pump->given_back;
}
