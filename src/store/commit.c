// SPDX-License-Identifier: Apache-2.0
//
// One transaction of the durable store: what the pump has settled, what is set aside, what has to go to make room, and
// the batches that wait. All of it is on disk afterwards, or nothing; only then is anything told. The committer's thread.

#include <errno.h>
#include <sys/statvfs.h>

#include "base/clock.h"
#include "base/crash.h"
#include "base/log.h"
#include "base/mem.h"
#include "store/outbox.h"

#define RESERVE_BYTES       (512 * 1024) // of the disk, so that what is settled can be deleted when all else is full
#define SET_ASIDE_BYTES_MAX (16 * 1024 * 1024)

// What one transaction is about to do, and what is to be told when it has done it.
struct commit {
    struct waiting *first;   // its batches
    struct row_list rows;    // of these, for the pump; not all when memory is short
    uint64_t batches, bytes; // inserted
    uint64_t deleted_bytes;
    struct database_row *dropped; // in order, as they stood in the file
    size_t dropped_count, dropped_cap;
    unsigned set_aside;
};

// A row as it is when the transaction begins; `bits` lie in d->bits of the committer.
struct settled_row {
    struct row *row;
    struct database_row info;
    unsigned changes;
    bool over;
    size_t bits_at, bits_len;
};
struct settled_rows {
    struct settled_row *at;
    size_t count, cap;
    struct buf bits;
};

// ---- What is settled

static bool row_over(const struct row *row)
{
    return row->settled == row->events;
}

static void note_row(struct settled_rows *rows, struct row *row)
{
    if (rows->count == rows->cap) {
        rows->cap = rows->cap > 0 ? 2 * rows->cap : 16;
        rows->at = mem_realloc(rows->at, rows->cap * sizeof *rows->at);
    }
    struct settled_row *note = &rows->at[rows->count++];
    *note = (struct settled_row){.row = row, .info = row->info, .changes = row->changes, .over = row_over(row)};
    note->info.settled_events = row->info.events - row->owed_events;
    note->info.settled_batches = row->info.batches - row->owed_batches;
    if (note->over)
        return;
    note->bits_at = rows->bits.len;
    note->bits_len = row->bits_len;
    buf_append(&rows->bits, row->bits, row->bits_len);
}

static void note_settled(struct durable *d, struct settled_rows *rows)
{
    pthread_mutex_lock(&d->mutex);
    struct row *row;
    TAILQ_FOREACH(row, &d->rows, link)
    if (row->dirty && !row->gone)
        note_row(rows, row);
    struct damage **end = &d->damage_now;
    while (*end != NULL)
        end = &(*end)->next;
    *end = d->damage;
    d->damage = NULL;
    d->dirty_since_ns = 0;
    pthread_mutex_unlock(&d->mutex);
}

static int write_settled(struct durable *d, const struct settled_rows *rows, struct commit *commit)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < rows->count; i++) {
        const struct settled_row *note = &rows->at[i];
        if (note->over) {
            rc = database_delete(&d->writer, note->info.seq);
            commit->deleted_bytes += note->info.bytes;
        } else {
            rc = database_set_settled(&d->writer, &note->info, rows->bits.data + note->bits_at, note->bits_len);
        }
    }
    return rc;
}

static int write_damage(struct durable *d, struct commit *commit)
{
    int rc = 0;
    uint64_t kept = d->set_aside_bytes;
    for (const struct damage *damage = d->damage_now; rc == 0 && damage != NULL; damage = damage->next) {
        bool is_new = false;
        bool keep = damage->has_data && kept + damage->len <= SET_ASIDE_BYTES_MAX;
        rc = database_set_aside(&d->writer, damage->seq, damage->at, damage->reason, keep ? damage->data : NULL,
                                damage->len, &is_new);
        commit->set_aside += is_new;
        kept += keep && is_new ? damage->len : 0;
    }
    return rc;
}

static void tell_damage(struct durable *d, const struct commit *commit)
{
    while (d->damage_now != NULL) {
        struct damage *next = d->damage_now->next;
        d->set_aside_bytes += d->damage_now->has_data ? d->damage_now->len : 0;
        mem_free(d->damage_now);
        d->damage_now = next;
    }
    if (commit->set_aside == 0)
        return;
    counter_add(&d->damaged_records, commit->set_aside);
    LOG(LOG_ERROR, "outbox: damaged records were set aside (table `damaged` of the file)",
        LOG_INT("count", commit->set_aside), LOG_STR("file", d->path));
}

