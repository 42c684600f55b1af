// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sink/es_time.h"

#include <stdio.h>

static void found_by_any_spelling(void **state)
{
    (void)state;
    static const struct {
        const char *event, *value; // NULL: none
    } cases[] = {
        {"{\"@timestamp\":\"x\"}", "\"x\""},
        {"{\"a\":{\"@timestamp\":1},\"b\":[{\"@timestamp\":2}],\"@timestamp\" : 3 }", "3"},
        {"{\"\\u0040time\\u0073tamp\":null}", "null"},
        {"{\"@timestamp\":1,\"@timestamp\":2}", "1"}, // which no Elasticsearch takes
        {"{}", NULL},
        {"{\"timestamp\":1,\"@timestamp2\":1,\"@Timestamp\":1}", NULL},
        {"{\"a\":\"@timestamp\"}", NULL},
        {"{\"\\u0040timestamp\\u0000\":1}", NULL},
        {"{\"\\u0040timestamp-and-a-lot-more\":1}", NULL},
        {"{\"a\":\"\\\"@timestamp\\\":1\",\"@timestamp\":\"y\\\"}\"}", "\"y\\\"}\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct text value;
        bool found = es_time_find(text_of(cases[i].event), &value);
        assert_int_equal(found, cases[i].value != NULL);
        if (found)
            assert_true(text_eq(value, text_of(cases[i].value)));
    }
}

#define NONE INT64_MIN

static const struct {
    const char *value;
    int64_t seconds;
} cases[] = {
    {"\"1970-01-01T00:00:00Z\"", 0},
    {"\"2026-11-23T17:02:21Z\"", 1795453341},
    {"\"2026-11-23T17:02:21.123456789Z\"", 1795453341},
    {"\"2026-11-23T17:02:21,5Z\"", 1795453341},
    {"\"2026-11-23t17:02:21z\"", 1795453341},
    {"\"2026-11-23 17:02:21Z\"", 1795453341},
    {"\"2026-11-23T19:02:21+02:00\"", 1795453341},
    {"\"2026-11-23T19:02:21+0200\"", 1795453341},
    {"\"2026-11-23T19:02:21+02\"", 1795453341},
    {"\"2026-11-24T02:32:21+09:30\"", 1795453341},
    {"\"2026-11-23T09:02:21-08:00\"", 1795453341},
    {"\"2026-11-23T17:02:21\"", 1795453341},
    {"\"2026-11-23T17:02\"", 1795453320},
    {"\"2026-11-23T17\"", 1795453200},
    {"\"2026-11-23T\"", 1795392000},
    {"\"2026-11-23\"", 1795392000},
    {"\"2026-\\u0031\\u0031-23\"", 1795392000},
    {"\"2024-02-29T00:00:00Z\"", 1709164800},
    {"\"2000-02-29\"", 951782400},
    {"\"1969-12-31T23:59:59Z\"", -1},
    {"\"0000-01-01T00:00:00Z\"", -62167219200},
    {"\"9999-12-31T23:59:59Z\"", 253402300799},
    {"\"2016-12-31T23:59:60Z\"", 1483228799}, // a leap second is of its own day
    {"1795453341000", 1795453341},
    {"1795453341999", 1795453341},
    {"1795453341999.75", 1795453341},
    {"\"1795453341000\"", 1795453341},
    {"0", 0},
    {"-1", -1},
    {"-1000", -1},
    {"-1001", -2},
    {"\"\"", NONE},
    {"\"Z\"", NONE},
    {"\"2026\"", NONE},
    {"\"2026-11\"", NONE},
    {"\"2026-02-29\"", NONE},
    {"\"1900-02-29\"", NONE},
    {"\"2026-13-01\"", NONE},
    {"\"2026-00-01\"", NONE},
    {"\"2026-01-00\"", NONE},
    {"\"2026-04-31\"", NONE},
    {"\"2026-11-23T24:00:00Z\"", NONE},
    {"\"2026-11-23T17:60:00Z\"", NONE},
    {"\"2026-11-23T17:02:61Z\"", NONE},
    {"\"2026-11-23T17:02:21.Z\"", NONE},
    {"\"2026-11-23T17:02:21Zx\"", NONE},
    {"\"2026-11-23T17:02:21+24:00\"", NONE},
    {"\"2026-11-23T17:02:21+02:60\"", NONE},
    {"\"2026-11-23T17:02:21+0\"", NONE},
    {"\"2026-11-23T17:02:21 \"", NONE},
    {"\"26-11-23\"", NONE},
    {"\"+2026-11-23\"", NONE},
    {"\"0000-01-01T00:00:00+00:01\"", NONE}, // a year before the first
    {"\"9999-12-31T23:59:59-00:01\"", NONE},
    {"\"2026-11-23T17:02:21.00000000000000000000000000000000000000000000000000000000000000000000Z\"", NONE},
    {"253402300800000", NONE},
    {"99999999999999999999999", NONE},
    {"1.7e12", NONE},
    {"-", NONE},
    {"null", NONE},
    {"true", NONE},
    {"{\"a\":1}", NONE},
    {"[\"2026-11-23\"]", NONE},
};

static void values(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t seconds = 0;
        if (!es_time_read(text_of(cases[i].value), &seconds))
            seconds = NONE;
        if (seconds != cases[i].seconds)
            fail_msg("%s: %lld", cases[i].value, (long long)seconds);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(found_by_any_spelling), cmocka_unit_test(values)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
