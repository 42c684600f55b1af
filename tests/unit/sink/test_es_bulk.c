// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sink/es_bulk.h"

#include <stdio.h>
#include <string.h>

#include <zlib.h>

#include "base/clock.h"
#include "base/mem.h"

static void add_event(struct batch *batch, const char *event)
{
    buf_str(&batch->lines, event);
    buf_char(&batch->lines, '\n');
    batch->ends = mem_realloc(batch->ends, (batch->count + 1) * sizeof *batch->ends);
    batch->ends[batch->count++] = (uint32_t)batch->lines.len;
}

static void free_batch(struct batch *batch)
{
    mem_free(batch->ends);
    buf_fini(&batch->lines);
}

static struct es_name name_of(const char *index, const char *stream)
{
    struct conf_output conf = {.elasticsearch_index = (char *)index, .elasticsearch_data_stream = (char *)stream};
    struct es_name name;
    assert_int_equal(es_name_open(&conf, &name, NULL), 0);
    return name;
}

// "<0>" in `expected` stands for the id of event 0, "<10>" for that of event 10 of the first batch, and so on.
static void expand(const struct batch *batch, const char *expected, struct buf *out)
{
    for (const char *at = expected; *at != '\0'; at++) {
        unsigned event;
        int len = 0;
        if (*at == '<' && sscanf(at, "<%u>%n", &event, &len) == 1 && len > 0) {
            char id[EVENT_ID_LEN];
            batch_event_id(batch, event, id);
            buf_append(out, id, EVENT_ID_LEN);
            at += len - 1;
        } else {
            buf_char(out, *at);
        }
    }
}

static void check_body(const struct es_name *name, struct batch *batch, struct sink_item *items, size_t count,
                       const char *expected)
{
    struct handover handover = {.items = items, .count = count};
    struct es_bulk *bulk = es_bulk_new(name, false);
    struct buf body = BUF_EMPTY, wanted = BUF_EMPTY;
    expand(batch, expected, &wanted);
    for (int again = 0; again < 3; again++) { // the same builder, the same bytes
        assert_int_equal(es_bulk_build(bulk, &handover, &body), 0);
        assert_int_equal(body.len, wanted.len);
        assert_memory_equal(body.data, wanted.data, body.len);
    }
    buf_fini(&body);
    buf_fini(&wanted);
    es_bulk_free(bulk);
}

static void exact_bytes(void **state)
{
    (void)state;
    struct batch batch = {.id = {1, 2}, .arrived_real_ns = 86400 * NS_PER_S + 1500 * 1000};
    add_event(&batch, "{ \"@timestamp\" : \"2026-11-23T23:59:59-01:00\" ,\"n\":1.10}");
    add_event(&batch, "{\"n\":12345678901234567890}");
    add_event(&batch, "{}");
    add_event(&batch, "{ \t}");
    add_event(&batch, "{\"a\":{\"@timestamp\":1}}");
    add_event(&batch, "{\"\\u0040timestamp\":null}");
    struct sink_item all[] = {{&batch, 0, 6}};

    struct es_name fixed = name_of("loom-events", "");
    check_body(&fixed, &batch, all, 1,
               "{\"create\":{\"_id\":\"<0>\"}}\n{ \"@timestamp\" : \"2026-11-23T23:59:59-01:00\" ,\"n\":1.10}\n"
               "{\"create\":{\"_id\":\"<1>\"}}\n{\"n\":12345678901234567890}\n"
               "{\"create\":{\"_id\":\"<2>\"}}\n{}\n{\"create\":{\"_id\":\"<3>\"}}\n{ \t}\n"
               "{\"create\":{\"_id\":\"<4>\"}}\n{\"a\":{\"@timestamp\":1}}\n"
               "{\"create\":{\"_id\":\"<5>\"}}\n{\"\\u0040timestamp\":null}\n");

    struct es_name dated = name_of("loom-%Y.%m.%d", "");
    check_body(&dated, &batch, all, 1,
               "{\"create\":{\"_index\":\"loom-2026.11.24\",\"_id\":\"<0>\"}}\n"
               "{ \"@timestamp\" : \"2026-11-23T23:59:59-01:00\" ,\"n\":1.10}\n"
               "{\"create\":{\"_index\":\"loom-1970.01.02\",\"_id\":\"<1>\"}}\n{\"n\":12345678901234567890}\n"
               "{\"create\":{\"_index\":\"loom-1970.01.02\",\"_id\":\"<2>\"}}\n{}\n"
               "{\"create\":{\"_index\":\"loom-1970.01.02\",\"_id\":\"<3>\"}}\n{ \t}\n"
               "{\"create\":{\"_index\":\"loom-1970.01.02\",\"_id\":\"<4>\"}}\n{\"a\":{\"@timestamp\":1}}\n"
               "{\"create\":{\"_index\":\"loom-1970.01.02\",\"_id\":\"<5>\"}}\n{\"\\u0040timestamp\":null}\n");

    struct es_name stream = name_of("", "logs-loom-x");
    check_body(&stream, &batch, all, 1,
               "{\"create\":{\"_id\":\"<0>\"}}\n{ \"@timestamp\" : \"2026-11-23T23:59:59-01:00\" ,\"n\":1.10}\n"
               "{\"create\":{\"_id\":\"<1>\"}}\n"
               "{\"@timestamp\":\"1970-01-02T00:00:00.001500Z\",\"n\":12345678901234567890}\n"
               "{\"create\":{\"_id\":\"<2>\"}}\n{\"@timestamp\":\"1970-01-02T00:00:00.001500Z\"}\n"
               "{\"create\":{\"_id\":\"<3>\"}}\n{\"@timestamp\":\"1970-01-02T00:00:00.001500Z\" \t}\n"
               "{\"create\":{\"_id\":\"<4>\"}}\n"
               "{\"@timestamp\":\"1970-01-02T00:00:00.001500Z\",\"a\":{\"@timestamp\":1}}\n"
               "{\"create\":{\"_id\":\"<5>\"}}\n{\"\\u0040timestamp\":null}\n");

    struct sink_item parts[] = {{&batch, 4, 1}, {&batch, 1, 2}};
    check_body(&fixed, &batch, parts, 2,
               "{\"create\":{\"_id\":\"<4>\"}}\n{\"a\":{\"@timestamp\":1}}\n"
               "{\"create\":{\"_id\":\"<1>\"}}\n{\"n\":12345678901234567890}\n{\"create\":{\"_id\":\"<2>\"}}\n{}\n");
    free_batch(&batch);
}

