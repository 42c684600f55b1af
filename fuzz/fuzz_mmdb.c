// SPDX-License-Identifier: Apache-2.0
//
// The input is a database, opened as either kind; any .mmdb is a seed. Holds for every one that opens:
// what is added is the members of a JSON object, the cache gives what the look-up gave, an IPv4 address has the same
// record in both spellings, and every look-up is counted as a hit or as a miss.

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"
#include "enrich/enrich.h"
#include "json/scan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_members(struct text members)
{
    struct buf body = BUF_EMPTY;
    buf_str(&body, "[{");
    buf_text(&body, members);
    buf_str(&body, "}]");
    struct json_events events = {0};
    struct json_error error;
    INVARIANT(json_scan(body.data, body.len, &events, &error) == 0);
    INVARIANT(events.count == 1);
    INVARIANT(memchr(members.at, '\n', members.len) == NULL);
    json_events_fini(&events);
    buf_fini(&body);
}

// Looks an address up and compares with what `expected` has, which it fills the first time.
static void check_address(struct enrich_cache *cache, const char *address, struct buf *expected, bool first)
{
    struct text additions;
    enum enrich_result result = enrich_lookup(cache, text_of(address), &additions);
    INVARIANT(result == (additions.len > 0 ? ENRICH_HIT : ENRICH_MISS));
    if (first) {
        if (additions.len > 0)
            check_members(additions);
        buf_text(expected, additions);
    }
    INVARIANT(text_eq(additions, (struct text){expected->data, expected->len}));
}

// Four spellings of nothing, the ends of both trees, and addresses made from the input's own bytes.
static unsigned check_addresses(struct enrich_cache *cache, const uint8_t *data, size_t size)
{
    static const uint32_t fixed[] = {0, UINT32_MAX, 0x510245a0, 0xc0000201};
    unsigned lookups = 0;
    for (size_t i = 0; i < 12; i++) {
        uint32_t v4 = i < 4 ? fixed[i] : 0;
        for (size_t b = 0; i >= 4 && b < 4; b++)
            v4 = v4 << 8 | data[(size / 12 * i + b) % size];
        char plain[32], mapped[64], v6[32];
        snprintf(plain, sizeof plain, "%u.%u.%u.%u", v4 >> 24, v4 >> 16 & 255, v4 >> 8 & 255, v4 & 255);
        snprintf(mapped, sizeof mapped, "::ffff:%s", plain);
        snprintf(v6, sizeof v6, "%x:%x::%x", v4 >> 16, v4 & 0xffff, v4 >> 8 & 0xffff);
        struct buf of_v4 = BUF_EMPTY, of_v6 = BUF_EMPTY;
        check_address(cache, plain, &of_v4, true);
        check_address(cache, v6, &of_v6, true);
        check_address(cache, mapped, &of_v4, false);
        check_address(cache, plain, &of_v4, false);
        check_address(cache, v6, &of_v6, false);
        lookups += 5;
        buf_fini(&of_v4);
        buf_fini(&of_v6);
    }
    return lookups;
}

static void check_as(enum enrich_db kind, const char *path, const uint8_t *data, size_t size)
{
    struct enrich_conf conf = {.language = "de"};
    if (kind == ENRICH_DB_ASN)
        conf.asn_db_path = path;
    else
        conf.geoip_db_path = path;
    struct enricher *enricher;
    struct buf problems = BUF_EMPTY;
    int code = enricher_open(&conf, &enricher, &problems, NULL);
    INVARIANT(code <= 0 && (code != 0) == (problems.len > 0));
    buf_fini(&problems);
    if (code != 0) {
        INVARIANT(enricher_info(enricher, kind) == NULL);
        enricher_close(enricher);
        return;
    }
    struct enrich_cache *cache = enrich_cache_new(enricher);
    unsigned lookups = check_addresses(cache, data, size);
    const struct enrich_stats *stats = enrich_cache_stats(cache);
    INVARIANT(counter_get(&stats->hits[kind]) + counter_get(&stats->misses[kind]) == lookups);
    INVARIANT(counter_get(&stats->cache_hits) + counter_get(&stats->cache_misses) == lookups);
    INVARIANT(counter_get(&stats->errors[kind]) <= counter_get(&stats->misses[kind]));
    enrich_cache_free(cache);
    enricher_close(enricher);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    log_setup(LOG_ERROR, LOG_CONSOLE);
    int fd = memfd_create("input", MFD_CLOEXEC);
    INVARIANT(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    check_as(ENRICH_DB_GEO, path, data, size);
    check_as(ENRICH_DB_ASN, path, data, size);
    close(fd);
    return 0;
}
