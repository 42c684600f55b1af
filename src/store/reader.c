// SPDX-License-Identifier: Apache-2.0
//
// The pump's side of the durable store: rows become batches, one row at a time. What is settled is a bit in memory; the
// committer carries it to disk.

#include <errno.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "store/outbox.h"

#define READ_AGAIN_NS NS_PER_S
#define KEPT_BYTES    ((size_t)1 << 20) // of the buffer of a row

static struct durable *durable_of(struct store *store)
{
    return (struct durable *)store;
}

// ---- Bits

static bool bit_get(const struct row *row, uint32_t i)
{
    return (row->bits[i / 8] >> (i % 8) & 1) != 0;
}

static void bit_set(struct row *row, uint32_t i)
{
    row->bits[i / 8] |= (uint8_t)(1u << (i % 8));
}

static uint32_t bits_set_among(const struct row *row, uint32_t first, uint32_t count)
{
    uint32_t set = 0;
    for (uint32_t i = first; i < first + count; i++)
        set += bit_get(row, i);
    return set;
}

// ---- Loading a row

// The pump can't wait here: it is woken to try once more, and the committer looks at what is wrong.
static void ask_again(struct durable *d, enum database_fault fault)
{
    pthread_mutex_lock(&d->mutex);
    int64_t now_ns = clock_mono_ns();
    d->read_again_ns = now_ns + READ_AGAIN_NS;
    if (fault > DATABASE_RETRY && now_ns >= d->wished_ns + READ_AGAIN_NS) {
        d->wish = fault;
        d->wished_ns = now_ns;
    }
    pthread_cond_signal(&d->changed);
    pthread_mutex_unlock(&d->mutex);
}

// The bytes are kept for who wants to look at them. Too little memory for that is no reason to stop.
static void set_aside(struct durable *d, uint64_t seq, uint64_t at, const char *reason, const void *data, size_t len)
{
    struct damage *damage = mem_try_alloc(sizeof *damage + len);
    bool has_data = damage != NULL;
    if (damage == NULL)
        damage = mem_alloc(sizeof *damage);
    *damage = (struct damage){.seq = seq, .at = at, .reason = reason, .has_data = has_data, .len = len};
    if (has_data && len > 0)
        memcpy(damage->data, data, len);
    pthread_mutex_lock(&d->mutex);
    damage->next = d->damage;
    d->damage = damage;
    durable_mark_dirty(d);
    pthread_mutex_unlock(&d->mutex);
}

static int add_part(struct reading *reading, size_t at, const struct record *record)
{
    if (reading->count == reading->cap) {
        size_t cap = reading->cap > 0 ? 2 * reading->cap : 64;
        struct row_part *parts = mem_try_realloc(reading->parts, cap * sizeof *parts);
        if (parts == NULL)
            return -ENOMEM;
        reading->parts = parts;
        reading->cap = cap;
    }
    reading->parts[reading->count++] = (struct row_part){at, *record};
    return 0;
}

// The next good record, or one of a later version, from `at` on: after damage it may begin anywhere.
static int find_record(const struct buf *data, size_t *at, uint64_t events, struct record *out)
{
    for (; *at < data->len; ++*at) {
        int rc = record_check((const uint8_t *)data->data + *at, data->len - *at, out);
        if (rc == -ENOTSUP)
            return rc;
        // Whole, but not of this place: what an older row has left in the pages.
        if (rc == 0 && out->first >= events && out->first <= ROW_EVENTS_MAX)
            return 0;
    }
    return -ENOENT;
}

// The good records of a row. *events: one past the number of the last. -ENOTSUP: one is of a later version.
static int index_row(struct reading *reading, uint32_t *events)
{
    const struct buf *data = &reading->data;
    size_t at = 0;
    int rc = 0;
    reading->count = reading->next = 0;
    *events = 0;
    while (rc == 0) {
        struct record record;
        rc = find_record(data, &at, *events, &record);
        if (rc == 0)
            rc = add_part(reading, at, &record);
        if (rc == 0) {
            *events = record.first + record.count;
            at += record.length;
        }
    }
    return rc == -ENOENT ? 0 : rc;
}

