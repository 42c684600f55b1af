// SPDX-License-Identifier: Apache-2.0
#pragma once

// The batches that the pump has taken and whose events are not all settled, and what they weigh. A batch is gone for the
// pump with the last verdict on its events, so this must know before it is given. The pump's thread.

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/batch.h"

struct held_batch {
    struct batch *batch; // NULL: free
    uint32_t open;       // its events without a final verdict
};
struct held {
    struct held_batch *at; // a hash table with linear probing
    size_t cap;            // a power of two, or 0
    size_t count;
    uint64_t open_bytes;  // lines of events without a final verdict
    uint64_t total_bytes; // of all lines of these batches: one event keeps a whole batch in memory
    uint64_t open_events;
};

void held_fini(struct held *held);
void held_add(struct held *held, struct batch *batch, uint32_t open, uint64_t open_bytes);
// Some of its events are about to be settled. True: the last ones, and the batch is forgotten here.
bool held_settle(struct held *held, const struct batch *batch, uint32_t count, uint64_t bytes);
