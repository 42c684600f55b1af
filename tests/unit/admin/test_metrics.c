// SPDX-License-Identifier: Apache-2.0
//
// What admin_metrics prints: lawful text, right numbers, and the families that docs/METRICS.md lists. The argument is
// the root of the source tree.

#include <ctype.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/log.h"
#include "rig.h"

static const char *source_root;

// ---- A reader of the text format, which takes no more than the format allows

struct sample {
    char name[128];
    char labels[512]; // as printed, without the braces
    char keys[128];   // names of the labels but `le`, a space before each
    double le, value;
};

struct family {
    char name[128], type[16];
    struct sample samples[64];
    size_t count;
};

struct exposition {
    struct family families[64];
    size_t count;
};

static const char *read_name(const char *at, char *out, size_t size)
{
    size_t len = 0;
    while (isalnum((unsigned char)at[len]) || at[len] == '_')
        len++;
    assert_in_range(len, 1, size - 1);
    assert_false(isdigit((unsigned char)at[0]));
    memcpy(out, at, len);
    out[len] = '\0';
    return at + len;
}

// The value of a label, unescaped, from after the opening quote to after the closing one.
static const char *read_label_value(const char *at, char *out, size_t size)
{
    size_t len = 0;
    for (; *at != '"'; at++) {
        char c = *at;
        assert_true(c != '\0' && c != '\n');
        if (c == '\\') {
            at++;
            assert_non_null(memchr("\\\"n", *at, 3));
            c = *at == 'n' ? '\n' : *at;
        }
        assert_true(len + 1 < size);
        out[len++] = c;
    }
    out[len] = '\0';
    return at + 1;
}

static const char *read_labels(const char *at, struct sample *sample)
{
    const char *begin = at;
    char key[64], value[256];

    do {
        at = read_name(at, key, sizeof key);
        assert_int_equal(at[0], '=');
        assert_int_equal(at[1], '"');
        at = read_label_value(at + 2, value, sizeof value);
        if (strcmp(key, "le") == 0)
            sample->le = strtod(value, NULL);
        else
            snprintf(sample->keys + strlen(sample->keys), sizeof sample->keys - strlen(sample->keys), " %s", key);
    } while (*at++ == ',');
    assert_int_equal(at[-1], '}');
    assert_in_range(at - 1 - begin, 1, sizeof sample->labels - 1);
    memcpy(sample->labels, begin, (size_t)(at - 1 - begin));
    return at;
}

static void read_sample(struct family *family, const char *line)
{
    assert_in_range(family->count, 0, 63);
    struct sample *sample = &family->samples[family->count++];
    size_t prefix = strlen(family->name);
    char *end;

    const char *at = read_name(line, sample->name, sizeof sample->name);
    if (*at == '{')
        at = read_labels(at + 1, sample);
    assert_int_equal(*at, ' ');
    sample->value = strtod(at + 1, &end);
    assert_ptr_not_equal(end, at + 1);
    assert_int_equal(*end, '\0');

    assert_memory_equal(sample->name, family->name, prefix);
    const char *suffix = sample->name + prefix;
    if (strcmp(family->type, "histogram") == 0)
        assert_true(strcmp(suffix, "_bucket") == 0 || strcmp(suffix, "_sum") == 0 || strcmp(suffix, "_count") == 0);
    else
        assert_string_equal(suffix, "");
    for (size_t i = 0; i + 1 < family->count; i++) // nothing twice
        assert_true(strcmp(family->samples[i].name, sample->name) != 0 ||
                    strcmp(family->samples[i].labels, sample->labels) != 0);
}

static void read_line(struct exposition *all, const char *line)
{
    struct family *last = all->count > 0 ? &all->families[all->count - 1] : NULL;
    char name[128];

    if (strncmp(line, "# HELP ", 7) == 0) {
        assert_true(last == NULL || last->type[0] != '\0');
        assert_in_range(all->count, 0, 63);
        last = &all->families[all->count++];
        const char *at = read_name(line + 7, last->name, sizeof last->name);
        assert_int_equal(*at, ' ');
        assert_true(strlen(at) > 5 && line[strlen(line) - 1] == '.'); // a sentence
        for (size_t i = 0; i + 1 < all->count; i++)
            assert_string_not_equal(all->families[i].name, last->name);
        return;
    }
    assert_non_null(last);
    if (strncmp(line, "# TYPE ", 7) != 0) {
        assert_string_not_equal(last->type, "");
        read_sample(last, line);
        return;
    }
    assert_string_equal(last->type, "");
    const char *at = read_name(line + 7, name, sizeof name);
    assert_string_equal(name, last->name);
    read_name(at + 1, last->type, sizeof last->type);
}

static struct exposition *expose(struct rig *rig)
{
    struct exposition *all = calloc(1, sizeof *all);
    struct buf text = BUF_EMPTY;
    char line[1024];

