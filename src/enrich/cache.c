// SPDX-License-Identifier: Apache-2.0
//
// One worker's way from an address to its text, in three steps of which most look-ups take the first only:
//
//   address  -> text     table of addresses in sets, the hottest in front
//   records  -> text     by the pair of entries the databases give; many addresses share a pair
//   record   -> text     a record alone is a pair with nothing, so that its rendering serves every pair it is in
//
// All texts are in one text_cache. About 6 MiB when everything is in use, and next to nothing before.

#include <endian.h>
#include <stdbool.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "enrich/enricher.h"
#include "enrich/record.h"
#include "enrich/render.h"
#include "enrich/text_cache.h"

#define ADDRESS_WAYS     4
#define ADDRESS_SET_BITS 14
#define RING_BYTES       ((size_t)4 * 1024 * 1024)
#define SLOT_BITS        15

// What a text's notes say of each database.
enum outcome { OUTCOME_NONE /* not configured */, OUTCOME_HIT, OUTCOME_MISS, OUTCOME_BROKEN };
_Static_assert(ENRICH_DB_COUNT == TEXT_CACHE_NOTES, "one note for each database");

// An address as it was asked for. Short ones, which IPv4's all are, are known by their very characters, so that finding
// one again takes no parsing; the others by their value.
struct address_key {
    uint64_t high;
    uint64_t low;
    bool is_value;
};

struct address {
    uint64_t high;
    uint64_t low;
    uint64_t is_value : 1;
    uint64_t position : 63; // of its text; 0 in an empty place
};

struct enrich_cache {
    const struct enricher *enricher;
    struct address *addresses; // sets of ADDRESS_WAYS; NULL without any database
    struct text_cache texts;
    struct buf rendered, joined; // being made; then copied to texts
    struct enrich_stats stats;
};

struct enrich_cache *enrich_cache_new(const struct enricher *enricher)
{
    struct enrich_cache *cache = mem_zalloc(sizeof *cache);
    cache->enricher = enricher;
    if (enricher->db[ENRICH_DB_ASN] != NULL || enricher->db[ENRICH_DB_GEO] != NULL) {
        cache->addresses = mem_array((size_t)ADDRESS_WAYS << ADDRESS_SET_BITS, sizeof *cache->addresses);
        text_cache_init(&cache->texts, RING_BYTES, SLOT_BITS);
    }
    return cache;
}

void enrich_cache_free(struct enrich_cache *cache)
{
    if (cache == NULL)
        return;
    if (cache->addresses != NULL)
        text_cache_fini(&cache->texts);
    mem_free(cache->addresses);
    buf_fini(&cache->rendered);
    buf_fini(&cache->joined);
    mem_free(cache);
}

const struct enrich_stats *enrich_cache_stats(const struct enrich_cache *cache)
{
    return &cache->stats;
}

// Of each database: entry NONE, or the one it gives.
struct entries {
    mmdb_entry of[ENRICH_DB_COUNT];
};

static uint64_t key_of(struct entries entries)
{
    return (uint64_t)entries.of[ENRICH_DB_ASN] << 32 | entries.of[ENRICH_DB_GEO];
}

// The AS part comes first; `split` is where the other one begins, after the comma between them.
static uint64_t add_text(struct enrich_cache *cache, struct entries entries, const struct buf *text, size_t split,
                         const uint8_t notes[ENRICH_DB_COUNT])
{
    return text_cache_add(&cache->texts, key_of(entries), (struct text){text->data, text->len}, (uint32_t)split, notes);
}

