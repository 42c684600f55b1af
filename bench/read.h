// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/buf.h"

// Appends what a file holds; ends the program with a word when it can't be opened.
void read_file(const char *path, struct buf *out);
