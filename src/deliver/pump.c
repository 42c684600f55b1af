// SPDX-License-Identifier: Apache-2.0
#include "deliver/pump.h"

#include <signal.h>
#include <stdio.h>
#include <time.h>

#include "base/clock.h"
#include "base/mem.h"
#include "deliver/pump_core.h"

// The pump's thread: what goes to the sink next, and when; start and end.
//
// There are three places that a hand-over may come from, asked in turn: events that came back one by one and whose time
// has come, suspects, and what was taken from the store. At most limits.in_flight hand-overs are under way, and one while
// the output is down. All that waits for a time waits by one timer.

#define TAKE_MAX_BATCHES   64 // for an output that keeps order
#define HELD_MIN_BYTES     (32 * 1024 * 1024)
#define HELD_HAND_OVERS    8
#define HELD_TOTAL         4 // times as much of batches of which some events are settled
#define INTERRUPT_EVERY_MS 10

// ---- From the store

static bool holds_less_than(const struct pump *pump, uint64_t bytes)
{
    return pump->held.open_bytes < bytes && pump->held.total_bytes / HELD_TOTAL < bytes;
}

static bool may_take(const struct pump *pump)
{
    return pump->held.count == 0 || holds_less_than(pump, pump->held_max);
}

// What is open of it; a restart leaves batches of which some events are settled.
static void queue_batch(struct pump *pump, struct batch *batch, int64_t now_ns)
{
    uint32_t open = 0, from = 0, first, count;
    uint64_t bytes = 0;
    while ((count = pump->store->ops->next_open(pump->store, batch, from, &first)) > 0) {
        struct sink_item item = {batch, first, count};
        INVARIANT(first >= from && first < batch->count && count <= batch->count - first);
        queue_push(&pump->fresh, item, now_ns);
        open += count;
        bytes += item_bytes(&item);
        from = first + count;
    }
    if (open > 0)
        held_add(&pump->held, batch, open, bytes);
    else
        pump->store->ops->give_back(pump->store, batch);
}

