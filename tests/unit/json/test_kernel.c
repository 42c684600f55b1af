// SPDX-License-Identifier: Apache-2.0
//
// Every kernel against the exact parser: all places in a block, all truncations, all single-byte corruptions, and
// documents that a seeded generator makes and breaks.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agree.h"
#include "base/buf.h"

static const char batch[] =
    "[{\"@timestamp\":\"2026-11-23T17:02:21Z\",\"destination\":{\"ip\":\"192.0.2.200\",\"port\":8888},"
    "\"event\":{\"id\":\"06306dbc\",\"n\":[1,-2.5e+10,true,null,[],{}],\"summary\":\"GET \\/\\r\\n\\u00e9\\\\ "
    "\xc3\xa9\"},"
    "\"source\":{\"ip\":\"198.51.100.99\",\"port\":56458}},\n {\"source\" : {\"port\": 0, \"ip\": \"2001:db8::1\"}}]\n";

static void expect(const void *data, size_t len, bool expected)
{
    bool valid;
    assert_true(forms_agree(data, len, &valid));
    if (valid != expected)
        fprintf(stderr, "%s expected: %.*s\n", expected ? "valid" : "invalid", (int)len, (const char *)data);
    assert_int_equal(valid, expected);
}

static void agree(const void *data, size_t len)
{
    bool valid;
    assert_true(forms_agree(data, len, &valid));
}

static void test_truncations(void **state)
{
    (void)state;
    size_t end = sizeof batch - 2; // one past the last bracket
    for (size_t len = 0; len < end; len++)
        expect(batch, len, false);
    expect(batch, end, true);
    expect(batch, end + 1, true);
}

static void test_corruptions(void **state)
{
    (void)state;
    char copy[sizeof batch];
    for (size_t i = 0; i < sizeof batch - 1; i++) {
        memcpy(copy, batch, sizeof batch);
        for (int byte = 0; byte < 256; byte++) {
            copy[i] = (char)byte;
            agree(copy, sizeof batch - 1);
        }
    }
}

// A piece of text inside or outside of a string, at every place relative to the blocks, with blanks or members around it.
struct piece {
    const char *text;
    bool valid;
};

static const struct piece string_pieces[] = {
    {"\\\"", true},
    {"\\\\", true},
    {"\\\\\\\"", true},
    {"\\\\\\\\", true},
    {"\\u00e9", true},
    {"\\uD800", true},
    {"\\uDbFf\\udC00", true},
    {"\xc3\xa9", true},
    {"\xe2\x82\xac", true},
    {"\xed\x9f\xbf\xee\x80\x80", true},
    {"\xf0\x90\x80\x80\xf4\x8f\xbf\xbf", true},
    {"{}[]:,", true},
    {"\x7f", true},
    {"\\", false}, // escapes the closing quote
    {"\\x", false},
    {"\\\\\\", false},
    {"\\u00g0", false},
    {"\\u00", false},
    {"\\u\\u0000", false},
    {"\n", false},
    {"\x1f", false},
    {"\"", false},
    {"\"\"", false},
    {"\xc3", false},
    {"\xe2\x82", false},
    {"\x80", false},
    {"\xc0\x80", false},
    {"\xc1\xbf", false},
    {"\xe0\x9f\xbf", false},
    {"\xed\xa0\x80", false},
    {"\xf0\x8f\xbf\xbf", false},
    {"\xf4\x90\x80\x80", false},
    {"\xf5\x80\x80\x80", false},
    {"\xff", false},
    {"\xf0\x90\x80\xc3\xa9", false},
};

static const struct piece value_pieces[] = {
    {"0", true},
    {"-0", true},
    {"12345678901234567890123456789", true},
    {"-1.5E-7", true},
    {"0.0e+00", true},
    {"true", true},
    {"false", true},
    {"null", true},
    {"[]", true},
    {"{}", true},
    {"[ ]", true},
    {"{ \t}", true},
    {"[[],[{}],1 , \"a\"]", true},
    {"{\"a\":{\"b\":1},\"c\":[]}", true},
    {"{\"a\" : 1 ,\"b\":\n2}", true},
    {"[\"a\\n\",\"b\\n\",\"c\"]", true},
    {"{\"a\\n\":1,\"a\":1}", true},
    {"", false},
    {"00", false},
    {"01", false},
    {"-", false},
    {"-01", false},
    {"+1", false},
    {"1.", false},
    {".5", false},
    {"1e", false},
    {"1e+", false},
    {"1.e1", false},
    {"0x1", false},
    {"1 2", false},
    {"1a", false},
    {"tru", false},
    {"truer", false},
    {"nul", false},
    {"NaN", false},
    {"Infinity", false},
    {"'a'", false},
    {"\"a\"b", false},
    {"b\"a\"", false},
    {"\"a\"\"b\"", false},
    {"\"a\":1", false},
    {"[1,]", false},
    {"[,1]", false},
    {"[1 2]", false},
    {"[1:2]", false},
    {"[\"a\":1]", false},
    {"[1,\"a\":1]", false},
    {"{\"a\"}", false},
    {"{\"a\",\"b\":1}", false},
    {"{\"a\":1,\"b\"}", false},
    {"{\"a\":1,2}", false},
    {"{\"a\":1,}", false},
    {"{,}", false},
    {"{\"a\":}", false},
    {"{\"a\"::1}", false},
    {"{\"a\":1:2}", false},
    {"{1:2}", false},
    {"{\"a\":{},1}", false},
    {"{\"a\":[],[]:1}", false},
    {"{:1}", false},
    {"[}", false},
    {"{]", false},
    {"[{]}", false},
    {"[1}", false},
    {"{\"a\":1]", false},
    {"[", false},
    {"}", false},
    {"]", false},
    {"\xc3\xa9", false},
    {"\x01", false},
    {"\x0b", false},
    {"1\\", false},
    {"\\\"", false},
    {"/**/1", false},
};