static void longest_name(void **state)
{
    (void)state;
    char index[256];
    memset(index, 'a', 251);
    memcpy(index + 251, "%d%H", 5);
    struct es_name name = name_of(index, "");
    struct batch batch = {.count = 0};
    add_event(&batch, "{}");
    struct sink_item all[] = {{&batch, 0, 1}};
    struct buf wanted = BUF_EMPTY;
    buf_printf(&wanted, "{\"create\":{\"_index\":\"%.251s0100\",\"_id\":\"<0>\"}}\n{}\n", index);
    buf_char(&wanted, '\0');
    check_body(&name, &batch, all, 1, wanted.data);
    buf_fini(&wanted);
    free_batch(&batch);
}

static void gzip_is_the_same(void **state)
{
    (void)state;
    struct es_name name = name_of("loom-events", "");
    struct batch batch = {.id = {3, 4}};
    for (int i = 0; i < 3000; i++) {
        char event[64];
        snprintf(event, sizeof event, "{\"n\":%d,\"x\":\"%08x\"}", i, (unsigned)i * 2654435761u);
        add_event(&batch, event);
    }
    struct sink_item all[] = {{&batch, 0, batch.count}};
    struct handover handover = {.items = all, .count = 1};
    struct es_bulk *plain = es_bulk_new(&name, false), *packed = es_bulk_new(&name, true);
    struct buf a = BUF_EMPTY, b = BUF_EMPTY;
    assert_int_equal(es_bulk_build(plain, &handover, &a), 0);
    for (int again = 0; again < 2; again++) {
        assert_int_equal(es_bulk_build(packed, &handover, &b), 0);
        assert_true(b.len < a.len / 2);
        char *unpacked = mem_alloc(a.len + 1);
        z_stream stream = {.next_in = (Bytef *)b.data,
                           .avail_in = (uInt)b.len,
                           .next_out = (Bytef *)unpacked,
                           .avail_out = (uInt)a.len + 1};
        assert_int_equal(inflateInit2(&stream, 15 + 16), Z_OK);
        assert_int_equal(inflate(&stream, Z_FINISH), Z_STREAM_END);
        assert_int_equal(stream.total_out, a.len);
        assert_int_equal(stream.avail_in, 0);
        assert_memory_equal(unpacked, a.data, a.len);
        inflateEnd(&stream);
        mem_free(unpacked);
    }
    buf_fini(&a);
    buf_fini(&b);
    es_bulk_free(plain);
    es_bulk_free(packed);
    free_batch(&batch);
}

static void paths(void **state)
{
    (void)state;
    static const char query[] =
        "_bulk?timeout=30s&filter_path=errors,items.*.status,items.*.error.type,items.*.error.reason,"
        "items.*.error.caused_by.reason";
    const struct {
        struct es_name name;
        const char *begin;
    } cases[] = {
        {name_of("loom-events", ""), "/loom-events/"},
        {name_of("loom-%Y", ""), "/"},
        {name_of("", "logs-a-b"), "/logs-a-b/"},
        {name_of("a+b", ""), "/a%2Bb/"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf out = BUF_EMPTY, wanted = BUF_EMPTY;
        es_bulk_path(&cases[i].name, &out);
        buf_printf(&wanted, "%s%s", cases[i].begin, query);
        assert_true(text_eq((struct text){out.data, out.len}, (struct text){wanted.data, wanted.len}));
        buf_fini(&out);
        buf_fini(&wanted);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exact_bytes),
        cmocka_unit_test(longest_name),
        cmocka_unit_test(gzip_is_the_same),
        cmocka_unit_test(paths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
