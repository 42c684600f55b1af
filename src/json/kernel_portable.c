// SPDX-License-Identifier: Apache-2.0
//
// The kernel without vector instructions, for any processor and either byte order. A table gives each byte its class as
// a set of bits; eight classes are eight rows of a bit matrix, and its columns are eight bits of each mask.

#include <stdbool.h>
#include <stdint.h>

#include "json/block.h"
#include "json/lex.h"
#include "json/mask.h"

// Bits of a class. Brackets of a kind are one class: the walk tells them apart.
enum {
    CLASS_QUOTE = 1 << 0,
    CLASS_OPEN = 1 << 1,
    CLASS_CLOSE = 1 << 2,
    CLASS_COLON = 1 << 3,
    CLASS_COMMA = 1 << 4,
    CLASS_RARE = 1 << 5,
    CLASS_COUNT = 6,
};

static const uint8_t classes[256] = {
    [0 ... 0x1f] = CLASS_RARE, [0x80 ... 0xff] = CLASS_RARE, ['\\'] = CLASS_RARE, ['"'] = CLASS_QUOTE,
    ['{'] = CLASS_OPEN,        ['['] = CLASS_OPEN,           ['}'] = CLASS_CLOSE, [']'] = CLASS_CLOSE,
    [':'] = CLASS_COLON,       [','] = CLASS_COMMA,
};

// Exchanges rows (bytes) and columns (bits) of an 8 by 8 matrix: first within squares of two, then of four, then of eight.
static uint64_t transpose(uint64_t m)
{
    uint64_t swap = (m ^ m >> 7) & UINT64_C(0x00aa00aa00aa00aa);
    m ^= swap ^ swap << 7;
    swap = (m ^ m >> 14) & UINT64_C(0x0000cccc0000cccc);
    m ^= swap ^ swap << 14;
    swap = (m ^ m >> 28) & UINT64_C(0x00000000f0f0f0f0);
    return m ^ swap ^ swap << 28;
}

static void block_load(struct block *b, const uint8_t *at)
{
    uint64_t mask[CLASS_COUNT] = {0};
    for (int group = 0; group < 64; group += 8) {
        uint64_t rows = 0;
        for (int i = 0; i < 8; i++)
            rows |= (uint64_t)classes[at[group + i]] << (8 * i);
        uint64_t columns = transpose(rows);
        for (int bit = 0; bit < CLASS_COUNT; bit++)
            mask[bit] |= (columns >> (8 * bit) & 0xff) << group;
    }
    b->quote = mask[0];
    b->open = mask[1];
    b->close = mask[2];
    b->colon = mask[3];
    b->comma = mask[4];
    b->rare = mask[5] != 0;
}

// Eight bytes at a time: a byte of x is 0 where they are equal, and only then does its top bit stay 0 in `differ`.
static uint64_t block_eq(const uint8_t *at, uint8_t byte)
{
    const uint64_t ones = UINT64_C(0x0101010101010101), low = UINT64_C(0x7f7f7f7f7f7f7f7f);
    uint64_t mask = 0;
    for (int group = 0; group < 64; group += 8) {
        uint64_t x = 0;
        for (int i = 0; i < 8; i++)
            x |= (uint64_t)at[group + i] << (8 * i); // one load where the byte order allows it
        x ^= ones * byte;
        uint64_t differ = ((x & low) + low) | x;
        uint64_t equal = ~differ >> 7 & ones;
        mask |= (equal * UINT64_C(0x0102040810204080) >> 56) << group; // bit 8 * i to bit 56 + i
    }
    return mask;
}

// The masks that few blocks need are made byte by byte.
#define BLOCK_MASK(condition)                                                                                          \
    do {                                                                                                               \
        uint64_t mask = 0;                                                                                             \
        for (int i = 0; i < 64; i++) {                                                                                 \
            uint8_t c = at[i];                                                                                         \
            mask |= (uint64_t)(condition) << i;                                                                        \
        }                                                                                                              \
        return mask;                                                                                                   \
    } while (0)

static uint64_t block_range(const uint8_t *at, uint8_t low, uint8_t high)
{
    BLOCK_MASK(c >= low && c <= high);
}

static uint64_t block_below(const uint8_t *at, uint8_t byte)
{
    BLOCK_MASK(c < byte);
}

static uint64_t block_high(const uint8_t *at)
{
    BLOCK_MASK(c >= 0x80);
}

static uint64_t block_digit(const uint8_t *at)
{
    BLOCK_MASK(lex_is_digit(c));
}

static uint64_t block_hex(const uint8_t *at)
{
    BLOCK_MASK(lex_hex(c) >= 0);
}

static uint64_t block_escape_letter(const uint8_t *at)
{
    BLOCK_MASK(lex_is_escape(c));
}

#define prefix_xor        mask_prefix_xor
#define popcount          mask_count
#define put_offsets       mask_offsets
#define PUT_OFFSETS_SLACK 0
#define KERNEL            json_kernel_portable
#include "json/kernel.inc"
