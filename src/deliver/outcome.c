// SPDX-License-Identifier: Apache-2.0
#include "base/clock.h"
#include "base/crash.h"
#include "base/log.h"
#include "base/mem.h"
#include "deliver/pump_core.h"

// What the sink reports, and what follows from it.
//
// Who is to blame when the output fails on a hand-over as a whole (500, a cut reply)? As long as nothing else has gone well
// since this hand-over failed before, the output is: it is down. If something has, the hand-over is: it waits for a time
// of its own and is halved, down to the event that the output fails on. While nothing goes well only one hand-over, the
// prober, is ever halved, so that an output that is away for hours does not find its events in a thousand pieces.

#define FAILURES_BEFORE_HALVING 3
#define SUSPECTS_MAX            8 // so many when nothing goes well, and what fails for the first time is no longer kept apart
#define SUSPECTS_MOST           64 // ... and so many at which no other hand-over becomes the prober
#define RETRY_AFTER_MAX_MS      (5 * 60 * 1000)
#define CAP_GROWS_AFTER         64 // hand-overs that went well
#define LINES_PER_S             1

// ---- Verdicts

static struct parcel *parcel_of(struct handover *handover)
{
    return (struct parcel *)handover;
}

static void report(struct pump *pump, struct parcel *parcel, uint32_t count)
{
    INVARIANT(count <= parcel->unreported);
    parcel->unreported -= count;
    counter_bump(&pump->stats.in_flight, -(uint64_t)count);
}

static void settle(struct pump *pump, struct parcel *parcel, struct sink_item item, enum verdict verdict)
{
    parcel->settled += item.count;
    held_settle(&pump->held, item.batch, item.count, item_bytes(&item));
    CRASH_POINT("pump-before-settle");
    pump->store->ops->settle(pump->store, item.batch, item.first, item.count, verdict);
}

void pump_on_settle(void *ctx, struct handover *handover, struct batch *batch, uint32_t first, uint32_t count,
                    enum verdict verdict)
{
    struct pump *pump = ctx;
    struct parcel *parcel = parcel_of(handover);
    struct sink_item item = {batch, first, count};
    INVARIANT(verdict != VERDICT_REJECTED); // that has a letter: pump_on_reject
    if (count == 0)
        return;
    report(pump, parcel, count);
    if (verdict == VERDICT_RETRY) {
        items_add(&parcel->retry, item);
        return;
    }
    pump_made_progress(pump, clock_mono_ns());
    counter_bump(&pump->stats.events, count);
    settle(pump, parcel, item, VERDICT_DELIVERED);
}

static void reject(struct pump *pump, struct parcel *parcel, struct sink_item event, unsigned status, struct text kind,
                   struct text reason)
{
    if (letters_add(&parcel->letters, pump->output->type, event.batch, event.first, status, kind, reason) < 0)
        items_add(&parcel->retry, event); // no memory for the letter now
    else
        items_add(&parcel->rejected, event);
}

void pump_on_reject(void *ctx, struct handover *handover, struct batch *batch, uint32_t event, unsigned status,
                    struct text kind, struct text reason)
{
    struct parcel *parcel = parcel_of(handover);
    report(ctx, parcel, 1);
    reject(ctx, parcel, (struct sink_item){batch, event, 1}, status, kind, reason);
}

// ---- Dead letters

static void tell_rejected(struct pump *pump, uint64_t events)
{
    static struct log_limit limit;
    uint64_t held_back;

    pump->rejected += events;
    if (!log_limit_pass(&limit, LINES_PER_S, LINES_PER_S, &held_back))
        return;
    LOG(LOG_ERROR, "output rejected events", LOG_STR("output", pump->output->type), LOG_INT("events", pump->rejected));
    pump->rejected = 0;
}

// Writes the letters and settles their events; those whose letters could not be written are put into `left`.
static void bury(struct pump *pump, struct parcel *parcel, struct items *left)
{
    struct err err = {0};
    struct items rejected = parcel->rejected;

    if (rejected.events > 0) {
        size_t written = dead_letters_write(pump->dead, &parcel->letters, &err);
        struct items buried = {0};
        items_split(&rejected, written, &buried, left);
        if (written > 0) {
            counter_bump(&pump->stats.rejected, written);
            tell_rejected(pump, written);
        }
        for (size_t i = 0; i < buried.count; i++)
            settle(pump, parcel, buried.at[i], VERDICT_REJECTED);
        items_fini(&buried);
        items_clear(&parcel->rejected);
        letters_clear(&parcel->letters);
    }
    if (left->events > 0)
        pump_tell_letters(pump, err.text);
}

