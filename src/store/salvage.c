// SPDX-License-Identifier: Apache-2.0
#include "store/salvage.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/crash.h"
#include "base/log.h"
#include "base/mem.h"
#include "store/database.h"
#include "store/files.h"
#include "store/pages.h"
#include "store/record.h"

#define NUMBER_MAX (DATABASE_SEQ_MAX / 2) // a row above it has a bad number, and gets a new one

enum { NAME_MAX_BYTES = 4200, COMMIT_BYTES = 16 << 20, BROKEN_READS_MAX = 2000 };

struct salvage {
    struct database from, to;
    const char *path;
    struct salvage_result *result;
    struct buf data, bits, known;
    uint64_t last_seq;     // the highest number that is taken
    uint64_t uncommitted;  // bytes
    unsigned broken_reads; // so that a file of nothing but holes comes to an end
    int rc;                // of the new file: there is no way on
};

static void name_of(char out[NAME_MAX_BYTES], const char *path, const char *suffix)
{
    if (snprintf(out, NAME_MAX_BYTES, "%s%s", path, suffix) >= NAME_MAX_BYTES)
        out[0] = '\0'; // no such file; store_durable_open takes no directory with such a name
}

// ---- Reading what can be read

// Good records in the part of a row that could be read; *cut: not all of it is good.
static uint32_t count_records(const struct buf *data, uint64_t bytes, uint32_t *events, bool *cut)
{
    uint32_t count = 0;
    size_t at = 0;
    struct record record;
    *events = 0;
    while (at < data->len) {
        int rc = record_check((const uint8_t *)data->data + at, data->len - at, &record);
        if (rc == -EBADMSG) {
            at++;
            continue;
        }
        count++;
        *events += rc == 0 ? record.count : 0;
        at += record.length;
    }
    *cut = data->len < bytes || at > data->len;
    return count;
}

static int save(struct salvage *s, const struct database_row *row)
{
    int rc = database_insert(&s->to, row, s->data.data);
    if (rc == 0 && row->settled_events > 0)
        rc = database_set_settled(&s->to, row, s->bits.data, s->bits.len);
    s->uncommitted += row->bytes;
    if (rc == 0 && s->uncommitted > COMMIT_BYTES) {
        s->uncommitted = 0;
        rc = database_commit(&s->to);
        if (rc == 0)
            rc = database_checkpoint(&s->to, DATABASE_SOME);
        if (rc == 0)
            rc = database_begin(&s->to);
    }
    return rc;
}

// How many events the bits say are settled, of a row of so many.
static uint32_t count_bits(const struct buf *bits, uint32_t events)
{
    uint32_t count = 0;
    for (size_t i = 0; i < bits->len && i < ((size_t)events + 7) / 8; i++)
        count += (uint32_t)__builtin_popcount((unsigned char)bits->data[i]);
    return count < events ? count : events;
}

// A row with as much of its data as could be read, if there is a good record in that.
static void keep_row(struct salvage *s, struct database_row *row, bool cut)
{
    uint32_t events;
    bool bad;
    if (count_records(&s->data, row->bytes, &events, &bad) == 0) {
        s->result->unreadable++;
        return;
    }
    row->bytes = s->data.len;
    s->result->rows++;
    s->result->events += events;
    s->result->cut += cut || bad;
    s->last_seq = row->seq > s->last_seq ? row->seq : s->last_seq;
    CRASH_POINT("salvage-before-row");
    s->rc = save(s, row);
}

static void take_row(struct salvage *s, struct database_row *row)
{
    bool cut = row->bytes > RECORD_BYTES_MAX || database_read_data(&s->from, row, &s->data) != 0;
    if (row->bytes > RECORD_BYTES_MAX)
        s->data.len = 0;
    if (database_read_bits(&s->from, row->seq, &s->bits) != 0)
        s->bits.len = 0; // delivered once more, which is harmless
    row->settled_events = count_bits(&s->bits, row->events);
    row->settled_batches = 0;
    keep_row(s, row, cut);
}

