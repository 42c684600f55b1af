// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "enrich/enrich.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "mmdb_build.h"

#define AS_TEXT "\"as\":{\"number\":64500,\"organization\":{\"name\":\"Example Transit\"}}"
#define GEO_TEXT                                                                                                       \
    "\"geo\":{\"continent_code\":\"EU\",\"continent_name\":\"Europe\",\"country_iso_code\":\"GB\","                    \
    "\"country_name\":\"United Kingdom\",\"region_iso_code\":\"GB-WSM\",\"region_name\":\"Westminster\","              \
    "\"city_name\":\"London\",\"postal_code\":\"SW1A\",\"timezone\":\"Europe/London\",\"location\":{\"lat\":51.5014,"  \
    "\"lon\":-0.1419}}"

// One enricher over files that are gone as soon as they are open; takes the bytes. No data: not configured.
static int open_bytes(struct buf asn, struct buf geo, const char *language, struct enricher **out)
{
    char *asn_path = asn.data != NULL ? build_write(asn.data, asn.len) : NULL;
    char *geo_path = geo.data != NULL ? build_write(geo.data, geo.len) : NULL;
    struct enrich_conf conf = {.asn_db_path = asn_path, .geoip_db_path = geo_path, .language = language};
    int code = enricher_open(&conf, out, NULL, NULL);
    if (code != 0)
        enricher_close(*out);
    if (asn_path != NULL)
        unlink(asn_path);
    if (geo_path != NULL)
        unlink(geo_path);
    mem_free(asn_path);
    mem_free(geo_path);
    buf_fini(&asn);
    buf_fini(&geo);
    return code;
}

static struct enricher *open_files(struct buf asn, struct buf geo)
{
    struct enricher *enricher = NULL;
    assert_int_equal(open_bytes(asn, geo, "en", &enricher), 0);
    return enricher;
}

static void assert_gives(struct enrich_cache *cache, const char *ip, enum enrich_result result, const char *expected)
{
    for (int time = 0; time < 2; time++) { // looked up, and from the cache
        struct text additions;
        struct enrich_query query;
        enrich_ask(cache, text_of(ip), &query);
        enrich_ask_texts(cache, &query);
        assert_int_equal(enrich_answer(cache, &query, &additions), result);
        assert_int_equal(additions.len, strlen(expected));
        if (additions.len > 0)
            assert_memory_equal(additions.at, expected, additions.len);
    }
}

static void additions_are_of_both_databases(void **state)
{
    (void)state;
    struct enricher *enricher = open_files(build_asn_file(), build_city_file());
    struct enrich_cache *cache = enrich_cache_new(enricher);
    assert_gives(cache, "81.2.69.160", ENRICH_HIT, AS_TEXT "," GEO_TEXT);
    assert_gives(cache, "::ffff:81.2.69.160", ENRICH_HIT, AS_TEXT "," GEO_TEXT);
    assert_gives(cache, "::FFFF:5102:45a0", ENRICH_HIT, AS_TEXT "," GEO_TEXT);
    assert_gives(cache, "2001:db8::1", ENRICH_HIT, GEO_TEXT); // the AS file knows IPv4 only
    assert_gives(cache, "2001:db8:1234:5678:9abc:def0:1234:5678", ENRICH_HIT, GEO_TEXT);
    assert_gives(cache, "192.0.2.1", ENRICH_MISS, "");
    assert_gives(cache, "::", ENRICH_MISS, "");
    assert_gives(cache, "::1", ENRICH_MISS, "");
    assert_gives(cache, "81.2.69.160 ", ENRICH_NOT_AN_ADDRESS, "");
    assert_gives(cache, "081.2.69.160", ENRICH_NOT_AN_ADDRESS, "");
    assert_gives(cache, "", ENRICH_NOT_AN_ADDRESS, "");
    enrich_cache_free(cache);
    enricher_close(enricher);
}

