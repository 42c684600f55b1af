// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

#include "base/buf.h"
#include "json/splice.h"

#define IP "\"192.0.2.1\""

static enum json_pass locate(const char *text, struct buf *body, struct json_events *events, struct json_place *place)
{
    struct json_error error;
    buf_printf(body, "[%s]", text);
    assert_int_equal(json_scan(body->data, body->len, events, &error), 0);
    assert_int_equal(events->count, 1);
    return json_locate(body->data, &events->at[0], place);
}

static const struct {
    const char *event;
    enum json_pass pass;
} passes[] = {
    {"{}", JSON_PASS_NO_SOURCE},
    {"{\"a\":{\"source\":{\"ip\":" IP "}}}", JSON_PASS_NO_SOURCE},
    {"{\"source.port\":1}", JSON_PASS_NO_SOURCE},
    {"{\"Source\":{\"ip\":" IP "}}", JSON_PASS_NO_SOURCE},
    {"{\"source\":null}", JSON_PASS_SOURCE_TYPE},
    {"{\"source\":" IP "}", JSON_PASS_SOURCE_TYPE},
    {"{\"source\":[{\"ip\":" IP "}]}", JSON_PASS_SOURCE_TYPE},
    {"{\"source\":1,\"source.ip\":" IP "}", JSON_PASS_SOURCE_TYPE},
    {"{\"source\":{}}", JSON_PASS_NO_IP},
    {"{\"source\":{\"port\":1}}", JSON_PASS_NO_IP},
    {"{\"source\":{\"a\":{\"ip\":" IP "}}}", JSON_PASS_NO_IP},
    {"{\"sou\\u0072ce\":{\"port\":1}}", JSON_PASS_NO_IP},
    {"{\"source\":{\"ip\":null}}", JSON_PASS_IP_TYPE},
    {"{\"source\":{\"ip\":[" IP "]}}", JSON_PASS_IP_TYPE},
    {"{\"source.ip\":1}", JSON_PASS_IP_TYPE},
    {"{\"source\":{\"ip\":" IP ",\"as\":null}}", JSON_PASS_TARGET_TYPE},
    {"{\"source\":{\"ip\":" IP ",\"geo\":[]}}", JSON_PASS_TARGET_TYPE},
    {"{\"source\":{\"ip\":" IP ",\"as\":{\"organization\":\"a\"}}}", JSON_PASS_TARGET_TYPE},
    {"{\"source.ip\":" IP ",\"source.geo\":1}", JSON_PASS_TARGET_TYPE},
    // Twice.
    {"{\"source\":{\"ip\":" IP "},\"source\":{}}", JSON_PASS_DUPLICATE_KEY},
    {"{\"source\":{\"ip\":" IP "},\"\\u0073ource\":1}", JSON_PASS_DUPLICATE_KEY},
    {"{\"source\":{\"ip\":" IP ",\"ip\":" IP "}}", JSON_PASS_DUPLICATE_KEY},
    {"{\"source\":{\"ip\":" IP ",\"i\\u0070\":1}}", JSON_PASS_DUPLICATE_KEY},
    {"{\"source.ip\":" IP ",\"source.ip\":" IP "}", JSON_PASS_DUPLICATE_KEY},
    {"{\"source\":{\"ip\":" IP ",\"as\":{},\"as\":{}}}", JSON_PASS_DUPLICATE_KEY},
    {"{\"source\":{\"ip\":" IP ",\"as\":{\"number\":1,\"number\":2}}}", JSON_PASS_DUPLICATE_KEY},
    {"{\"source\":{\"ip\":" IP ",\"as\":{\"organization\":{\"name\":1,\"nam\\u0065\":2}}}}", JSON_PASS_DUPLICATE_KEY},
    {"{\"source\":{\"ip\":" IP ",\"geo\":{\"location\":1,\"location\":2}}}", JSON_PASS_DUPLICATE_KEY},
    {"{\"source.ip\":" IP ",\"source.geo.city_name\":1,\"source.geo.city_name\":1}", JSON_PASS_DUPLICATE_KEY},
    // In both forms, or in another than that of the address.
    {"{\"source\":{\"ip\":" IP "},\"source.ip\":" IP "}", JSON_PASS_DUPLICATE_KEY},
    {"{\"source\":{\"ip\":" IP ",\"as.number\":1}}", JSON_PASS_DUPLICATE_KEY},
    {"{\"source\":{\"ip\":" IP ",\"as\":{\"organization.name\":1}}}", JSON_PASS_DUPLICATE_KEY},
    {"{\"source\":{\"ip\":" IP "},\"source.as.number\":5}", JSON_PASS_DUPLICATE_KEY},
    {"{\"source.ip\":" IP ",\"source.geo.location.lat\":1}", JSON_PASS_DUPLICATE_KEY},
    {"{\"source\":{\"ip\":" IP ",\"geo\":{\"location.lat\":1}}}", JSON_PASS_DUPLICATE_KEY},
    {"{\"source\":{\"ip\":" IP ",\"as\":{\"a\":1}},\"source.as\":{\"b\":1}}", JSON_PASS_DUPLICATE_KEY},
    {"{\"source\":{\"ip\":" IP ",\"as.organization\":{\"name\":1}}}", JSON_PASS_DUPLICATE_KEY},
    {"{\"source\":{\"ip\":" IP "},\"source.as\":{\"number\":1}}", JSON_PASS_DUPLICATE_KEY},
    {"{\"source\":{\"ip\":" IP "},\"source.as\":{\"organization\":{\"name\":1}}}", JSON_PASS_DUPLICATE_KEY},
    {"{\"source.ip\":" IP ",\"source.as\":{\"number\":1}}", JSON_PASS_DUPLICATE_KEY},
    {"{\"source.ip\":" IP ",\"source\":{\"as\":{\"number\":1}}}", JSON_PASS_DUPLICATE_KEY},
    {"{\"source.ip\":" IP ",\"source\":{\"geo.city_name\":1}}", JSON_PASS_DUPLICATE_KEY},
    {"{\"source.ip\":" IP ",\"source\":{\"geo\":{\"location\":1}}}", JSON_PASS_DUPLICATE_KEY},
    {"{\"source\":{\"ip\":" IP "},\"source.geo\":{\"location\":{}}}", JSON_PASS_DUPLICATE_KEY},
    {"{\"source\":{\"ip\":" IP "},\"source.geo.location.lon\":1}", JSON_PASS_DUPLICATE_KEY},
    {"{\"source\":{\"ip\":" IP ",\"geo\":{\"location\":{},\"location.lat\":1}}}", JSON_PASS_DUPLICATE_KEY},
    {"{\"source.ip\":" IP ",\"source\":{\"geo\":1}}", JSON_PASS_TARGET_TYPE},
    {"{\"source\":{\"ip\":" IP "},\"source.as\":1}", JSON_PASS_TARGET_TYPE},
    {"{\"source\":{\"ip\":" IP ",\"as.organization\":1}}", JSON_PASS_TARGET_TYPE},
    {"{\"source\":{\"as.number\":1}}", JSON_PASS_NO_IP},
    {"{\"source\":{\"geo\":{\"location.lat\":1}}}", JSON_PASS_NO_IP},
    // Fine.
    {"{\"source\":{\"ip\":" IP "}}", JSON_PASS_OK},
    {"{\"source\":{\"ip\":" IP ",\"ip.a\":1,\"a\":1,\"a\":1}}", JSON_PASS_OK},
    {"{\"source.ip\":" IP ",\"source\":{\"port\":1}}", JSON_PASS_OK},
    {"{\"source\":{\"ip\":" IP ",\"as\":{\"a\":1,\"organization\":{}},\"geo\":{\"location\":1}}}", JSON_PASS_OK},
    {"{\"source.ip\":" IP ",\"source.as.number\":1,\"source.as.organization.name\":1}", JSON_PASS_OK},
    {"{\"s\\u006f\\u0075rce\\u002eip\":" IP "}", JSON_PASS_OK},
    // What Loom neither reads nor writes may stand there in any form, and twice.
    {"{\"source\":{\"ip\":" IP ",\"domain\":\"a\",\"domain\":\"b\"},\"source.domain\":\"c\"}", JSON_PASS_OK},
    {"{\"source.ip\":" IP ",\"source.domain\":\"a\",\"source\":{\"domain\":1}}", JSON_PASS_OK},
    {"{\"source\":{\"ip\":" IP "},\"source.geo.my_own\":1,\"source.as.other\":1}", JSON_PASS_OK},
    {"{\"source\":{\"ip\":" IP ",\"geo.my_own\":1,\"as.other\":1,\"as.organization.id\":1}}", JSON_PASS_OK},
    {"{\"source\":{\"ip\":" IP ",\"as\":{\"organization.id\":1}}}", JSON_PASS_OK},
    {"{\"source\":{\"ip\":" IP ",\"geo\":{\"my_own\":1,\"my_own\":2}},\"source.geo.my_own\":3}", JSON_PASS_OK},
    {"{\"source\":{\"ip\":" IP "},\"source.geo\":{\"my_own\":1},\"source.as\":{}}", JSON_PASS_OK},
    {"{\"source.ip\":" IP ",\"source\":{\"geo\":{\"my_own\":1},\"as\":{}}}", JSON_PASS_OK},
    {"{\"source.ip\":" IP ",\"source.geo\":{\"my_own\":1},\"source.as.organization\":{}}", JSON_PASS_OK},
    {"{\"source.ip\":" IP ",\"source\":{\"geo.my_own\":1}}", JSON_PASS_OK},
};

