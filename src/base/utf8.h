// SPDX-License-Identifier: Apache-2.0
#pragma once

// What is UTF-8 and what is not (RFC 3629), for text from outside. No state, any thread.

#include <stddef.h>
#include <stdint.h>

// The length of the well-formed sequence at `at`, whose first byte is not ASCII; 0 when it is overlong, a surrogate,
// above U+10FFFF, cut off or stray. Bounds of the second byte: RFC 3629, 4.
static inline size_t utf8_len(const uint8_t *at, const uint8_t *end)
{
    size_t left = (size_t)(end - at);
    uint8_t lead = at[0];
    size_t len = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
    uint8_t low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    uint8_t high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    if (lead < 0xc2 || lead > 0xf4 || left < len || at[1] < low || at[1] > high)
        return 0;
    for (size_t i = 2; i < len; i++)
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    return len;
}
