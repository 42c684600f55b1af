// SPDX-License-Identifier: Apache-2.0
//
// One worker's way from an address to its text, in three steps of which most look-ups take the first only:
//
//   address  -> records  table of addresses in sets, the hottest in front; a place knows the texts of its two records
//   record   -> text     by database and entry; many addresses share a record
//   record   -> render   when the text is not in the cache (any more)
//
// A record's text stands in the cache once; the two of an address are put together for each look-up, which costs a copy
// and lets the cache hold several times as many. About 11 MiB when everything is in use, and next to nothing before.

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
#define RING_BYTES       ((size_t)8 * 1024 * 1024)
#define SLOT_BITS        16

// What a text's note says of the record.
enum outcome { OUTCOME_HIT, OUTCOME_MISS, OUTCOME_BROKEN };

struct address {
    struct enrich_key key;              // zero in an empty place
    uint64_t position[ENRICH_DB_COUNT]; // of the records' texts; 0: no record
};

struct enrich_cache {
    const struct enricher *enricher;
    struct address *addresses; // sets of ADDRESS_WAYS; NULL without any database
    struct text_cache texts;
    struct buf rendered; // being made; then copied to texts
    struct buf joined;   // what the last look-up gave, when it was of two records
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

// `split` is where the geo part of a record begins that has both, after the comma between them.
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

// The position of a record's text; 0 without a record.
static uint64_t text_of_record(struct enrich_cache *cache, enum enrich_db db, mmdb_entry entry)
{
    if (entry == MMDB_ENTRY_NONE)
        return 0;
    uint64_t key = (uint64_t)db << 32 | entry;
    uint64_t position = text_cache_find(&cache->texts, key);
    if (position != 0)
        return position;
    size_t split = 0;
    cache->rendered.len = 0;
    enum outcome outcome = render_record(cache, db, entry, &split);
    if (outcome == OUTCOME_BROKEN)
        cache->rendered.len = 0;
    return text_cache_add(&cache->texts, key, (struct text){cache->rendered.data, cache->rendered.len}, (uint32_t)split,
                          (uint8_t)outcome);
}

// A position is of no use when the ring has gone over it.
static bool texts_are_there(const struct enrich_cache *cache, const struct address *address)
{
    for (int db = 0; db < ENRICH_DB_COUNT; db++) {
        if (address->position[db] != 0 && text_cache_at(&cache->texts, address->position[db]) == NULL)
            return false;
    }
    return true;
}

static void look_up(struct enrich_cache *cache, struct ip ip, struct address *address)
{
    mmdb_entry entries[ENRICH_DB_COUNT];
    for (int db = 0; db < ENRICH_DB_COUNT; db++) {
        const struct mmdb *file = cache->enricher->db[db];
        entries[db] = file != NULL ? mmdb_find(file, ip) : MMDB_ENTRY_NONE;
    }
    // A text that is rendered may take the place of one that was found just before; rendered too, both are the newest.
    do {
        for (int db = 0; db < ENRICH_DB_COUNT; db++)
            address->position[db] = text_of_record(cache, (enum enrich_db)db, entries[db]);
    } while (!texts_are_there(cache, address));
}

// The AS database's word on the AS goes before the other's.
static struct text join(struct enrich_cache *cache, const struct cached_text *as, const struct cached_text *geo)
{
    if (geo == NULL || geo->len == 0)
        return as != NULL ? (struct text){as->text, as->len} : (struct text){0};
    if (as == NULL || as->len == 0)
        return (struct text){geo->text, geo->len};
    size_t geo_len = geo->len - geo->split;
    if (geo_len == 0)
        return (struct text){as->text, as->len};
    struct buf *joined = &cache->joined;
    joined->len = 0;
    buf_reserve(joined, as->len + 1 + geo_len);
    memcpy(joined->data, as->text, as->len);
    joined->data[as->len] = ',';
    memcpy(joined->data + as->len + 1, geo->text + geo->split, geo_len);
    return (struct text){joined->data, as->len + 1 + geo_len};
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

// The key: all characters of a text of 4 to 15 of them, and how many there are. The second load overlaps the first, so that
// neither leaves the text; the shift takes out what came twice.
static bool pack_text(struct text text, struct enrich_key *key)
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

static bool is_empty(const struct address *address)
{
    return address->key.high == 0 && address->key.low == 0 && !address->key.is_value;
}

static struct address *set_of(const struct enrich_cache *cache, const struct enrich_key *key)
{
    uint64_t hash = key->low * UINT64_C(0x9e3779b97f4a7c15) ^ key->high * UINT64_C(0xd6e8feb86659fd93);
    hash *= UINT64_C(0x9e3779b97f4a7c15);
    return cache->addresses + (hash >> (64 - ADDRESS_SET_BITS)) * ADDRESS_WAYS;
}

static bool is_same(const struct enrich_key *a, const struct enrich_key *b)
{
    return a->low == b->low && a->high == b->high && a->is_value == b->is_value;
}

// An address that is asked for again moves one place ahead and a new one takes the last place, so a scan over the whole
// Internet does not push out the sources that come back. NULL when it is not there; then *place is where it may be put.
static struct address *find_address(struct enrich_cache *cache, struct address *set, const struct enrich_key *key,
                                    struct address **place)
{
    *place = &set[ADDRESS_WAYS - 1];
    for (int way = 0; way < ADDRESS_WAYS; way++) {
        struct address *address = &set[way];
        if (is_empty(address)) {
            *place = address;
            return NULL; // places are filled from the front
        }
        if (!is_same(&address->key, key))
            continue;
        *place = address;
        if (!texts_are_there(cache, address))
            return NULL;
        if (way == 0)
            return address;
        struct address ahead = set[way - 1];
        set[way - 1] = *address;
        *address = ahead;
        return &set[way - 1];
    }
    return NULL;
}

static void count(struct enrich_stats *stats, enum enrich_db db, const struct cached_text *text)
{
    enum outcome outcome = text != NULL ? (enum outcome)text->note : OUTCOME_MISS;
    counter_bump(outcome == OUTCOME_HIT ? &stats->hits[db] : &stats->misses[db], 1);
    if (outcome == OUTCOME_BROKEN)
        counter_bump(&stats->errors[db], 1);
}

// Which records an address has. false: it is none.
static bool find_records(struct enrich_cache *cache, const struct enrich_query *query, struct address *out)
{
    struct address *place;
    const struct address *found = find_address(cache, query->place, &query->key, &place);
    if (found != NULL) {
        counter_bump(&cache->stats.cache_hits, 1);
        *out = *found;
        return true;
    }
    struct ip ip = {.high = query->key.high, .low = query->key.low};
    if (!query->key.is_value && !ip_parse(query->ip, &ip))
        return false;
    counter_bump(&cache->stats.cache_misses, 1);
    out->key = query->key;
    look_up(cache, ip, out);
    *place = *out;
    return true;
}

void enrich_ask(const struct enrich_cache *cache, struct text ip, struct enrich_query *query)
{
    query->ip = ip;
    query->place = NULL;
    query->is_key = pack_text(ip, &query->key);
    if (!query->is_key) {
        struct ip value;
        query->is_key = ip_parse(ip, &value);
        if (query->is_key)
            query->key = (struct enrich_key){value.high, value.low, true};
    }
    if (!query->is_key || cache->addresses == NULL)
        return;
    struct address *set = set_of(cache, &query->key);
    __builtin_prefetch(&set[0]);
    __builtin_prefetch(&set[2]);
    query->place = set;
}

void enrich_ask_texts(const struct enrich_cache *cache, const struct enrich_query *query)
{
    const struct address *set = query->place;
    for (int way = 0; set != NULL && way < ADDRESS_WAYS; way++) {
        if (!is_same(&set[way].key, &query->key))
            continue;
        for (int db = 0; db < ENRICH_DB_COUNT; db++)
            text_cache_prefetch(&cache->texts, set[way].position[db]);
        return;
    }
}

enum enrich_result enrich_answer(struct enrich_cache *cache, const struct enrich_query *query, struct text *additions)
{
    *additions = (struct text){0};
    struct address address;
    struct ip ignored;
    bool is_address = query->is_key && (query->place != NULL ? find_records(cache, query, &address)
                                                             : query->key.is_value || ip_parse(query->ip, &ignored));
    if (!is_address) {
        counter_bump(&cache->stats.not_an_address, 1);
        return ENRICH_NOT_AN_ADDRESS;
    }
    if (query->place == NULL)
        return ENRICH_MISS;

    const struct cached_text *texts[ENRICH_DB_COUNT] = {NULL};
    for (int db = 0; db < ENRICH_DB_COUNT; db++) {
        if (address.position[db] != 0)
            texts[db] = text_cache_at(&cache->texts, address.position[db]);
        if (cache->enricher->db[db] != NULL)
            count(&cache->stats, (enum enrich_db)db, texts[db]);
    }
    *additions = join(cache, texts[ENRICH_DB_ASN], texts[ENRICH_DB_GEO]);
    return additions->len > 0 ? ENRICH_HIT : ENRICH_MISS;
}
