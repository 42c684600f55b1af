// SPDX-License-Identifier: Apache-2.0
#pragma once

// The body of a bulk request (NDJSON): for each event a line that says `create` with the event's stable id, and the event
// itself, byte for byte as it came. Only where a data stream demands an @timestamp and an event has none, the time of its
// arrival becomes its first member. One builder per output, on its thread.

#include <stdbool.h>

#include "base/buf.h"
#include "sink/es_name.h"
#include "sink/sink.h"

struct es_bulk; // with the state of the compression, which is costly to set up

struct es_bulk *es_bulk_new(const struct es_name *name, bool gzip);
void es_bulk_free(struct es_bulk *bulk);

// The request's path: "/loom-events/_bulk?..." where all events have one target, else "/_bulk?...".
void es_bulk_path(const struct es_name *name, struct buf *out);

// *body becomes the request's body, compressed if so configured. 0 or -ENOMEM.
int es_bulk_build(struct es_bulk *bulk, const struct handover *handover, struct buf *body);