static void either_database_alone_is_enough(void **state)
{
    (void)state;
    struct enricher *enricher = open_files(build_asn_file(), BUF_EMPTY);
    struct enrich_cache *cache = enrich_cache_new(enricher);
    assert_gives(cache, "81.2.69.160", ENRICH_HIT, AS_TEXT);
    assert_gives(cache, "2001:db8::1", ENRICH_MISS, "");
    enrich_cache_free(cache);
    enricher_close(enricher);

    enricher = open_files(BUF_EMPTY, build_city_file());
    cache = enrich_cache_new(enricher);
    assert_gives(cache, "81.2.69.160", ENRICH_HIT, GEO_TEXT);
    enrich_cache_free(cache);
    enricher_close(enricher);

    enricher = open_files(BUF_EMPTY, BUF_EMPTY);
    cache = enrich_cache_new(enricher);
    assert_gives(cache, "81.2.69.160", ENRICH_MISS, "");
    assert_gives(cache, "nobody", ENRICH_NOT_AN_ADDRESS, "");
    assert_int_equal(enrich_cache_stats(cache)->misses[ENRICH_DB_GEO], 0);
    assert_int_equal(enrich_cache_stats(cache)->not_an_address, 2);
    enrich_cache_free(cache);
    enricher_close(enricher);
    enrich_cache_free(NULL);
}

// A geography file with AS numbers of its own, under one network that the AS file knows and one that it does not.
static void the_as_database_goes_before_the_other_ones_traits(void **state)
{
    (void)state;
    struct mmdb_build build;
    build_init(&build, 6, 32, "Test-Enterprise");
    build_head(&build.data, VALUE_MAP, 2);
    build_text(&build.data, "country");
    build_head(&build.data, VALUE_MAP, 1);
    build_key_text(&build.data, "iso_code", "GB");
    build_text(&build.data, "traits");
    build_head(&build.data, VALUE_MAP, 1);
    build_text(&build.data, "autonomous_system_number");
    build_uint(&build.data, VALUE_UINT32, 64511);
    build_network(&build, "81.0.0.0/8", 0);
    uint32_t traits_only = build_here(&build);
    build_head(&build.data, VALUE_MAP, 1);
    build_text(&build.data, "traits");
    build_head(&build.data, VALUE_MAP, 1);
    build_text(&build.data, "autonomous_system_number");
    build_uint(&build.data, VALUE_UINT32, 64510);
    build_network(&build, "82.0.0.0/8", traits_only);
    build_network(&build, "81.2.69.128/25", traits_only);

    struct enricher *enricher = open_files(build_asn_file(), build_finish(&build));
    struct enrich_cache *cache = enrich_cache_new(enricher);
    assert_gives(cache, "81.2.69.1", ENRICH_HIT, AS_TEXT ",\"geo\":{\"country_iso_code\":\"GB\"}");
    assert_gives(cache, "81.1.1.1", ENRICH_HIT, "\"as\":{\"number\":64511},\"geo\":{\"country_iso_code\":\"GB\"}");
    assert_gives(cache, "81.2.69.200", ENRICH_HIT, AS_TEXT);
    assert_gives(cache, "82.1.1.1", ENRICH_HIT, "\"as\":{\"number\":64510}");
    const struct enrich_stats *stats = enrich_cache_stats(cache);
    assert_int_equal(stats->hits[ENRICH_DB_ASN], 4);
    assert_int_equal(stats->misses[ENRICH_DB_ASN], 4);
    assert_int_equal(stats->hits[ENRICH_DB_GEO], 8);
    enrich_cache_free(cache);
    enricher_close(enricher);
    build_fini(&build);
}

static void names_come_in_the_configured_language(void **state)
{
    (void)state;
    struct enricher *enricher;
    assert_int_equal(open_bytes(BUF_EMPTY, build_city_file(), "de", &enricher), 0);
    struct enrich_cache *cache = enrich_cache_new(enricher);
    struct text additions;
    assert_int_equal(enrich_lookup(cache, TEXT("81.2.69.160"), &additions), ENRICH_HIT);
    char *copy = mem_strndup(additions.at, additions.len);
    assert_non_null(strstr(copy, "\"country_name\":\"Vereinigtes K\u00f6nigreich\""));
    assert_non_null(strstr(copy, "\"city_name\":\"London\"")); // has no German name
    mem_free(copy);
    enrich_cache_free(cache);
    enricher_close(enricher);
}

