// SPDX-License-Identifier: Apache-2.0
#pragma once

// What the commands have to say to the person at the terminal.

#include "base/buf.h"
#include "base/text.h"

// Problems or warnings: each line on standard error behind the prefix.
void print_lines(const char *prefix, const struct buf *lines);

// A text on standard output; the end of what was printed there. 0, or a negative errno when not all of it could be written (a
// full disk, a closed pipe), which is told on standard error.
int print_text(struct text text);
int print_flush(void);