static void expect_at_all_places(const char *before, const struct piece *piece, const char *after)
{
    char body[512];
    for (int place = 0; place <= 130; place++) {
        int n = snprintf(body, sizeof body, "[{\"k\":\"%*s\",%s%s%s", place, "", before, piece->text, after);
        expect(body, (size_t)n, piece->valid);
        n = snprintf(body, sizeof body, "[%*s{%s%s%s", place, "", before, piece->text, after);
        expect(body, (size_t)n, piece->valid);
    }
}

static void test_places(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof string_pieces / sizeof *string_pieces; i++) {
        expect_at_all_places("\"a\":\"b", &string_pieces[i], "c\",\"source\":{\"ip\":\"192.0.2.1\"}}]");
        expect_at_all_places("\"a", &string_pieces[i], "\":1}]");
        expect_at_all_places("\"source\":{\"ip\":\"1", &string_pieces[i], "\"}}]");
    }
    for (size_t i = 0; i < sizeof value_pieces / sizeof *value_pieces; i++) {
        expect_at_all_places("\"a\":", &value_pieces[i], ",\"source\":{\"ip\":\"192.0.2.1\"}}]");
        expect_at_all_places("\"a\":[[]\n,", &value_pieces[i], "\t]}]");
        expect_at_all_places("\"source\":{\"ip\":", &value_pieces[i], "}}]");
    }
}

// No blanks fill up the last block, for which it would be looked at closely: what a block leaves open must do that.
static void test_whole_blocks(void **state)
{
    (void)state;
    char body[256 + 1];
    for (size_t i = 0; i < sizeof string_pieces / sizeof *string_pieces; i++) {
        for (int place = 0; place <= 130; place++) {
            int n = snprintf(body, sizeof body, "[{\"k\":\"%*s%s\",\"a\":\"", place, "", string_pieces[i].text);
            memset(body + n, 'b', sizeof body - (size_t)n);
            memcpy(body + 256 - 3, "\"}]", 3);
            expect(body, 256, string_pieces[i].valid);
        }
    }
}

// Long runs of one kind of byte, across several blocks.
static void test_runs(void **state)
{
    (void)state;
    static const char bytes[] = "0 \\a\"[{,:\n\t";
    char body[512];
    for (const char *byte = bytes; *byte != '\0'; byte++) {
        for (int len = 1; len <= 200; len++) {
            char run[201];
            memset(run, *byte, (size_t)len);
            run[len] = '\0';
            agree(body, (size_t)snprintf(body, sizeof body, "[{\"a\":\"%s\"}]", run));
            agree(body, (size_t)snprintf(body, sizeof body, "[{\"a\":\"%s\\\"}]", run));
            agree(body, (size_t)snprintf(body, sizeof body, "[{\"a\":1%s}]", run));
            agree(body, (size_t)snprintf(body, sizeof body, "[{\"a\":-%s}]", run));
            agree(body, (size_t)snprintf(body, sizeof body, "%s[{}]%s", run, run));
        }
    }
}