    assert_non_null(all);
    admin_metrics(&rig->admin, &text);
    assert_int_equal(text.data[text.len - 1], '\n');
    struct text rest = {text.data, text.len}, next;
    while (text_line(&rest, &next)) {
        assert_in_range(next.len, 1, sizeof line - 1);
        memcpy(line, next.at, next.len);
        line[next.len] = '\0';
        read_line(all, line);
    }
    buf_fini(&text);
    return all;
}

static const struct family *find_family(const struct exposition *all, const char *name)
{
    for (size_t i = 0; i < all->count; i++)
        if (strcmp(all->families[i].name, name) == 0)
            return &all->families[i];
    return NULL;
}

// NAN when there is no such sample.
static double value_of(const struct exposition *all, const char *family, const char *labels)
{
    const struct family *found = find_family(all, family);
    assert_non_null(found);
    for (size_t i = 0; i < found->count; i++)
        if (strcmp(found->samples[i].labels, labels) == 0)
            return found->samples[i].value;
    return NAN;
}

#define assert_metric(all, family, labels, expected)                                                                   \
    assert_true(value_of((all), (family), (labels)) == (double)(expected))

static double histogram_part(const struct exposition *all, const char *family, const char *suffix)
{
    const struct family *found = find_family(all, family);
    assert_non_null(found);
    for (size_t i = 0; i < found->count; i++)
        if (strcmp(found->samples[i].name + strlen(family), suffix) == 0)
            return found->samples[i].value;
    fail_msg("%s%s is not there", family, suffix);
    return NAN;
}

// ---- Tests

static const char two_events[] = "[{\"source\":{\"ip\":\"81.2.69.7\"}},{\"source\":{\"ip\":\"192.0.2.1\"}}]";
static const char odd_events[] = "[{},{\"source\":7},{\"source\":{\"ip\":\"x\"}},{\"source\":{\"ip\":\"81.2.69.7\"}}]";

// Two batches of s1, one of s2, two refusals.
static void some_requests(struct rig *rig)
{
    assert_int_equal(rig_post(rig, "Bearer token-s1", two_events), 204);
    assert_int_equal(rig_post(rig, "Bearer token-s1", odd_events), 204);
    assert_int_equal(rig_post(rig, "Bearer token-s2", "[]"), 204);
    assert_int_equal(rig_post(rig, "Bearer token-s2", "[5]"), 400);
    assert_int_equal(rig_post(rig, "Bearer nobody", "[]"), 401);
}

static void test_counts(void **state)
{
    struct rig *rig = rig_new(true);
    (void)state;
    some_requests(rig);
    struct exposition *all = expose(rig);

    assert_metric(all, "loom_ingest_requests_total", "sensor_id=\"s1\",status=\"204\"", 2);
    assert_metric(all, "loom_ingest_requests_total", "sensor_id=\"s2\",status=\"204\"", 1);
    assert_metric(all, "loom_ingest_requests_total", "sensor_id=\"s2\",status=\"400\"", 1);
    assert_metric(all, "loom_ingest_requests_total", "sensor_id=\"unknown\",status=\"401\"", 1);
    assert_int_equal(find_family(all, "loom_ingest_requests_total")->count, 4); // only what has happened
    assert_metric(all, "loom_ingest_events_total", "sensor_id=\"s1\"", 6);
    assert_metric(all, "loom_ingest_events_total", "sensor_id=\"s2\"", 0);
    assert_metric(all, "loom_ingest_refused_total", "reason=\"invalid_request\"", 1);
    assert_metric(all, "loom_ingest_refused_total", "reason=\"unauthorized\"", 1);
    assert_metric(all, "loom_ingest_refused_total", "reason=\"memory\"", 0);
    assert_int_equal(find_family(all, "loom_ingest_refused_total")->count, INGEST_REFUSED_COUNT);
    assert_metric(all, "loom_ingest_aborted_total", "", 0);
    assert_metric(all, "loom_ingest_inflight_bytes", "", 0);
    assert_metric(all, "loom_ingest_inflight_limit_bytes", "", 1000000);
    assert_true(histogram_part(all, "loom_ingest_request_duration_seconds", "_count") == 5);
    assert_true(histogram_part(all, "loom_ingest_batch_events", "_count") == 3);
    assert_true(histogram_part(all, "loom_ingest_batch_events", "_sum") == 6);
    assert_true(histogram_part(all, "loom_ingest_body_bytes", "_sum") ==
                (double)(strlen(two_events) + strlen(odd_events) + 2));

    assert_metric(all, "loom_enrich_lookups_total", "database=\"asn\",result=\"hit\"", 2);
    assert_metric(all, "loom_enrich_lookups_total", "database=\"asn\",result=\"miss\"", 1);
    assert_metric(all, "loom_enrich_lookups_total", "database=\"geo\",result=\"hit\"", 2);
    assert_metric(all, "loom_enrich_lookups_total", "database=\"geo\",result=\"error\"", 0);
    assert_metric(all, "loom_enrich_cache_total", "result=\"hit\"", 1);
    assert_metric(all, "loom_enrich_cache_total", "result=\"miss\"", 2);
    assert_metric(all, "loom_enrich_unchanged_total", "reason=\"no_source\"", 1);
    assert_metric(all, "loom_enrich_unchanged_total", "reason=\"source_type\"", 1);
    assert_metric(all, "loom_enrich_unchanged_total", "reason=\"not_an_address\"", 1);
    assert_metric(all, "loom_enrich_database_build_timestamp_seconds", "database=\"asn\"", 1700000000);

    assert_metric(all, "loom_output_up", "output=\"test\"", 1);
    assert_metric(all, "loom_output_events_total", "output=\"test\"", 6);
    assert_metric(all, "loom_output_writes_total", "output=\"test\"", 2);
    assert_metric(all, "loom_output_rejected_total", "output=\"test\"", 0);
    assert_metric(all, "loom_output_errors_total", "output=\"test\"", 0);
    assert_metric(all, "loom_store_batches", "", 0);
    assert_metric(all, "process_start_time_seconds", "", 1700000000);
    free(all);
    rig_free(rig);
}

