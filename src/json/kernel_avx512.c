// SPDX-License-Identifier: Apache-2.0
//
// The kernel for x86-64 with AVX-512 and its byte extensions (BW, VBMI2: Intel since Ice Lake, AMD since Zen 4). A
// block is one vector and a comparison is a mask already. This file alone is compiled with these extensions (see
// meson.build), and runs only where json_simd_available has found them.

#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>

#include "json/block.h"

static inline __m512i load(const uint8_t *at)
{
    return _mm512_loadu_si512(at);
}

// gcc 12 makes a constant vector anew, by two instructions, wherever it is used; what comes out of an asm it keeps.
static inline __m512i splat(uint8_t byte)
{
    __m512i v = _mm512_set1_epi8((char)byte);
    __asm__("" : "+v"(v));
    return v;
}

static inline uint64_t block_eq(const uint8_t *at, uint8_t byte)
{
    return _mm512_cmpeq_epi8_mask(load(at), splat(byte));
}

// Bytes from low to high, both included.
static inline uint64_t block_range(const uint8_t *at, uint8_t low, uint8_t high)
{
    return _mm512_cmple_epu8_mask(_mm512_sub_epi8(load(at), splat(low)), splat((uint8_t)(high - low)));
}

static inline uint64_t block_below(const uint8_t *at, uint8_t byte)
{
    return _mm512_cmplt_epu8_mask(load(at), splat(byte));
}

static inline uint64_t block_high(const uint8_t *at)
{
    return _mm512_movepi8_mask(load(at));
}

static inline uint64_t block_digit(const uint8_t *at)
{
    return block_range(at, '0', '9');
}

static inline uint64_t block_hex(const uint8_t *at)
{
    __m512i letter = _mm512_sub_epi8(_mm512_or_si512(load(at), splat(0x20)), splat('a'));
    return block_digit(at) | _mm512_cmple_epu8_mask(letter, splat('f' - 'a'));
}

// What may stand after a backslash: one of "\/bfnrtu. Two letters that differ in one bit are one comparison.
static inline uint64_t block_escape_letter(const uint8_t *at)
{
    __m512i x = load(at);
    return _mm512_cmpeq_epi8_mask(_mm512_or_si512(x, splat('f' ^ 'n')), splat('f' | 'n')) |
           _mm512_cmpeq_epi8_mask(_mm512_or_si512(x, splat('b' ^ 'r')), splat('b' | 'r')) |
           _mm512_cmpeq_epi8_mask(_mm512_or_si512(x, splat('t' ^ 'u')), splat('t' | 'u')) |
           _mm512_cmpeq_epi8_mask(x, splat('"')) | _mm512_cmpeq_epi8_mask(x, splat('\\')) |
           _mm512_cmpeq_epi8_mask(x, splat('/'));
}

static inline void block_load(struct block *b, const uint8_t *at)
{
    __m512i x = load(at);
    __m512i folded = _mm512_or_si512(x, splat(0x20)); // [ and { become one, and so do ] and }
    __mmask64 text = _mm512_cmplt_epu8_mask(_mm512_sub_epi8(x, splat(0x20)), splat(0x60));
    __mmask64 plain = _mm512_mask_cmpneq_epi8_mask(text, x, splat('\\'));
    b->quote = _mm512_cmpeq_epi8_mask(x, splat('"'));
    b->open = _mm512_cmpeq_epi8_mask(folded, splat('{'));
    b->close = _mm512_cmpeq_epi8_mask(folded, splat('}'));
    b->colon = _mm512_cmpeq_epi8_mask(x, splat(':'));
    b->comma = _mm512_cmpeq_epi8_mask(x, splat(','));
    b->rare = plain != ~UINT64_C(0);
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

// Packs the numbers 0 to 63 by the mask and widens sixteen of them at a time; more than sixteen are rare.
#define PUT_OFFSETS_SLACK 16
static inline void put_offsets(uint32_t *out, uint64_t mask, uint32_t base)
{
    const __m512i places =
        _mm512_set_epi64(0x3f3e3d3c3b3a3938, 0x3736353433323130, 0x2f2e2d2c2b2a2928, 0x2726252423222120,
                         0x1f1e1d1c1b1a1918, 0x1716151413121110, 0x0f0e0d0c0b0a0908, 0x0706050403020100);
    __m512i packed = _mm512_maskz_compress_epi8(mask, places);
    for (uint64_t left = popcount(mask);; left -= 16) {
        __m512i offsets = _mm512_cvtepu8_epi32(_mm512_castsi512_si128(packed));
        _mm512_storeu_si512(out, _mm512_add_epi32(offsets, _mm512_set1_epi32((int)base)));
        if (__builtin_expect(left <= 16, 1))
            return;
        out += 16;
        packed = _mm512_shuffle_i32x4(packed, packed, 0x39); // the next sixteen bytes to the front
    }
}

#define KERNEL json_kernel_avx512
#include "json/kernel.inc"
