// SPDX-License-Identifier: Apache-2.0
//
// The library's own code from its header, compiled for AVX2: the shared library of Debian 12 has the SSE2 form only.

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/hash_avx2.h"

uint64_t hash64_avx2(const void *data, size_t len, uint64_t seed)
{
    return XXH3_64bits_withSeed(data, len, seed);
}

struct hash128 hash128_avx2(const void *data, size_t len, uint64_t seed)
{
    XXH128_hash_t hash = XXH3_128bits_withSeed(data, len, seed);
    return (struct hash128){.low = hash.low64, .high = hash.high64};
}
