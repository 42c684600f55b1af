// SPDX-License-Identifier: Apache-2.0
#include "bed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "enrich/mmdb_build.h"

static void open_databases(struct bed *bed)
{
    struct buf city = build_city_file(), asn = build_asn_file();
    char *city_path = build_write(city.data, city.len), *asn_path = build_write(asn.data, asn.len);
    const struct enrich_conf conf = {.geoip_db_path = city_path, .asn_db_path = asn_path, .language = "en"};

    assert_int_equal(enricher_open(&conf, &bed->enricher, NULL, NULL), 0);
    unlink(city_path); // the enricher reads its own copy
    unlink(asn_path);
    mem_free(city_path);
    mem_free(asn_path);
    buf_fini(&city);
    buf_fini(&asn);
}

struct bed *bed_new(const struct ingest_limits *limits, bool databases)
{
    static const char *const env[] = {"LOOM_SENSOR_s1=token-one", NULL};
    struct bed *bed = mem_zalloc(sizeof *bed);
    struct buf problems = BUF_EMPTY, warnings = BUF_EMPTY;

    if (databases)
        open_databases(bed);
    budget_init(&bed->budget, INT64_C(1) << 40);
    bed->ingest = (struct ingest){.limits = *limits, .budget = &bed->budget, .enricher = bed->enricher};
    bed->ingest.limits.per_sensor_rps = -1;
    bed->ingest.limits.per_sensor_events_rps = -1;
    assert_int_equal(auth_open((char *const *)env, NULL, &bed->ingest.auth, &problems, &warnings), 0);
    buf_fini(&problems);
    buf_fini(&warnings);
    bed->loop = loop_new();
    bed->worker = ingest_worker_new(&bed->ingest, bed->loop);
    return bed;
}

void bed_free(struct bed *bed)
{
    assert_int_equal(budget_used(&bed->budget), 0);
    ingest_worker_free(bed->worker);
    loop_free(bed->loop);
    auth_close(bed->ingest.auth);
    if (bed->enricher != NULL)
        enricher_close(bed->enricher);
    mem_free(bed);
}

struct sensor *bed_sensor(struct bed *bed)
{
    return auth_sensor(bed->ingest.auth, 0);
}

struct intake *bed_intake(struct bed *bed, struct text body)
{
    struct intake *intake = intake_get(bed->worker);

    assert_true(budget_admit(&bed->budget, body.len));
    intake->admitted = body.len;
    intake->sensor = bed_sensor(bed);
    assert_int_equal(buf_try_append(&intake->body, body.at, body.len), 0);
    return intake;
}

static FILE *log_file;
static int real_stderr = -1;

void catch_log(void)
{
    fflush(stderr);
    log_file = tmpfile();
    assert_non_null(log_file);
    real_stderr = dup(STDERR_FILENO);
    assert_int_equal(dup2(fileno(log_file), STDERR_FILENO), STDERR_FILENO);
}

const char *caught_log(void)
{
    static char text[65536];
    assert_int_equal(dup2(real_stderr, STDERR_FILENO), STDERR_FILENO);
    close(real_stderr);
    rewind(log_file);
    text[fread(text, 1, sizeof text - 1, log_file)] = '\0';
    fclose(log_file);
    return text;
}
