// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "json/splice.h"

#define AS  "\"as\":{\"number\":64500,\"organization\":{\"name\":\"Ex\"}}"
#define GEO "\"geo\":{\"city_name\":\"Delft\",\"location\":{\"lat\":52.01,\"lon\":4.36}}"

static const struct {
    const char *event;
    const char *additions;
    const char *line;
} cases[] = {
    // Nested, nothing there yet.
    {"{\"source\":{\"ip\":\"a\"},\"b\":1.0}", AS, "{\"source\":{\"ip\":\"a\"," AS "},\"b\":1.0}\n"},
    {"{\"source\":{\"ip\":\"a\" } }", AS "," GEO, "{\"source\":{\"ip\":\"a\" ," AS "," GEO "} }\n"},
    {"{\"source\":{\"ip\":\"a\"}}", "", "{\"source\":{\"ip\":\"a\"}}\n"},
    {"{\"so\\u0075rce\":{\"\\u0069p\":\"a\"}}", AS, "{\"so\\u0075rce\":{\"\\u0069p\":\"a\"," AS "}}\n"},
    // Line breaks between tokens go, other blanks stay.
    {"{\n \"source\":\r\n\t{\"ip\":\"a\\n\"\n}\n}", AS, "{ \"source\":\t{\"ip\":\"a\\n\"," AS "}}\n"},
    {"{\n \"a\":\r\n\t[1,\n2]}", "", "{ \"a\":\t[1,2]}\n"},
    // Merged: own members keep their place, known values are replaced in place, new ones come last.
    {"{\"source\":{\"as\":{\"number\":1,\"x\":[1, 2]},\"ip\":\"a\"}}", AS,
     "{\"source\":{\"as\":{\"number\":64500,\"x\":[1, 2],\"organization\":{\"name\":\"Ex\"}},\"ip\":\"a\"}}\n"},
    {"{\"source\":{\"as\":{},\"ip\":\"a\"}}", AS "," GEO, "{\"source\":{" AS ",\"ip\":\"a\"," GEO "}}\n"},
    {"{\"source\":{\"as\":{ \"org\\u0061nization\" : { \"id\" : 7 , \"name\" : null } },\"ip\":\"a\"}}", AS,
     "{\"source\":{\"as\":{ \"org\\u0061nization\" : { \"id\" : 7 , \"name\" : \"Ex\" } "
     ",\"number\":64500},\"ip\":\"a\"}}\n"},
    {"{\"source\":{\"ip\":\"a\",\"geo\":{\"location\":{\"alt\":1},\"name\":\"n\"}}}", GEO,
     "{\"source\":{\"ip\":\"a\",\"geo\":{\"location\":{\"lat\":52.01,\"lon\":4.36},\"name\":\"n\",\"city_name\":"
     "\"Delft\"}}}\n"},
    {"{\"source\":{\"ip\":\"a\",\"geo\":{\"a\":1}}}", AS, "{\"source\":{\"ip\":\"a\",\"geo\":{\"a\":1}," AS "}}\n"},
    {"{\"source\":\n{\"as\":\n{\"number\":\n1\n},\"ip\":\"a\"}}", "\"as\":{\"number\":2}",
     "{\"source\":{\"as\":{\"number\":2},\"ip\":\"a\"}}\n"},
    // Dotted.
    {"{\"source.ip\":\"a\",\"b\":1}", AS "," GEO,
     "{\"source.ip\":\"a\",\"b\":1,\"source.as.number\":64500,\"source.as.organization.name\":\"Ex\","
     "\"source.geo.city_name\":\"Delft\",\"source.geo.location\":{\"lat\":52.01,\"lon\":4.36}}\n"},
    {"{\"source.as.number\" : 1 , \"source.ip\":\"a\" }", AS,
     "{\"source.as.number\" : 64500 , \"source.ip\":\"a\" ,\"source.as.organization.name\":\"Ex\"}\n"},
    {"{\"source.geo.location\":[1,2],\"source.geo.c\\u0069ty_name\":null,\"source.ip\":\"a\"}", GEO,
     "{\"source.geo.location\":{\"lat\":52.01,\"lon\":4.36},\"source.geo.c\\u0069ty_name\":\"Delft\",\"source.ip\":"
     "\"a\"}\n"},
    {"{\"source.ip\":\"a\",\n\"source\":{\"port\":1}}", AS,
     "{\"source.ip\":\"a\",\"source\":{\"port\":1},\"source.as.number\":64500,\"source.as.organization.name\":\"Ex\"}"
     "\n"},
    // Beside what Loom does not know, in any form.
    {"{\"source\":{\"ip\":\"a\",\"as.x\":1},\"source.as.y\":2}", AS,
     "{\"source\":{\"ip\":\"a\",\"as.x\":1,\"as\":{\"number\":64500,\"organization\":{\"name\":\"Ex\"}}},\"source.as."
     "y\":2}\n"},
    {"{\"source.as\":{\"x\":1},\"source\":{\"ip\":\"a\"}}", AS,
     "{\"source.as\":{\"x\":1},\"source\":{\"ip\":\"a\",\"as\":{\"number\":64500,\"organization\":{\"name\":\"Ex\"}}}}"
     "\n"},
    {"{\"source\":{\"ip\":\"a\",\"domain\":1,\"domain\":2}}", AS,
     "{\"source\":{\"ip\":\"a\",\"domain\":1,\"domain\":2,\"as\":{\"number\":64500,\"organization\":{\"name\":\"Ex\"}}}"
     "}\n"},
    {"{\"source.ip\":\"a\",\"source\":{\"as\":{\"x\":1}}}", AS,
     "{\"source.ip\":\"a\",\"source\":{\"as\":{\"x\":1}},\"source.as.number\":64500,\"source.as.organization.name\":"
     "\"Ex\"}\n"},
    {"{\"source.ip\":\"a\",\"source.as\":{\"x\":1}}", AS,
     "{\"source.ip\":\"a\",\"source.as\":{\"x\":1},\"source.as.number\":64500,\"source.as.organization.name\":\"Ex\"}"
     "\n"},
};

