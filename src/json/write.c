// SPDX-License-Identifier: Apache-2.0
#include "json/write.h"

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "json/lex.h"

static void write_escape(struct buf *out, uint8_t c)
{
    static const char hex[16] = "0123456789abcdef";
    const char *named = memchr("\bb\ff\nn\rr\tt", c, 10);
    if (c == '"' || c == '\\') {
        buf_append(out, (char[]){'\\', (char)c}, 2);
    } else if (named != NULL) {
        buf_append(out, (char[]){'\\', named[1]}, 2);
    } else {
        buf_append(out, "\\u00", 4);
        buf_char(out, hex[c >> 4]);
        buf_char(out, hex[c & 15]);
    }
}

static bool is_plain(uint8_t c)
{
    return c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
}

void json_write_string(struct buf *out, struct text text)
{
    const uint8_t *at = (const uint8_t *)text.at;
    const uint8_t *end = at + text.len;

    buf_reserve(out, text.len + 2);
    buf_char(out, '"');
    while (at < end) {
        const uint8_t *begin = at;
        size_t sequence = 0;
        while (at < end && (is_plain(*at) || (*at >= 0x80 && (sequence = utf8_len(at, end)) > 0)))
            at += *at < 0x80 ? 1 : sequence;
        buf_append(out, begin, (size_t)(at - begin));
        if (at == end)
            break;
        if (*at < 0x80)
            write_escape(out, *at);
        else
            buf_str(out, "\xef\xbf\xbd"); // U+FFFD for each byte that is no UTF-8
        at++;
    }
    buf_char(out, '"');
}

// Fifteen digits always survive the way to a double and back, so with %g, which drops trailing zeros, that is the
// shortest form where it reads back as the same; seventeen always do (C17, 5.2.4.2.2). Subnormal numbers have fewer.
void json_write_double(struct buf *out, double value)
{
    char text[40];
    INVARIANT(isfinite(value));
    for (int digits = fabs(value) < DBL_MIN ? 1 : 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    for (char *c = text; *c != '\0'; c++)
        if (memchr("0123456789+-e", *c, 13) == NULL)
            *c = '.'; // whatever a library may have set as the locale
    buf_str(out, text);
}
