// SPDX-License-Identifier: Apache-2.0
#include "base/buf.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/mem.h"

#define BUF_MIN_CAP 64

void buf_fini(struct buf *buf)
{
    mem_free(buf->data);
    *buf = BUF_EMPTY;
}

int buf_try_reserve(struct buf *buf, size_t more)
{
    if (more <= buf->cap - buf->len)
        return 0;
    size_t need;
    if (__builtin_add_overflow(buf->len, more, &need))
        return -ENOMEM;
    // Doubling keeps a long run of appends linear; near the top of the address space only what is needed.
    size_t cap = buf->cap > SIZE_MAX / 2 ? need : buf->cap * 2;
    if (cap < BUF_MIN_CAP)
        cap = BUF_MIN_CAP;
    if (cap < need)
        cap = need;
    char *data = mem_try_realloc(buf->data, cap);
    if (data == NULL)
        return -ENOMEM;
    buf->data = data;
    buf->cap = cap;
    return 0;
}

int buf_try_append(struct buf *buf, const void *data, size_t len)
{
    int rc = buf_try_reserve(buf, len);
    if (rc < 0)
        return rc;
    if (len > 0)
        memcpy(buf->data + buf->len, data, len);
    buf->len += len;
    return 0;
}

void buf_reserve(struct buf *buf, size_t more)
{
    INVARIANT(buf_try_reserve(buf, more) == 0);
}

void buf_append(struct buf *buf, const void *data, size_t len)
{
    buf_reserve(buf, len);
    if (len > 0)
        memcpy(buf->data + buf->len, data, len);
    buf->len += len;
}

void buf_text(struct buf *buf, struct text text)
{
    buf_append(buf, text.at, text.len);
}

void buf_str(struct buf *buf, const char *string)
{
    buf_append(buf, string, strlen(string));
}

void buf_char(struct buf *buf, char c)
{
    buf_reserve(buf, 1);
    buf->data[buf->len++] = c;
}

void buf_uint(struct buf *buf, uint64_t value)
{
    char digits[20];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    buf_append(buf, digits + at, sizeof digits - at);
}

void buf_int(struct buf *buf, int64_t value)
{
    uint64_t magnitude = (uint64_t)value;
    if (value < 0) {
        buf_char(buf, '-');
        magnitude = 0 - magnitude; // defined for INT64_MIN too
    }
    buf_uint(buf, magnitude);
}

void buf_printf(struct buf *buf, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    INVARIANT(len >= 0);
    buf_reserve(buf, (size_t)len + 1);
    va_start(args, format);
    vsnprintf(buf->data + buf->len, (size_t)len + 1, format, args);
    va_end(args);
    buf->len += (size_t)len;
}

void buf_consume(struct buf *buf, size_t n)
{
    INVARIANT(n <= buf->len);
    buf->len -= n;
    if (n > 0 && buf->len > 0)
        memmove(buf->data, buf->data + n, buf->len);
}
