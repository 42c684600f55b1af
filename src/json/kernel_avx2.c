// SPDX-License-Identifier: Apache-2.0
//
// The kernel for x86-64 with AVX2, BMI and PCLMULQDQ. This file alone is compiled with these extensions (see
// meson.build), and runs only where json_simd_available has found them.

#include <immintrin.h>
#include <stdint.h>

typedef __m256i vec;
#define VEC_BYTES 32

static inline vec vec_load(const uint8_t *at)
{
    return _mm256_loadu_si256((const __m256i *)at);
}

// gcc 12 makes a constant vector anew, by three instructions, wherever it is used; what comes out of an asm it keeps.
static inline vec vec_splat(uint8_t byte)
{
    vec v = _mm256_set1_epi8((char)byte);
    __asm__("" : "+x"(v));
    return v;
}

static inline vec vec_or(vec a, vec b)
{
    return _mm256_or_si256(a, b);
}

static inline vec vec_sub(vec a, vec b)
{
    return _mm256_sub_epi8(a, b);
}

static inline vec vec_eq(vec a, vec b)
{
    return _mm256_cmpeq_epi8(a, b);
}

static inline vec vec_min(vec a, vec b)
{
    return _mm256_min_epu8(a, b);
}

static inline uint64_t vec_mask(const vec v[2])
{
    return (uint64_t)(uint32_t)_mm256_movemask_epi8(v[0]) | (uint64_t)(uint32_t)_mm256_movemask_epi8(v[1]) << 32;
}

static inline int vec_any_high(vec v)
{
    return _mm256_movemask_epi8(v) != 0;
}

// A carry-less product with all ones is the xor of every prefix.
static inline uint64_t prefix_xor(uint64_t bits)
{
    __m128i product = _mm_clmulepi64_si128(_mm_cvtsi64_si128((int64_t)bits), _mm_set1_epi8(-1), 0);
    return (uint64_t)_mm_cvtsi128_si64(product);
}

static inline uint64_t popcount(uint64_t mask)
{
    return (uint64_t)_mm_popcnt_u64(mask);
}

// Four offsets are always written, so that the usual numbers of them take no branch.
#define PUT_OFFSETS_SLACK 4
static inline void put_offsets(uint32_t *out, uint64_t mask, uint32_t base)
{
    for (int i = 0; i < 4; i++, mask = _blsr_u64(mask))
        *out++ = base + (uint32_t)_tzcnt_u64(mask);
    for (; __builtin_expect(mask != 0, 0); mask = _blsr_u64(mask))
        *out++ = base + (uint32_t)_tzcnt_u64(mask);
}

#define KERNEL json_kernel_avx2
#include "json/kernel_vec.inc"

#include "json/kernel.inc"