static void letters_are_well(struct pump *pump)
{
    if (pump->letters_reason[0] != '\0') // written by this thread only
        pump_tell_letters(pump, "");
}

// ---- Back-off

static void back_off(struct pump *pump, int64_t wait_ms)
{
    int64_t until_ns = clock_mono_ns() + wait_ms * NS_PER_MS;
    if (!pump->backing_off || until_ns > pump->backoff_until_ns)
        pump->backoff_until_ns = until_ns;
    pump->backing_off = true;
}

// The output as a whole. Of several hand-overs that fail together only the first makes the next wait longer.
static void output_backs_off(struct pump *pump)
{
    if (!pump->backing_off)
        back_off(pump, backoff_next_ms(&pump->backoff));
}

static int64_t asked_for_ms(const struct sink_outcome *outcome)
{
    return outcome->retry_after_ms < RETRY_AFTER_MAX_MS ? outcome->retry_after_ms : RETRY_AFTER_MAX_MS;
}

// With a durable store what is left is safe, and goes after the next start: its end is not kept waiting.
static void give_up_at_the_end(struct pump *pump)
{
    if (pump_is(&pump->stopping) && pump->store->ops->durable)
        pump->given_up = true;
}

static void output_down(struct pump *pump, const char *reason)
{
    give_up_at_the_end(pump);
    pump_went_down(pump, reason);
    output_backs_off(pump);
}

static void went_well(struct pump *pump, const struct parcel *parcel)
{
    pump->progress += parcel->settled > 0 ? 1 : 0;
    pump->failed_in_a_row = 0;
    pump->busy_since_ns = 0;
    backoff_reset(&pump->backoff);
    if (!pump->full || pump_has_room(pump)) // or it would come and go with each event that is taken
        pump_went_up(pump, "output up again");
}

// ---- Outcomes of a sink without order

// The parcel's events go again with all others; but what goes alone stays as it is.
static void give_again(struct pump *pump, struct parcel *parcel)
{
    parcel->due_ns = 0;
    if (parcel->alone) {
        parcels_push(&pump->suspects, parcel);
    } else if (parcel->lettered) {
        parcels_push(&pump->waiting, parcel);
    } else {
        queue_unshift(&pump->fresh, &parcel->items);
        parcel_put(&pump->spare, parcel);
    }
}

static void forget(struct pump *pump, struct parcel *parcel, struct sink_item item)
{
    counter_bump(&pump->let_go, item.count);
    pump->lettered -= parcel->lettered ? item.count : 0;
    settle(pump, parcel, item, VERDICT_RETRY);
}

// A memory store has promised nothing: the sensor of a batch that is older than sensors are kept waiting was told 503 and
// sends it again. Events of it that the output does not take are not kept, or they would pile up with each repeat; and an
// output that fails on nothing else would count as down for ever, as nobody could bring what it takes. True: none are left,
// and the parcel has been put away.
static bool let_go(struct pump *pump, struct parcel *parcel)
{
    struct items rest = {0};
    int64_t told_ns = clock_real_ns() - pump->stuck_ns; // older ones have been answered
    if (pump->store->ops->durable)
        return false;
    for (size_t i = 0; i < parcel->items.count; i++) {
        struct sink_item item = parcel->items.at[i];
        if (item.batch->arrived_real_ns < told_ns)
            forget(pump, parcel, item);
        else
            items_add(&rest, item);
    }
    items_fini(&parcel->items);
    parcel->items = rest;
    if (rest.events > 0)
        return false;
    parcel_put(&pump->spare, parcel);
    return true;
}

static void wait_for_own_time(struct pump *pump, struct parcel *parcel, int64_t at_least_ms)
{
    if (let_go(pump, parcel))
        return;
    int64_t wait_ms = backoff_nth_ms(&pump->backoff, parcel->tries++);
    parcel->due_ns = clock_mono_ns() + (wait_ms > at_least_ms ? wait_ms : at_least_ms) * NS_PER_MS;
    parcel->failures = 0;
    parcel->alone = false;
    parcels_push(&pump->waiting, parcel);
}

// A little trouble is not worth turning sensors away: the output counts as down when it has asked for time for so long, or
// asks for so much, that their batches would wait in vain.
static void on_busy(struct pump *pump, struct parcel *parcel, const struct sink_outcome *outcome)
{
    int64_t now_ns = clock_mono_ns();
    int64_t asked_ms = asked_for_ms(outcome);

    if (asked_ms > 0)
        back_off(pump, asked_ms);
    else
        output_backs_off(pump);
    give_up_at_the_end(pump);
    if (pump->busy_since_ns == 0)
        pump->busy_since_ns = now_ns;
    if (pump->backoff_until_ns - pump->busy_since_ns > pump->stuck_ns)
        pump_went_down(pump, outcome->error);
    if (parcel->tries > 0 && !parcel->alone)
        wait_for_own_time(pump, parcel, asked_ms); // so that a few that are always refused do not slow down all others
    else if (!let_go(pump, parcel))
        give_again(pump, parcel);
}

