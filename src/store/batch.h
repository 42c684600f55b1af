// SPDX-License-Identifier: Apache-2.0
#pragma once

// One accepted request on its way from ingest through the store to the sink: enriched events as lines, and the way back
// for the answer. Has one owner at a time: ingest until store_append, the store until it sends the mail, then
// ingest again. While the store owns it, `lines` and `ends` are the store's alone, which does not change what is in them. It may
// keep the two for itself: then they come back empty, and the count as it was. What the pump takes from a durable store are
// batches that the store itself has made; those have no home.

#include <stdint.h>

#include "base/buf.h"
#include "base/mailbox.h"

// What is the same whenever a sensor sends the same body again: a 128-bit hash (XXH3) of sensor and whole body, as it was
// received. With an index in the batch it makes the stable id of an event, by which an output knows what it has
// already. Not the sensor's event.id, which Spip makes once a connection, and not the event's bytes: Spip stamps whole
// seconds and repeats itself.
struct batch_id {
    uint64_t low, high;
};

struct batch {
    struct mail mail;     // first: sent to `home` when the verdict on the batch is known
    struct mailbox *home; // of the worker that answers the sensor
    int status;           // set before the mail: 0 safe, or a negative code: not promised
    struct batch *next;   // the store's queue
    const char *sensor;   // outlives the batch (token table, or the store's own copy)
    int64_t arrived_real_ns;
    struct batch_id id;
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

// The stable id of event i: 128 bits as base64url without padding (RFC 4648, 5), which an Elasticsearch keeps in 16 bytes.
#define EVENT_ID_LEN 22
void batch_event_id(const struct batch *batch, uint32_t i, char out[EVENT_ID_LEN]);
