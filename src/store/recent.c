// SPDX-License-Identifier: Apache-2.0
//
// What was committed a moment ago stays in memory for the pump: while it keeps up with the sensors, nothing is read back,
// checked and decompressed for it. All of this is on disk as well, so it may be forgotten at any time, and is when the files
// are opened anew; and what is beyond RECENT_BYTES_MAX is not kept, so that a pump that falls behind costs no more than that.

#include "base/mem.h"
#include "store/outbox.h"

#define RECENT_BYTES_MAX ((uint64_t)4 << 20)
#define BLOCKS_BYTES     64 // what the allocator takes for three of them

void durable_batch_free(struct durable_batch *batch)
{
    if (batch->is_recent) {
        mem_free(batch->batch.ends);
        buf_fini(&batch->batch.lines);
    }
    mem_free(batch);
}

void durable_row_free(struct row *row)
{
    while (row->ready != NULL)
        durable_batch_free(durable_row_pop(row));
    mem_free(row);
}

void durable_rows_free(struct row_list *rows)
{
    struct row *row;
    while ((row = TAILQ_FIRST(rows)) != NULL) {
        TAILQ_REMOVE(rows, row, link);
        durable_row_free(row);
    }
}

struct durable_batch *durable_row_pop(struct row *row)
{
    struct durable_batch *batch = row->ready;
    row->ready = (struct durable_batch *)batch->batch.next;
    batch->batch.next = NULL;
    return batch;
}

struct row *durable_row_new(const struct database_row *info, uint32_t events)
{
    size_t bits_len = ((size_t)events + 7) / 8;
    struct row *row = mem_try_alloc(sizeof *row + bits_len);
    if (row == NULL)
        return NULL;
    *row = (struct row){.info = *info, .bits_len = bits_len, .users = 1};
    row->owed_events = info->events - info->settled_events;
    row->owed_batches = info->batches - info->settled_batches;
    memset(row->bits, 0, bits_len);
    return row;
}

// As it is once it was taken over.
static uint64_t memory_of(const struct batch *batch)
{
    return sizeof(struct durable_batch) + strlen(batch->sensor) + batch->lines.len + batch->lines.len / 4 +
           batch->count * sizeof *batch->ends + BLOCKS_BYTES;
}

// The pump counts with what the lines are, not with what was reserved for them.
static struct buf trimmed(struct buf lines)
{
    if (lines.cap <= lines.len + lines.len / 4)
        return lines;
    char *data = mem_try_realloc(lines.data, lines.len);
    return data != NULL ? (struct buf){data, lines.len, lines.len} : lines;
}

// The lines go over to the pump; the worker has no more use for them.
static struct durable_batch *take_over(struct row *row, struct batch *batch)
{
    size_t sensor = strlen(batch->sensor) + 1;
    struct durable_batch *made = mem_try_alloc(sizeof *made + sensor);
    if (made == NULL)
        return NULL;
    *made = (struct durable_batch){.row = row, .first = row->events, .is_recent = true};
    made->batch = (struct batch){.sensor = memcpy(made + 1, batch->sensor, sensor),
                                 .arrived_real_ns = batch->arrived_real_ns,
                                 .id = batch->id,
                                 .lines = trimmed(batch->lines),
                                 .ends = batch->ends,
                                 .count = batch->count};
    batch->lines = BUF_EMPTY;
    batch->ends = NULL;
    return made;
}

// False: there is no memory for it, and the pump has to read it.
static bool fill(struct row *row)
{
    struct batch **last = (struct batch **)&row->ready;
    struct waiting *waiting = row->from;
    for (uint32_t i = 0; i < row->info.batches; i++, waiting = waiting->next) {
        struct durable_batch *batch = take_over(row, waiting->batch);
        if (batch == NULL)
            return false;
        row->events += batch->batch.count;
        *last = &batch->batch;
        last = &batch->batch.next;
    }
    row->from = NULL; // soon they are their workers'
    return true;
}

static uint64_t bytes_from(const struct row *row)
{
    const struct waiting *waiting = row->from;
    uint64_t bytes = sizeof *row + row->bits_len;
    for (uint32_t i = 0; i < row->info.batches; i++, waiting = waiting->next)
        bytes += memory_of(waiting->batch);
    return bytes;
}

void durable_recent_add(struct durable *d, struct row_list *rows)
{
    struct row *row;
    while ((row = TAILQ_FIRST(rows)) != NULL) {
        TAILQ_REMOVE(rows, row, link);
        row->ready_bytes = bytes_from(row);
        pthread_mutex_lock(&d->mutex);
        bool keep = d->recent_bytes + row->ready_bytes <= RECENT_BYTES_MAX;
        pthread_mutex_unlock(&d->mutex);
        if (!keep || !fill(row)) {
            durable_row_free(row);
            continue;
        }
        pthread_mutex_lock(&d->mutex);
        d->recent_bytes += row->ready_bytes;
        TAILQ_INSERT_TAIL(&d->recent, row, link);
        pthread_mutex_unlock(&d->mutex);
    }
}

struct row *durable_recent_take(struct durable *d)
{
    uint64_t next = (d->taken_seq > d->dropped_to ? d->taken_seq : d->dropped_to) + 1;
    struct row *row;
    while ((row = TAILQ_FIRST(&d->recent)) != NULL && row->info.seq <= next) {
        TAILQ_REMOVE(&d->recent, row, link);
        d->recent_bytes -= row->ready_bytes;
        if (row->info.seq == next)
            return row;
        durable_row_free(row); // dropped, or read from the file before it was here
    }
    return NULL;
}

void durable_recent_forget(struct durable *d)
{
    pthread_mutex_lock(&d->mutex);
    durable_rows_free(&d->recent);
    d->recent_bytes = 0;
    pthread_mutex_unlock(&d->mutex);
}
