// SPDX-License-Identifier: Apache-2.0
//
// One worker's way from an address to its text, in three steps of which most look-ups take the first only:
//
//   address  -> text     table of addresses, the hottest in front of their set
//   records  -> text     by the pair of entries the databases give; many addresses share a pair
//   record   -> text     a record alone is a pair with nothing, so that its rendering serves every pair it is in
//
// All texts are in one text_cache. About 6 MiB when everything is in use, and next to nothing before.

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

struct address {
    struct ip ip;
    uint64_t position; // of its text; 0 in an empty place
};

struct enrich_cache {
    const struct enricher *enricher;
    struct address *addresses; // sets of ADDRESS_WAYS; NULL without any database
    struct text_cache texts;
    struct buf scratch;
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
    buf_fini(&cache->scratch);
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

static void note_misses(const struct enrich_cache *cache, uint8_t notes[ENRICH_DB_COUNT])
{
    for (int db = 0; db < ENRICH_DB_COUNT; db++)
        notes[db] = cache->enricher->db[db] != NULL ? OUTCOME_MISS : OUTCOME_NONE;
}

// The AS part comes first; `split` is where the other one begins, after the comma between them.
static uint64_t add_text(struct enrich_cache *cache, struct entries entries, size_t split,
                         const uint8_t notes[ENRICH_DB_COUNT])
{
    struct text text = {cache->scratch.data, cache->scratch.len};
    return text_cache_add(&cache->texts, key_of(entries), text, (uint32_t)split, notes);
}

static size_t end_of_as(struct buf *out, bool more)
{
    if (out->len > 0 && more)
        buf_char(out, ',');
    return out->len;
}

// One record of one database, or none at all.
static uint64_t render_one(struct enrich_cache *cache, struct entries entries)
{
    uint8_t notes[ENRICH_DB_COUNT];
    note_misses(cache, notes);
    cache->scratch.len = 0;
    size_t split = 0;
    enum enrich_db db = entries.of[ENRICH_DB_ASN] != MMDB_ENTRY_NONE ? ENRICH_DB_ASN : ENRICH_DB_GEO;
    mmdb_entry entry = entries.of[db];
    if (entry != MMDB_ENTRY_NONE) {
        struct mmdb_reader reader = mmdb_reader(cache->enricher->db[db]);
        struct record record;
        if (entry == MMDB_ENTRY_BROKEN ||
            record_read(&reader, entry - 1, text_of(cache->enricher->language), &record) != 0) {
            notes[db] = OUTCOME_BROKEN;
        } else {
            bool geo = db == ENRICH_DB_GEO && record_has_geo(&record);
            render_as(&cache->scratch, &record);
            split = end_of_as(&cache->scratch, geo);
            if (geo)
                render_geo(&cache->scratch, &record);
            if (cache->scratch.len > 0)
                notes[db] = OUTCOME_HIT;
        }
    }
    return add_text(cache, entries, split, notes);
}

static uint64_t text_of_one(struct enrich_cache *cache, struct entries entries)
{
    uint64_t position = text_cache_find(&cache->texts, key_of(entries));
    return position != 0 ? position : render_one(cache, entries);
}

// A record of each database: their two texts put together. The AS database's word on the AS goes before the other's.
static uint64_t join_two(struct enrich_cache *cache, struct entries entries)
{
    uint64_t as_position = text_of_one(cache, (struct entries){{[ENRICH_DB_ASN] = entries.of[ENRICH_DB_ASN]}});
    uint64_t geo_position = text_of_one(cache, (struct entries){{[ENRICH_DB_GEO] = entries.of[ENRICH_DB_GEO]}});
    // Rendering the second may have overwritten the first only if the ring were hardly larger than two texts.
    const struct cached_text *as = text_cache_at(&cache->texts, as_position);
    const struct cached_text *geo = text_cache_at(&cache->texts, geo_position);
    INVARIANT(as != NULL && geo != NULL);

    uint8_t notes[ENRICH_DB_COUNT] = {
        [ENRICH_DB_ASN] = as->notes[ENRICH_DB_ASN],
        [ENRICH_DB_GEO] = geo->notes[ENRICH_DB_GEO],
    };
    cache->scratch.len = 0;
    buf_append(&cache->scratch, as->text, as->len);
    bool more = geo->len > geo->split;
    if (as->len == 0)
        buf_append(&cache->scratch, geo->text, geo->split);
    else
        end_of_as(&cache->scratch, more);
    size_t split = cache->scratch.len;
    buf_append(&cache->scratch, geo->text + geo->split, geo->len - geo->split);
    return add_text(cache, entries, split, notes);
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

static struct address *set_of(struct enrich_cache *cache, struct ip ip)
{
    uint64_t hash = ip.low * UINT64_C(0x9e3779b97f4a7c15) + ip.high * UINT64_C(0xd6e8feb86659fd93);
    return cache->addresses + (hash >> (64 - ADDRESS_SET_BITS)) * ADDRESS_WAYS;
}

// An address that is asked for again moves one place ahead and a new one takes the last place, so a scan over the
// whole Internet pushes out only what is asked for once, as itself.
static const struct cached_text *find_text(struct enrich_cache *cache, struct ip ip)
{
    struct address *set = set_of(cache, ip);
    struct address *place = NULL;
    for (int way = 0; way < ADDRESS_WAYS; way++) {
        const struct cached_text *text = text_cache_at(&cache->texts, set[way].position);
        if (text == NULL) {
            if (place == NULL)
                place = &set[way];
        } else if (set[way].ip.low == ip.low && set[way].ip.high == ip.high) {
            if (way > 0) {
                struct address ahead = set[way - 1];
                set[way - 1] = set[way];
                set[way] = ahead;
            }
            counter_bump(&cache->stats.cache_hits, 1);
            return text;
        }
    }
    counter_bump(&cache->stats.cache_misses, 1);
    if (place == NULL)
        place = &set[ADDRESS_WAYS - 1];
    *place = (struct address){ip, look_up(cache, ip)};
    return text_cache_at(&cache->texts, place->position);
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

enum enrich_result enrich_lookup(struct enrich_cache *cache, struct text ip_text, struct text *additions)
{
    struct ip ip;
    *additions = (struct text){0};
    if (!ip_parse(ip_text, &ip)) {
        counter_bump(&cache->stats.not_an_address, 1);
        return ENRICH_NOT_AN_ADDRESS;
    }
    if (cache->addresses == NULL)
        return ENRICH_MISS;
    const struct cached_text *text = find_text(cache, ip);
    count(&cache->stats, text);
    if (text->len == 0)
        return ENRICH_MISS;
    *additions = (struct text){text->text, text->len};
    return ENRICH_HIT;
}
