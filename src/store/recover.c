// SPDX-License-Identifier: Apache-2.0
//
// How the files of the durable store are opened: at the start, and whenever what is in memory and what is on disk may
// no longer be the same. Nothing is believed that was not read from the files, and nothing is accepted before the log was
// brought home; the pump may have what was read before that, as a full disk can keep the log where it is for long.

#include <errno.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "store/files.h"
#include "store/outbox.h"
#include "store/salvage.h"
#include "store/schema.h"
#include "store/spool.h"
#include "store/wal.h"

// A check reads the whole file. It is left out for a large one that was closed in order.
#define CHECK_ALWAYS_BYTES ((uint64_t)1 << 30)

#define TRIES_BEFORE_SALVAGE 30 // one a second

enum { LOG_PATH_BYTES = 4200 };

static void log_path(const struct durable *d, char out[LOG_PATH_BYTES])
{
    snprintf(out, LOG_PATH_BYTES, "%s-wal", d->path);
}

// *totals: of all rows, each of which is read for that.
static int open_writer(struct durable *d, struct database_totals *totals)
{
    char log[LOG_PATH_BYTES];
    log_path(d, log);
    bool check = files_size(log) > 0 || files_size(d->path) <= CHECK_ALWAYS_BYTES;
    bool is_new = files_size(d->path) == 0;
    if (is_new && files_size(log) > 0) { // SQLite would throw the log away
        d->fault = DATABASE_DAMAGED;
        return -EBADMSG;
    }
    if (wal_is_damaged(log)) { // SQLite would drop what follows
        LOG(LOG_WARN, "outbox: the log is damaged", LOG_STR("file", log));
        d->fault = DATABASE_DAMAGED;
        return -EBADMSG;
    }
    int rc = database_open(&d->writer, d->path, DATABASE_WRITE);
    d->log_is_home = false;
    if (rc == 0 && check)
        rc = database_check(&d->writer);
    if (rc == 0)
        rc = database_totals(&d->writer, totals);
    if (rc == 0 && is_new)
        rc = files_sync_parent(d->path);
    if (rc != 0)
        d->fault = d->writer.fault != DATABASE_WELL ? d->writer.fault : DATABASE_REOPEN;
    return rc;
}

// As much as the files that are read, which stay.
static uint64_t bytes_needed(const struct durable *d)
{
    char log[LOG_PATH_BYTES];
    log_path(d, log);
    return files_size(d->path) + files_size(log);
}

static int salvage(struct durable *d, struct database_totals *totals)
{
    static struct log_limit limit;
    struct salvage_result result;
    database_close(&d->writer);
    // Its log is damaged, say: that is for the Loom which knows what should be there.
    if (schema_of_file_is_later(d->path)) {
        d->fault = DATABASE_REOPEN;
        return ERR_LATER;
    }
    LOG(LOG_ERROR, "outbox: the file is damaged, what can be read of it is salvaged", LOG_STR("file", d->path));
    int rc = salvage_run(d->path, d->next_seq, &result); // the pump asks for no number that it is past
    if (rc != 0) {
        d->fault = DATABASE_DAMAGED;
        if (log_limit_pass(&limit, 1, 1, NULL))
            LOG(LOG_ERROR, "outbox: the salvage has failed; it is tried again, and takes about so many bytes of disk",
                LOG_STR("error", err_text(rc)), LOG_INT("bytes_needed", bytes_needed(d)), LOG_STR("file", d->path));
        return rc;
    }
    LOG(LOG_ERROR, "outbox: the damaged file is set aside", LOG_STR("set_aside", result.set_aside),
        LOG_INT("rows_saved", result.rows), LOG_INT("events_saved", result.events), LOG_INT("rows_cut", result.cut),
        LOG_INT("unreadable", result.unreadable));
    return open_writer(d, totals);
}

static int open_files(struct durable *d, struct database_totals *totals)
{
    pthread_mutex_lock(&d->read_mutex);
    database_close(&d->reader);
    database_close(&d->writer);
    durable_recent_forget(d); // what a salvage has numbered anew is not what is there
    d->fault = DATABASE_REOPEN;
    int rc = salvage_finish(d->path);
    if (rc == 0)
        rc = open_writer(d, totals);
    // A place that can't be read for so long will not be read: the rest is of more use.
    if (rc != 0 && (d->fault == DATABASE_DAMAGED || (rc == -EIO && d->tries >= TRIES_BEFORE_SALVAGE)))
        rc = salvage(d, totals);
    if (rc == 0) {
        rc = database_open(&d->reader, d->path, DATABASE_READ);
        d->fault = d->reader.fault;
    }
    if (rc != 0) { // a connection that stays open keeps what it believes
        database_close(&d->reader);
        database_close(&d->writer);
    }
    pthread_mutex_unlock(&d->read_mutex);
    return rc;
}

