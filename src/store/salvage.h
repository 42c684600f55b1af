// SPDX-License-Identifier: Apache-2.0
#pragma once

// From a damaged file of the durable store to a good one. What can still be read, by SQLite from both ends and around what
// it can't, and then past it from every single page (store/pages.h), is copied into outbox.db.new; when that is
// whole and synced it becomes outbox.db.salvaged, and only then does the damaged file, with its log, become
// outbox.db.damaged-<UTC time> and the salvaged one outbox.db. So whenever this is cut short, the next start begins it
// anew or brings it to its end, and nothing is lost twice. One thread; no connection may be open.

#include <stdint.h>

struct salvage_result {
    uint64_t rows, events; // saved
    uint64_t cut;          // of these rows: not all of their records could be read
    uint64_t unreadable;   // places where rows may have been lost
    char set_aside[300];   // name of the damaged file
};
// Rows that get a new number get one above last_seq, too.
int salvage_run(const char *path, uint64_t last_seq, struct salvage_result *out);
// At a start: brings to its end what was cut short. 0 also when there was nothing.
int salvage_finish(const char *path);
