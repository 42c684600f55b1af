// SPDX-License-Identifier: Apache-2.0
#pragma once

// Events on their way to the output, as runs of a batch: a plain list, and a queue with times that hand-overs are cut
// from. The pump's thread.

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sink/sink.h"

struct items {
    struct sink_item *at;
    size_t count;
    size_t cap;
    uint64_t bytes;
    uint64_t events;
};

uint64_t item_bytes(const struct sink_item *item);

void items_fini(struct items *items);
void items_clear(struct items *items);
void items_add(struct items *items, struct sink_item item); // what continues the last run joins it
// Puts the first `events` of them into `first` and the others into `rest`.
void items_split(const struct items *items, uint64_t events, struct items *first, struct items *rest);

struct queue_entry {
    struct sink_item item;
    int64_t since_ns; // waits since then (monotonic)
};
struct queue {
    struct queue_entry *at;
    size_t head; // those before are gone
    size_t count;
    size_t cap;
    uint64_t bytes;
    uint64_t events;
};

void queue_fini(struct queue *queue);
void queue_push(struct queue *queue, struct sink_item item, int64_t since_ns);
void queue_unshift(struct queue *queue, const struct items *items); // in front of all; they have waited long enough
int64_t queue_since_ns(const struct queue *queue);                  // of the first; the queue must not be empty
// Moves events off the front: as many as fit, at least one. The queue must not be empty.
void queue_cut(struct queue *queue, uint64_t max_bytes, uint64_t max_events, struct items *into);
