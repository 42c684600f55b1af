// SPDX-License-Identifier: Apache-2.0
#pragma once

// Private to hash.c: the same values for processors with AVX2 (x86-64 only). Any thread.

#include "base/hash.h"

uint64_t hash64_avx2(const void *data, size_t len, uint64_t seed);
struct hash128 hash128_avx2(const void *data, size_t len, uint64_t seed);
