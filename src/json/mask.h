// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdint.h>

// What the kernels want of a 64-bit mask, in plain C; kernel_avx2.c has instructions for it.

// Bit i of the result is the xor of the bits 0 to i. The way for processors without a carry-less multiplication.
static inline uint64_t prefix_xor_shifts(uint64_t bits)
{
    for (int shift = 1; shift < 64; shift *= 2)
        bits ^= bits << shift;
    return bits;
}

// The number of zero bits below the lowest bit; any number when there is none.
static inline uint32_t trailing_zeros_plain(uint64_t mask)
{
    return (uint32_t)__builtin_ctzll(mask | UINT64_C(1) << 63);
}
