// SPDX-License-Identifier: Apache-2.0
//
// From a body to a batch, through a worker with and without databases.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "bed.h"

static const struct ingest_limits usual = {
    .max_body_size_bytes = 1 << 20, .max_events_per_batch = 3, .max_event_size_bytes = 40, .ack_timeout_ms = 1000};
static const struct ingest_limits wide = {
    .max_body_size_bytes = 1 << 20, .max_events_per_batch = 1000, .max_event_size_bytes = 1 << 20};

// What the two databases know of 81.2.69.0/24.
#define ADDED                                                                                                          \
    "\"as\":{\"number\":64500,\"organization\":{\"name\":\"Example Transit\"}},"                                       \
    "\"geo\":{\"continent_code\":\"EU\",\"continent_name\":\"Europe\",\"country_iso_code\":\"GB\","                    \
    "\"country_name\":\"United Kingdom\",\"region_iso_code\":\"GB-WSM\",\"region_name\":\"Westminster\","              \
    "\"city_name\":\"London\",\"postal_code\":\"SW1A\",\"timezone\":\"Europe/London\","                                \
    "\"location\":{\"lat\":51.5014,\"lon\":-0.1419}}"

static void assert_lines(const struct batch *batch, const char *const *expected, size_t count)
{
    assert_int_equal(batch->count, count);
    assert_int_equal(batch->lines.len, batch->count > 0 ? batch->ends[count - 1] : 0);
    for (uint32_t i = 0; i < count; i++) {
        struct text line = batch_event(batch, i);
        assert_int_equal(line.len, strlen(expected[i]) + 1);
        assert_memory_equal(line.at, expected[i], line.len - 1);
        assert_int_equal(line.at[line.len - 1], '\n');
    }
}

static void assert_built(struct bed *bed, const char *body, const char *const *expected, size_t count)
{
    struct refusal refusal;
    struct intake *intake = bed_intake(bed, text_of(body));
    int64_t before_ns = clock_real_ns();

    assert_int_equal(ingest_build(intake, &refusal), 0);
    assert_lines(&intake->batch, expected, count);
    assert_in_range(intake->batch.arrived_real_ns, before_ns, clock_real_ns());
    assert_int_equal(intake->admitted, strlen(body)); // until the body is dropped
    assert_int_equal(budget_used(&bed->budget), intake->admitted);
    intake_put(intake);
}

static void test_lines_and_ends(void **state)
{
    static const char *const expected[] = {"{\"a\" :1.0}", "{\"b\":2}", "{}"};
    struct bed *bed = bed_new(&usual, false);
    (void)state;

    assert_built(bed, " [ {\"a\" :1.0},\r\n{\"b\":\n2\t} , {} ] ",
                 (const char *const[]){"{\"a\" :1.0}", "{\"b\":2\t}", "{}"}, 3);
    assert_built(bed, "[{\"a\" :1.0},{\"b\":2},{}]", expected, 3);
    assert_built(bed, "[{\"b\":2}]", expected + 1, 1); // in the memory of the one before
    assert_built(bed, "[]", expected, 0);
    assert_built(bed, "\n[ ]\n", expected, 0);
    bed_free(bed);
}

struct refused {
    const char *body;
    enum ingest_refusal why;
    const char *detail; // NULL: the scanner's, whatever it says
    int64_t event, offset;
};