static bool take(struct pump *pump)
{
    struct batch *batch;
    if (pump->store->ops->take(pump->store, &batch, 1) == 0)
        return false;
    queue_batch(pump, batch, clock_mono_ns());
    return true;
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
    if (take(pump))
        return true;
    if (pump->asleep || pump->wake_is_due)
        return false;
    // Said before the last look, so that a batch that this look misses finds the pump asleep.
    pump->asleep = true;
    __atomic_store_n(&pump->awake, false, __ATOMIC_SEQ_CST);
    if (!take(pump))
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

// ---- What goes next

static bool is_full(const struct pump *pump)
{
    return pump->fresh.bytes >= pump->cap_bytes || pump->fresh.events >= pump->max_events;
}

// Takes as much as one hand-over needs.
static void fill(struct pump *pump)
{
    if (pump->limits.ordered) {
        // What came back goes before anything else, so that little waits here and much in the store.
        if (pump->fresh.count > 0)
            return;
        for (unsigned i = 0; i < TAKE_MAX_BATCHES && may_take(pump) && take_or_sleep(pump); i++)
            ;
        return;
    }
    while (!is_full(pump) && may_take(pump))
        if (!take_or_sleep(pump))
            return;
}

// When what is there goes although it fills no hand-over. A durable store has answered the sensors, so there it may
// wait.
static int64_t fresh_due_ns(const struct pump *pump)
{
    if (pump->fresh.count == 0)
        return INT64_MAX;
    if (!pump->store->ops->durable || pump->limits.linger_ms <= 0 || pump_is(&pump->stopping) || is_full(pump))
        return 0;
    return queue_since_ns(&pump->fresh) + pump->limits.linger_ms * NS_PER_MS;
}

// Nothing new can be tried, since events that came back take all the room: they can't be left behind, so they are named.
static void tell_full(struct pump *pump)
{
    char reason[128];
    snprintf(reason, sizeof reason, "%s: %llu events are tried again and again, and there is no room for more",
             pump->ops->name, (unsigned long long)pump->held.open_events);
    pump_went_down(pump, reason);
    pump->full = true;
}

bool pump_has_room(const struct pump *pump)
{
    return holds_less_than(pump, pump->held_max / 8 * 7);
}

// While the output is down one finds out when it is back. One that is only full of what is tried again answers.
static unsigned in_flight_most(const struct pump *pump)
{
    return pump->up || pump->full ? pump->limits.in_flight : 1;
}

static struct parcel *next_fresh(struct pump *pump, int64_t now_ns)
{
    fill(pump);
    if (pump->up && pump->fresh.count == 0 && pump->in_flight == 0 && !may_take(pump))
        tell_full(pump);
    if (fresh_due_ns(pump) > now_ns)
        return NULL;
    struct parcel *parcel = parcel_get(&pump->spare);
    queue_cut(&pump->fresh, pump->cap_bytes, pump->max_events, &parcel->items);
    return parcel;
}

// Those that may go now, together.
static struct parcel *next_waiting(struct pump *pump, int64_t now_ns)
{
    struct parcel *parcel = parcels_take_due(&pump->waiting, now_ns);
    struct parcel *more;
    if (parcel == NULL)
        return NULL;
    while ((more = parcels_take_due(&pump->waiting, now_ns)) != NULL) {
        if (more->lettered != parcel->lettered || parcel->items.bytes + more->items.bytes > pump->cap_bytes ||
            parcel->items.events + more->items.events > pump->max_events) {
            parcels_push(&pump->waiting, more);
            break;
        }
        for (size_t i = 0; i < more->items.count; i++)
            items_add(&parcel->items, more->items.at[i]);
        parcel->tries = more->tries > parcel->tries ? more->tries : parcel->tries;
        parcel_put(&pump->spare, more);
    }
    return parcel;
}

static struct parcel *next_parcel(struct pump *pump, int64_t now_ns)
{
    enum { WAITING, SUSPECT, FRESH, PLACES };
    for (unsigned i = 0; i < PLACES; i++) {
        unsigned place = (pump->turn + i) % PLACES;
        struct parcel *parcel = place == WAITING   ? next_waiting(pump, now_ns)
                                : place == SUSPECT ? parcels_take_due(&pump->suspects, now_ns)
                                                   : next_fresh(pump, now_ns);
        if (parcel != NULL) {
            pump->turn = place + 1;
            return parcel;
        }
    }
    return NULL;
}

static void hand_over(struct pump *pump, struct parcel *parcel, int64_t now_ns)
{
    parcel->handover = (struct handover){.items = parcel->items.at,
                                         .count = parcel->items.count,
                                         .bytes = parcel->items.bytes,
                                         .events = (uint32_t)parcel->items.events};
    parcel->unreported = parcel->items.events;
    parcel->settled = 0;
    parcel->began_ns = now_ns;
    counter_bump(&pump->stats.in_flight, parcel->items.events);
    if (pump->in_flight++ == 0)
        __atomic_store_n(&pump->progress_ns, now_ns, __ATOMIC_RELAXED);
    pump->ops->deliver(pump->sink, &parcel->handover);
}

static void pump_work(struct pump *pump);

static void on_done(void *ctx, struct handover *handover, const struct sink_outcome *outcome)
{
    struct pump *pump = ctx;
    INVARIANT(pump->in_flight > 0);
    if (--pump->in_flight > 0)
        pump_made_progress(pump, clock_mono_ns());
    else
        __atomic_store_n(&pump->progress_ns, 0, __ATOMIC_RELAXED);
    pump_finish(pump, (struct parcel *)handover, outcome);
    if (!pump->working) // else it goes on by itself
        pump_work(pump);
}

// ---- Time

static void on_timer(struct loop_timer *timer)
{
    struct pump *pump = (struct pump *)((char *)timer - offsetof(struct pump, timer));
    pump->timer_ns = 0;
    pump_work(pump);
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

// Wakes the pump when the first of all that waits for a time is due. Who waits for a hand-over to end waits for no time.
static void set_timer(struct pump *pump)
{
    int64_t due_ns = INT64_MAX;
    if (pump->backing_off)
        due_ns = pump->backoff_until_ns;
    else if (pump->in_flight < in_flight_most(pump))
        due_ns = earlier(fresh_due_ns(pump),
                         earlier(parcels_next_due_ns(&pump->waiting), parcels_next_due_ns(&pump->suspects)));
    if (due_ns == INT64_MAX || (pump->timer_ns != 0 && pump->timer_ns <= due_ns))
        return; // one that comes too early does no harm
    // The loop's clock stands where this turn began, and a delivery may have taken long. A millisecond more, as it
    // counts whole ones.
    int64_t in_ns = due_ns - loop_now_ns(pump->loop);
    pump->timer_ns = due_ns;
    loop_timer_start(pump->loop, &pump->timer, in_ns > 0 ? in_ns / NS_PER_MS + 1 : 1, on_timer);
}

// ---- The end

static void give_back_rest(struct pump *pump)
{
    if (!pump->store->ops->durable)
        while (take(pump)) // what was never looked at
            ;
    pump->given_back = pump->held.open_events;
    for (size_t i = 0; i < pump->held.cap; i++)
        if (pump->held.at[i].batch != NULL)
            pump->store->ops->give_back(pump->store, pump->held.at[i].batch);
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

// Nothing is left to do. What fails event by event has had its try; a durable store keeps it.
static bool is_finished(const struct pump *pump)
{
    return pump->fresh.count == 0 &&
           (pump->store->ops->durable || (pump->waiting.count == 0 && pump->suspects.count == 0));
}

static bool ends_now(const struct pump *pump)
{
    return pump_is(&pump->abandoned) || pump->given_up;
}

static void pump_work(struct pump *pump)
{
    if (pump->over)
        return;
    pump->working = true;
    wake_up(pump);
    while (!ends_now(pump)) {
        int64_t now_ns = clock_mono_ns();
        if (pump->backing_off && now_ns < pump->backoff_until_ns)
            break;
        pump->backing_off = false;
        // What is held finds out when the output is back. When the last of that was let go, the next batch has to.
        if (!pump->up && pump->held.count == 0)
            pump_went_up(pump, "output is tried again");
        if (pump->in_flight >= in_flight_most(pump))
            break;
        struct parcel *parcel = next_parcel(pump, now_ns);
        if (parcel == NULL)
            break;
        hand_over(pump, parcel, now_ns);
    }
    pump->working = false;
    if (pump->in_flight == 0 &&
        (ends_now(pump) || (pump_is(&pump->stopping) && !pump->backing_off && is_finished(pump))))
        end(pump);
    else
        set_timer(pump);
}

// ---- Start and stop

static void on_wake_mail(struct mail *mail)
{
    struct pump *pump = (struct pump *)((char *)mail - offsetof(struct pump, wake_mail));
    wake_up(pump);
    pump->wake_is_due = false; // this was it
    pump_work(pump);
}

// The last chance of what waits does not wait for its time.
static void on_stop_mail(struct mail *mail)
{
    struct pump *pump = (struct pump *)((char *)mail - offsetof(struct pump, stop_mail));
    pump->backing_off = false;
    for (struct parcel *parcel = pump->waiting.first; parcel != NULL; parcel = parcel->next)
        parcel->due_ns = 0;
    for (struct parcel *parcel = pump->suspects.first; parcel != NULL; parcel = parcel->next)
        parcel->due_ns = 0;
    pump_work(pump);
}

static void on_abandon_mail(struct mail *mail)
{
    pump_work((struct pump *)((char *)mail - offsetof(struct pump, abandon_mail)));
}

static int open_sink(struct pump *pump)
{
    const struct conf_output *output = pump->output;
    const struct sink_report report = {.settle = pump_on_settle,
                                       .reject = pump_on_reject,
                                       .done = on_done,
                                       .ctx = pump,
                                       .stats = &pump->stats,
                                       .loop = pump->loop};
    if (output->network) { // no other rejects anything, and needs the directory
        int rc = dead_letters_check(&output->outbox, pump->open_err);
        if (rc < 0)
            return rc;
    }
    int rc = pump->ops->open(output, &report, &pump->limits, &pump->sink, pump->open_err);
    if (rc < 0)
        return rc;
    INVARIANT(pump->limits.max_bytes > 0 && pump->limits.max_events > 0 && pump->limits.in_flight > 0);
    INVARIANT(!pump->limits.ordered || pump->limits.in_flight == 1);
    pump->cap_bytes = pump->limits.max_bytes;
    pump->max_events = pump->limits.max_events;
    if (output->outbox.max_batch_size > 0 && (uint64_t)output->outbox.max_batch_size < pump->max_events)
        pump->max_events = (uint64_t)output->outbox.max_batch_size;
    pump->held_max = HELD_HAND_OVERS * pump->limits.max_bytes;
    if (pump->held_max < HELD_MIN_BYTES)
        pump->held_max = HELD_MIN_BYTES;
    return 0;
}

static void *pump_thread(void *arg)
{
    struct pump *pump = arg;
    pthread_setname_np(pthread_self(), "pump");
    int rc = open_sink(pump);
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
    pump->last_error = "";
    pump->dead = dead_letters_new(&conf->output->outbox);
    parcels_init(&pump->waiting);
    parcels_init(&pump->suspects);
    parcels_init(&pump->spare);
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
    held_fini(&pump->held);
    queue_fini(&pump->fresh);
    parcels_fini(&pump->waiting);
    parcels_fini(&pump->suspects);
    parcels_fini(&pump->spare);
    dead_letters_free(pump->dead);
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
