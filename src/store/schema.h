// SPDX-License-Identifier: Apache-2.0
#pragma once

// By which numbers in its head an SQLite file is known as an outbox, and of which version of the tables. Any thread.

#include <stdbool.h>
#include <stdint.h>

#define SCHEMA_APPLICATION_ID 0x4c4f4f4d // "LOOM"
#define SCHEMA_VERSION        1

// Are these, PRAGMA application_id and user_version, the numbers of a later Loom's file?
bool schema_is_later(int64_t application_id, int64_t version);
// The same by the bytes of the file alone, whatever its log says; false when it can't be read.
bool schema_of_file_is_later(const char *path);
