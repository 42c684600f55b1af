// SPDX-License-Identifier: Apache-2.0
#pragma once

// A growing byte buffer. Owned by one thread at a time. `buf_try_*` report -ENOMEM and leave the buffer as it was;
// the others abort when memory is gone.

#include <stddef.h>
#include <stdint.h>

#include "base/text.h"

struct buf {
    char *data; // NULL while cap is 0
    size_t len;
    size_t cap;
};

#define BUF_EMPTY ((struct buf){0})

void buf_fini(struct buf *buf);                    // releases, back to empty
int buf_try_reserve(struct buf *buf, size_t more); // room for `more` bytes after len; 0 or -ENOMEM
int buf_try_append(struct buf *buf, const void *data, size_t len);
void buf_reserve(struct buf *buf, size_t more);
void buf_append(struct buf *buf, const void *data, size_t len);
void buf_text(struct buf *buf, struct text text);
void buf_str(struct buf *buf, const char *string);
void buf_char(struct buf *buf, char c);
void buf_uint(struct buf *buf, uint64_t value); // decimal
void buf_int(struct buf *buf, int64_t value);   // decimal
void buf_printf(struct buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3), nonnull(2)));
void buf_consume(struct buf *buf, size_t n); // drops the first n bytes
