// SPDX-License-Identifier: Apache-2.0
#include "deliver/held.h"

#include "base/mem.h"

#define HELD_FIRST 256

static size_t slot_of(const struct held *held, const struct batch *batch)
{
    uint64_t hash = (uint64_t)(uintptr_t)batch * UINT64_C(0x9e3779b97f4a7c15);
    return (size_t)(hash >> 32) & (held->cap - 1);
}

// Where the batch is, or where it would be.
static size_t find(const struct held *held, const struct batch *batch)
{
    size_t at = slot_of(held, batch);
    while (held->at[at].batch != NULL && held->at[at].batch != batch)
        at = (at + 1) & (held->cap - 1);
    return at;
}

void held_fini(struct held *held)
{
    mem_free(held->at);
    *held = (struct held){0};
}

static void grow(struct held *held)
{
    struct held_batch *before = held->at;
    size_t before_cap = held->cap;
    held->cap = before_cap > 0 ? before_cap * 2 : HELD_FIRST;
    held->at = mem_array(held->cap, sizeof *held->at);
    for (size_t i = 0; i < before_cap; i++)
        if (before[i].batch != NULL)
            held->at[find(held, before[i].batch)] = before[i];
    mem_free(before);
}

void held_add(struct held *held, struct batch *batch, uint32_t open, uint64_t open_bytes)
{
    if (held->count >= held->cap / 2)
        grow(held);
    size_t at = find(held, batch);
    INVARIANT(held->at[at].batch == NULL && open > 0);
    held->at[at] = (struct held_batch){batch, open};
    held->count++;
    held->open_bytes += open_bytes;
    held->total_bytes += batch->lines.len;
    held->open_events += open;
}

// Entries behind a free slot would not be found any more: those that belong at or before it move up.
static void take_out(struct held *held, size_t at)
{
    size_t mask = held->cap - 1;
    held->at[at].batch = NULL;
    for (size_t next = (at + 1) & mask; held->at[next].batch != NULL; next = (next + 1) & mask) {
        size_t home = slot_of(held, held->at[next].batch);
        if (((next - home) & mask) < ((next - at) & mask))
            continue;
        held->at[at] = held->at[next];
        held->at[next].batch = NULL;
        at = next;
    }
    held->count--;
}

bool held_settle(struct held *held, const struct batch *batch, uint32_t count, uint64_t bytes)
{
    INVARIANT(held->count > 0);
    size_t at = find(held, batch);
    struct held_batch *entry = &held->at[at];
    INVARIANT(entry->batch == batch && count <= entry->open);
    entry->open -= count;
    held->open_bytes -= bytes;
    held->open_events -= count;
    if (entry->open > 0)
        return false;
    held->total_bytes -= batch->lines.len;
    take_out(held, at);
    return true;
}
