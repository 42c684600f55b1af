// SPDX-License-Identifier: Apache-2.0
#include "json/member.h"

#include <stdint.h>

#include "json/lex.h"

// One past the end of the value at `at`.
static const char *value_end(const char *at, const char *end)
{
    const uint8_t *p = (const uint8_t *)at;
    unsigned depth = 0;
    do {
        if (*p == '"') {
            p = lex_string_end(p + 1) + 1;
        } else if (*p == '{' || *p == '[') {
            depth++;
            p++;
        } else if (*p == '}' || *p == ']') {
            depth--;
            p++;
        } else if (depth > 0) {
            p++;
        } else {
            while ((const char *)p < end && !lex_is_white(*p) && *p != ',' && *p != '}' && *p != ']')
                p++;
        }
    } while (depth > 0);
    return (const char *)p;
}

static const char *skip(const char *at, const char *end, char separator)
{
    while (at < end && (lex_is_white((uint8_t)*at) || *at == separator))
        at++;
    return at;
}

bool member_next(const char **at, const char *end, struct member *member)
{
    *at = skip(*at, end, ',');
    if (*at == end || **at == '}')
        return false;
    const char *key = *at + 1;
    const char *key_end = (const char *)lex_string_end((const uint8_t *)key);
    const char *value = skip(key_end + 1, end, ':');
    *at = value_end(value, end);
    member->key = (struct text){key, (size_t)(key_end - key)};
    member->value = (struct text){value, (size_t)(*at - value)};
    return true;
}

static uint32_t hex4(const char *at)
{
    uint32_t value = 0;
    for (int i = 0; i < 4; i++)
        value = value << 4 | (uint32_t)lex_hex((uint8_t)at[i]);
    return value;
}

// The code point of the \u escape whose digits begin at *at; moves past it, and past the partner of a surrogate.
static uint32_t unicode_escape(const char **at, const char *end)
{
    uint32_t unit = hex4(*at);
    *at += 4;
    if ((unit & 0xf800) != 0xd800)
        return unit;
    if (unit < 0xdc00 && end - *at >= 6 && (*at)[0] == '\\' && (*at)[1] == 'u') {
        uint32_t low = hex4(*at + 2);
        if ((low & 0xfc00) == 0xdc00) {
            *at += 6;
            return 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
        }
    }
    return 0xfffd;
}

static size_t encode_utf8(uint32_t code, char out[4])
{
    static const uint8_t lead[5] = {0, 0, 0xc0, 0xe0, 0xf0};
    size_t len = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (size_t i = len; i-- > 1; code >>= 6)
        out[i] = (char)(0x80 | (code & 0x3f));
    out[0] = (char)(lead[len] | code);
    return len;
}

static uint32_t escape(const char **at, const char *end)
{
    static const char letters[] = "bfnrt", values[] = "\b\f\n\r\t";
    char letter = *(*at)++;
    if (letter == 'u')
        return unicode_escape(at, end);
    const char *named = memchr(letters, letter, sizeof letters - 1);
    return (uint8_t)(named != NULL ? values[named - letters] : letter);
}

size_t member_unescape(struct text string, char *out, size_t cap, bool *fits)
{
    const char *at = string.at, *end = string.at + string.len;
    size_t len = 0;
    *fits = true;
    while (at < end) {
        char bytes[4] = {*at++};
        size_t n = 1;
        if (bytes[0] == '\\')
            n = encode_utf8(escape(&at, end), bytes);
        if (n > cap - len) {
            *fits = false;
            break;
        }
        memcpy(out + len, bytes, n);
        len += n;
    }
    return len;
}