// What lies between the good records.
static void set_aside_the_rest(struct durable *d, uint64_t seq)
{
    const struct reading *reading = &d->reading;
    size_t at = 0;
    for (size_t i = 0; i <= reading->count; i++) {
        const struct row_part *part = i < reading->count ? &reading->parts[i] : NULL;
        size_t end = part != NULL ? part->at : reading->data.len;
        if (end > at)
            set_aside(d, seq, at, "bad checksum", reading->data.data + at, end - at);
        at = part != NULL ? end + part->record.length : end;
    }
}

// A downgrade finds rows of the version that was here before. They stay as they are, for its next start, the records that
// this version knows among them: only one of the two may say what of a row is settled.
static void leave_to_later_version(struct durable *d, const struct database_row *info)
{
    if (counter_get(&d->later_events) == 0)
        LOG(LOG_ERROR, "outbox: a later version of Loom has written what this one cannot read; it stays in the outbox",
            LOG_INT("row", info->seq), LOG_STR("file", d->path));
    counter_bump(&d->later_events, info->events - info->settled_events);
}

static struct row *new_row(struct durable *d, const struct database_row *info, uint32_t events)
{
    const struct reading *reading = &d->reading;
    struct row *row = durable_row_new(info, events);
    if (row == NULL)
        return NULL;
    size_t known = d->bits_buf.len < row->bits_len ? d->bits_buf.len : row->bits_len;
    if (known > 0)
        memcpy(row->bits, d->bits_buf.data, known);
    for (size_t i = 0; i < reading->count; i++) {
        const struct record *record = &reading->parts[i].record;
        row->events += record->count;
        row->settled += bits_set_among(row, record->first, record->count);
    }
    return row;
}

// Under the mutex. False: the row was dropped while it was being read.
static bool enter(struct durable *d, struct row *row)
{
    d->taken_seq = row->info.seq;
    if (row->info.seq <= d->dropped_to)
        return false;
    TAILQ_INSERT_TAIL(&d->rows, row, link);
    if (row->settled == row->events) { // nothing good in it, or settled just before the end of the last run
        row->dirty = true;
        durable_mark_dirty(d);
    }
    d->reading.row = row;
    return true;
}

static bool enter_row(struct durable *d, struct row *row)
{
    pthread_mutex_lock(&d->mutex);
    bool entered = enter(d, row);
    pthread_mutex_unlock(&d->mutex);
    if (!entered)
        durable_row_free(row);
    return entered;
}

// Taken and entered at once, so that who opens the files anew finds the row in one of the two lists, or what is in the file.
static bool enter_recent(struct durable *d)
{
    pthread_mutex_lock(&d->mutex);
    struct row *row = durable_recent_take(d);
    if (row != NULL) {
        d->reading.count = d->reading.next = 0; // of a row that was read and then not entered
        (void)enter(d, row);
    }
    pthread_mutex_unlock(&d->mutex);
    return row != NULL;
}

static int read_row(struct durable *d, struct database_row *info, enum database_fault *fault)
{
    int rc = -EAGAIN;
    info->seq = 0;
    *fault = DATABASE_WELL;
    if (pthread_mutex_trylock(&d->read_mutex) != 0)
        return rc; // the committer checks the file, or salvages it, which may take minutes
    if (d->reader.handle != NULL) {
        rc = database_read(&d->reader, d->taken_seq + 1, info, &d->reading.data, &d->bits_buf);
        *fault = d->reader.fault;
    }
    pthread_mutex_unlock(&d->read_mutex);
    return rc;
}

// A row that can't be read: the committer opens the file anew and checks it, and salvages it if it finds it damaged. Only
// when it has done so and the row can't be read all the same is the row at fault, and what could be read of it all that
// there is. A disk that fails for a moment costs nothing.
static bool is_hopeless(struct durable *d, const struct database_row *info, enum database_fault fault)
{
    if (fault < DATABASE_REOPEN || info->seq == 0)
        return false;
    uint64_t recoveries = __atomic_load_n(&d->recoveries, __ATOMIC_ACQUIRE);
    if (d->bad_seq == info->seq)
        return d->bad_recoveries != recoveries;
    d->bad_seq = info->seq;
    d->bad_recoveries = recoveries;
    return false;
}

