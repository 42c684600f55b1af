// SPDX-License-Identifier: Apache-2.0
#pragma once

// Where events end that the output will never take: DIR/dead-letters.ndjson, a JSON object a line,
//
//     {"time":"2026-11-24T10:00:00.123456Z","output":"elasticsearch","id":"kq3…","sensor":"vps-1","status":400,
//      "kind":"mapper_parsing_exception","reason":"failed to parse …","event":{…}}
//
// with the bytes of the event as they would have been delivered. What dead_letters_write says is written is on disk. A
// line that a crash or a full disk has cut is taken away if it is the last one; one in the middle, that a power cut has left
// before lines that came later, is the reader's to skip. The file may be moved away, emptied or deleted by others while
// Loom runs. The pump's thread, but for dead_letters_check.

#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/text.h"
#include "conf/conf.h"
#include "store/batch.h"

// Lines that are to be written.
struct letters {
    struct buf lines;
    size_t *ends; // ends[i]: offset one past line i's '\n'
    size_t count;
    size_t cap;
};
// 0, or -ENOMEM. status 0 is left out. Long reasons are cut.
int letters_add(struct letters *letters, const char *output, const struct batch *batch, uint32_t event, unsigned status,
                struct text kind, struct text reason);
void letters_clear(struct letters *letters);
void letters_fini(struct letters *letters);

// Makes the directory when its parent is there, and finds out whether the file could be written: a clear text on error.
// A full disk is none.
int dead_letters_check(const struct conf_outbox *conf, struct err *err);

struct dead_letters;
struct dead_letters *dead_letters_new(const struct conf_outbox *conf); // opens nothing yet; conf outlives it
// How many of the lines, from the first, are safe on disk. Less than all: *err says why, as /ready shall tell it.
size_t dead_letters_write(struct dead_letters *dead, const struct letters *letters, struct err *err);
void dead_letters_free(struct dead_letters *dead); // may be NULL
