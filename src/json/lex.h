// SPDX-License-Identifier: Apache-2.0
#pragma once

// The smallest pieces of JSON's grammar (RFC 8259), byte by byte. Shared by the exact parser,
// the kernels (for what is too rare to be worth vector code) and the splicer. No state, any thread.

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline bool lex_is_white(uint8_t c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static inline bool lex_is_digit(uint8_t c)
{
    return (uint8_t)(c - '0') <= 9;
}

// The value of a hexadecimal digit, -1 for any other byte.
static inline int lex_hex(uint8_t c)
{
    if (lex_is_digit(c))
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static inline bool lex_is_escape(uint8_t c)
{
    return c == '"' || c == '\\' || c == '/' || c == 'b' || c == 'f' || c == 'n' || c == 'r' || c == 't' || c == 'u';
}

// Moves *at over digits; false when there is none.
static inline bool lex_digits(const uint8_t **at, const uint8_t *end)
{
    const uint8_t *start = *at;
    while (*at < end && lex_is_digit(**at))
        ++*at;
    return *at > start;
}

// Moves *at over a number. On false it stands at the byte that is none of a number's.
static inline bool lex_number(const uint8_t **at, const uint8_t *end)
{
    if (*at < end && **at == '-')
        ++*at;
    if (*at < end && **at == '0')
        ++*at; // and no digit after it
    else if (!lex_digits(at, end))
        return false;
    if (*at < end && **at == '.') {
        ++*at;
        if (!lex_digits(at, end))
            return false;
    }
    if (*at < end && (**at | 0x20) == 'e') {
        ++*at;
        if (*at < end && (**at == '+' || **at == '-'))
            ++*at;
        if (!lex_digits(at, end))
            return false;
    }
    return true;
}

// Moves *at over true, false or null; on false it stands at the first byte that differs.
static inline bool lex_literal(const uint8_t **at, const uint8_t *end)
{
    const char *word = **at == 't' ? "true" : **at == 'f' ? "false" : "null";
    for (; *word != '\0'; word++, ++*at)
        if (*at == end || **at != (uint8_t)*word)
            return false;
    return true;
}

// The value after a string's quote: moves over the rest of a string that is known to be valid, to its closing quote.
static inline const uint8_t *lex_string_end(const uint8_t *at)
{
    while (*at != '"')
        at += *at == '\\' ? 2 : 1;
    return at;
}