// Whether the new file has it: the same number and the same beginning. Where only the number is the same, a bit of one of the
// two has flipped, and the row gets a new one.
static bool is_known(struct salvage *s, struct database_row *row, const struct buf *data)
{
    struct database_row found;
    if (row->seq == 0 || row->seq > NUMBER_MAX) {
        row->seq = s->last_seq + 1;
        return false;
    }
    int rc = database_find(&s->to, row->seq, &found);
    if (rc == -ENOENT || (rc == 0 && found.seq != row->seq))
        return false;
    if (rc == 0)
        rc = database_read_data(&s->to, &found, &s->known);
    if (rc != 0) {
        s->rc = rc;
        return true;
    }
    size_t len = data->len < s->known.len ? data->len : s->known.len;
    if (memcmp(data->data, s->known.data, len) == 0)
        return true;
    row->seq = s->last_seq + 1;
    return false;
}

static bool on_row(void *ctx, struct database_row *row, const struct buf *data)
{
    struct salvage *s = ctx;
    uint32_t events;
    bool cut;
    if (count_records(data, row->bytes, &events, &cut) == 0 || is_known(s, row, data))
        return s->rc == 0;
    s->data.len = s->bits.len = 0;
    if (buf_try_append(&s->data, data->data, data->len) != 0)
        s->rc = -ENOMEM;
    else
        keep_row(s, row, cut);
    return s->rc == 0;
}

// Upwards from *low as far as it goes. False: something could not be read.
static bool take_upwards(struct salvage *s, uint64_t *low, uint64_t high)
{
    while (s->rc == 0 && *low <= high) {
        struct database_row row;
        int rc = database_find(&s->from, *low, &row);
        if (rc == -ENOENT || (rc == 0 && row.seq > high)) {
            *low = high + 1;
            return true;
        }
        if (rc != 0 || row.seq < *low) {
            s->broken_reads++;
            return false;
        }
        take_row(s, &row);
        *low = row.seq + 1;
    }
    return true;
}

static bool take_downwards(struct salvage *s, uint64_t low, uint64_t *high)
{
    while (s->rc == 0 && *high >= low) {
        struct database_row row;
        int rc = database_find_last(&s->from, *high, &row);
        if (rc == -ENOENT || (rc == 0 && row.seq < low)) {
            *high = low - 1;
            return true;
        }
        if (rc != 0 || row.seq > *high) {
            s->broken_reads++;
            return false;
        }
        take_row(s, &row);
        *high = row.seq - 1;
    }
    return true;
}

// From both ends up to what can't be read; then each half of that for itself, down to single rows. Not recursive over
// more than the 63 bits of a number.
static void take_between(struct salvage *s, uint64_t low, uint64_t high)
{
    while (s->rc == 0 && low <= high && s->broken_reads < BROKEN_READS_MAX) {
        if (take_upwards(s, &low, high) || take_downwards(s, low, &high) || low >= high) {
            s->result->unreadable += low == high;
            return;
        }
        uint64_t middle = low + (high - low) / 2;
        take_between(s, low, middle);
        low = middle + 1;
    }
}

static void take_all(struct salvage *s)
{
    if (files_size(s->path) == 0)
        return; // SQLite would delete the log of an empty file
    if (database_open(&s->from, s->path, DATABASE_SALVAGE) != 0) {
        s->result->unreadable++;
        return;
    }
    take_between(s, 1, NUMBER_MAX);
    database_close(&s->from);
}

// What SQLite did not find, because what leads there is damaged.
static void take_pages(struct salvage *s)
{
    int rc = pages_search(s->path, on_row, s);
    if (s->rc == 0)
        s->rc = rc;
}

// ---- The files

static void remove_files(const char *path)
{
    static const char *const suffixes[] = {"", "-wal", "-shm"};
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
        char name[NAME_MAX_BYTES];
        name_of(name, path, suffixes[i]);
        unlink(name);
    }
}