static void go_alone(struct pump *pump, struct parcel *parcel)
{
    parcel->due_ns = 0;
    parcel->alone = true;
    parcels_push(&pump->suspects, parcel);
}

static void halve(struct pump *pump, struct parcel *parcel)
{
    struct parcel *second = parcel_halve(parcel, &pump->spare);
    go_alone(pump, parcel);
    go_alone(pump, second);
}

// Says whether this hand-over may be halved although nothing shows that it is to blame.
static bool may_probe(struct pump *pump, struct parcel *parcel)
{
    if (!pump->has_prober && pump->suspects.count < SUSPECTS_MOST && parcel->items.events > 1)
        parcel->prober = pump->has_prober = true;
    return parcel->prober;
}

static void no_more_prober(struct pump *pump, struct parcel *parcel)
{
    if (parcel->prober)
        parcel->prober = pump->has_prober = false;
}

static int64_t own_wait_ms(struct pump *pump, struct parcel *parcel, const char *error)
{
    static struct log_limit limit;
    uint64_t held_back;

    if (parcel->items.events > 1)
        return backoff_nth_ms(&pump->backoff, parcel->tries++);
    if (log_limit_pass(&limit, LINES_PER_S, LINES_PER_S, &held_back))
        LOG(LOG_WARN, "output fails on a single event, which waits", LOG_STR("reason", error));
    return pump->backoff.max_ms;
}

static void on_failed(struct pump *pump, struct parcel *parcel, const char *error)
{
    bool to_blame = parcel->failures > 0 && parcel->progress != pump->progress;
    int64_t wait_ms = 0;

    if (!to_blame) {
        output_down(pump, error);
        pump->failed_in_a_row++;
    }
    if (!to_blame && !parcel->alone && pump->failed_in_a_row > SUSPECTS_MAX && pump->suspects.count >= SUSPECTS_MAX) {
        give_again(pump, parcel);
        return;
    }
    parcel->alone = true;
    parcel->failures++;
    parcel->progress = pump->progress;
    if (to_blame || parcel->items.events == 1)
        no_more_prober(pump, parcel);
    if (parcel->items.events == 1 && parcel->failures >= FAILURES_BEFORE_HALVING && let_go(pump, parcel))
        return;
    if (parcel->items.events > 1 && parcel->failures >= FAILURES_BEFORE_HALVING &&
        (to_blame || may_probe(pump, parcel))) {
        parcel->tries = 0;
        parcel->failures = FAILURES_BEFORE_HALVING - 1; // a half has to fail once only
        halve(pump, parcel);
        return;
    }
    if (to_blame)
        wait_ms = own_wait_ms(pump, parcel, error);
    parcel->due_ns = clock_mono_ns() + wait_ms * NS_PER_MS;
    parcels_push(&pump->suspects, parcel);
}

// 413 for several events: the limit of the output, or of what stands before it, is smaller than ours. So the next are
// smaller from the start; and after a while larger again, as it may have been one large event.
static void shrink(struct pump *pump, const struct parcel *parcel)
{
    uint64_t half = parcel->items.bytes / 2;
    if (half < pump->cap_bytes)
        pump->cap_bytes = half > 0 ? half : 1;
    pump->cap_went_well = 0;
}

static void grow_again(struct pump *pump, uint64_t bytes)
{
    if (pump->cap_bytes == pump->limits.max_bytes || bytes < pump->cap_bytes / 2 ||
        ++pump->cap_went_well < CAP_GROWS_AFTER)
        return;
    pump->cap_went_well = 0;
    pump->cap_bytes = pump->cap_bytes < pump->limits.max_bytes / 2 ? pump->cap_bytes * 2 : pump->limits.max_bytes;
}

static const char *const result_words[] = {[SINK_OK] = "retry",
                                           [SINK_BUSY] = "busy",
                                           [SINK_TOO_LARGE] = "too_large",
                                           [SINK_FAILED] = "failed",
                                           [SINK_DOWN] = "down"};

