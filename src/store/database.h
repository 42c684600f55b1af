// SPDX-License-Identifier: Apache-2.0
#pragma once

// The SQLite file of the durable store, and all of SQLite that Loom uses. One connection a struct; it belongs to one
// thread at a time. Functions return 0 or a negative code for a person's eyes; what to do about it is db->fault.
//
//   rows     one row per commit: the records of its batches (store/record.h), and their sums
//   settled  of rows that are partly settled: a bit for each event
//   damaged  what was set aside: parts of rows in which no good record was found, as they were

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

#define DATABASE_PAGE_BYTES 16384
#define DATABASE_SEQ_MAX    ((uint64_t)INT64_MAX / 2) // a row beyond it, or with number 0, is damaged

// What an error asks for.
enum database_fault {
    DATABASE_WELL,
    DATABASE_RETRY,   // nothing is wrong with the file: full, busy, no memory. Try again later
    DATABASE_REOPEN,  // what was written may not be on disk: close, open, and check before anything is believed
    DATABASE_DAMAGED, // the file is not what it should be: set it aside, salvage
};

struct sqlite3;
struct sqlite3_stmt;
enum database_statement {
    DATABASE_BEGIN,
    DATABASE_COMMIT,
    DATABASE_ROLLBACK,
    DATABASE_INSERT,
    DATABASE_DELETE,
    DATABASE_SET_BITS,
    DATABASE_DELETE_BITS,
    DATABASE_SET_ASIDE,
    DATABASE_NEXT,
    DATABASE_GET_BITS,
    DATABASE_STATEMENTS
};
struct database {
    struct sqlite3 *handle; // NULL: not open
    struct sqlite3_stmt *statements[DATABASE_STATEMENTS];
    enum database_fault fault; // of the last error; DATABASE_WELL after an open
    uint32_t wal_pages;        // after the last commit of this connection
};

struct database_row {
    uint64_t seq;
    int64_t arrived_real_ns; // of its oldest batch
    uint32_t events, batches;
    uint64_t bytes;
    uint32_t settled_events, settled_batches;
};
struct database_totals {
    uint64_t rows, batches, events, bytes; // not settled; the bytes: of all rows
    uint64_t settled_behind, damaged;
    uint64_t first_seq, last_seq, last_damaged_seq;
    int64_t oldest_real_ns;
};

enum database_mode {
    DATABASE_WRITE,   // makes the file where there is none; mode 0600
    DATABASE_READ,    // a second connection
    DATABASE_INSPECT, // as another process: makes nothing
    DATABASE_SALVAGE, // of a file that was set aside, which is to stay as it is
};
// ERR_LATER, but for a salvage: the file is in order, and its tables are those of a later Loom.
int database_open(struct database *db, const char *path, enum database_mode mode);
void database_close(struct database *db); // never fails; also after a failed open

// Walks every page. 0, or -EBADMSG with db->fault.
int database_check(struct database *db);
int database_totals(struct database *db,
                    struct database_totals *out); // reads every row; DATABASE_DAMAGED for a bad number

// A transaction. After an error there is only database_rollback.
int database_begin(struct database *db);
int database_commit(struct database *db);
void database_rollback(struct database *db);
int database_insert(struct database *db, const struct database_row *row, const void *data);
int database_delete(struct database *db, uint64_t seq); // no error when it is not there
int database_set_settled(struct database *db, const struct database_row *row, const void *bits, size_t len);
// data NULL: too much was set aside already. *is_new: false when this part of this row was known.
int database_set_aside(struct database *db, uint64_t seq, uint64_t at, const char *reason, const void *data, size_t len,
                       bool *is_new);
int database_probe(struct database *db); // a small commit

// The first row from `seq` on, without its data. -ENOENT: there is none.
int database_find(struct database *db, uint64_t seq, struct database_row *out);
// The first row from `seq` on, its data and the bits of its settled events, as of one moment.
int database_read(struct database *db, uint64_t seq, struct database_row *out, struct buf *data, struct buf *bits);
// On error *data has what could be read before it.
int database_read_data(struct database *db, const struct database_row *row, struct buf *data);
int database_read_bits(struct database *db, uint64_t seq, struct buf *bits);
// From the other end: the last row up to `seq`.
int database_find_last(struct database *db, uint64_t seq, struct database_row *out);

// Copies what the log has into the file.
enum database_checkpoint {
    DATABASE_SOME,      // as far as readers let it; no error when another process is at it
    DATABASE_EMPTY_NOW, // and empties the log. Waits for nobody
    DATABASE_EMPTY,     // waits a while for readers
};
int database_checkpoint(struct database *db, enum database_checkpoint how);
int database_size(struct database *db, uint64_t *bytes); // of the file, when the log is in it
// Gives unused pages back, a step of so many at a time. When some are to be kept, only where most of the file is unused.
// 1: there is more to do.
int database_shrink(struct database *db, uint32_t kept_pages, uint32_t step);