// Under the mutex. From here on the row is no part of the sums.
static void row_is_gone(struct durable *d, struct row *row)
{
    row->gone = true;
    row->dirty = false;
    __atomic_fetch_sub(&d->events, row->owed_events, __ATOMIC_RELAXED);
    __atomic_fetch_sub(&d->batches, row->owed_batches, __ATOMIC_RELAXED);
    row->owed_events = row->owed_batches = 0;
}

static void settled_is_safe(struct durable *d, struct settled_rows *rows)
{
    pthread_mutex_lock(&d->mutex);
    for (size_t i = 0; i < rows->count; i++) {
        struct settled_row *note = &rows->at[i];
        if (note->row->gone)
            continue;
        if (note->over)
            row_is_gone(d, note->row);
        else if (note->changes == note->row->changes)
            note->row->dirty = false;
    }
    struct row *row = TAILQ_FIRST(&d->rows);
    while (row != NULL) {
        struct row *next = TAILQ_NEXT(row, link);
        if (row->gone && row->users == 0) {
            TAILQ_REMOVE(&d->rows, row, link);
            durable_row_free(row);
        }
        row = next;
    }
    pthread_mutex_unlock(&d->mutex);
}

// It is still to be written, some time.
static void settled_is_open(struct durable *d, const struct settled_rows *rows)
{
    pthread_mutex_lock(&d->mutex);
    if (rows->count > 0 || d->damage_now != NULL)
        durable_mark_dirty(d);
    pthread_mutex_unlock(&d->mutex);
}

static void settled_rows_fini(struct settled_rows *rows)
{
    mem_free(rows->at);
    buf_fini(&rows->bits);
}

// ---- Room

static uint64_t bytes_after(const struct durable *d, const struct commit *commit)
{
    uint64_t bytes = d->disk_bytes + commit->bytes;
    return bytes > commit->deleted_bytes ? bytes - commit->deleted_bytes : 0;
}

// The pump may have batches of a row that is dropped; their memory is theirs, and settling them changes nothing any more.
static int drop_oldest(struct durable *d, struct commit *commit, uint64_t bytes)
{
    while (bytes_after(d, commit) + bytes > d->max_bytes) {
        struct database_row oldest;
        int rc = database_find(&d->writer, 0, &oldest);
        if (rc == -ENOENT)
            return 0;
        if (rc == 0)
            rc = database_delete(&d->writer, oldest.seq);
        if (rc != 0)
            return rc;
        commit->deleted_bytes += oldest.bytes;
        if (commit->dropped_count == commit->dropped_cap) {
            commit->dropped_cap = commit->dropped_cap > 0 ? 2 * commit->dropped_cap : 16;
            commit->dropped = mem_realloc(commit->dropped, commit->dropped_cap * sizeof *commit->dropped);
        }
        commit->dropped[commit->dropped_count++] = oldest;
    }
    return 0;
}

// Of a row that the pump has, its own numbers hold: it may have settled more of it in the meantime.
static uint64_t rows_dropped(struct durable *d, const struct commit *commit)
{
    uint64_t events = 0;
    pthread_mutex_lock(&d->mutex);
    struct row *row = TAILQ_FIRST(&d->rows);
    for (size_t i = 0; i < commit->dropped_count; i++) {
        const struct database_row *dropped = &commit->dropped[i];
        while (row != NULL && row->info.seq < dropped->seq)
            row = TAILQ_NEXT(row, link);
        d->dropped_to = dropped->seq;
        if (row != NULL && row->info.seq == dropped->seq && !row->gone) {
            events += row->owed_events;
            row_is_gone(d, row);
            continue;
        }
        events += dropped->events - dropped->settled_events;
        __atomic_fetch_sub(&d->events, dropped->events - dropped->settled_events, __ATOMIC_RELAXED);
        __atomic_fetch_sub(&d->batches, dropped->batches - dropped->settled_batches, __ATOMIC_RELAXED);
    }
    pthread_mutex_unlock(&d->mutex);
    return events;
}

