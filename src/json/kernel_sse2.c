// SPDX-License-Identifier: Apache-2.0
//
// The kernel for every x86-64: SSE2 is part of the architecture.

#include <emmintrin.h>
#include <stdint.h>

#include "json/mask.h"

typedef __m128i vec;
#define VEC_BYTES 16

static inline vec vec_load(const uint8_t *at)
{
    return _mm_loadu_si128((const __m128i *)at);
}

static inline vec vec_splat(uint8_t byte)
{
    return _mm_set1_epi8((char)byte);
}

static inline vec vec_or(vec a, vec b)
{
    return _mm_or_si128(a, b);
}

static inline vec vec_sub(vec a, vec b)
{
    return _mm_sub_epi8(a, b);
}

static inline vec vec_eq(vec a, vec b)
{
    return _mm_cmpeq_epi8(a, b);
}

static inline vec vec_min(vec a, vec b)
{
    return _mm_min_epu8(a, b);
}

static inline uint64_t vec_mask(const vec v[4])
{
    uint64_t low = (uint64_t)_mm_movemask_epi8(v[0]) | (uint64_t)_mm_movemask_epi8(v[1]) << 16;
    uint64_t high = (uint64_t)_mm_movemask_epi8(v[2]) | (uint64_t)_mm_movemask_epi8(v[3]) << 16;
    return low | high << 32;
}

static inline int vec_any_high(vec v)
{
    return _mm_movemask_epi8(v) != 0;
}

#define prefix_xor        mask_prefix_xor
#define popcount          mask_count
#define put_offsets       mask_offsets
#define PUT_OFFSETS_SLACK 0
#define KERNEL            json_kernel_sse2
#include "json/kernel_vec.inc"

#include "json/kernel.inc"