// A kernel walks a body in chunks of 4096 bytes: an event, its source and its address across their edge.
static void test_chunks(void **state)
{
    (void)state;
    static const char *const events[] = {
        "\"source\":{\"a\":{\"ip\":1},\"ip\":\"192.0.2.1\",\"b\":[{\"as\":1},{}]},\"c\":[1,2]",
        "\"source\" : { \"port\":1 , \"ip\" : \"192.0.2.1\"\n}",
        "\"source\":{\"ip\":\"192.0.2.1\",\"\\u0061s\":1}",
        "\"source\":{\"ip\":\"192.0.2.1\",\"geo\":1}",
        "\"source\":{\"ip\":\"192.0.2.1\"},\"source\":1",
        "\"source\":-0.5e+3,\"b\":12345",
    };
    char body[8192];
    for (size_t i = 0; i < sizeof events / sizeof *events; i++) {
        for (int place = 3960; place < 4110; place++) {
            int n = snprintf(body, sizeof body, "[{\"k\":\"%*s\",%s},{%s}]", place, "", events[i], events[i]);
            expect(body, (size_t)n, true);
            body[n - 2] = ']';
            expect(body, (size_t)n, false);
        }
    }
}

// A generator with a fixed seed: JSON with all its liberties, then a few random edits.
static uint32_t seed = 20261123;

static uint32_t pick(uint32_t n)
{
    seed = seed * 1664525 + 1013904223;
    return (uint32_t)((uint64_t)seed * n >> 32);
}

static void blanks(struct buf *out)
{
    static const char white[] = " \n\r\t";
    while (pick(6) == 0)
        buf_char(out, white[pick(4)]);
}

static void any_key(struct buf *out)
{
    static const char *const keys[] = {
        "a",
        "source",
        "so\\u0075rce",
        "source.ip",
        "source.as.number",
        "ip",
        "\\u0069p",
        "as",
        "geo",
        "geo.city_name",
        "domain",
        "organization",
        "number",
        "sources",
        "",
        "a longer key that reaches from one block of sixty-four bytes into the next one"};
    buf_printf(out, "\"%s\"", keys[pick(sizeof keys / sizeof *keys)]);
}

static void any_value(struct buf *out, unsigned depth);

static void any_object(struct buf *out, unsigned depth)
{
    buf_char(out, '{');
    blanks(out);
    for (uint32_t i = 0, n = pick(5); i < n; i++) {
        if (i > 0)
            buf_char(out, ',');
        blanks(out);
        any_key(out);
        blanks(out);
        buf_char(out, ':');
        blanks(out);
        any_value(out, depth + 1);
        blanks(out);
    }
    buf_char(out, '}');
}

static void any_value(struct buf *out, unsigned depth)
{
    static const char *const scalars[] = {"0",
                                          "1",
                                          "65535",
                                          "-1.25e-3",
                                          "true",
                                          "false",
                                          "null",
                                          "\"\"",
                                          "\"a\"",
                                          "\"192.0.2.1\"",
                                          "\"\\n\"",
                                          "\"\\u00e9\\\"\"",
                                          "\"\xc3\xa9\xf0\x9f\x98\x80\"",
                                          "\"\\\\\""};
    uint32_t kind = pick(depth < 6 ? 8 : 5);
    if (kind < 5) {
        buf_str(out, scalars[pick(sizeof scalars / sizeof *scalars)]);
    } else if (kind < 7) {
        any_object(out, depth);
    } else {
        buf_char(out, '[');
        blanks(out);
        for (uint32_t i = 0, n = pick(4); i < n; i++) {
            if (i > 0)
                buf_char(out, ',');
            blanks(out);
            any_value(out, depth + 1);
            blanks(out);
        }
        buf_char(out, ']');
    }
}

static void edit(struct buf *body)
{
    static const char bytes[] = "{}[]:,\"\\ \n0-.eE+atru\x01\x80\xc3\xff";
    size_t at = pick((uint32_t)body->len);
    char byte = bytes[pick(sizeof bytes - 1)];
    if (pick(2) == 0) {
        body->data[at] = byte;
    } else if (pick(2) == 0) {
        memmove(body->data + at, body->data + at + 1, body->len - at - 1);
        body->len--;
    } else {
        buf_char(body, 0);
        memmove(body->data + at + 1, body->data + at, body->len - at - 1);
        body->data[at] = byte;
    }
}

static void test_generated(void **state)
{
    (void)state;
    for (int i = 0; i < 3000; i++) {
        struct buf body = BUF_EMPTY;
        blanks(&body);
        buf_char(&body, '[');
        for (uint32_t n = pick(4), k = 0; k < n; k++) {
            buf_str(&body, k > 0 ? "," : "");
            blanks(&body);
            any_object(&body, 2);
            blanks(&body);
        }
        buf_char(&body, ']');
        blanks(&body);
        expect(body.data, body.len, true);
        for (int k = 0; k < 8 && body.len > 0; k++) {
            edit(&body);
            agree(body.data, body.len);
        }
        buf_fini(&body);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_truncations),  cmocka_unit_test(test_corruptions), cmocka_unit_test(test_places),
        cmocka_unit_test(test_whole_blocks), cmocka_unit_test(test_runs),        cmocka_unit_test(test_chunks),
        cmocka_unit_test(test_generated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