// The limits are 3 events and 40 bytes an event.
#define E40 "{\"k\":\"00000000000000000000000000000000\"}"
#define E41 "{\"k\":\"000000000000000000000000000000000\"}"
static const struct refused refused[] = {
    {"[{},{},{},{}]", INGEST_REFUSED_BATCH_SIZE, "more events than max_events_per_batch", -1, -1},
    {"[{},{},{},{},{},{},{},{},{}]", INGEST_REFUSED_BATCH_SIZE, "more events than max_events_per_batch", -1, -1},
    {"[" E41 "]", INGEST_REFUSED_EVENT_SIZE, "larger than max_event_size_bytes", 0, 1},
    {"[{}, " E41 "," E41 "]", INGEST_REFUSED_EVENT_SIZE, "larger than max_event_size_bytes", 1, 5},
    // Too many wins over too large, invalid over both, wherever it stands.
    {"[" E41 ",{},{},{}]", INGEST_REFUSED_BATCH_SIZE, "more events than max_events_per_batch", -1, -1},
    {"[{},{},{},{},5]", INGEST_REFUSED_INVALID, NULL, 4, 13},
    {"[" E41 ",{},{},{}", INGEST_REFUSED_INVALID, NULL, -2, -2},
    {"[" E41 "] x", INGEST_REFUSED_INVALID, NULL, -2, -2},
    {"", INGEST_REFUSED_INVALID, NULL, -2, -2},
    {"{}", INGEST_REFUSED_INVALID, NULL, -2, -2},
    {"[{},7]", INGEST_REFUSED_INVALID, NULL, 1, 4},
    {"[{\"a\":01}]", INGEST_REFUSED_INVALID, NULL, 0, -2},
};

static void test_refused(void **state)
{
    struct bed *bed = bed_new(&usual, false);
    (void)state;

    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        const struct refused *row = &refused[i];
        struct refusal refusal = {.detail = NULL, .event = -3, .offset = -3};
        struct intake *intake = bed_intake(bed, text_of(row->body));

        assert_true(ingest_build(intake, &refusal) < 0);
        assert_int_equal(refusal.why, row->why);
        assert_non_null(refusal.detail);
        if (row->detail != NULL)
            assert_string_equal(refusal.detail, row->detail);
        if (row->event != -2) // -2: json's tests say where
            assert_int_equal(refusal.event, row->event);
        if (row->offset != -2)
            assert_int_equal(refusal.offset, row->offset);
        intake_put(intake);
    }
    assert_built(bed, "[{},{},{}]", (const char *const[]){"{}", "{}", "{}"}, 3); // at the limits
    assert_built(bed, "[{},{}]", (const char *const[]){"{}", "{}"}, 2);
    assert_built(bed, "[" E40 "]", (const char *const[]){E40}, 1);
    bed_free(bed);
}

// The bytes that were sent count, also those that the line is without.
static void test_line_breaks_count(void **state)
{
    struct bed *bed = bed_new(&usual, false);
    (void)state;

    for (int over = 0; over <= 1; over++) {
        struct refusal refusal;
        struct buf body = BUF_EMPTY;
        buf_str(&body, "[{");
        for (int i = 0; i < 38 + over; i++)
            buf_char(&body, '\n');
        buf_str(&body, "}]");
        struct intake *intake = bed_intake(bed, (struct text){body.data, body.len});
        int rc = ingest_build(intake, &refusal);
        if (over) {
            assert_true(rc < 0);
            assert_int_equal(refusal.why, INGEST_REFUSED_EVENT_SIZE);
        } else {
            assert_int_equal(rc, 0);
            assert_lines(&intake->batch, (const char *const[]){"{}"}, 1);
        }
        intake_put(intake);
        buf_fini(&body);
    }
    bed_free(bed);
}

static void test_enriched(void **state)
{
    struct bed *bed = bed_new(&wide, true);
    (void)state;

    assert_built(bed,
                 "[{\"source\":{\"ip\":\"81.2.69.7\",\"port\":1.0},\"x\":\"\\u0000\"},"
                 "{\"source\":{\"ip\":\"192.0.2.1\"}},"
                 "{\"source\":{\"ip\":\"::ffff:81.2.69.7\"}}]",
                 (const char *const[]){
                     "{\"source\":{\"ip\":\"81.2.69.7\",\"port\":1.0," ADDED "},\"x\":\"\\u0000\"}",
                     "{\"source\":{\"ip\":\"192.0.2.1\"}}",
                     "{\"source\":{\"ip\":\"::ffff:81.2.69.7\"," ADDED "}}",
                 },
                 3);
    const struct enrich_stats *stats = ingest_worker_enrich_stats(bed->worker);
    assert_int_equal(counter_get(&stats->hits[ENRICH_DB_ASN]), 2);
    assert_int_equal(counter_get(&stats->misses[ENRICH_DB_ASN]), 1);
    bed_free(bed);
}

