// SPDX-License-Identifier: Apache-2.0
#pragma once

// Rendered texts in bounded memory, owned by one worker. The texts lie in a ring and the oldest go first, which needs
// no list and frees nothing one by one. A text is known by its position in everything that was ever written to the
// ring: positions are never used twice, so whether one is still there is a subtraction. Memory is touched as the ring
// fills.

#include <stddef.h>
#include <stdint.h>

#include "base/text.h"

// Head and bytes of one text, in place in the ring.
struct cached_text {
    uint32_t len;
    uint32_t split; // the owner's: where the second part begins
    uint8_t note;   // the owner's
    char text[];
};

struct text_cache_slot {
    uint64_t key;
    uint64_t position;
};

struct text_cache {
    char *ring;
    size_t ring_bytes;             // a power of two
    uint64_t end;                  // position of the next text
    struct text_cache_slot *slots; // sets of four
    unsigned slot_bits;            // 2^slot_bits of them
};

// ring_bytes is a power of two; no text may be longer than a quarter of it.
void text_cache_init(struct text_cache *cache, size_t ring_bytes, unsigned slot_bits);
void text_cache_fini(struct text_cache *cache);

// The text at a position, NULL when it has been overwritten. 0 is the position of none. Valid until the next add.
static inline const struct cached_text *text_cache_at(const struct text_cache *cache, uint64_t position)
{
    if (cache->end - position > cache->ring_bytes)
        return NULL;
    return (const struct cached_text *)(cache->ring + (position & (cache->ring_bytes - 1)));
}

// Has the processor fetch the beginning of the text at a position, which may be gone, or 0, by now.
static inline void text_cache_prefetch(const struct text_cache *cache, uint64_t position)
{
    for (uint64_t line = 0; line < 2; line++)
        __builtin_prefetch(cache->ring + ((position + 64 * line) & (cache->ring_bytes - 1)));
}

// The position of a key's text, 0 when it is not there (any more).
uint64_t text_cache_find(const struct text_cache *cache, uint64_t key);

// Copies a text in and returns its position. It must not lie in the ring itself.
uint64_t text_cache_add(struct text_cache *cache, uint64_t key, struct text text, uint32_t split, uint8_t note);
