// SPDX-License-Identifier: Apache-2.0
#pragma once

// Hashes for tables, checksums and ids: XXH3, fast and well mixed, but made to order for who wants a collision. What is
// secret is compared by net/secret.h. The values are part of what stands on disk. Any thread.

#include <stdint.h>

#include "base/text.h"

struct hash128 {
    uint64_t low, high;
};

uint64_t hash64(const void *data, size_t len, uint64_t seed);
// Over two parts; where one ends and the other begins counts too.
struct hash128 hash128_pair(struct text first, struct text second);
struct hash128 hash128(const void *data, size_t len, uint64_t seed);