static bool is_to_wait(struct durable *d)
{
    pthread_mutex_lock(&d->mutex);
    bool wait = d->read_again_ns != 0 && clock_mono_ns() < d->read_again_ns;
    pthread_mutex_unlock(&d->mutex);
    return wait;
}

static void tell_cannot_read(struct durable *d, int rc)
{
    static struct log_limit limit;
    if (rc == -EAGAIN)
        return;
    counter_add(&d->errors, 1);
    if (log_limit_pass(&limit, 1, 1, NULL))
        LOG(LOG_ERROR, "outbox: cannot read", LOG_STR("error", err_text(rc)));
}

static bool load_row(struct durable *d)
{
    uint64_t newest = __atomic_load_n(&d->newest_seq, __ATOMIC_ACQUIRE);
    if (d->taken_seq < newest && is_to_wait(d))
        return false;
    while (d->taken_seq < newest) {
        if (enter_recent(d))
            return true;
        struct database_row info;
        enum database_fault fault;
        int rc = read_row(d, &info, &fault);
        if (rc == -ENOENT) {
            d->taken_seq = newest;
            return false;
        }
        if (rc != 0 && !is_hopeless(d, &info, fault)) {
            tell_cannot_read(d, rc);
            ask_again(d, fault);
            return false;
        }
        bool is_cut = rc != 0;
        uint32_t events = 0;
        rc = index_row(&d->reading, &events);
        if (rc == -ENOTSUP) {
            d->taken_seq = info.seq;
            leave_to_later_version(d, &info);
            continue;
        }
        struct row *row = rc == 0 ? new_row(d, &info, events) : NULL;
        if (row == NULL) {
            ask_again(d, DATABASE_WELL);
            return false;
        }
        if (is_cut)
            set_aside(d, info.seq, d->reading.data.len, "unreadable", NULL, 0);
        set_aside_the_rest(d, info.seq);
        if (enter_row(d, row))
            return true;
    }
    return false;
}

static void leave_row(struct durable *d)
{
    struct reading *reading = &d->reading;
    pthread_mutex_lock(&d->mutex);
    reading->row->users--;
    if (reading->row->gone || reading->row->dirty)
        durable_mark_dirty(d);
    pthread_mutex_unlock(&d->mutex);
    reading->row = NULL;
    if (reading->data.cap > KEPT_BYTES)
        buf_fini(&reading->data);
}

void durable_reading_fini(struct durable *d)
{
    if (d->reading.row != NULL)
        leave_row(d);
    buf_fini(&d->reading.data);
    buf_fini(&d->bits_buf);
    mem_free(d->reading.parts);
}

// ---- Batches

static int make_batch(struct row *row, const struct record *record, struct durable_batch **out)
{
    size_t ends = (size_t)record->count * sizeof(uint32_t);
    size_t sensor = record->sensor.len + 1;
    struct durable_batch *made = mem_try_alloc(sizeof *made + ends + record->lines_len + sensor);
    if (made == NULL)
        return -ENOMEM;
    *made = (struct durable_batch){.row = row, .first = record->first};
    struct batch *batch = &made->batch;
    batch->ends = (uint32_t *)(made + 1);
    batch->lines = (struct buf){.data = (char *)(made + 1) + ends, .len = record->lines_len};
    char *name = batch->lines.data + record->lines_len;
    memcpy(name, record->sensor.at, record->sensor.len);
    name[record->sensor.len] = '\0';
    batch->sensor = name;
    batch->arrived_real_ns = record->arrived_real_ns;
    batch->id = record->id;
    batch->count = record->count;
    int rc = record_decode(record, batch->ends, batch->lines.data);
    if (rc == 0)
        *out = made;
    else
        mem_free(made);
    return rc;
}

// Under the mutex.
static void settle_events(struct durable *d, struct row *row, uint32_t first, uint32_t count)
{
    for (uint32_t i = first; i < first + count; i++)
        bit_set(row, i);
    row->settled += count;
    row->changes++;
    row->dirty = true;
    uint32_t owed = count < row->owed_events ? count : row->owed_events;
    row->owed_events -= owed;
    __atomic_fetch_sub(&d->events, owed, __ATOMIC_RELAXED);
    durable_mark_dirty(d);
}