static void tell_dropped(struct durable *d, const struct commit *commit)
{
    static struct log_limit limit;
    if (commit->dropped_count == 0)
        return;
    counter_add(&d->dropped_events, rows_dropped(d, commit));
    if (log_limit_pass(&limit, 1, 1, NULL))
        LOG(LOG_WARN, "outbox: full, the oldest events are dropped",
            LOG_INT("dropped_since_start", counter_get(&d->dropped_events)), LOG_INT("max_bytes", d->max_bytes));
}

// How many bytes of records the disk takes, which are written twice, into the log and into the file, besides what the log
// still owes the file. Asked before a write, so that a full disk is met while what is settled can still be deleted.
uint64_t durable_disk_room(const struct durable *d)
{
    struct statvfs disk;
    if (statvfs(d->dir, &disk) != 0)
        return UINT64_MAX;
    uint64_t unused = (uint64_t)disk.f_bavail * disk.f_frsize;
    uint64_t kept = (uint64_t)d->writer.wal_pages * DATABASE_PAGE_BYTES + RESERVE_BYTES;
    return unused > kept ? (unused - kept) / 2 : 0;
}

// The list ends before the first batch for which there is no room; that and what follows is returned.
static struct waiting *cut_off(struct waiting **list, uint64_t room)
{
    for (; *list != NULL && (*list)->len <= room; list = &(*list)->next)
        room -= (*list)->len;
    struct waiting *rest = *list;
    *list = NULL;
    return rest;
}

static uint64_t longest(const struct waiting *waiting, uint64_t most)
{
    for (; waiting != NULL; waiting = waiting->next)
        most = waiting->len > most ? waiting->len : most;
    return most;
}

// ---- A commit

// The records of one row, in a buffer of the committer unless it is a single one.
static int insert_row(struct durable *d, struct commit *commit, struct waiting *from, const struct waiting *end,
                      struct database_row *row)
{
    const void *data = from->record;
    if (from->next != end) {
        d->row_buf.len = 0;
        if (buf_try_reserve(&d->row_buf, row->bytes) != 0) {
            d->writer.fault = DATABASE_RETRY;
            return -ENOMEM;
        }
        for (const struct waiting *waiting = from; waiting != end; waiting = waiting->next)
            buf_append(&d->row_buf, waiting->record, waiting->len);
        data = d->row_buf.data;
    }
    int rc = d->drop_oldest ? drop_oldest(d, commit, row->bytes) : 0;
    CRASH_POINT("store-before-insert");
    if (rc == 0)
        rc = database_insert(&d->writer, row, data);
    commit->bytes += row->bytes;
    commit->batches += row->batches;
    return rc;
}

// What the pump gets in memory once the row is committed (recent.c).
static void prepare_recent(struct commit *commit, const struct database_row *info, struct waiting *from)
{
    struct row *row = durable_row_new(info, info->events);
    if (row == NULL)
        return;
    row->from = from;
    TAILQ_INSERT_TAIL(&commit->rows, row, link);
}

static int write_batches(struct durable *d, struct commit *commit, uint64_t *seq)
{
    uint64_t most = ROW_BYTES_MAX < d->max_bytes ? ROW_BYTES_MAX : d->max_bytes;
    struct waiting *from = commit->first;
    int rc = 0;
    while (rc == 0 && from != NULL) {
        struct database_row row = {.seq = ++*seq, .arrived_real_ns = from->batch->arrived_real_ns};
        struct waiting *end = from;
        do {
            const struct batch *batch = end->batch;
            record_place(end->record, row.events);
            row.events += batch->count;
            row.batches++;
            row.bytes += end->len;
            if (batch->arrived_real_ns < row.arrived_real_ns)
                row.arrived_real_ns = batch->arrived_real_ns;
            end = end->next;
        } while (end != NULL && row.bytes + end->len <= most && row.events + end->batch->count <= ROW_EVENTS_MAX);
        rc = insert_row(d, commit, from, end, &row);
        if (rc == 0)
            prepare_recent(commit, &row, from);
        from = end;
    }
    return rc;
}