static void count_outcome(struct pump *pump, const struct parcel *parcel, const struct sink_outcome *outcome,
                          int64_t now_ns)
{
    histogram_add(&pump->stats.handover_ns, histogram_duration_ns, (uint64_t)(now_ns - parcel->began_ns));
    if (parcel->retry.events == 0 && outcome->result == SINK_OK)
        return;
    counter_bump(&pump->stats.retried, parcel->retry.events);
    counter_bump(&pump->stats.errors, parcel->retry.events > 0 ? 1 : 0);
    __atomic_store_n(&pump->last_error, result_words[outcome->result], __ATOMIC_RELAXED);
}

// What is left of it comes first, whatever the reason. The sink may know where in its first event it was.
static void finish_ordered(struct pump *pump, struct parcel *parcel, const struct sink_outcome *outcome)
{
    struct items left = {0};
    const char *reason = outcome->error;

    bury(pump, parcel, &left);
    if (left.events > 0 && reason[0] == '\0')
        reason = pump->letters_reason;
    for (size_t i = 0; i < left.count; i++)
        items_add(&parcel->retry, left.at[i]);
    items_fini(&left);
    if (parcel->retry.events > 0) {
        queue_unshift(&pump->fresh, &parcel->retry);
        output_down(pump, reason);
    } else {
        went_well(pump, parcel);
        letters_are_well(pump);
    }
    parcel_put(&pump->spare, parcel);
}

// 413 for a single event: the output will never take it.
static void refuse_too_large(struct pump *pump, struct parcel *parcel, const char *error)
{
    struct sink_item event = parcel->retry.at[0];
    items_clear(&parcel->retry);
    reject(pump, parcel, event, 413, TEXT("too_large"), text_of(error));
    pump->cap_bytes = pump->limits.max_bytes; // it was this event's fault
}

static void finish_by_result(struct pump *pump, struct parcel *parcel, const struct sink_outcome *outcome)
{
    parcel_turn_round(parcel);
    bool empty = parcel->items.events == 0;
    if (empty || outcome->result != SINK_FAILED)
        no_more_prober(pump, parcel);
    if (outcome->result == SINK_DOWN) {
        output_down(pump, outcome->error);
        if (asked_for_ms(outcome) > 0)
            back_off(pump, asked_for_ms(outcome));
    }
    if (empty) {
        if (outcome->result == SINK_FAILED || outcome->result == SINK_BUSY)
            output_backs_off(pump);
        parcel_put(&pump->spare, parcel);
        return;
    }
    pump->lettered += parcel->lettered ? parcel->items.events : 0;
    switch (outcome->result) {
    case SINK_OK:
        wait_for_own_time(pump, parcel, asked_for_ms(outcome));
        break;
    case SINK_BUSY:
        on_busy(pump, parcel, outcome);
        break;
    case SINK_TOO_LARGE:
        shrink(pump, parcel);
        if (parcel->items.events > 1)
            halve(pump, parcel);
        else
            go_alone(pump, parcel); // the output took the others: what it says of this one is seen when it comes alone
        break;
    case SINK_FAILED:
        on_failed(pump, parcel, outcome->error);
        break;
    case SINK_DOWN:
        give_again(pump, parcel);
        break;
    }
}

void pump_finish(struct pump *pump, struct parcel *parcel, const struct sink_outcome *outcome)
{
    int64_t now_ns = clock_mono_ns();
    struct sink_outcome how = *outcome;
    struct items left = {0};

    INVARIANT(parcel->unreported == 0);
    count_outcome(pump, parcel, outcome, now_ns);
    if (pump->limits.ordered) {
        finish_ordered(pump, parcel, outcome);
        return;
    }
    if (how.result == SINK_TOO_LARGE && parcel->retry.events == 1 && parcel->items.events == 1) {
        refuse_too_large(pump, parcel, how.error);
        how.result = SINK_OK;
    }
    unsigned tries = parcel->tries;
    pump->lettered -= parcel->lettered ? parcel->items.events : 0;
    bury(pump, parcel, &left);
    if (left.events > 0) {
        pump->lettered += left.events;
        struct parcel *waiting = parcel_get(&pump->spare);
        items_fini(&waiting->items);
        waiting->items = left;
        waiting->lettered = true;
        waiting->tries = tries;
        wait_for_own_time(pump, waiting, 0);
    }
    if (how.result == SINK_OK) {
        if (parcel->settled + left.events > 0) {
            went_well(pump, parcel);
            grow_again(pump, parcel->items.bytes);
        } else if (parcel->tries == 0) { // it took nothing of what is new: it needs a pause, and may yet be well
            give_up_at_the_end(pump);
            output_backs_off(pump);
        }
        parcel->lettered = false;
    }
    finish_by_result(pump, parcel, &how);
    if (pump->lettered == 0)
        letters_are_well(pump);
}