static void test_without_databases(void **state)
{
    static const char event[] = "{\"source\":{\"ip\":\"81.2.69.7\"}}";
    struct bed *bed = bed_new(&wide, false);
    (void)state;

    assert_built(bed, "[{\"source\":{\"ip\":\"81.2.69.7\"}},{\"source\":7}]",
                 (const char *const[]){event, "{\"source\":7}"}, 2);
    assert_null(ingest_worker_enrich_stats(bed->worker));
    for (size_t i = 0; i < JSON_PASS_COUNT; i++) // nothing was to be enriched, so nothing could not be
        assert_int_equal(counter_get(&ingest_worker_stats(bed->worker)->unchanged[i]), 0);
    bed_free(bed);
}

static void test_unchanged_is_counted(void **state)
{
    static const struct {
        const char *event;
        enum json_pass pass; // JSON_PASS_OK: no address, which enrich counts
    } rows[] = {
        {"{}", JSON_PASS_NO_SOURCE},
        {"{\"destination\":{\"ip\":\"81.2.69.7\"}}", JSON_PASS_NO_SOURCE},
        {"{\"source\":\"81.2.69.7\"}", JSON_PASS_SOURCE_TYPE},
        {"{\"source\":{}}", JSON_PASS_NO_IP},
        {"{\"source\":{\"ip\":[\"81.2.69.7\"]}}", JSON_PASS_IP_TYPE},
        {"{\"source\":{\"ip\":\"81.2.69.7\",\"ip\":\"81.2.69.8\"}}", JSON_PASS_DUPLICATE_KEY},
        {"{\"source\":{\"ip\":\"81.2.69.7\"},\"source.ip\":\"81.2.69.7\"}", JSON_PASS_DUPLICATE_KEY},
        {"{\"source\":{\"ip\":\"81.2.69.7\",\"geo\":[]}}", JSON_PASS_TARGET_TYPE},
        {"{\"source\":{\"ip\":\"nowhere\"}}", JSON_PASS_OK},
        {"{\"source\":{\"ip\":\"\"}}", JSON_PASS_OK},
    };
    uint64_t expected[JSON_PASS_COUNT] = {0};
    struct bed *bed = bed_new(&wide, true);
    char body[256];
    (void)state;

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        snprintf(body, sizeof body, "[%s,%s]", rows[i].event, rows[i].event);
        assert_built(bed, body, (const char *const[]){rows[i].event, rows[i].event}, 2);
        expected[rows[i].pass] += 2;
        for (size_t pass = JSON_PASS_OK + 1; pass < JSON_PASS_COUNT; pass++)
            assert_int_equal(counter_get(&ingest_worker_stats(bed->worker)->unchanged[pass]), expected[pass]);
    }
    assert_int_equal(counter_get(&ingest_worker_enrich_stats(bed->worker)->not_an_address), expected[JSON_PASS_OK]);
    for (size_t pass = JSON_PASS_OK; pass < JSON_PASS_COUNT; pass++)
        assert_true(expected[pass] > 0); // each reason has a row
    bed_free(bed);
}

// What is added to many events is more than was guessed when the lines were reserved.
static void test_lines_grow(void **state)
{
    enum { EVENTS = 1000 };
    struct bed *bed = bed_new(&wide, true);
    struct buf body = BUF_EMPTY;
    struct refusal refusal;
    (void)state;

    for (size_t i = 0; i < EVENTS; i++)
        buf_printf(&body, "%s{\"source\":{\"ip\":\"81.2.69.%zu\"},\"n\":%zu}", i == 0 ? "[" : ",", i % 256, i);
    buf_char(&body, ']');
    struct intake *intake = bed_intake(bed, (struct text){body.data, body.len});
    assert_int_equal(ingest_build(intake, &refusal), 0);
    assert_int_equal(intake->batch.count, EVENTS);
    for (uint32_t i = 0; i < EVENTS; i++) {
        char expected[1024];
        int len = snprintf(expected, sizeof expected, "{\"source\":{\"ip\":\"81.2.69.%u\"," ADDED "},\"n\":%u}\n",
                           i % 256, i);
        struct text line = batch_event(&intake->batch, i);
        assert_int_equal(line.len, len);
        assert_memory_equal(line.at, expected, line.len);
    }
    intake_put(intake);
    buf_fini(&body);
    bed_free(bed);
}

