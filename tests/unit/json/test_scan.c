// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "json/scan.h"

static struct json_event scan_one(const char *body)
{
    struct json_events events = {0};
    struct json_error error;
    assert_int_equal(json_scan(body, strlen(body), &events, &error), 0);
    assert_int_equal(events.count, 1);
    struct json_event event = events.at[0];
    json_events_fini(&events);
    return event;
}

static void test_offsets(void **state)
{
    (void)state;
    static const char body[] = " [{\"a\":1,\"source\":{\"port\":1,\"ip\":\"192.0.2.1\"},\"b\":2},\n{\"c\":{}}] ";
    struct json_events events = {0};
    struct json_error error;
    assert_int_equal(json_scan(body, sizeof body - 1, &events, &error), 0);
    assert_int_equal(events.count, 2);

    const struct json_event *first = &events.at[0], *second = &events.at[1];
    assert_int_equal(first->begin, 2);
    assert_memory_equal(body + first->end, ",\n", 2);
    assert_memory_equal(body + first->ip_begin, "192.0.2.1\"", 10);
    assert_int_equal(first->ip_end - first->ip_begin, 9);
    assert_memory_equal(body + first->source_end, "},\"b\"", 5);
    assert_int_equal(first->flags, 0);

    assert_memory_equal(body + second->begin, "{\"c\":{}}", 8);
    assert_int_equal(second->end - second->begin, 8);
    assert_int_equal(second->ip_begin, 0);
    assert_int_equal(second->source_end, 0);
    assert_int_equal(second->flags, 0); // the line break stands before it
    json_events_fini(&events);
}

static void test_empty_array(void **state)
{
    (void)state;
    static const char *const bodies[] = {"[]", "[ ]", "\t[\r\n]\n "};
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        struct json_events events = {0};
        struct json_error error;
        assert_int_equal(json_scan(bodies[i], strlen(bodies[i]), &events, &error), 0);
        assert_int_equal(events.count, 0);
        json_events_fini(&events);
    }
}

static void test_newline_flag(void **state)
{
    (void)state;
    assert_int_equal(scan_one("[\n{\"a\":\"\\n\"}\n]").flags, 0);
    assert_int_equal(scan_one("[{\n\"a\":1}]").flags, JSON_EVENT_NEWLINE);
    assert_int_equal(scan_one("[{\"a\":[\r]}]").flags, JSON_EVENT_NEWLINE);
    assert_int_equal(scan_one("[{\"a\" :\t1 }]").flags, 0);
}

static void test_unusual(void **state)
{
    (void)state;
    static const char *const unusual[] = {
        "[{\"so\\u0075rce\":{\"ip\":\"192.0.2.1\"}}]",
        "[{\"source.ip\":\"192.0.2.1\"}]",
        "[{\"source\":{\"ip\":\"192.0.2.1\"},\"source\":1}]",
        "[{\"source\":{\"ip\":\"192.0.2.1\",\"ip\":\"192.0.2.1\"}}]",
        "[{\"source\":{\"ip\":\"192.0.2.1\",\"\\u0069p\":1}}]",
        "[{\"source\":{\"ip\":\"192.0.2\\u002e1\"}}]",
        "[{\"source\":{\"ip\":1}}]",
        "[{\"source\":{\"ip\":{}}}]",
        "[{\"source\":1}]",
        "[{\"source\":\"192.0.2.1\",\"b\":1}]",
        "[{\"source\":[{\"ip\":\"192.0.2.1\"}]}]",
        "[{\"source\":{\"ip\":\"192.0.2.1\",\"as\":1}}]",
        "[{\"source\":{\"geo\":{},\"ip\":\"192.0.2.1\"}}]",
        "[{\"source\":{\"geo.city_name\":1,\"ip\":\"192.0.2.1\"}}]",
        "[{\"source\":{\"as.number\":1,\"ip\":\"192.0.2.1\"}}]",
    };
    for (size_t i = 0; i < sizeof unusual / sizeof *unusual; i++) {
        struct json_event event = scan_one(unusual[i]);
        assert_int_equal(event.flags, JSON_EVENT_UNUSUAL);
        assert_int_equal(event.ip_begin | event.ip_end | event.source_end, 0);
    }
    static const char *const usual[] = {
        "[{\"source\":{\"ip\":\"192.0.2.1\",\"a\":{\"as\":1,\"ip\":2}}}]",
        "[{\"a\":{\"source\":1},\"source\":{\"ip\":\"192.0.2.1\"},\"b\":{\"source\":{\"ip\":\"\"}}}]",
        "[{\"source\":{\"domain\":\"a\",\"ip\":\"192.0.2.1\",\"domain\":1}}]",
        "[{\"sources\":1,\"source\":{\"ipx\":1,\"ass\":1,\"geos\":1,\"ip\":\"\"}}]",
        "[{\"source\" : { \"ip\" : \"a long text that is no address, and that stands here.\" }}]",
    };
    for (size_t i = 0; i < sizeof usual / sizeof *usual; i++) {
        struct json_event event = scan_one(usual[i]);
        assert_int_equal(event.flags, 0);
        assert_true(event.ip_begin > 0 && event.source_end > event.ip_end);
    }
}

