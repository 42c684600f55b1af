// SPDX-License-Identifier: Apache-2.0
#pragma once

// The contract between ingest and delivery. Ingest appends batches and hears by mail when one is safe; the pump
// (deliver/pump.h) reads them in order and settles their events. What "safe" means is the store's: the memory store
// says it when the output has confirmed every event, a durable one when the batch is on disk.

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "store/batch.h"

enum verdict {
    VERDICT_DELIVERED, // final: the output has it
    VERDICT_RETRY,     // not now; not final: the pump keeps it and tries again
    VERDICT_REJECTED,  // final: the output will never take it
};

// The pump's side, given at store_attach. Both may be called on any thread.
struct store_reader {
    void (*wake)(void *ctx);       // batches wait to be taken
    bool (*delivering)(void *ctx); // false while the output is down or stuck: what is appended now would wait
    void *ctx;
};

struct store_stats {
    uint64_t batches, events, bytes; // appended and not yet settled
};

struct store;
struct store_ops {
    const char *name;
    void (*attach)(struct store *store, const struct store_reader *reader);
    // True when an append now has a fair chance: asked before a body is read. Any thread; cheap.
    bool (*accepts)(struct store *store);
    // 0: the store owns the batch until its mail comes, and looks at it at the next kick. Negative (-EAGAIN: can't take it now, -ESHUTDOWN): the caller
    // still owns it. Any thread.
    int (*append)(struct store *store, struct batch *batch);
    // After one or several appends of this thread: they are to be looked at now. Any thread; cheap when there is nothing to do.
    void (*kick)(struct store *store);
    // Pump thread only. The next batches in order of arrival that were not taken yet, at most max; how many.
    size_t (*take)(struct store *store, struct batch **out, size_t max);
    // Pump thread only. A final verdict (not RETRY), once, for each of the events [first, first + count) of a taken
    // batch. The batch is gone when its last event is settled.
    void (*settle)(struct store *store, struct batch *batch, uint32_t first, uint32_t count, enum verdict verdict);
    // Pump thread, at shutdown: a taken batch whose events are not all settled goes back; memory store: status
    // -ESHUTDOWN.
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