static void everything_is_counted_once(void **state)
{
    (void)state;
    struct mmdb_build build;
    build_init(&build, 4, 24, "Test-City");
    build_head(&build.data, VALUE_MAP, 0); // a record with nothing
    build_network(&build, "192.0.2.0/24", 0);
    struct buf city = build_finish(&build);
    // Past the left record of every node on the way to 0.0.0.0 there is the root again: a tree without end.
    memset(city.data, 0, 3);

    struct enricher *enricher = open_files(build_asn_file(), city);
    struct enrich_cache *cache = enrich_cache_new(enricher);
    const struct enrich_stats *stats = enrich_cache_stats(cache);
    assert_gives(cache, "81.2.69.160", ENRICH_HIT, AS_TEXT);
    assert_gives(cache, "192.0.2.1", ENRICH_MISS, "");
    assert_gives(cache, "0.0.0.0", ENRICH_MISS, "");
    assert_gives(cache, "0.0.0", ENRICH_NOT_AN_ADDRESS, "");
    assert_int_equal(stats->hits[ENRICH_DB_ASN], 2);
    assert_int_equal(stats->misses[ENRICH_DB_ASN], 4);
    assert_int_equal(stats->errors[ENRICH_DB_ASN], 0);
    assert_int_equal(stats->hits[ENRICH_DB_GEO], 0);
    assert_int_equal(stats->misses[ENRICH_DB_GEO], 6);
    assert_int_equal(stats->errors[ENRICH_DB_GEO], 2);
    assert_int_equal(stats->cache_hits, 3);
    assert_int_equal(stats->cache_misses, 3);
    assert_int_equal(stats->not_an_address, 2);
    enrich_cache_free(cache);
    enricher_close(enricher);
    build_fini(&build);
}

// Two texts that look alike to a careless packing are two addresses.
static void similar_spellings_are_not_mixed_up(void **state)
{
    (void)state;
    struct mmdb_build build;
    build_init(&build, 4, 24, "Test-ASN");
    static const char *const addresses[] = {"1.1.1.1",        "1.1.1.11",       "11.1.1.1",  "1.1.1.111",
                                            "111.1.1.1",      "1.11.11.1",      "11.11.1.1", "111.111.111.1",
                                            "111.111.111.11", "111.111.111.111"};
    size_t count = sizeof addresses / sizeof *addresses;
    for (size_t i = 0; i < count; i++) {
        uint32_t here = build_here(&build);
        char network[32];
        snprintf(network, sizeof network, "%s/32", addresses[i]);
        build_head(&build.data, VALUE_MAP, 1);
        build_text(&build.data, "autonomous_system_number");
        build_uint(&build.data, VALUE_UINT32, i + 1);
        build_network(&build, network, here);
    }
    struct enricher *enricher = open_files(build_finish(&build), BUF_EMPTY);
    struct enrich_cache *cache = enrich_cache_new(enricher);
    for (int time = 0; time < 3; time++) {
        for (size_t i = 0; i < count; i++) {
            char expected[64];
            snprintf(expected, sizeof expected, "\"as\":{\"number\":%zu}", i + 1);
            assert_gives(cache, addresses[i], ENRICH_HIT, expected);
        }
    }
    struct text additions;
    assert_int_equal(enrich_lookup(cache, (struct text){"1.1.1.1\0", 8}, &additions), ENRICH_NOT_AN_ADDRESS);
    enrich_cache_free(cache);
    enricher_close(enricher);
    build_fini(&build);
}

static uint64_t seed = 88172645463325252;
static uint64_t next_random(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    return seed ^= seed << 17;
}

#define DIFFERENT_RECORDS 30000

