// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdint.h>

// Bit i of the result is the xor of the bits 0 to i. The way for processors without a carry-less multiplication.
static inline uint64_t prefix_xor_shifts(uint64_t bits)
{
    for (int shift = 1; shift < 64; shift *= 2)
        bits ^= bits << shift;
    return bits;
}