// A source without an address, and no source: two different things, both without a flag.
static void test_no_address(void **state)
{
    (void)state;
    struct json_event event = scan_one("[{\"source\":{\"port\":1}}]");
    assert_int_equal(event.flags | event.ip_begin, 0);
    assert_int_equal(event.source_end, 20);
    event = scan_one("[{}]");
    assert_int_equal(event.flags | event.ip_begin | event.source_end, 0);
}

static void test_depth(void **state)
{
    (void)state;
    for (unsigned depth = 2; depth <= 200; depth++) {
        struct buf body = BUF_EMPTY;
        struct json_events events = {0};
        struct json_error error;
        buf_str(&body, "[{\"a\":");
        for (unsigned i = 2; i < depth; i++)
            buf_str(&body, i % 2 == 0 ? "[" : "{\"a\":");
        buf_str(&body, "1");
        for (unsigned i = depth - 1; i >= 2; i--)
            buf_char(&body, i % 2 == 0 ? ']' : '}');
        buf_str(&body, "}]");
        int rc = json_scan(body.data, body.len, &events, &error);
        assert_int_equal(rc, depth <= JSON_DEPTH_MAX ? 0 : -EINVAL);
        if (rc != 0)
            assert_string_equal(error.reason, "nested too deeply");
        json_events_fini(&events);
        buf_fini(&body);
    }
}

static void test_many_events(void **state)
{
    (void)state;
    struct buf body = BUF_EMPTY;
    struct json_events events = {0};
    struct json_error error;
    const size_t count = 100000;
    for (size_t i = 0; i < count; i++)
        buf_str(&body, i == 0 ? "[{}" : ",{}");
    buf_char(&body, ']');
    assert_int_equal(json_scan(body.data, body.len, &events, &error), 0);
    assert_int_equal(events.count, count);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(events.at[i].begin, 1 + 3 * i);

    // The next scan gives the memory back.
    assert_int_equal(json_scan("[{}]", 4, &events, &error), 0);
    assert_int_equal(events.count, 1);
    assert_true(events.cap < 1000);

    // With a bound, all are counted and few are kept.
    events.keep_max = 500;
    assert_int_equal(json_scan(body.data, body.len, &events, &error), 0);
    assert_int_equal(events.count, count);
    assert_true(events.cap < 1000);
    assert_int_equal(events.at[499].begin, 1 + 3 * 499);
    body.data[body.len - 2] = ']';
    assert_int_equal(json_scan(body.data, body.len, &events, &error), -EINVAL);
    assert_int_equal(error.index, count - 1);
    json_events_fini(&events);
    buf_fini(&body);
}

static void test_too_large(void **state)
{
    (void)state;
    struct json_events events = {0};
    struct json_error error;
    char body[2] = "[]"; // never read
    assert_int_equal(json_scan(body, ((size_t)1 << 30) + 1, &events, &error), -EFBIG);
    json_events_fini(&events);
}

static void test_forms(void **state)
{
    (void)state;
    assert_true(json_simd_available(JSON_SIMD_PORTABLE));
    assert_false(json_simd_available(JSON_SIMD_COUNT));
    assert_true(json_simd_available(json_simd_current()));
    enum json_simd chosen = json_simd_current();
    json_simd_force(JSON_SIMD_PORTABLE);
    assert_int_equal(json_simd_current(), JSON_SIMD_PORTABLE);
    assert_string_equal(json_simd_name(json_simd_current()), "portable");
    json_simd_force(chosen);
#if defined(__x86_64__)
    assert_true(json_simd_available(JSON_SIMD_SSE2));
    assert_int_not_equal(chosen, JSON_SIMD_PORTABLE);
    assert_false(json_simd_available(JSON_SIMD_NEON));
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_offsets),     cmocka_unit_test(test_empty_array), cmocka_unit_test(test_newline_flag),
        cmocka_unit_test(test_unusual),     cmocka_unit_test(test_no_address),  cmocka_unit_test(test_depth),
        cmocka_unit_test(test_many_events), cmocka_unit_test(test_too_large),   cmocka_unit_test(test_forms),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
