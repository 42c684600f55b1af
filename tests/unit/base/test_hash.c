// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/hash.h"

// XXH3's published values for the empty input: what stands on disk must read back in every later version.
static void test_values_are_those_of_xxh3(void **state)
{
    (void)state;
    assert_true(hash64("", 0, 0) == UINT64_C(0x2d06800538d394c2));
    struct hash128 empty = hash128("", 0, 0);
    assert_true(empty.high == UINT64_C(0x99aa06d3014798d8) && empty.low == UINT64_C(0x6001c324468d497f));
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
        cmocka_unit_test(test_seed_and_every_byte_count),
        cmocka_unit_test(test_pair_knows_where_its_parts_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
