// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "enrich/text_cache.h"

#include <stdlib.h>
#include <string.h>

static struct text text_of_key(uint64_t key, char text[300])
{
    size_t len = key * 7919 % 300; // from empty on
    memset(text, 'a' + (int)(key % 26), len);
    return (struct text){text, len};
}

static void a_text_is_found_by_key_and_position(void **state)
{
    (void)state;
    struct text_cache cache;
    text_cache_init(&cache, 4096, 4);
    assert_null(text_cache_at(&cache, 0));
    assert_int_equal(text_cache_find(&cache, 0), 0);

    uint64_t zero = text_cache_add(&cache, 0, TEXT("zero"), 2, 7);
    uint64_t empty = text_cache_add(&cache, 1, (struct text){NULL, 0}, 0, 0);
    assert_int_not_equal(zero, 0);
    assert_int_equal(text_cache_find(&cache, 0), zero);
    assert_int_equal(text_cache_find(&cache, 1), empty);
    assert_int_equal(text_cache_find(&cache, 2), 0);
    const struct cached_text *text = text_cache_at(&cache, zero);
    assert_int_equal(text->len, 4);
    assert_int_equal(text->split, 2);
    assert_int_equal(text->note, 7);
    assert_memory_equal(text->text, "zero", 4);
    assert_int_equal(text_cache_at(&cache, empty)->len, 0);
    text_cache_fini(&cache);
}

// Many laps: whatever is still there is what was put there, and the latest always is.
static void texts_are_whole_or_gone(void **state)
{
    (void)state;
    struct text_cache cache;
    text_cache_init(&cache, 4096, 6);
    uint64_t positions[64] = {0};
    char expected[300];
    unsigned gone = 0, there = 0;
    for (uint64_t key = 1; key < 20000; key++) {
        struct text text = text_of_key(key, expected);
        positions[key % 64] = text_cache_add(&cache, key, text, (uint32_t)key, 0);
        assert_true(positions[key % 64] % 2 == 0); // a bit is free for the owner
        assert_int_equal(text_cache_find(&cache, key), positions[key % 64]);
        for (uint64_t old = key < 64 ? 1 : key - 63; old <= key; old++) {
            const struct cached_text *found = text_cache_at(&cache, positions[old % 64]);
            text = text_of_key(old, expected);
            gone += found == NULL;
            there += found != NULL;
            if (found == NULL) {
                assert_int_not_equal(old, key);
                assert_int_equal(text_cache_find(&cache, old), 0);
                continue;
            }
            assert_int_equal(found->split, (uint32_t)old);
            assert_int_equal(found->len, text.len);
            assert_memory_equal(found->text, text.at, text.len);
        }
    }
    assert_true(gone > 1000 && there > 1000);
    text_cache_fini(&cache);
}

static void the_largest_text_fits(void **state)
{
    (void)state;
    struct text_cache cache;
    text_cache_init(&cache, 4096, 4);
    static const char large[1024 - sizeof(struct cached_text)] = "x";
    for (uint64_t key = 0; key < 100; key++) {
        text_cache_add(&cache, 1000, TEXT("odd"), 0, 0);
        uint64_t position = text_cache_add(&cache, key, (struct text){large, sizeof large}, 0, 0);
        assert_memory_equal(text_cache_at(&cache, position)->text, large, sizeof large);
    }
    text_cache_fini(&cache);
}

// A set that is full gives up its oldest.
static void more_keys_than_slots_are_forgotten_oldest_first(void **state)
{
    (void)state;
    struct text_cache cache;
    text_cache_init(&cache, 1 << 20, 3); // two sets of four
    for (uint64_t key = 1; key <= 1000; key++)
        text_cache_add(&cache, key, TEXT("x"), 0, 0);
    unsigned found = 0;
    for (uint64_t key = 1; key <= 1000; key++)
        found += text_cache_find(&cache, key) != 0;
    assert_int_equal(found, 8);
    assert_int_not_equal(text_cache_find(&cache, 1000), 0);
    assert_int_not_equal(text_cache_find(&cache, 999), 0);
    text_cache_fini(&cache);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_text_is_found_by_key_and_position),
        cmocka_unit_test(texts_are_whole_or_gone),
        cmocka_unit_test(the_largest_text_fits),
        cmocka_unit_test(more_keys_than_slots_are_forgotten_oldest_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
