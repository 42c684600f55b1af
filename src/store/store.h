// SPDX-License-Identifier: Apache-2.0
#pragma once

// The contract between ingest and delivery. Ingest appends batches and hears by mail when one is safe; the pump
// (deliver/pump.h) reads them in order and settles their events. What "safe" means is the store's: the memory store
// says it when the output has confirmed every event, the durable one (store/durable.h) when the batch is on disk.

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/metric.h"
#include "store/batch.h"

enum verdict {
    VERDICT_DELIVERED, // final: the output has it
    VERDICT_RETRY,     // not now; not final: the pump keeps it and tries again
    VERDICT_REJECTED,  // final: the output will never take it, and the dead letters have it
};

// The pump's side, given at store_attach. Both may be called on any thread.
struct store_reader {
    void (*wake)(void *ctx); // batches wait to be taken
    bool (*delivering)(
        void *ctx); // false while the output is down or stuck: what a memory store is given now would wait
    void *ctx;
};

struct store_stats {
    uint64_t batches, events, bytes; // appended and not yet settled; bytes of a durable store: of its records on disk
    // Durable only; zero in a memory store.
    uint64_t bytes_max;              // output.outbox.max_bytes
    int64_t oldest_real_ns;          // arrival of the oldest batch that is not settled; 0: there is none
    uint64_t commits;                // since the start, as what follows
    uint64_t dropped_events;         // by when_full = "drop_oldest"
    uint64_t damaged_records;        // set aside
    uint64_t later_events;           // in records of a later version, which stay
    uint64_t errors;                 // commits and reads that failed
    struct histogram commit_ns;      // bounds: histogram_duration_ns
    struct histogram commit_batches; // bounds: histogram_events
};

struct store_health {
    bool accepts;     // false: what is appended now is refused
    char reason[256]; // why: "outbox: full (268435456 bytes)", "outbox: No space left on device"; "" while it accepts
};

struct store;
struct store_ops {
    const char *name;
    bool durable; // safe on disk before the output has it: the pump may wait for fuller hand-overs
    void (*attach)(struct store *store, const struct store_reader *reader);
    // True when an append now has a fair chance: asked before a body is read. Any thread; cheap.
    bool (*accepts)(struct store *store);
    // The same for a person, with the reason. Any thread.
    void (*health)(struct store *store, struct store_health *out);
    // 0: the store owns the batch until its mail comes, and looks at it at the next kick. Negative (-EAGAIN: can't take it now,
    // -EFBIG: never, as it is larger than the store may become; -ESHUTDOWN): the caller still owns it. Any thread.
    int (*append)(struct store *store, struct batch *batch);
    // After one or several appends of this thread: they are to be looked at now. Any thread; cheap when there is nothing to do.
    void (*kick)(struct store *store);
    // Pump thread only. The next batches in order of arrival that were not taken yet, at most max; how many. Those events of
    // them that were settled before a restart are reported by next_open only.
    size_t (*take)(struct store *store, struct batch **out, size_t max);
    // Pump thread only. The first run of events at or after `from` that are not settled: *first and how many, 0 when there
    // are none. Of a batch that was just taken this is how the pump learns what is left of it.
    uint32_t (*next_open)(struct store *store, const struct batch *batch, uint32_t from, uint32_t *first);
    // Pump thread only. A final verdict, once, for each of the events [first, first + count) of a taken batch. The batch is
    // gone when its last event is settled. RETRY, for the memory store only: the pump gives up on them, and the batch will be
    // answered as not promised.
    void (*settle)(struct store *store, struct batch *batch, uint32_t first, uint32_t count, enum verdict verdict);
    // Pump thread, at shutdown: a taken batch whose events are not all settled goes back; memory store: status
    // -ESHUTDOWN; durable store: what is open of it is taken again after the next start.
    void (*give_back)(struct store *store, struct batch *batch);
    void (*stats)(struct store *store, struct store_stats *out); // any thread
    void (*drain)(struct store *store); // no more appends: -ESHUTDOWN; what is in goes on. Any thread
    void (*close)(struct store *store); // after the pump: what was never taken is given back; releases the store
};
struct store {
    const struct store_ops *ops;
};

static inline int store_append(struct store *store, struct batch *batch)
{
    return store->ops->append(store, batch);
}
static inline bool store_accepts(struct store *store)
{
    return store->ops->accepts(store);
}
static inline void store_kick(struct store *store)
{
    store->ops->kick(store);
}