static void test_waiting_batch_and_output_down(void **state)
{
    struct rig *rig = rig_new(false);
    (void)state;

    rig_output(false);
    rig_post_begin(rig, "Bearer token-s1", "[{},{}]");
    struct exposition *all = expose(rig);
    while (value_of(all, "loom_output_up", "output=\"test\"") > 0) {
        free(all);
        all = expose(rig);
    }
    assert_true(value_of(all, "loom_output_errors_total", "output=\"test\"") >= 1);
    assert_metric(all, "loom_output_events_total", "output=\"test\"", 0);
    assert_metric(all, "loom_store_batches", "", 1);
    assert_metric(all, "loom_store_events", "", 2);
    assert_metric(all, "loom_store_bytes", "", 6);
    assert_in_range((int)value_of(all, "loom_ingest_inflight_bytes", ""), 7, 4000); // with what holds the lines
    assert_metric(all, "loom_ingest_events_total", "sensor_id=\"s1\"", 0);          // not before the answer
    free(all);

    rig_output(true);
    assert_int_equal(rig_post_end(rig), 204);
    all = expose(rig);
    assert_metric(all, "loom_store_batches", "", 0);
    assert_metric(all, "loom_output_events_total", "output=\"test\"", 2);
    assert_metric(all, "loom_ingest_inflight_bytes", "", 0);
    assert_metric(all, "loom_ingest_events_total", "sensor_id=\"s1\"", 2);
    free(all);
    rig_free(rig);
}

static void test_histograms_are_cumulative(void **state)
{
    struct rig *rig = rig_new(true);
    size_t histograms = 0;
    (void)state;
    some_requests(rig);
    struct exposition *all = expose(rig);

    for (size_t i = 0; i < all->count; i++) {
        const struct family *family = &all->families[i];
        if (strcmp(family->type, "histogram") != 0)
            continue;
        histograms++;
        assert_int_equal(family->count, HISTOGRAM_BUCKETS + 1 + 2);
        for (size_t b = 1; b <= HISTOGRAM_BUCKETS; b++) {
            assert_true(family->samples[b].le > family->samples[b - 1].le);
            assert_true(family->samples[b].value >= family->samples[b - 1].value);
        }
        assert_true(isinf(family->samples[HISTOGRAM_BUCKETS].le));
        assert_true(family->samples[HISTOGRAM_BUCKETS].value == histogram_part(all, family->name, "_count"));
    }
    assert_int_equal(histograms, 4);
    free(all);
    rig_free(rig);
}

// Prometheus' own rules: _total ends a counter's name and no other, and the unit is a base unit.
static void test_names(void **state)
{
    struct rig *rig = rig_new(true);
    (void)state;
    struct exposition *all = expose(rig);

    for (size_t i = 0; i < all->count; i++) {
        const char *name = all->families[i].name;
        const char *end = strlen(name) > 6 ? name + strlen(name) - 6 : name;
        assert_int_equal(strcmp(end, "_total") == 0, strcmp(all->families[i].type, "counter") == 0);
        assert_true(strncmp(name, "loom_", 5) == 0 || strncmp(name, "process_", 8) == 0);
        assert_null(strstr(name, "_ms"));
        assert_null(strstr(name, "_ns"));
    }
    free(all);
    rig_free(rig);
}

