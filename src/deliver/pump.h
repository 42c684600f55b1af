// SPDX-License-Identifier: Apache-2.0
#pragma once

// Takes batches from the store, hands them to the sink, settles them. The one place that gathers hand-overs, retries,
// backs off (exponential with jitter, between retry_backoff_ms and retry_max_backoff_ms) and writes dead letters
// (deliver/dead_letters.h). A thread of its own, which also runs the sink.
//
// A sink that keeps order gets one hand-over at a time, and what comes back of it is first in the next. For others an
// event that comes back waits for its own time and stops no other; a hand-over on which the output fails is tried again
// in turn with others and then halved, until the event it fails on is alone and waits; only when nothing goes well is
// the output down, and then one hand-over at a time finds out when it is back.

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
    // How the last hand-over that did not go well ended, as a word: "retry" (single events), "busy", "too_large",
    // "failed", "down"; "" if none did.
    const char *last_error;
    // Events of a memory store that were given up, as their sensors were told 503 and send them again.
    uint64_t let_go;
};

struct pump_conf {
    const struct conf_output *output; // outlives the pump
    int64_t stuck_ms;                 // a delivery without progress for longer counts as down (output.ack_timeout_ms)
};

// Opens the sink (errors as the sink says them), attaches to the store and starts the thread. That the output is down
// is no error. For an output on the network that dead letters could not be written is one.
int pump_start(const struct pump_conf *conf, const struct sink_ops *ops, struct store *store, struct pump **out,
               struct err *err);

void pump_state(struct pump *pump, struct pump_state *out);  // any thread
const struct sink_stats *pump_sink_stats(struct pump *pump); // any thread; until pump_free

// Delivers what the store still has, for at most grace_ms (the store must be draining), then interrupts, gives back the
// rest, closes the sink and ends the thread. With a durable store, where the rest is safe, it does not wait for what
// fails. How many events were given back. Blocks; main thread.
uint64_t pump_stop(struct pump *pump, int64_t grace_ms);

// After pump_stop, when no thread appends to the store any more: until then the store may still call the pump.
void pump_free(struct pump *pump);
