// SPDX-License-Identifier: Apache-2.0

#include "enrich/enricher.h"

#include <stdbool.h>
#include <string.h>

#include "base/mem.h"
#include "enrich/record.h"

#define SAMPLES_MAX 1024

// What a database is for, and the words of database_type that say so.
static const struct kind {
    const char *key; // of the configuration
    const char *what;
    const char *words[4];
    bool (*has)(const struct record *record);
} kinds[ENRICH_DB_COUNT] = {
    [ENRICH_DB_ASN] = {"asn_db_path", "autonomous systems", {"ASN", "ISP", "Enterprise"}, record_has_as},
    [ENRICH_DB_GEO] = {"geoip_db_path", "places", {"City", "Country", "Location", "Enterprise"}, record_has_geo},
};

static bool type_is(const char *type, enum enrich_db kind)
{
    for (size_t i = 0; i < sizeof kinds->words / sizeof *kinds->words; i++) {
        if (kinds[kind].words[i] != NULL && strcasestr(type, kinds[kind].words[i]) != NULL)
            return true;
    }
    return false;
}

// Reads records from all over the file: shows a broken one now rather than as misses later, and tells whether the file
// has what it is configured for. Only a name that says otherwise makes that an error; a custom type gets a warning.
static int check_records(const struct mmdb *db, enum enrich_db kind, const char *language, struct buf *warnings,
                         struct err *err)
{
    const struct mmdb_info *info = mmdb_info(db);
    mmdb_entry entries[SAMPLES_MAX];
    size_t count = mmdb_sample(db, entries, SAMPLES_MAX);
    size_t useful = 0;
    for (size_t i = 0; i < count; i++) {
        struct mmdb_reader reader = mmdb_reader(db);
        struct record record;
        if (record_read(&reader, entries[i] - 1, text_of(language), &record) != 0)
            return err_set(err, ERR_DATABASE, "%s: the record at offset %u of the data section is broken", info->path,
                           (unsigned)(entries[i] - 1));
        useful += kinds[kind].has(&record);
    }
    if (useful > 0)
        return 0;
    enum enrich_db other = kind == ENRICH_DB_ASN ? ENRICH_DB_GEO : ENRICH_DB_ASN;
    if (type_is(info->type, other) && !type_is(info->type, kind))
        return err_set(err, ERR_DATABASE, "%s: %s needs a database of %s; this one is \"%s\"", info->path,
                       kinds[kind].key, kinds[kind].what, info->type);
    if (warnings != NULL)
        buf_printf(warnings,
                   "enrichment.%s: %s: %zu records of this database (\"%s\") have nothing that Loom would add\n",
                   kinds[kind].key, info->path, count, info->type);
    return 0;
}

static int open_db(struct enricher *enricher, enum enrich_db kind, const char *path, struct buf *problems,
                   struct buf *warnings)
{
    struct mmdb *db = NULL;
    struct err err = {0};
    if (path == NULL || *path == '\0')
        return 0;
    int code = mmdb_open(path, &db, &err);
    if (code == 0)
        code = check_records(db, kind, enricher->language, warnings, &err);
    if (code != 0) {
        mmdb_close(db);
        if (problems != NULL)
            buf_printf(problems, "%s\n", err.text);
        return code;
    }
    enricher->db[kind] = db;

    const struct mmdb_info *info = mmdb_info(enricher->db[kind]);
    enricher->info[kind] = (struct enrich_db_info){
        .path = info->path,
        .type = info->type,
        .build_epoch = info->build_epoch,
        .bytes = info->bytes,
        .ip_version = info->ip_version,
    };
    return 0;
}

int enricher_open(const struct enrich_conf *conf, struct enricher **out, struct buf *problems, struct buf *warnings)
{
    struct enricher *enricher = mem_zalloc(sizeof *enricher);
    enricher->language = mem_strdup(conf->language != NULL && *conf->language != '\0' ? conf->language : "en");
    int asn_code = open_db(enricher, ENRICH_DB_ASN, conf->asn_db_path, problems, warnings);
    int geo_code = open_db(enricher, ENRICH_DB_GEO, conf->geoip_db_path, problems, warnings);
    const struct mmdb *geo = enricher->db[ENRICH_DB_GEO];
    if (warnings != NULL && geo != NULL && mmdb_lacks_language(geo, text_of(enricher->language)))
        buf_printf(warnings, "enrichment.language: %s has no names in \"%s\": English ones are used\n",
                   enricher->info[ENRICH_DB_GEO].path, enricher->language);
    *out = enricher;
    return asn_code != 0 ? asn_code : geo_code;
}

void enricher_close(struct enricher *enricher)
{
    if (enricher == NULL)
        return;
    for (int kind = 0; kind < ENRICH_DB_COUNT; kind++)
        mmdb_close(enricher->db[kind]);
    mem_free(enricher->language);
    mem_free(enricher);
}

const struct enrich_db_info *enricher_info(const struct enricher *enricher, enum enrich_db db)
{
    return enricher->db[db] != NULL ? &enricher->info[db] : NULL;
}