static void count_waiting(const struct waiting *waiting, struct database_totals *totals)
{
    for (; waiting != NULL; waiting = waiting->next) {
        totals->batches++;
        totals->events += waiting->batch->count;
    }
}

// Of rows that the pump has, memory knows more than the file; but for one that a salvage has cut, or that is another under
// the same number: that comes again at the next start. Under the mutex.
static int count_rows(struct durable *d, struct database_totals *totals)
{
    struct row *row;
    TAILQ_FOREACH(row, &d->rows, link)
    {
        struct database_row found;
        int rc = row->gone ? -ENOENT : database_find(&d->writer, row->info.seq, &found);
        if (rc != 0 && rc != -ENOENT)
            return rc;
        if (rc == -ENOENT || found.seq != row->info.seq || found.bytes != row->info.bytes) {
            row->gone = true;
            row->dirty = false;
            row->owed_events = row->owed_batches = 0;
            continue;
        }
        totals->events = totals->events + row->owed_events - (found.events - found.settled_events);
        totals->batches = totals->batches + row->owed_batches - (found.batches - found.settled_batches);
        row->dirty = row->dirty || row->settled > 0;
        if (row->dirty)
            durable_mark_dirty(d);
    }
    return 0;
}

static uint64_t most(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static int count_all(struct durable *d, struct database_totals totals)
{
    pthread_mutex_lock(&d->mutex);
    int rc = count_rows(d, &totals);
    if (rc == 0) {
        count_waiting(d->waiting, &totals);
        count_waiting(d->in_hand, &totals);
        d->next_seq = most(d->next_seq, most(totals.last_seq, totals.last_damaged_seq));
        __atomic_store_n(&d->disk_bytes, totals.bytes, __ATOMIC_RELAXED);
        __atomic_store_n(&d->events, totals.events, __ATOMIC_RELAXED);
        __atomic_store_n(&d->batches, totals.batches, __ATOMIC_RELAXED);
        __atomic_store_n(&d->oldest_real_ns, totals.oldest_real_ns, __ATOMIC_RELAXED);
        d->worked_ns = clock_mono_ns(); // so that what an earlier run has left is tidied up
        __atomic_store_n(&d->newest_seq, most(d->newest_seq, totals.last_seq), __ATOMIC_RELEASE);
    } else {
        d->fault = d->writer.fault;
    }
    pthread_mutex_unlock(&d->mutex);
    return rc;
}

// Whether the disk has what the file will grow by. It is written once, where durable_disk_room counts with twice.
static int log_fits(struct durable *d, bool *fits)
{
    uint64_t bytes, there = files_size(d->path);
    int rc = database_size(&d->writer, &bytes);
    *fits = rc == 0 && (bytes <= there || (bytes - there) / 2 <= durable_disk_room(d));
    return rc;
}

// Fails where the file would grow beyond what the disk has: to try that takes the last of it, and then what is settled can't
// be deleted either. Once nothing in the file is owed to anybody it may be shorter instead.
static int bring_log_home(struct durable *d)
{
    bool fits = false;
    int rc = log_fits(d, &fits);
    if (rc == 0 && !fits && d->disk_bytes == 0) {
        rc = database_shrink(&d->writer, 0, INT32_MAX);
        if (rc == 0)
            rc = log_fits(d, &fits);
    }
    if (rc == 0 && !fits) {
        d->writer.fault = DATABASE_RETRY;
        return -ENOSPC;
    }
    return rc == 0 ? database_checkpoint(&d->writer, DATABASE_EMPTY) : rc;
}

int durable_finish_recovery(struct durable *d)
{
    int rc = d->log_is_home ? 0 : bring_log_home(d);
    if (rc != 0) {
        d->fault = d->writer.fault;
        return rc;
    }
    d->log_is_home = true;
    if (d->imported)
        return 0;
    uint64_t before = d->next_seq;
    d->imported = true;
    spool_import(&d->writer, d->dir, &d->next_seq);
    if (d->next_seq == before)
        return 0;
    struct database_totals totals;
    rc = database_totals(&d->writer, &totals);
    if (rc == 0)
        return count_all(d, totals);
    d->fault = d->writer.fault;
    return rc;
}

int durable_recover(struct durable *d)
{
    struct database_totals totals;
    int rc = open_files(d, &totals);
    if (rc == 0)
        rc = count_all(d, totals);
    if (rc != 0)
        return rc;
    // For the pump, which waits for this and not for what needs room.
    __atomic_fetch_add(&d->recoveries, 1, __ATOMIC_RELEASE);
    return durable_finish_recovery(d);
}