static void test_passes(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof passes / sizeof *passes; i++) {
        struct buf body = BUF_EMPTY;
        struct json_events events = {0};
        struct json_place place;
        enum json_pass pass = locate(passes[i].event, &body, &events, &place);
        if (pass != passes[i].pass)
            print_error("%s: %s, not %s\n", passes[i].event, json_pass_name(pass), json_pass_name(passes[i].pass));
        assert_int_equal(pass, passes[i].pass);
        if (pass == JSON_PASS_OK)
            assert_true(text_eq(place.ip, TEXT("192.0.2.1")));
        json_events_fini(&events);
        buf_fini(&body);
    }
}

static void expect_ip(const char *event, struct text ip, bool dotted, bool merge)
{
    struct buf body = BUF_EMPTY;
    struct json_events events = {0};
    struct json_place place;
    assert_int_equal(locate(event, &body, &events, &place), JSON_PASS_OK);
    assert_true(text_eq(place.ip, ip));
    assert_int_equal(place.dotted, dotted);
    assert_int_equal(place.merge, merge);
    assert_int_equal(body.data[place.insert], '}');
    json_events_fini(&events);
    buf_fini(&body);
}

static void test_place(void **state)
{
    (void)state;
    expect_ip("{\"source\":{\"ip\":\"2001:db8::1\"},\"a\":1}", TEXT("2001:db8::1"), false, false);
    expect_ip("{\"source.ip\":\"a\",\"b\":{}}", TEXT("a"), true, false);
    expect_ip("{\"source.ip\":\"a\",\"source.as.number\":1}", TEXT("a"), true, false);
    expect_ip("{\"source\":{\"as\":{},\"ip\":\"\"}}", TEXT(""), false, true);
    expect_ip("{\"source\":{\"ip\":\"192.0\\u002e2.1\"}}", TEXT("192.0.2.1"), false, false);
    expect_ip("{\"source\":{\"ip\":\"a\",\"domain\":\"b\"}}", TEXT("a"), false, false);
}

