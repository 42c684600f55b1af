// SPDX-License-Identifier: Apache-2.0
#pragma once

// Private to the durable store: what its files share. durable.c has the workers' side and the ends, committer.c the
// thread that writes, reader.c the pump's side, recent.c what that need not read, recover.c how the files are opened at
// the start and after an error.

#include <pthread.h>
#include <sys/queue.h>

#include "base/metric.h"
#include "store/database.h"
#include "store/durable.h"
#include "store/record.h"

#define ROW_BYTES_MAX  ((size_t)8 << 20)
#define ROW_EVENTS_MAX 1000000 // so that the bits of a row stay small

// An appended batch until its commit. Worker's until it is appended, then the committer's.
struct waiting {
    struct waiting *next;
    struct batch *batch;
    size_t len;
    uint8_t record[];
};

// A row that the pump has taken, until it is gone from the file and no batch of it is out. Under the mutex, but for `bits`,
// `settled` and `ready`, which from then on only the pump writes and so may read without. The committer releases it.
struct row {
    TAILQ_ENTRY(row) link;
    struct waiting *from;        // while it is being committed: its first batch
    struct durable_batch *ready; // of a row that was kept in memory (recent.c): its batches, until they are taken
    uint64_t ready_bytes;
    struct database_row info;           // as it was read
    uint32_t events;                    // in its good records
    uint32_t settled;                   // of these
    uint32_t owed_events, owed_batches; // its part of the store's sums
    uint32_t users;                     // batches at the pump, and the pump while it takes batches from the row
    unsigned changes;
    bool dirty; // not on disk as it is here
    bool gone;  // deleted, settled or dropped
    size_t bits_len;
    uint8_t bits[]; // of each event, by its number in the row: settled
};
TAILQ_HEAD(row_list, row);

// Bytes of a row that hold no good record, on their way into the table.
struct damage {
    struct damage *next;
    uint64_t seq, at;
    const char *reason;
    bool has_data;
    size_t len;
    uint8_t data[];
};

// A batch as the pump gets it: one block, with the sensor behind, and ends and lines too when they were read from the file.
struct durable_batch {
    struct batch batch; // first; its `next` is that of row->ready
    struct row *row;
    uint32_t first; // number of its first event in the row
    bool is_recent; // ends and lines are the blocks that the batch was appended with
};

struct row_part {
    size_t at;
    struct record record;
};

// The row that the pump takes batches from.
struct reading {
    struct row *row; // NULL: none
    struct buf data;
    struct row_part *parts; // good records
    size_t count, cap, next;
};

struct durable {
    struct store store;
    struct store_reader pump; // written once, before `attached`
    bool attached, draining;  // atomic
    int failing;              // atomic; 0, or the code for which nothing is accepted

    // Frozen.
    bool drop_oldest;
    int lock_fd;
    char *dir, *path;
    uint64_t max_bytes;
    pthread_t thread;

    // Atomic; any thread.
    uint64_t waiting_bytes; // appended, not committed
    uint64_t disk_bytes;
    uint64_t refused_bytes; // of the last record for which there was no room
    uint64_t events, batches;
    uint64_t newest_seq; // committed
    int64_t oldest_real_ns;
    counter commits, dropped_events, damaged_records, errors;
    counter later_events;                       // the pump's
    struct histogram commit_ns, commit_batches; // the committer's

    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool asleep, stopping;    // under the mutex, as what follows
    enum database_fault wish; // of the pump, when it can't read
    struct waiting *waiting, **waiting_last;
    struct row_list rows;   // by seq
    struct row_list recent; // by seq; committed, and not taken by the pump yet
    uint64_t recent_bytes;
    int64_t dirty_since_ns;
    struct damage *damage;
    uint64_t dropped_to; // rows up to here were dropped
    int64_t wished_ns;
    int64_t read_again_ns; // 0, or when the pump is to be woken to try once more
    char reason[256];      // when failing

    // The committer's.
    struct database writer;
    enum database_fault fault;     // why it is failing
    enum database_fault tried_for; // what the tries were for
    unsigned tries;                // since then
    int64_t again_ns;              // when the next one is due
    bool told;                     // in the log, that nothing is accepted
    int told_code;                 // the last time
    int64_t told_ns;
    uint64_t next_seq;       // of the newest row
    struct waiting *in_hand; // taken from `waiting`, not answered yet
    uint64_t failed_bytes;   // of the largest batch that was refused when a commit failed
    struct buf row_buf;
    struct damage *damage_now;
    uint64_t set_aside_bytes;
    int64_t worked_ns; // last commit, until there is nothing left to tidy up
    bool log_is_home;  // since the connections were opened it was, once
    bool imported;     // spool files of the Go implementation

    // The pump's.
    uint64_t taken_seq;
    uint64_t bad_seq;        // could not be read though the file was in order
    uint64_t bad_recoveries; // what `recoveries` was then
    uint64_t recoveries;     // atomic: times that the file was opened anew and found well
    struct reading reading;
    struct buf bits_buf;

    pthread_mutex_t read_mutex; // the pump while it reads, without waiting for it; the committer while it opens anew
    struct database reader;
};

// commit.c
// Everything that is to be written, and of the batches of the list (NULL: none) those for which the disk has room; answers
// all of them.
int durable_commit(struct durable *d, struct waiting *list);
void durable_answer(struct durable *d, struct waiting *waiting, int status);
uint64_t durable_disk_room(const struct durable *d);

// committer.c
void *durable_commit_main(void *store);
void durable_fail(struct durable *d, int code, enum database_fault fault);
void durable_mark_dirty(struct durable *d); // under the mutex: the committer is to look in time at what was settled
void durable_wake_pump(struct durable *d);

// durable.c
bool durable_is_full(struct durable *d);

// recover.c: closes both connections and opens them anew, with all checks; salvages where it must. On error d->fault tells;
// with DATABASE_RETRY they may be open, and only the second part is missing.
int durable_recover(struct durable *d);
// That part, for which the disk must have room: the log is brought home, so that nothing that is promised depends on pages of it
// that a failed sync has left unwritten, and spool files are taken in. Again 0 when there is nothing to do.
int durable_finish_recovery(struct durable *d);

// recent.c
struct row *durable_row_new(const struct database_row *info, uint32_t events); // NULL: no memory
void durable_row_free(struct row *row);                                        // with what is ready
void durable_rows_free(struct row_list *rows);
struct durable_batch *durable_row_pop(struct row *row); // the next that is ready; there is one
void durable_batch_free(struct durable_batch *batch);
// Committed rows, whose batches are still the committer's: what the pump may want of them is kept, and the lines of those
// batches with it. `rows` is empty afterwards.
void durable_recent_add(struct durable *d, struct row_list *rows);
// Pump, under the mutex: the row that comes next, which was not dropped. NULL: read it.
struct row *durable_recent_take(struct durable *d);
void durable_recent_forget(struct durable *d);

// reader.c
size_t durable_take(struct store *store, struct batch **out, size_t max);
uint32_t durable_next_open(struct store *store, const struct batch *batch, uint32_t from, uint32_t *first);
void durable_settle(struct store *store, struct batch *batch, uint32_t first, uint32_t count, enum verdict verdict);
void durable_give_back(struct store *store, struct batch *batch);
void durable_reading_fini(struct durable *d);