// A record's text is made from its number, so that the test knows what every address must give.
static size_t city_name(unsigned number, char name[300])
{
    size_t len = 30 + number % 200;
    snprintf(name, 300, "%08u", number);
    memset(name + 8, 'a' + (int)(number % 26), len - 8);
    name[len] = '\0';
    return len;
}

static struct buf file_of_many(void)
{
    struct mmdb_build build;
    build_init(&build, 6, 28, "Test-City");
    for (unsigned i = 0; i < DIFFERENT_RECORDS; i++) {
        char name[300], network[32];
        city_name(i, name);
        uint32_t here = build_here(&build);
        build_head(&build.data, VALUE_MAP, 1);
        build_text(&build.data, "city");
        build_head(&build.data, VALUE_MAP, 1);
        build_names(&build.data, name);
        snprintf(network, sizeof network, "%u.%u.0.0/16", 1 + i / 256, i % 256);
        build_network(&build, network, here);
        snprintf(network, sizeof network, "2001:%x::/32", i + 1);
        build_network(&build, network, here);
    }
    struct buf file = build_finish(&build);
    build_fini(&build);
    return file;
}

// Far more records and addresses than the cache holds, hot ones among them, in all three forms: what comes out of the
// cache is what the record says, right after it was pushed out too, and most of it is pushed out.
static void what_the_cache_gives_is_what_the_record_says(void **state)
{
    (void)state;
    struct enricher *enricher = open_files(build_asn_file(), file_of_many());
    struct enrich_cache *cache = enrich_cache_new(enricher);
    for (int i = 0; i < 300000; i++) {
        bool hot = next_random() % 4 == 0;
        unsigned number = (unsigned)(next_random() % (hot ? 20 : DIFFERENT_RECORDS));
        unsigned host = hot ? 1 : (unsigned)(next_random() % 65536);
        char ip[64], name[300], expected[400];
        if (next_random() % 4 == 0)
            snprintf(ip, sizeof ip, "2001:%x::%x", number + 1, host);
        else
            snprintf(ip, sizeof ip, "%s%u.%u.%u.%u", next_random() % 2 == 0 ? "::ffff:" : "", 1 + number / 256,
                     number % 256, host >> 8, host & 255);
        city_name(number, name);
        snprintf(expected, sizeof expected, "\"geo\":{\"city_name\":\"%s\"}", name);
        if (strstr(ip, "81.2.69.") != NULL)
            continue; // the AS file's
        struct text additions;
        struct enrich_query query;
        enrich_ask(cache, text_of(ip), &query);
        if (next_random() % 2 == 0)
            enrich_ask_texts(cache, &query);
        if (next_random() % 2 == 0) { // another one comes in between, into the same place too
            unsigned other = (unsigned)(next_random() % (1 << 24));
            snprintf(name, sizeof name, "99.%u.%u.%u", other >> 16, other >> 8 & 255, other & 255);
            (void)enrich_lookup(cache, text_of(name), &additions);
        }
        enum enrich_result result = enrich_answer(cache, &query, &additions);
        if (result != ENRICH_HIT || !text_eq(additions, text_of(expected)))
            fail_msg("%s: %d %.*s instead of %s", ip, result, (int)additions.len, additions.at, expected);
    }
    const struct enrich_stats *stats = enrich_cache_stats(cache);
    assert_in_range(stats->cache_hits, 50000, 120000); // the hot quarter
    assert_int_equal(stats->errors[ENRICH_DB_GEO], 0);
    enrich_cache_free(cache);
    enricher_close(enricher);
}

static void *look_up_all(void *arg)
{
    struct enrich_cache *cache = arg;
    for (int i = 0; i < 20000; i++) {
        char ip[32];
        snprintf(ip, sizeof ip, "1.%d.0.1", i % 200);
        struct text additions;
        if (enrich_lookup(cache, text_of(ip), &additions) != ENRICH_HIT)
            return arg;
    }
    return NULL;
}