static void test_labels_are_escaped(void **state)
{
    struct rig *rig = rig_new(false);
    (void)state;

    rig->admin.output = "a\"b\\c\nd";
    struct exposition *all = expose(rig);
    assert_metric(all, "loom_output_up", "output=\"a\\\"b\\\\c\\nd\"", 1);
    free(all);
    rig_free(rig);
}

static void test_without_databases(void **state)
{
    struct rig *rig = rig_new(false);
    (void)state;
    some_requests(rig);
    struct exposition *all = expose(rig);

    for (size_t i = 0; i < all->count; i++)
        assert_int_not_equal(strncmp(all->families[i].name, "loom_enrich_", 12), 0);
    assert_metric(all, "loom_ingest_events_total", "sensor_id=\"s1\"", 6);
    free(all);
    rig_free(rig);
}

// ---- docs/METRICS.md

// Families as the document lists them: | `name` | type | `label`, `label` | meaning |
static void read_row(struct exposition *documented, const char *line)
{
    struct family *family = &documented->families[documented->count];
    char labels[256], meaning[512];

    if (sscanf(line, "| `%127[a-z0-9_]` | %15[a-z] | %255[^|] | %511[^|]|", family->name, family->type, labels,
               meaning) != 4) {
        if (strncmp(line, "| `loom_", 8) == 0 || strncmp(line, "| `process_", 11) == 0)
            fail_msg("docs/METRICS.md: a row that this test can't read: %s", line);
        memset(family, 0, sizeof *family);
        return;
    }
    for (char *at = labels; (at = strchr(at, '`')) != NULL;) {
        char *end = strchr(at + 1, '`'), *keys = family->samples[0].keys;
        assert_non_null(end);
        snprintf(keys + strlen(keys), sizeof family->samples[0].keys - strlen(keys), " %.*s", (int)(end - at - 1),
                 at + 1);
        at = end + 1;
    }
    documented->count++;
    assert_in_range(documented->count, 0, 63);
}

static struct exposition *read_document(void)
{
    struct exposition *documented = calloc(1, sizeof *documented);
    char path[4096], line[1024];

    assert_non_null(documented);
    snprintf(path, sizeof path, "%s/docs/METRICS.md", source_root);
    FILE *file = fopen(path, "r");
    if (file == NULL)
        fail_msg("cannot open %s", path);
    while (fgets(line, sizeof line, file) != NULL)
        read_row(documented, line);
    fclose(file);
    return documented;
}

static void some_stats(struct store *store, struct store_stats *out)
{
    (void)store;
    *out =
        (struct store_stats){.bytes_max = 1, .dropped_events = 2, .damaged_records = 3, .later_events = 4, .errors = 5};
}

static void test_document_lists_every_family(void **state)
{
    struct rig *rig = rig_new(true);
    (void)state;
    some_requests(rig);
    // The families of a durable store are listed too.
    const struct store_ops durable = {.durable = true, .stats = some_stats};
    struct store store = {.ops = &durable};
    rig->admin.store = &store;
    struct exposition *printed = expose(rig), *documented = read_document();

    assert_metric(printed, "loom_store_max_bytes", "", 1);
    assert_metric(printed, "loom_store_dropped_events_total", "", 2);
    assert_metric(printed, "loom_store_damaged_records_total", "", 3);
    assert_metric(printed, "loom_store_later_version_events_total", "", 4);
    assert_metric(printed, "loom_store_errors_total", "", 5);
    for (size_t i = 0; i < printed->count; i++) {
        const struct family *family = &printed->families[i], *row = find_family(documented, family->name);
        if (row == NULL)
            fail_msg("docs/METRICS.md does not list %s", family->name);
        assert_string_equal(row->type, family->type);
        assert_true(family->count > 0);
        for (size_t s = 0; s < family->count; s++)
            assert_string_equal(row->samples[0].keys, family->samples[s].keys);
    }
    for (size_t i = 0; i < documented->count; i++) {
        if (find_family(printed, documented->families[i].name) == NULL)
            fail_msg("docs/METRICS.md lists %s, which is not printed", documented->families[i].name);
        if (i >= printed->count || strcmp(documented->families[i].name, printed->families[i].name) != 0)
            fail_msg("docs/METRICS.md: %s stands at another place than in /metrics", documented->families[i].name);
    }
    free(printed);
    free(documented);
    rig_free(rig);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_waiting_batch_and_output_down),
        cmocka_unit_test(test_histograms_are_cumulative),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_labels_are_escaped),
        cmocka_unit_test(test_without_databases),
        cmocka_unit_test(test_document_lists_every_family),
    };
    if (argc != 2) {
        fprintf(stderr, "usage: %s SOURCE_ROOT\n", argv[0]);
        return 2;
    }
    source_root = argv[1];
    log_setup(LOG_ERROR, LOG_JSON);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
