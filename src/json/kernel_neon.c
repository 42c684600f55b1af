// SPDX-License-Identifier: Apache-2.0
//
// The kernel for aarch64, of which NEON is a part.

#include <arm_neon.h>
#include <stdint.h>

#include "json/mask.h"

typedef uint8x16_t vec;
#define VEC_BYTES 16

static inline vec vec_load(const uint8_t *at)
{
    return vld1q_u8(at);
}

static inline vec vec_splat(uint8_t byte)
{
    return vdupq_n_u8(byte);
}

static inline vec vec_or(vec a, vec b)
{
    return vorrq_u8(a, b);
}

static inline vec vec_sub(vec a, vec b)
{
    return vsubq_u8(a, b);
}

static inline vec vec_eq(vec a, vec b)
{
    return vceqq_u8(a, b);
}

static inline vec vec_min(vec a, vec b)
{
    return vminq_u8(a, b);
}

// Each byte keeps the bit of its place in its group of eight; three rounds of pairwise sums put a group into one byte.
static inline uint64_t vec_mask(const vec v[4])
{
    const vec bits = vreinterpretq_u8_u64(vdupq_n_u64(UINT64_C(0x8040201008040201)));
    vec low = vpaddq_u8(vandq_u8(v[0], bits), vandq_u8(v[1], bits));
    vec high = vpaddq_u8(vandq_u8(v[2], bits), vandq_u8(v[3], bits));
    vec sum = vpaddq_u8(low, high);
    sum = vpaddq_u8(sum, sum);
    return vgetq_lane_u64(vreinterpretq_u64_u8(sum), 0);
}

static inline int vec_any_high(vec v)
{
    return vmaxvq_u8(v) >= 0x80;
}

#define prefix_xor        mask_prefix_xor
#define popcount          (uint64_t) __builtin_popcountll
#define put_offsets       mask_offsets
#define PUT_OFFSETS_SLACK 0
#define KERNEL            json_kernel_neon
#include "json/kernel_vec.inc"

#include "json/kernel.inc"
