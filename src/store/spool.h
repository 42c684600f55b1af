// SPDX-License-Identifier: Apache-2.0
#pragma once

// Spool files of the Go implementation: *.ndjson in the directory of the outbox, an event a line. They are taken in, each file
// in one transaction, and renamed *.ndjson.imported. The ids of their events come from the file's name and content, so a crash in
// between only makes the same events once more. Lines that are no events are counted, and stay in the renamed file.

#include "store/database.h"

// seq: of the newest row; counted up with each row, also of a file that then could not be renamed. What goes wrong with a file
// is logged and leaves it.
void spool_import(struct database *db, const char *dir, uint64_t *seq);
