// SPDX-License-Identifier: Apache-2.0
#include "store/memory.h"

#include <errno.h>

#include "base/mem.h"

// Workers push onto a list with one compare-and-swap; the pump takes the whole list at once, turns it round and serves
// from it. So an append takes no lock, and order of arrival is kept over all workers.

#define CACHE_LINE 64 // between what the workers write and what the pump writes

struct store_memory {
    struct store store;
    struct store_reader reader; // written once, before `attached`
    bool attached;              // atomic
    bool draining;              // atomic

    // The workers' side.
    char apart_[CACHE_LINE];
    struct batch *arrived;                    // atomic; last one first
    uint64_t batches_in, events_in, bytes_in; // atomic

    // The pump's side.
    char apart_too_[CACHE_LINE];
    struct batch *ready;                         // first one first
    uint64_t batches_out, events_out, bytes_out; // atomic; one writer
};

static struct store_memory *memory_of(struct store *store)
{
    return (struct store_memory *)store;
}

static void memory_attach(struct store *store, const struct store_reader *reader)
{
    struct store_memory *memory = memory_of(store);
    memory->reader = *reader;
    __atomic_store_n(&memory->attached, true, __ATOMIC_RELEASE);
}

static int memory_why_not(struct store_memory *memory)
{
    if (__atomic_load_n(&memory->draining, __ATOMIC_ACQUIRE))
        return -ESHUTDOWN;
    // What is appended while nothing is delivered would only wait, and the sensor with it.
    if (!__atomic_load_n(&memory->attached, __ATOMIC_ACQUIRE) || !memory->reader.delivering(memory->reader.ctx))
        return -EAGAIN;
    return 0;
}

static bool memory_accepts(struct store *store)
{
    return memory_why_not(memory_of(store)) == 0;
}

// What keeps it from accepting is the output, and /ready has that from the pump.
static void memory_health(struct store *store, struct store_health *out)
{
    (void)store;
    *out = (struct store_health){.accepts = true};
}

static int memory_append(struct store *store, struct batch *batch)
{
    struct store_memory *memory = memory_of(store);
    INVARIANT(batch->count > 0);
    int rc = memory_why_not(memory);
    if (rc < 0)
        return rc;
    batch->settled = 0;
    batch->status = 0;
    // Counted before it can be settled, so that no reader sees more settled than appended.
    __atomic_fetch_add(&memory->batches_in, 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&memory->events_in, batch->count, __ATOMIC_RELAXED);
    __atomic_fetch_add(&memory->bytes_in, batch->lines.len, __ATOMIC_RELAXED);
    struct batch *arrived = __atomic_load_n(&memory->arrived, __ATOMIC_RELAXED);
    do {
        batch->next = arrived;
    } while (!__atomic_compare_exchange_n(&memory->arrived, &arrived, batch, true, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED));
    return 0;
}

// A worker kicks once for all that a turn of its loop has brought: on a busy machine the pump is woken for many batches,
// and not for each.
static void memory_kick(struct store *store)
{
    struct store_memory *memory = memory_of(store);
    if (__atomic_load_n(&memory->attached, __ATOMIC_ACQUIRE))
        memory->reader.wake(memory->reader.ctx);
}

static struct batch *memory_arrived_in_order(struct store_memory *memory)
{
    // Sequentially consistent, as the push is: the pump first says that it goes to sleep and then looks here once more.
    struct batch *batch = __atomic_exchange_n(&memory->arrived, NULL, __ATOMIC_SEQ_CST);
    struct batch *ordered = NULL;
    while (batch != NULL) {
        struct batch *next = batch->next;
        batch->next = ordered;
        ordered = batch;
        batch = next;
    }
    return ordered;
}

static size_t memory_take(struct store *store, struct batch **out, size_t max)
{
    struct store_memory *memory = memory_of(store);
    if (memory->ready == NULL)
        memory->ready = memory_arrived_in_order(memory);
    size_t count = 0;
    while (count < max && memory->ready != NULL) {
        out[count++] = memory->ready;
        memory->ready = memory->ready->next;
    }
    return count;
}

// Nothing survives a restart, so all of a batch that is taken is open.
static uint32_t memory_next_open(struct store *store, const struct batch *batch, uint32_t from, uint32_t *first)
{
    (void)store;
    *first = from;
    return batch->count - from;
}

// One writer, so no locked instruction; released, so that who sees this count sees what was appended before it.
static void count_out(uint64_t *count, uint64_t n)
{
    __atomic_store_n(count, __atomic_load_n(count, __ATOMIC_RELAXED) + n, __ATOMIC_RELEASE);
}

// From the mail on the batch belongs to its worker, which may release it at once.
static void memory_answer(struct store_memory *memory, struct batch *batch, int status)
{
    count_out(&memory->batches_out, 1);
    count_out(&memory->events_out, batch->count);
    count_out(&memory->bytes_out, batch->lines.len);
    batch->status = status;
    mailbox_send(batch->home, &batch->mail);
}

// A rejected event counts as settled: sending the batch again would not change what the output thinks of it. One that the
// pump gave up on does not: its batch is to be sent again.
static void memory_settle(struct store *store, struct batch *batch, uint32_t first, uint32_t count,
                          enum verdict verdict)
{
    INVARIANT(first <= batch->count && count <= batch->count - first);
    INVARIANT(count <= batch->count - batch->settled);
    batch->settled += count;
    if (verdict == VERDICT_RETRY)
        batch->status = -EAGAIN;
    if (batch->settled == batch->count)
        memory_answer(memory_of(store), batch, batch->status);
}

static void memory_give_back(struct store *store, struct batch *batch)
{
    INVARIANT(batch->settled < batch->count);
    memory_answer(memory_of(store), batch, -ESHUTDOWN);
}

static void memory_stats(struct store *store, struct store_stats *out)
{
    struct store_memory *memory = memory_of(store);
    *out = (struct store_stats){0};
    // What is settled is read first: it can only be less than what is appended when that is read.
    uint64_t batches = __atomic_load_n(&memory->batches_out, __ATOMIC_ACQUIRE);
    uint64_t events = __atomic_load_n(&memory->events_out, __ATOMIC_ACQUIRE);
    uint64_t bytes = __atomic_load_n(&memory->bytes_out, __ATOMIC_ACQUIRE);
    out->batches = __atomic_load_n(&memory->batches_in, __ATOMIC_RELAXED) - batches;
    out->events = __atomic_load_n(&memory->events_in, __ATOMIC_RELAXED) - events;
    out->bytes = __atomic_load_n(&memory->bytes_in, __ATOMIC_RELAXED) - bytes;
}

static void memory_drain(struct store *store)
{
    __atomic_store_n(&memory_of(store)->draining, true, __ATOMIC_RELEASE);
}

static void memory_close(struct store *store)
{
    memory_drain(store);
    struct batch *batch;
    while (memory_take(store, &batch, 1) == 1)
        memory_give_back(store, batch);
    mem_free(store);
}

struct store *store_memory_new(void)
{
    static const struct store_ops ops = {
        .name = "memory",
        .attach = memory_attach,
        .accepts = memory_accepts,
        .health = memory_health,
        .append = memory_append,
        .kick = memory_kick,
        .take = memory_take,
        .next_open = memory_next_open,
        .settle = memory_settle,
        .give_back = memory_give_back,
        .stats = memory_stats,
        .drain = memory_drain,
        .close = memory_close,
    };
    struct store_memory *memory = mem_zalloc(sizeof *memory);
    memory->store.ops = &ops;
    return &memory->store;
}
