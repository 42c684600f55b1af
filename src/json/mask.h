// SPDX-License-Identifier: Apache-2.0
#pragma once

// What the kernels want of a 64-bit mask, in plain C. A vector form that has instructions for it brings its own.

#include <stdint.h>

// Bit i of the result is the xor of the bits 0 to i.
static inline uint64_t mask_prefix_xor(uint64_t mask)
{
    for (int shift = 1; shift < 64; shift *= 2)
        mask ^= mask << shift;
    return mask;
}

// Bits that are set: sums in pairs, then in fours, in bytes, and over all bytes by a multiplication.
static inline uint64_t mask_count(uint64_t mask)
{
    mask -= mask >> 1 & UINT64_C(0x5555555555555555);
    mask = (mask & UINT64_C(0x3333333333333333)) + (mask >> 2 & UINT64_C(0x3333333333333333));
    mask = (mask + (mask >> 4)) & UINT64_C(0x0f0f0f0f0f0f0f0f);
    return mask * UINT64_C(0x0101010101010101) >> 56;
}

// Writes base plus the place of each bit. Any number of them, in a loop that ends by a branch.
static inline void mask_offsets(uint32_t *out, uint64_t mask, uint32_t base)
{
    for (; mask != 0; mask &= mask - 1)
        *out++ = base + (uint32_t)__builtin_ctzll(mask);
}