static void settle_batch(struct durable *d, struct row *row)
{
    if (row->owed_batches == 0)
        return;
    row->owed_batches--;
    __atomic_fetch_sub(&d->batches, 1, __ATOMIC_RELAXED);
}

// A record whose checksum is right and whose content is not.
static void give_up(struct durable *d, const struct row_part *part)
{
    struct row *row = d->reading.row;
    set_aside(d, row->info.seq, part->at, "cannot be decoded", d->reading.data.data + part->at, part->record.length);
    pthread_mutex_lock(&d->mutex);
    uint32_t known = bits_set_among(row, part->record.first, part->record.count);
    row->settled -= known;
    settle_events(d, row, part->record.first, part->record.count);
    settle_batch(d, row);
    pthread_mutex_unlock(&d->mutex);
}

// The next batch of the row, read or kept in memory. -EALREADY, -EBADMSG: there is nothing to do for this one; -ENOMEM.
static int next_batch(struct durable *d, struct durable_batch **out)
{
    struct reading *reading = &d->reading;
    if (reading->row->ready != NULL) {
        *out = durable_row_pop(reading->row);
        return 0;
    }
    const struct row_part *part = &reading->parts[reading->next];
    uint32_t settled = bits_set_among(reading->row, part->record.first, part->record.count);
    int rc = settled < part->record.count ? make_batch(reading->row, &part->record, out) : -EALREADY;
    if (rc == -ENOMEM)
        return rc;
    reading->next++;
    if (rc == 0)
        (*out)->batch.settled = settled;
    if (rc == -EBADMSG)
        give_up(d, part);
    return rc;
}

size_t durable_take(struct store *store, struct batch **out, size_t max)
{
    struct durable *d = durable_of(store);
    struct reading *reading = &d->reading;
    size_t taken = 0;
    while (taken < max) {
        if (reading->row == NULL && !load_row(d))
            break;
        if (reading->row->ready == NULL && reading->next == reading->count) {
            leave_row(d);
            continue;
        }
        struct durable_batch *batch;
        int rc = next_batch(d, &batch);
        if (rc == -ENOMEM) {
            ask_again(d, DATABASE_WELL);
            break;
        }
        if (rc != 0)
            continue;
        pthread_mutex_lock(&d->mutex);
        reading->row->users++;
        pthread_mutex_unlock(&d->mutex);
        out[taken++] = &batch->batch;
    }
    return taken;
}

uint32_t durable_next_open(struct store *store, const struct batch *batch, uint32_t from, uint32_t *first)
{
    (void)store;
    const struct durable_batch *own = (const struct durable_batch *)batch;
    uint32_t at = from, end;
    while (at < batch->count && bit_get(own->row, own->first + at))
        at++;
    *first = at;
    for (end = at; end < batch->count && !bit_get(own->row, own->first + end); end++)
        ;
    return end - at;
}

void durable_settle(struct store *store, struct batch *batch, uint32_t first, uint32_t count, enum verdict verdict)
{
    struct durable *d = durable_of(store);
    struct durable_batch *own = (struct durable_batch *)batch;
    INVARIANT(verdict != VERDICT_RETRY);
    INVARIANT(first <= batch->count && count <= batch->count - first);
    INVARIANT(bits_set_among(own->row, own->first + first, count) == 0);
    pthread_mutex_lock(&d->mutex);
    settle_events(d, own->row, own->first + first, count);
    batch->settled += count;
    bool over = batch->settled == batch->count;
    if (over) {
        settle_batch(d, own->row);
        own->row->users--;
    }
    pthread_mutex_unlock(&d->mutex);
    if (over)
        durable_batch_free(own);
}

void durable_give_back(struct store *store, struct batch *batch)
{
    struct durable *d = durable_of(store);
    struct durable_batch *own = (struct durable_batch *)batch;
    INVARIANT(batch->settled < batch->count);
    pthread_mutex_lock(&d->mutex);
    own->row->users--;
    if (own->row->gone)
        durable_mark_dirty(d);
    pthread_mutex_unlock(&d->mutex);
    durable_batch_free(own);
}
