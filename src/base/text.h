// SPDX-License-Identifier: Apache-2.0
#pragma once

// Bytes as pointer and length in one value. Borrowed: a struct text never owns what it points at.

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct text {
    const char *at;
    size_t len;
};

#define TEXT(literal) ((struct text){"" literal, sizeof(literal) - 1})

static inline struct text text_of(const char *string)
{
    return (struct text){string, strlen(string)};
}

static inline bool text_eq(struct text a, struct text b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.at, b.at, a.len) == 0);
}

// tolower(3) depends on the locale; protocols do not.
static inline char text_lower(char c)
{
    return (char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
}

// ASCII letters compare without case, as HTTP field names and the Authorization scheme do (RFC 9110, 5.1 and 11.1).
bool text_eq_nocase(struct text a, struct text b);

// Without spaces and tabs at both ends (OWS of RFC 9110, 5.6.3).
struct text text_trim(struct text text);

// Takes the next line off *rest, without its '\n'. False when nothing is left.
bool text_line(struct text *rest, struct text *line);
