// SPDX-License-Identifier: Apache-2.0
#pragma once

// Takes batches from the store, hands them to the sink, settles them. The one place that retries and backs off
// (exponential with jitter, between retry_backoff_ms and retry_max_backoff_ms). A thread of its own, which also runs
// the sink.

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "conf/conf.h"
#include "sink/sink.h"
#include "store/store.h"

struct pump;

struct pump_state {
    bool up;               // false: the last delivery failed, or one has made no progress for longer than stuck_ms
    char reason[256];      // why not: "stdout: No space left on device"
    int64_t since_real_ns; // up or down since then
    // Why rejected events wait: "dead letters: full (67108864 bytes), events wait"; "" if none do.
    char dead_letters[256];
};

struct pump_conf {
    const struct conf_output *output;
    int64_t stuck_ms; // a delivery without progress for longer counts as down (output.ack_timeout_ms)
};

// Opens the sink (errors as the sink says them), attaches to the store and starts the thread.
int pump_start(const struct pump_conf *conf, const struct sink_ops *ops, struct store *store, struct pump **out,
               struct err *err);

void pump_state(struct pump *pump, struct pump_state *out);  // any thread
const struct sink_stats *pump_sink_stats(struct pump *pump); // any thread; until pump_free

// Delivers what the store still has, for at most grace_ms (the store must be draining), then interrupts, gives back the
// rest, closes the sink and ends the thread. How many events were given back. Blocks; main thread.
uint64_t pump_stop(struct pump *pump, int64_t grace_ms);

// After pump_stop, when no thread appends to the store any more: until then the store may still call the pump.
void pump_free(struct pump *pump);