static enum outcome render_record(struct enrich_cache *cache, enum enrich_db db, mmdb_entry entry, size_t *split)
{
    struct buf *out = &cache->rendered;
    struct mmdb_reader reader = mmdb_reader(cache->enricher->db[db]);
    struct record record;
    if (entry == MMDB_ENTRY_BROKEN || record_read(&reader, entry - 1, text_of(cache->enricher->language), &record) != 0)
        return OUTCOME_BROKEN;
    bool geo = db == ENRICH_DB_GEO && record_has_geo(&record);
    render_as(out, &record);
    if (out->len > 0 && geo)
        buf_char(out, ',');
    *split = out->len;
    if (geo)
        render_geo(out, &record);
    return out->len > 0 ? OUTCOME_HIT : OUTCOME_MISS;
}

// The record of one database at most.
static uint64_t render_one(struct enrich_cache *cache, struct entries entries)
{
    uint8_t notes[ENRICH_DB_COUNT];
    size_t split = 0;
    cache->rendered.len = 0;
    for (int db = 0; db < ENRICH_DB_COUNT; db++) {
        notes[db] = cache->enricher->db[db] != NULL ? OUTCOME_MISS : OUTCOME_NONE;
        if (entries.of[db] != MMDB_ENTRY_NONE)
            notes[db] = render_record(cache, db, entries.of[db], &split);
    }
    return add_text(cache, entries, &cache->rendered, split, notes);
}

static const struct cached_text *text_of_one(struct enrich_cache *cache, enum enrich_db db, mmdb_entry entry)
{
    struct entries alone = {0};
    alone.of[db] = entry;
    uint64_t position = text_cache_find(&cache->texts, key_of(alone));
    return text_cache_at(&cache->texts, position != 0 ? position : render_one(cache, alone));
}

// A record of each database: their two texts put together. The AS database's word on the AS goes before the other's.
// The first text is copied before the second is asked for, whose rendering may take its place in the ring.
static uint64_t join_two(struct enrich_cache *cache, struct entries entries)
{
    uint8_t notes[ENRICH_DB_COUNT];
    struct buf *joined = &cache->joined;
    joined->len = 0;
    const struct cached_text *as = text_of_one(cache, ENRICH_DB_ASN, entries.of[ENRICH_DB_ASN]);
    notes[ENRICH_DB_ASN] = as->notes[ENRICH_DB_ASN];
    buf_append(joined, as->text, as->len);

    const struct cached_text *geo = text_of_one(cache, ENRICH_DB_GEO, entries.of[ENRICH_DB_GEO]);
    notes[ENRICH_DB_GEO] = geo->notes[ENRICH_DB_GEO];
    if (joined->len == 0)
        buf_append(joined, geo->text, geo->split);
    else if (geo->len > geo->split)
        buf_char(joined, ',');
    size_t split = joined->len;
    buf_append(joined, geo->text + geo->split, geo->len - geo->split);
    return add_text(cache, entries, joined, split, notes);
}

static uint64_t look_up(struct enrich_cache *cache, struct ip ip)
{
    struct entries entries;
    for (int db = 0; db < ENRICH_DB_COUNT; db++) {
        const struct mmdb *file = cache->enricher->db[db];
        entries.of[db] = file != NULL ? mmdb_find(file, ip) : MMDB_ENTRY_NONE;
    }
    uint64_t position = text_cache_find(&cache->texts, key_of(entries));
    if (position != 0)
        return position;
    bool both = entries.of[ENRICH_DB_ASN] != MMDB_ENTRY_NONE && entries.of[ENRICH_DB_GEO] != MMDB_ENTRY_NONE;
    return both ? join_two(cache, entries) : render_one(cache, entries);
}

static uint64_t load_8(const char *at)
{
    uint64_t bytes;
    memcpy(&bytes, at, sizeof bytes);
    return le64toh(bytes);
}

static uint64_t load_4(const char *at)
{
    uint32_t bytes;
    memcpy(&bytes, at, sizeof bytes);
    return le32toh(bytes);
}

