// SPDX-License-Identifier: Apache-2.0
#pragma once

// Names in a directory are on disk when the directory is synced. Any thread.

#include <stdint.h>

int files_sync_dir(const char *dir);     // 0 or negative errno
int files_sync_parent(const char *path); // of the directory that `path` stands in
uint64_t files_size(const char *path);   // 0 when it is not there
