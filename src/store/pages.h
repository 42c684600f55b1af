// SPDX-License-Identifier: Apache-2.0
#pragma once

// The rows of a damaged SQLite file, read past SQLite: every page that looks like a leaf of a table is searched for rows of
// the shape that `rows` has, whatever the pages above it say (https://sqlite.org/fileformat2.html, 1.6 and 2; the log: 4).
// So one bad byte in a header, in the schema or in an inner page costs nothing. What is found need not be a row of
// today, and its number need not be possible: whoever calls looks at both, and at the checksums of the records in it.

#include "store/database.h"

// The data is as much as could be read, at most row->bytes. False ends the search.
typedef bool pages_on_row(void *ctx, struct database_row *row, const struct buf *data);

// With what the log has committed. 0, or a negative errno when the file can't be read at all.
int pages_search(const char *path, pages_on_row *on_row, void *ctx);