static int write_all(struct durable *d, struct commit *commit, const struct settled_rows *rows, uint64_t *seq)
{
    int rc = database_begin(&d->writer);
    if (rc == 0)
        rc = write_settled(d, rows, commit);
    if (rc == 0)
        rc = write_damage(d, commit);
    if (rc == 0)
        rc = write_batches(d, commit, seq);
    CRASH_POINT("store-before-commit");
    if (rc == 0)
        rc = database_commit(&d->writer);
    if (rc != 0)
        database_rollback(&d->writer);
    return rc;
}

void durable_answer(struct durable *d, struct waiting *waiting, int status)
{
    while (waiting != NULL) {
        struct waiting *next = waiting->next;
        struct batch *batch = waiting->batch;
        if (status != 0) {
            __atomic_fetch_sub(&d->events, batch->count, __ATOMIC_RELAXED);
            __atomic_fetch_sub(&d->batches, 1, __ATOMIC_RELAXED);
        }
        __atomic_fetch_sub(&d->waiting_bytes, waiting->len, __ATOMIC_RELAXED);
        mem_free(waiting);
        batch->status = status; // with the mail the batch is its worker's
        mailbox_send(batch->home, &batch->mail);
        if (next != NULL)
            CRASH_POINT("store-between-mails");
        waiting = next;
    }
}

static void find_oldest(struct durable *d)
{
    struct database_row oldest;
    if (database_find(&d->writer, 0, &oldest) != 0)
        oldest.arrived_real_ns = 0;
    __atomic_store_n(&d->oldest_real_ns, oldest.arrived_real_ns, __ATOMIC_RELAXED);
}

// Room is counted as taken until it is free, and never the other way round.
static void committed(struct durable *d, struct commit *commit, uint64_t seq, int64_t began_ns)
{
    bool oldest_changed = commit->deleted_bytes > 0 || __atomic_load_n(&d->oldest_real_ns, __ATOMIC_RELAXED) == 0;
    d->worked_ns = clock_mono_ns();
    counter_bump(&d->commits, 1);
    histogram_add(&d->commit_ns, histogram_duration_ns, (uint64_t)(d->worked_ns - began_ns));
    if (commit->batches > 0)
        histogram_add(&d->commit_batches, histogram_events, commit->batches);
    if (oldest_changed) // before who waits for an answer or for room looks
        find_oldest(d);
    __atomic_store_n(&d->disk_bytes, bytes_after(d, commit), __ATOMIC_RELEASE);
    d->next_seq = seq;
    durable_recent_add(d, &commit->rows); // before the pump can ask for them
    __atomic_store_n(&d->newest_seq, seq, __ATOMIC_RELEASE);
    durable_answer(d, commit->first, 0);
    if (commit->batches > 0)
        durable_wake_pump(d);
}

// Both lists, either of which may be empty.
static void refuse(struct durable *d, struct waiting *first, struct waiting *second, int rc, enum database_fault fault)
{
    if (first != NULL || second != NULL)
        d->failed_bytes = longest(first, longest(second, 0));
    durable_fail(d, rc, fault);
    durable_answer(d, first, rc);
    durable_answer(d, second, rc);
}

int durable_commit(struct durable *d, struct waiting *list)
{
    struct waiting *refused = cut_off(&list, durable_disk_room(d));
    struct commit commit = {.first = list};
    struct settled_rows rows = {0};
    uint64_t seq = d->next_seq;
    int64_t began_ns = clock_mono_ns();
    TAILQ_INIT(&commit.rows);
    note_settled(d, &rows);
    bool anything = list != NULL || rows.count > 0 || d->damage_now != NULL;
    if (list == NULL && anything)
        CRASH_POINT("store-before-settle");
    int rc = anything ? write_all(d, &commit, &rows, &seq) : 0;
    if (rc == 0) {
        CRASH_POINT("store-after-commit");
        if (list == NULL && anything)
            CRASH_POINT("store-after-settle");
        tell_dropped(d, &commit);
        settled_is_safe(d, &rows);
        tell_damage(d, &commit);
        if (anything)
            committed(d, &commit, seq, began_ns);
        if (refused != NULL) {
            rc = -ENOSPC;
            refuse(d, NULL, refused, rc, DATABASE_RETRY);
        }
    } else {
        settled_is_open(d, &rows);
        refuse(d, list, refused, rc, d->writer.fault);
    }
    durable_rows_free(&commit.rows);
    settled_rows_fini(&rows);
    mem_free(commit.dropped);
    return rc;
}