static void test_cases(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf body = BUF_EMPTY, out = BUF_EMPTY;
        struct json_events events = {0};
        struct json_error error;
        struct json_place place;
        buf_printf(&body, "[ %s]", cases[i].event);
        assert_int_equal(json_scan(body.data, body.len, &events, &error), 0);

        buf_str(&out, "before\n");
        enum json_pass pass = json_locate(body.data, &events.at[0], &place);
        if (pass == JSON_PASS_OK)
            assert_int_equal(json_splice(body.data, &place, text_of(cases[i].additions), &out), 0);
        else
            assert_int_equal(json_copy(body.data, &events.at[0], &out), 0);
        buf_char(&out, '\0');
        assert_memory_equal(out.data, "before\n", 7);
        assert_string_equal(out.data + 7, cases[i].line);

        json_events_fini(&events);
        buf_fini(&body);
        buf_fini(&out);
    }
}

// Every event of a batch, each to its own line.
static void test_batch(void **state)
{
    (void)state;
    static const char body[] = "[{\"source\":{\"ip\":\"a\"}},\n{\"b\":1},{\"source\":{\"ip\":\"c\",\"port\":1}}]";
    struct buf out = BUF_EMPTY;
    struct json_events events = {0};
    struct json_error error;
    assert_int_equal(json_scan(body, sizeof body - 1, &events, &error), 0);
    assert_int_equal(events.count, 3);
    for (size_t i = 0; i < events.count; i++) {
        struct json_place place;
        if (json_locate(body, &events.at[i], &place) == JSON_PASS_OK)
            assert_int_equal(json_splice(body, &place, TEXT("\"as\":{\"number\":1}"), &out), 0);
        else
            assert_int_equal(json_copy(body, &events.at[i], &out), 0);
    }
    buf_char(&out, '\0');
    assert_string_equal(out.data, "{\"source\":{\"ip\":\"a\",\"as\":{\"number\":1}}}\n{\"b\":1}\n"
                                  "{\"source\":{\"ip\":\"c\",\"port\":1,\"as\":{\"number\":1}}}\n");
    json_events_fini(&events);
    buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cases), cmocka_unit_test(test_batch)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