// A decoded address has a bound; beyond it the raw text is handed over, which no look-up knows.
static void test_long_address(void **state)
{
    (void)state;
    char event[256];
    char raw[128];
    memset(raw, '1', sizeof raw);
    memcpy(raw, "\\u0031", 6);
    snprintf(event, sizeof event, "{\"source\":{\"ip\":\"%.*s\"}}", 6 + JSON_IP_MAX - 1, raw);
    char decoded[JSON_IP_MAX];
    memset(decoded, '1', sizeof decoded);
    expect_ip(event, (struct text){decoded, JSON_IP_MAX}, false, false);
    snprintf(event, sizeof event, "{\"source\":{\"ip\":\"%.*s\"}}", 6 + JSON_IP_MAX, raw);
    expect_ip(event, (struct text){raw, 6 + JSON_IP_MAX}, false, false);
}

static void test_names(void **state)
{
    (void)state;
    for (int i = 0; i < JSON_PASS_COUNT; i++)
        for (int k = 0; k < i; k++)
            assert_string_not_equal(json_pass_name((enum json_pass)i), json_pass_name((enum json_pass)k));
    assert_string_equal(json_pass_name(JSON_PASS_NO_SOURCE), "no_source");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_passes),
        cmocka_unit_test(test_place),
        cmocka_unit_test(test_long_address),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
