// SPDX-License-Identifier: Apache-2.0

#include "enrich/text_cache.h"

#include <string.h>

#include "base/mem.h"

#define WAYS  4
#define ALIGN 16 // of a text's head

void text_cache_init(struct text_cache *cache, size_t ring_bytes, unsigned slot_bits)
{
    INVARIANT((ring_bytes & (ring_bytes - 1)) == 0 && slot_bits > 2 && slot_bits < 32);
    *cache = (struct text_cache){
        // Zeroed by the system when first touched, as the block is large.
        .ring = mem_array(ring_bytes, 1),
        .ring_bytes = ring_bytes,
        // The first lap begins one ring after position 0, which is "none" and never there.
        .end = 2 * (uint64_t)ring_bytes,
        .slots = mem_array((size_t)1 << slot_bits, sizeof(struct text_cache_slot)),
        .slot_bits = slot_bits,
    };
}

void text_cache_fini(struct text_cache *cache)
{
    mem_free(cache->ring);
    mem_free(cache->slots);
    *cache = (struct text_cache){0};
}

static struct text_cache_slot *set_of(const struct text_cache *cache, uint64_t key)
{
    // Twice, because the upper half of a product knows little of the upper half of the key.
    uint64_t hash = key * UINT64_C(0x9e3779b97f4a7c15);
    hash = (hash ^ hash >> 32) * UINT64_C(0xd6e8feb86659fd93);
    return cache->slots + (hash >> (64 - (cache->slot_bits - 2))) * WAYS;
}

uint64_t text_cache_find(const struct text_cache *cache, uint64_t key)
{
    const struct text_cache_slot *set = set_of(cache, key);
    for (int way = 0; way < WAYS; way++) {
        if (set[way].key == key && text_cache_at(cache, set[way].position) != NULL)
            return set[way].position;
    }
    return 0;
}

// Room for `bytes` in one piece. The rest of the ring is left empty where they don't fit before its end.
static uint64_t make_room(struct text_cache *cache, size_t bytes)
{
    bytes = (bytes + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    INVARIANT(bytes <= cache->ring_bytes / 4);
    size_t to_end = cache->ring_bytes - (cache->end & (cache->ring_bytes - 1));
    if (bytes > to_end)
        cache->end += to_end;
    uint64_t position = cache->end;
    cache->end += bytes;
    return position;
}

uint64_t text_cache_add(struct text_cache *cache, uint64_t key, struct text text, uint32_t split, uint8_t note)
{
    uint64_t position = make_room(cache, sizeof(struct cached_text) + text.len);
    struct cached_text *entry = (struct cached_text *)(cache->ring + (position & (cache->ring_bytes - 1)));
    entry->len = (uint32_t)text.len;
    entry->split = split;
    entry->note = note;
    if (text.len > 0)
        memcpy(entry->text, text.at, text.len);

    // The oldest of the set goes: it is the first to be overwritten anyway.
    struct text_cache_slot *set = set_of(cache, key);
    struct text_cache_slot *oldest = set;
    for (int way = 1; way < WAYS; way++) {
        if (set[way].position < oldest->position)
            oldest = &set[way];
    }
    *oldest = (struct text_cache_slot){key, position};
    return position;
}