// All characters of a text of 4 to 15 of them, and how many there are. The second load overlaps the first, so that
// neither leaves the text; the shift takes out what came twice.
static bool pack_text(struct text text, struct address_key *key)
{
    if (text.len < 4 || text.len > 15)
        return false;
    const char *end = text.at + text.len;
    if (text.len >= 8) {
        key->low = load_8(text.at);
        key->high = text.len > 8 ? load_8(end - 8) >> (8 * (16 - text.len)) : 0;
    } else {
        key->low = load_4(text.at) | load_4(end - 4) >> (8 * (8 - text.len)) << 32;
        key->high = 0;
    }
    key->high |= (uint64_t)text.len << 56;
    key->is_value = false;
    return true;
}

// An address that is asked for again moves one place ahead and a new one takes the last place, so a scan over the whole
// Internet does not push out the sources that come back. Where the text is gone from the ring, the place is free.
static const struct cached_text *find_address(struct enrich_cache *cache, const struct address_key *key,
                                              struct address **place)
{
    uint64_t hash = key->low * UINT64_C(0x9e3779b97f4a7c15) ^ key->high * UINT64_C(0xd6e8feb86659fd93);
    hash *= UINT64_C(0x9e3779b97f4a7c15);
    struct address *set = cache->addresses + (hash >> (64 - ADDRESS_SET_BITS)) * ADDRESS_WAYS;
    *place = &set[ADDRESS_WAYS - 1];
    for (int way = 0; way < ADDRESS_WAYS; way++) {
        struct address *address = &set[way];
        const struct cached_text *text = text_cache_at(&cache->texts, address->position);
        if (text == NULL) {
            *place = address;
        } else if (address->low == key->low && address->high == key->high && address->is_value == key->is_value) {
            if (way > 0) {
                struct address ahead = set[way - 1];
                set[way - 1] = *address;
                *address = ahead;
            }
            return text;
        }
    }
    return NULL;
}

static void count(struct enrich_stats *stats, const struct cached_text *text)
{
    for (int db = 0; db < ENRICH_DB_COUNT; db++) {
        switch ((enum outcome)text->notes[db]) {
        case OUTCOME_NONE:
            break;
        case OUTCOME_HIT:
            counter_bump(&stats->hits[db], 1);
            break;
        case OUTCOME_BROKEN:
            counter_bump(&stats->errors[db], 1);
            counter_bump(&stats->misses[db], 1);
            break;
        case OUTCOME_MISS:
            counter_bump(&stats->misses[db], 1);
            break;
        }
    }
}

static const struct cached_text *find_text(struct enrich_cache *cache, struct text text)
{
    struct ip ip;
    struct address_key key;
    if (!pack_text(text, &key)) {
        if (!ip_parse(text, &ip))
            return NULL;
        key = (struct address_key){ip.high, ip.low, true};
    }
    struct address *place;
    const struct cached_text *found = find_address(cache, &key, &place);
    if (found != NULL) {
        counter_bump(&cache->stats.cache_hits, 1);
        return found;
    }
    if (!key.is_value && !ip_parse(text, &ip))
        return NULL;
    counter_bump(&cache->stats.cache_misses, 1);
    uint64_t position = look_up(cache, ip);
    *place = (struct address){key.high, key.low, key.is_value, position};
    return text_cache_at(&cache->texts, position);
}

enum enrich_result enrich_lookup(struct enrich_cache *cache, struct text ip, struct text *additions)
{
    *additions = (struct text){0};
    if (cache->addresses == NULL) {
        struct ip ignored;
        if (ip_parse(ip, &ignored))
            return ENRICH_MISS;
        counter_bump(&cache->stats.not_an_address, 1);
        return ENRICH_NOT_AN_ADDRESS;
    }
    const struct cached_text *text = find_text(cache, ip);
    if (text == NULL) {
        counter_bump(&cache->stats.not_an_address, 1);
        return ENRICH_NOT_AN_ADDRESS;
    }
    count(&cache->stats, text);
    if (text->len == 0)
        return ENRICH_MISS;
    *additions = (struct text){text->text, text->len};
    return ENRICH_HIT;
}
