// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"
#include "deliver/pump_core.h"

// Is the output up? Its changes come from the pump's thread. But a sink may block that thread (a write to a full pipe),
// so "stuck" is found by who asks, from the time of the last progress.

#define REMIND_EVERY_NS (60 * NS_PER_S)

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

bool pump_delivering(void *ctx)
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
    out->last_error = __atomic_load_n(&pump->last_error, __ATOMIC_RELAXED);
    out->let_go = counter_get(&pump->let_go);
    pthread_mutex_lock(&pump->mutex);
    out->up = __atomic_load_n(&pump->up, __ATOMIC_RELAXED);
    out->since_real_ns = pump->since_real_ns;
    snprintf(out->reason, sizeof out->reason, "%.*s", (int)sizeof out->reason - 1, out->up ? "" : pump->reason);
    snprintf(out->dead_letters, sizeof out->dead_letters, "%.*s", (int)sizeof out->dead_letters - 1,
             pump->letters_reason);
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

void pump_went_down(struct pump *pump, const char *reason)
{
    bool was_up = pump->up;
    int64_t now_ns = clock_mono_ns();
    pump->full = false;
    change_state(pump, false, reason);
    if (was_up) {
        pump->down_mono_ns = now_ns;
        pump->told_down_ns = now_ns;
        __atomic_store_n(&pump->stuck_told, false, __ATOMIC_RELAXED);
        LOG(LOG_WARN, "output down", LOG_STR("reason", reason));
    } else if (now_ns - pump->told_down_ns >= REMIND_EVERY_NS) {
        pump->told_down_ns = now_ns;
        LOG(LOG_WARN, "output still down", LOG_STR("reason", reason),
            LOG_INT("down_s", (now_ns - pump->down_mono_ns) / NS_PER_S));
    }
}

void pump_went_up(struct pump *pump, const char *message)
{
    if (pump->up)
        return;
    pump->full = false;
    change_state(pump, true, "");
    LOG(LOG_INFO, message, LOG_INT("down_ms", (clock_mono_ns() - pump->down_mono_ns) / NS_PER_MS));
}

void pump_made_progress(struct pump *pump, int64_t now_ns)
{
    int64_t before_ns = __atomic_exchange_n(&pump->progress_ns, now_ns, __ATOMIC_RELAXED);
    if (__atomic_load_n(&pump->stuck_told, __ATOMIC_RELAXED) &&
        __atomic_exchange_n(&pump->stuck_told, false, __ATOMIC_RELAXED))
        LOG(LOG_INFO, "output up again", LOG_INT("down_ms", (now_ns - before_ns) / NS_PER_MS));
}

void pump_tell_letters(struct pump *pump, const char *reason)
{
    pthread_mutex_lock(&pump->mutex);
    bool was_well = pump->letters_reason[0] == '\0';
    snprintf(pump->letters_reason, sizeof pump->letters_reason, "%s", reason);
    pthread_mutex_unlock(&pump->mutex);
    if (reason[0] == '\0' && !was_well)
        LOG(LOG_INFO, "no rejected event waits any more");
    else if (reason[0] != '\0' && was_well)
        LOG(LOG_ERROR, "rejected events wait", LOG_STR("reason", reason));
}
