// SPDX-License-Identifier: Apache-2.0
#pragma once

// SQLite's log (https://sqlite.org/fileformat2.html, 4) is a chain of checksums. Where the chain breaks the log ends for
// SQLite, and it does not say so: what a power cut leaves of a transaction that was not synced looks like that. But so does a
// bad byte, and then all that follows would be lost without a word, though it was synced and acknowledged. They can be told
// apart: each transaction is synced before the next one is written, so behind a break that a power cut has made there is
// the end of one transaction at most, and the head of the log is never half written.

#include <stdbool.h>

// Whether the log at this path has been damaged since it was synced. False also when there is none, or when it can't be read:
// SQLite will say so.
bool wal_is_damaged(const char *path);