// Each worker has its cache, all have the databases, and a third thread reads the counters. For ThreadSanitizer.
static void workers_share_the_databases(void **state)
{
    (void)state;
    struct enricher *enricher = open_files(build_asn_file(), file_of_many());
    struct enrich_cache *caches[2];
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) {
        caches[i] = enrich_cache_new(enricher);
        assert_int_equal(pthread_create(&threads[i], NULL, look_up_all, caches[i]), 0);
    }
    const struct enrich_stats *stats = enrich_cache_stats(caches[0]);
    while (counter_get(&stats->hits[ENRICH_DB_GEO]) + counter_get(&stats->misses[ENRICH_DB_GEO]) < 100)
        sched_yield();
    for (int i = 0; i < 2; i++) {
        void *failed;
        assert_int_equal(pthread_join(threads[i], &failed), 0);
        assert_null(failed);
        enrich_cache_free(caches[i]);
    }
    enricher_close(enricher);
}

// A changed bit may lead anywhere within the file, but not out of it. What still opens gives whole members or nothing;
// fuzz_mmdb looks closer.
static void try_broken(struct buf broken)
{
    static const char *const addresses[] = {"81.2.69.160", "0.0.0.0", "255.255.255.255", "2001:db8::1", "::", "ffff::"};
    struct enricher *enricher;
    if (open_bytes(BUF_EMPTY, broken, "de", &enricher) != 0)
        return;
    struct enrich_cache *cache = enrich_cache_new(enricher);
    for (size_t i = 0; i < sizeof addresses / sizeof *addresses; i++) {
        struct text additions;
        if (enrich_lookup(cache, text_of(addresses[i]), &additions) != ENRICH_HIT)
            continue;
        assert_memory_equal(additions.at, "\"", 1);
        assert_int_equal(additions.at[additions.len - 1], '}');
    }
    enrich_cache_free(cache);
    enricher_close(enricher);
}

static struct buf copy_of(const struct buf *file, size_t len)
{
    struct buf copy = BUF_EMPTY;
    buf_append(&copy, file->data, len);
    return copy;
}

static void cut_off_files_are_refused(void **state)
{
    (void)state;
    struct buf file = build_city_file();
    for (size_t i = 1; i < 64; i++) {
        struct enricher *enricher;
        assert_true(open_bytes(BUF_EMPTY, copy_of(&file, file.len * i / 64), "en", &enricher) < 0);
        struct buf tail = BUF_EMPTY; // cut off at its beginning
        size_t from = file.len * i / 64;
        buf_append(&tail, file.data + from, file.len - from);
        assert_true(open_bytes(BUF_EMPTY, tail, "en", &enricher) < 0);
    }
    buf_fini(&file);
}

static void changed_bits_do_no_harm(void **state)
{
    (void)state;
    struct buf file = build_city_file();
    for (size_t bit = 0; bit < file.len * 8; bit += 1 + next_random() % 15) {
        struct buf broken = copy_of(&file, file.len);
        broken.data[bit / 8] ^= (char)(1 << bit % 8);
        try_broken(broken);
    }
    for (int i = 0; i < 500; i++) {
        struct buf broken = copy_of(&file, file.len);
        for (uint64_t changes = 1 + next_random() % 8; changes > 0; changes--)
            broken.data[next_random() % broken.len] = (char)next_random();
        try_broken(broken);
    }
    buf_fini(&file);
}

int main(void)
{
    log_setup(LOG_ERROR, LOG_CONSOLE); // the warnings about broken files are not this test's
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(additions_are_of_both_databases),
        cmocka_unit_test(either_database_alone_is_enough),
        cmocka_unit_test(the_as_database_goes_before_the_other_ones_traits),
        cmocka_unit_test(names_come_in_the_configured_language),
        cmocka_unit_test(everything_is_counted_once),
        cmocka_unit_test(similar_spellings_are_not_mixed_up),
        cmocka_unit_test(what_the_cache_gives_is_what_the_record_says),
        cmocka_unit_test(workers_share_the_databases),
        cmocka_unit_test(cut_off_files_are_refused),
        cmocka_unit_test(changed_bits_do_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