// Events are looked up some at a time; those of one kind stand between others, and the last group is not full.
static void test_each_has_its_own(void **state)
{
    static const struct {
        const char *before, *added; // of the last octet
    } kinds[] = {
        {"{\"source\":{\"ip\":\"81.2.69.", "," ADDED},
        {"{\"source\":{\"id\":\"", ""},
        {"{\"source\":{\"ip\":\"\\u00381.2.69.", "," ADDED},
        {"{\"source\":{\"ip\":\"192.0.2.", ""},
    };
    struct bed *bed = bed_new(&wide, true);
    struct buf body = BUF_EMPTY, expected = BUF_EMPTY;
    struct refusal refusal;
    (void)state;

    for (size_t count = 1; count <= 70; count++) {
        body.len = expected.len = 0;
        for (size_t i = 0; i < count; i++) {
            size_t kind = (i + i / 16) % 4;
            buf_printf(&body, "%c%s%zu\"},\"n\":%zu}", i == 0 ? '[' : ',', kinds[kind].before, i, i);
            buf_printf(&expected, "%s%zu\"%s},\"n\":%zu}\n", kinds[kind].before, i, kinds[kind].added, i);
        }
        buf_char(&body, ']');
        struct intake *intake = bed_intake(bed, (struct text){body.data, body.len});
        assert_int_equal(ingest_build(intake, &refusal), 0);
        assert_int_equal(intake->batch.lines.len, expected.len);
        assert_memory_equal(intake->batch.lines.data, expected.data, expected.len);
        intake_put(intake);
    }
    buf_fini(&body);
    buf_fini(&expected);
    bed_free(bed);
}

static struct batch_id id_of(struct bed *bed, struct sensor *sensor, const char *body)
{
    struct refusal refusal;
    struct intake *intake = bed_intake(bed, text_of(body));
    intake->sensor = sensor;
    assert_int_equal(ingest_build(intake, &refusal), 0);
    struct batch_id id = intake->batch.id;
    intake_put(intake);
    return id;
}

static bool same_id(struct batch_id a, struct batch_id b)
{
    return a.low == b.low && a.high == b.high;
}

// The whole body as it was received: a blank more is another batch, though the lines are the same.
static void test_id_of_sensor_and_body(void **state)
{
    struct bed *bed = bed_new(&usual, false);
    struct sensor *sensor = bed_sensor(bed), *other = auth_unknown(bed->ingest.auth);
    (void)state;

    struct batch_id id = id_of(bed, sensor, "[{\"a\":1},{\"b\":2}]");
    assert_true(same_id(id, id_of(bed, sensor, "[{\"a\":1},{\"b\":2}]")));
    assert_false(same_id(id, id_of(bed, other, "[{\"a\":1},{\"b\":2}]")));
    assert_false(same_id(id, id_of(bed, sensor, "[{\"a\":1},{\"b\":3}]")));
    assert_false(same_id(id, id_of(bed, sensor, "[{\"a\":1},{\"b\":2}] ")));
    bed_free(bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines_and_ends),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_line_breaks_count),
        cmocka_unit_test(test_enriched),
        cmocka_unit_test(test_without_databases),
        cmocka_unit_test(test_unchanged_is_counted),
        cmocka_unit_test(test_lines_grow),
        cmocka_unit_test(test_each_has_its_own),
        cmocka_unit_test(test_id_of_sensor_and_body),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
