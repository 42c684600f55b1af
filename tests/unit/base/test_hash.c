// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <xxhash.h>

#include "base/hash.h"
#include "base/mem.h"

// XXH3's published values for the empty input: what stands on disk must read back in every later version.
static void test_values_are_those_of_xxh3(void **state)
{
    (void)state;
    assert_true(hash64("", 0, 0) == UINT64_C(0x2d06800538d394c2));
    struct hash128 empty = hash128("", 0, 0);
    assert_true(empty.high == UINT64_C(0x99aa06d3014798d8) && empty.low == UINT64_C(0x6001c324468d497f));
}

static void assert_as_library(const void *data, size_t len, uint64_t seed)
{
    XXH128_hash_t expected = XXH3_128bits_withSeed(data, len, seed);
    struct hash128 got = hash128(data, len, seed);
    assert_true(got.low == expected.low64 && got.high == expected.high64);
    assert_true(hash64(data, len, seed) == XXH3_64bits_withSeed(data, len, seed));
}

// Whatever form this processor gets, at any alignment: ids and checksums of one machine are those of every other.
static void test_every_length_as_library(void **state)
{
    (void)state;
    enum { MAX = 2000, LARGE = 3 * 1024 * 1024 + 17 };
    unsigned char *data = mem_alloc(LARGE);
    uint32_t random = 1;
    for (size_t i = 0; i < LARGE; i++) {
        random = random * 1664525 + 1013904223;
        data[i] = (unsigned char)(random >> 24);
    }
    for (size_t len = 0; len <= MAX; len++) {
        assert_as_library(data, len, 0);
        assert_as_library(data + len % 67, len, UINT64_C(0x9e3779b97f4a7c15) * len);
    }
    assert_as_library(data, LARGE, 0);
    assert_as_library(data + 1, LARGE - 1, 77);
    mem_free(data);
}

static void test_seed_and_every_byte_count(void **state)
{
    (void)state;
    assert_true(hash64("loom", 4, 0) != hash64("loom", 4, 1));
    assert_true(hash64("loom", 4, 0) != hash64("loon", 4, 0));
    assert_true(hash128("loom", 4, 0).low != hash128("loom", 4, 1).low);
}

static void test_pair_knows_where_its_parts_end(void **state)
{
    (void)state;
    struct hash128 a = hash128_pair(TEXT("ab"), TEXT("c")), b = hash128_pair(TEXT("a"), TEXT("bc"));
    struct hash128 c = hash128_pair(TEXT("c"), TEXT("ab")), again = hash128_pair(TEXT("ab"), TEXT("c"));
    assert_true(a.low != b.low && a.high != b.high);
    assert_true(a.low != c.low && a.high != c.high);
    assert_true(a.low == again.low && a.high == again.high);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values_are_those_of_xxh3),
        cmocka_unit_test(test_every_length_as_library),
        cmocka_unit_test(test_seed_and_every_byte_count),
        cmocka_unit_test(test_pair_knows_where_its_parts_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
