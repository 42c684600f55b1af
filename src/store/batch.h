// SPDX-License-Identifier: Apache-2.0
#pragma once

// One accepted request on its way from ingest through the store to the sink: enriched events as lines, and the way back
// for the answer. Has one owner at a time: ingest until store_append, the store until it sends the mail, then
// ingest again. While the store owns it, `lines` and `ends` are read-only and any thread may read them.

#include <stdint.h>

#include "base/buf.h"
#include "base/mailbox.h"

struct batch {
    struct mail mail;     // first: sent to `home` when the verdict on the batch is known
    struct mailbox *home; // of the worker that answers the sensor
    int status;           // set before the mail: 0 safe, or a negative code: not promised
    struct batch *next;   // the store's queue
    const char *sensor;   // outlives the batch (token table)
    int64_t arrived_real_ns;
    struct buf lines; // each event with its '\n'
    uint32_t *ends;   // ends[i]: offset one past event i's '\n'
    uint32_t count;   // events, at least 1
    uint32_t settled; // the store's: events with a final verdict
};

// Offset of event i in the lines; of i == count, where they end.
static inline uint32_t batch_begin(const struct batch *batch, uint32_t i)
{
    return i > 0 ? batch->ends[i - 1] : 0;
}

static inline struct text batch_event(const struct batch *batch, uint32_t i) // with its '\n'
{
    uint32_t begin = batch_begin(batch, i);
    return (struct text){batch->lines.data + begin, batch->ends[i] - begin};
}
