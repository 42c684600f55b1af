// SPDX-License-Identifier: Apache-2.0
#pragma once

// What Loom knows about an address: AS and geography from MMDB files, as JSON members ready to be spliced in.
// struct enricher is shared and frozen; struct enrich_cache belongs to one worker.

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/metric.h"
#include "base/text.h"

struct enrich_conf {
    const char *geoip_db_path; // NULL or "": none
    const char *asn_db_path;   // NULL or "": none
    const char *language;      // of names, "en"; a record without it gives its English name
};

struct enricher;
// Reads each database into private memory (a sealed memfd), so that what happens to the file later cannot hurt. A file
// that is missing, unreadable, no MMDB, broken, or plainly of the other kind: negative, with a line of path and reason for
// each such file in *problems; *out then has the other one only, for a report. One that merely has nothing of use: a line in
// *warnings. NULL for either: nobody wants it. *out is to be closed in every case.
int enricher_open(const struct enrich_conf *conf, struct enricher **out, struct buf *problems, struct buf *warnings);
void enricher_close(struct enricher *enricher); // after its caches

enum enrich_db { ENRICH_DB_ASN, ENRICH_DB_GEO, ENRICH_DB_COUNT };
struct enrich_db_info {
    const char *path;
    const char *type;     // metadata database_type
    uint64_t build_epoch; // seconds since 1970
    uint64_t bytes;
    unsigned ip_version; // 4 or 6
};
// NULL where that database is not configured, or was refused.
const struct enrich_db_info *enricher_info(const struct enricher *enricher, enum enrich_db db);

struct enrich_stats {
    counter hits[ENRICH_DB_COUNT]; // the database has a record with something Loom writes
    counter misses[ENRICH_DB_COUNT];
    counter errors[ENRICH_DB_COUNT];  // a broken record: counted as a miss too
    counter cache_hits, cache_misses; // of the address cache
    counter not_an_address;
};

struct enrich_cache;
struct enrich_cache *enrich_cache_new(const struct enricher *enricher);
void enrich_cache_free(struct enrich_cache *cache);
const struct enrich_stats *enrich_cache_stats(const struct enrich_cache *cache); // read by any thread

// An address that is looked up. An IPv4 address, and any other text that is as short, is known to the cache by its very
// characters, so that finding it again takes no parsing; the others by their value.
struct enrich_key {
    uint64_t high, low;
    bool is_value;
};
struct enrich_query {
    struct text ip; // the caller's; in text form: IPv4, IPv6, IPv4-mapped IPv6 as IPv4; no zone, no port
    bool is_key;    // false: it is no address for sure
    struct enrich_key key;
    void *place; // where the cache has it, if it does; NULL without any database
};

enum enrich_result { ENRICH_HIT, ENRICH_MISS, ENRICH_NOT_AN_ADDRESS };
// The three steps of a look-up. The first two have the processor fetch what the next will read, which otherwise waits for
// memory: so each is done for several addresses before the next is. A query stays good while its text and the cache live.
void enrich_ask(const struct enrich_cache *cache, struct text ip, struct enrich_query *query);
void enrich_ask_texts(const struct enrich_cache *cache, const struct enrich_query *query);
// On ENRICH_HIT *additions holds the members for `source`: "as":{...},"geo":{...}  (either alone too); valid until the next
// call. Never blocks.
enum enrich_result enrich_answer(struct enrich_cache *cache, const struct enrich_query *query, struct text *additions);

// All three for a single address.
static inline enum enrich_result enrich_lookup(struct enrich_cache *cache, struct text ip, struct text *additions)
{
    struct enrich_query query;
    enrich_ask(cache, ip, &query);
    return enrich_answer(cache, &query, additions);
}
