// SPDX-License-Identifier: Apache-2.0
#pragma once

// The durable store: an SQLite file in output.outbox.dir. A batch is safe when the commit that holds it is on disk; one
// thread, the committer, gathers all that waits into one row and one commit, and what the pump has settled rides along.
// Records carry a checksum of their own (store/record.h), since SQLite has none; one that is bad is set aside in the
// file's table `damaged`, as it is, and the rest goes on.
//
//   DIR/outbox.db, -wal, -shm             the records
//   DIR/lock                              held while a process uses the directory
//   DIR/outbox.db.damaged-<time>[, -wal]  what a start could not read, set aside; what could be read is in outbox.db
//   DIR/outbox.db.new, .salvaged          while that is made
//   DIR/*.ndjson                          spool files of the Go implementation: taken in at start, then renamed *.ndjson.imported

#include <stdio.h>

#include "conf/conf.h"
#include "store/store.h"

// Takes the lock, opens or salvages, and starts the committer. dir is made when its parent is there. 0; or a negative code
// with a text that says what to do: another process has it, dir is not writable, a later Loom has written the
// file, which stays as it is (ERR_LATER). Whatever else the files in it are like is no error: what can't be read is set aside,
// counted and logged.
int store_durable_open(const struct conf_outbox *conf, struct store **out, struct err *err);

// What `loom outbox` prints; also while a Loom has the directory open.
struct durable_report {
    uint64_t rows, batches, events, bytes; // not settled
    int64_t oldest_real_ns;                // 0: empty
    uint64_t first_row, last_row;          // position of the output, and the newest row; 0: empty
    uint64_t settled_behind;               // events settled in rows that are still there: behind the position
    uint64_t damaged;                      // rows with a bad checksum
};
int store_durable_inspect(const char *dir, struct durable_report *out, struct err *err);
