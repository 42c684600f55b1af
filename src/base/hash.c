// SPDX-License-Identifier: Apache-2.0
#include "base/hash.h"

#include <stdbool.h>
#include <xxhash.h>

#include "base/hash_avx2.h"

#ifdef __x86_64__
// XXH3 has its loop over vectors for what is longer; before that the forms are the same code.
enum { VECTORS_FROM = 241 };

static bool in_avx2(size_t len)
{
    return len >= VECTORS_FROM && __builtin_cpu_supports("avx2");
}
#endif

uint64_t hash64(const void *data, size_t len, uint64_t seed)
{
#ifdef __x86_64__
    if (in_avx2(len))
        return hash64_avx2(data, len, seed);
#endif
    return XXH3_64bits_withSeed(data, len, seed);
}

struct hash128 hash128(const void *data, size_t len, uint64_t seed)
{
#ifdef __x86_64__
    if (in_avx2(len))
        return hash128_avx2(data, len, seed);
#endif
    XXH128_hash_t hash = XXH3_128bits_withSeed(data, len, seed);
    return (struct hash128){.low = hash.low64, .high = hash.high64};
}

// The hash of the first part is the seed of the second's: no copy, and ("ab", "c") is not ("a", "bc").
struct hash128 hash128_pair(struct text first, struct text second)
{
    return hash128(second.at, second.len, hash64(first.at, first.len, first.len));
}
