// SPDX-License-Identifier: Apache-2.0
#include "base/hash.h"

#include <xxhash.h>

uint64_t hash64(const void *data, size_t len, uint64_t seed)
{
    return XXH3_64bits_withSeed(data, len, seed);
}

struct hash128 hash128(const void *data, size_t len, uint64_t seed)
{
    XXH128_hash_t hash = XXH3_128bits_withSeed(data, len, seed);
    return (struct hash128){.low = hash.low64, .high = hash.high64};
}

// The hash of the first part is the seed of the second's: no copy, and ("ab", "c") is not ("a", "bc").
struct hash128 hash128_pair(struct text first, struct text second)
{
    return hash128(second.at, second.len, hash64(first.at, first.len, first.len));
}
