// SPDX-License-Identifier: Apache-2.0
#include "deliver/items.h"

#include <string.h>

#include "base/mem.h"

#define ITEMS_FIRST 64

uint64_t item_bytes(const struct sink_item *item)
{
    return batch_begin(item->batch, item->first + item->count) - batch_begin(item->batch, item->first);
}

void items_fini(struct items *items)
{
    mem_free(items->at);
    *items = (struct items){0};
}

void items_clear(struct items *items)
{
    items->count = 0;
    items->bytes = 0;
    items->events = 0;
}

void items_add(struct items *items, struct sink_item item)
{
    items->bytes += item_bytes(&item);
    items->events += item.count;
    if (items->count > 0) {
        struct sink_item *last = &items->at[items->count - 1];
        if (last->batch == item.batch && last->first + last->count == item.first) {
            last->count += item.count;
            return;
        }
    }
    if (items->count == items->cap) {
        items->cap = items->cap > 0 ? items->cap * 2 : ITEMS_FIRST;
        items->at = mem_realloc(items->at, items->cap * sizeof *items->at);
    }
    items->at[items->count++] = item;
}

void items_split(const struct items *items, uint64_t events, struct items *first, struct items *rest)
{
    for (size_t i = 0; i < items->count; i++) {
        struct sink_item item = items->at[i];
        uint32_t here = item.count < events ? item.count : (uint32_t)events;
        if (here > 0)
            items_add(first, (struct sink_item){item.batch, item.first, here});
        if (here < item.count)
            items_add(rest, (struct sink_item){item.batch, item.first + here, item.count - here});
        events -= here;
    }
}

// ---- The queue

void queue_fini(struct queue *queue)
{
    mem_free(queue->at);
    *queue = (struct queue){0};
}

// Room for `more` entries at one end. What is in lies at the other end afterwards.
static void queue_grow(struct queue *queue, size_t more, bool in_front)
{
    size_t cap = queue->cap;
    if (queue->count + more > cap / 2) // so that moving the entries pays off
        cap = (queue->count + more) * 2 + ITEMS_FIRST;
    struct queue_entry *at = mem_array(cap, sizeof *at);
    size_t head = in_front ? cap - queue->count : 0;
    if (queue->count > 0)
        memcpy(at + head, queue->at + queue->head, queue->count * sizeof *at);
    mem_free(queue->at);
    queue->at = at;
    queue->head = head;
    queue->cap = cap;
}

void queue_push(struct queue *queue, struct sink_item item, int64_t since_ns)
{
    if (queue->count == 0)
        queue->head = 0;
    if (queue->head + queue->count == queue->cap)
        queue_grow(queue, 1, false);
    queue->at[queue->head + queue->count++] = (struct queue_entry){item, since_ns};
    queue->bytes += item_bytes(&item);
    queue->events += item.count;
}

void queue_unshift(struct queue *queue, const struct items *items)
{
    if (queue->head < items->count)
        queue_grow(queue, items->count, true);
    queue->head -= items->count;
    queue->count += items->count;
    for (size_t i = 0; i < items->count; i++)
        queue->at[queue->head + i] = (struct queue_entry){items->at[i], 0};
    queue->bytes += items->bytes;
    queue->events += items->events;
}

int64_t queue_since_ns(const struct queue *queue)
{
    return queue->at[queue->head].since_ns;
}

// How many events of the item fit. Offsets only grow, so it is searched by halves.
static uint32_t events_within(const struct sink_item *item, uint64_t bytes)
{
    uint64_t begin = batch_begin(item->batch, item->first);
    uint32_t low = 0, high = item->count;
    while (low < high) {
        uint32_t middle = low + (high - low + 1) / 2;
        if (item->batch->ends[item->first + middle - 1] - begin <= bytes)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

void queue_cut(struct queue *queue, uint64_t max_bytes, uint64_t max_events, struct items *into)
{
    while (queue->count > 0) {
        struct sink_item *item = &queue->at[queue->head].item;
        uint64_t room = max_bytes > into->bytes ? max_bytes - into->bytes : 0;
        uint64_t events = item_bytes(item) <= room ? item->count : events_within(item, room);
        if (events > max_events - into->events)
            events = max_events - into->events;
        if (events == 0 && into->events == 0)
            events = 1; // larger than a hand-over should be, and it has to go
        if (events == 0)
            return;
        struct sink_item part = {item->batch, item->first, (uint32_t)events};
        items_add(into, part);
        queue->bytes -= item_bytes(&part);
        queue->events -= events;
        if (events == item->count) {
            queue->head++;
            queue->count--;
        } else {
            item->first += (uint32_t)events;
            item->count -= (uint32_t)events;
            return;
        }
    }
}