// A name that is not taken, by the log of an earlier one neither.
static void free_name(const char *path, char out[NAME_MAX_BYTES])
{
    time_t now = (time_t)(clock_real_ns() / NS_PER_S);
    struct tm utc;
    char time[32], log[NAME_MAX_BYTES];
    gmtime_r(&now, &utc);
    strftime(time, sizeof time, "%Y%m%dT%H%M%SZ", &utc);
    for (int i = 1;; i++) {
        char suffix[64];
        if (i == 1)
            snprintf(suffix, sizeof suffix, ".damaged-%s", time);
        else
            snprintf(suffix, sizeof suffix, ".damaged-%s-%d", time, i);
        name_of(out, path, suffix);
        name_of(log, out, "-wal");
        if (access(out, F_OK) != 0 && access(log, F_OK) != 0)
            return;
    }
}

static int move(const char *from, const char *to)
{
    return rename(from, to) == 0 || errno == ENOENT ? 0 : -errno;
}

// outbox.db.salvaged is whole. Every step can be made again.
static int swap(const char *path, char set_aside[NAME_MAX_BYTES])
{
    char salvaged[NAME_MAX_BYTES], log[NAME_MAX_BYTES], log_aside[NAME_MAX_BYTES], shared[NAME_MAX_BYTES];
    name_of(salvaged, path, ".salvaged");
    name_of(log, path, "-wal");
    name_of(shared, path, "-shm");
    free_name(path, set_aside);
    name_of(log_aside, set_aside, "-wal");
    int rc = move(path, set_aside);
    CRASH_POINT("salvage-between-renames");
    if (rc == 0 && files_size(log) == 0)
        unlink(log);
    else if (rc == 0)
        rc = move(log, log_aside);
    if (rc == 0)
        rc = unlink(shared) == 0 || errno == ENOENT ? 0 : -errno;
    if (rc == 0)
        rc = files_sync_parent(path); // a log beside a file to which it does not belong must never be seen
    if (rc == 0 && rename(salvaged, path) != 0)
        rc = -errno;
    if (rc == 0)
        rc = files_sync_parent(path);
    return rc;
}

int salvage_finish(const char *path)
{
    char name[NAME_MAX_BYTES], set_aside[NAME_MAX_BYTES];
    name_of(name, path, ".new");
    remove_files(name);
    name_of(name, path, ".salvaged");
    if (access(name, F_OK) != 0)
        return 0;
    int rc = swap(path, set_aside);
    if (rc == 0)
        LOG(LOG_ERROR, "outbox: the file was damaged and is set aside, what could be read is in the new one",
            LOG_STR("set_aside", set_aside));
    return rc;
}

// Whole and synced, without a log beside it.
static int seal(struct salvage *s, const char *made, const char *salvaged)
{
    int rc = database_commit(&s->to);
    if (rc == 0)
        rc = database_checkpoint(&s->to, DATABASE_EMPTY);
    database_close(&s->to);
    if (rc != 0)
        return rc;
    char name[NAME_MAX_BYTES];
    name_of(name, made, "-wal");
    unlink(name);
    name_of(name, made, "-shm");
    unlink(name);
    return rename(made, salvaged) == 0 ? files_sync_parent(salvaged) : -errno;
}

int salvage_run(const char *path, uint64_t last_seq, struct salvage_result *out)
{
    char made[NAME_MAX_BYTES], salvaged[NAME_MAX_BYTES], set_aside[NAME_MAX_BYTES];
    struct salvage s = {.path = path, .result = out, .last_seq = last_seq};
    *out = (struct salvage_result){0};
    name_of(made, path, ".new");
    name_of(salvaged, path, ".salvaged");
    remove_files(made);
    s.rc = database_open(&s.to, made, DATABASE_WRITE);
    if (s.rc == 0)
        s.rc = database_begin(&s.to);
    if (s.rc == 0)
        take_all(&s);
    if (s.rc == 0)
        take_pages(&s);
    if (s.rc == 0)
        s.rc = seal(&s, made, salvaged);
    CRASH_POINT("salvage-before-rename");
    if (s.rc == 0)
        s.rc = swap(path, set_aside);
    if (s.rc == 0) {
        snprintf(out->set_aside, sizeof out->set_aside, "%.*s", (int)sizeof out->set_aside - 1, set_aside);
    } else {
        database_close(&s.to);
        remove_files(made); // half of it is of no use, and holds the room of the next try
    }
    buf_fini(&s.data);
    buf_fini(&s.bits);
    buf_fini(&s.known);
    return s.rc;
}
