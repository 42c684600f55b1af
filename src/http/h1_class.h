// SPDX-License-Identifier: Apache-2.0
#pragma once

// Character classes of HTTP. Pure.

#include <stdbool.h>
#include <stdint.h>

enum h1_class {
    H1_TOKEN = 1,  // tchar (RFC 9110, 5.6.2): methods and header names
    H1_VALUE = 2,  // header values (RFC 9110, 5.5): HTAB, SP, VCHAR, obs-text
    H1_TARGET = 4, // request target: visible ASCII but '#', which no target has
    H1_HOST = 8,   // reg-name (RFC 3986, 3.2.2): unreserved, sub-delims, '%'
};

extern const uint8_t h1_classes[256];

static inline bool h1_is(char c, enum h1_class class)
{
    return (h1_classes[(unsigned char)c] & class) != 0;
}
