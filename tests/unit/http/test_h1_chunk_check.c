// SPDX-License-Identifier: Apache-2.0
//
// The framing of a chunked body, each row in pieces of every size: which bytes pass to the parser, where the body ends
// and with what it is refused.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "http/h1_check.h"

enum { MAX_TRAILERS = 12 };

struct outcome {
    struct buf passed;
    size_t taken;
    bool end;
    struct h1_refusal refusal;
};

static struct outcome fed(struct text body, size_t piece)
{
    struct outcome outcome = {0};
    struct h1_chunk_check check;

    h1_chunk_check_init(&check, MAX_TRAILERS);
    while (outcome.taken < body.len) {
        size_t left = body.len - outcome.taken;
        bool pass = false;
        size_t n = h1_chunk_check(&check, body.at + outcome.taken, left < piece ? left : piece, &pass);
        if (n == 0)
            break;
        if (pass)
            buf_append(&outcome.passed, body.at + outcome.taken, n);
        outcome.taken += n;
    }
    outcome.end = check.state == H1_CHUNKS_END;
    outcome.refusal = check.refusal;
    return outcome;
}

struct row {
    struct text body;
    struct text passed;
    size_t taken;
    const char *refused; // NULL: no
    bool end;
};

#define SIZE    "invalid chunk size line"
#define END     "invalid end of a chunk"
#define TRAILER "invalid trailer"
#define LAST    "0\r\n\r\n"

// Taken as a whole: with the end in it, or without.
#define WHOLE(body, passed)                                                                                            \
    {                                                                                                                  \
        TEXT(body), TEXT(passed), sizeof(body) - 1, NULL, true                                                         \
    }
#define MORE(body, passed)                                                                                             \
    {                                                                                                                  \
        TEXT(body), TEXT(passed), sizeof(body) - 1, NULL, false                                                        \
    }
// Refused at the byte behind `lawful`, of which `passed` has gone to the parser.
#define REFUSED(lawful, rest, passed, why)                                                                             \
    {                                                                                                                  \
        TEXT(lawful rest), TEXT(passed), sizeof(lawful) - 1, why, false                                                \
    }

static const struct row rows[] = {
    WHOLE(LAST, LAST),
    WHOLE("000\r\n\r\n", "000\r\n\r\n"),
    WHOLE("1\r\nx\r\n" LAST, "1\r\nx\r\n" LAST),
    WHOLE("A\r\n0123456789\r\n0a\r\n0123456789\r\n" LAST, "A\r\n0123456789\r\n0a\r\n0123456789\r\n" LAST),
    WHOLE("5\r\n" LAST "\r\n" LAST, "5\r\n" LAST "\r\n" LAST), // data that looks like the end
    // Extensions and trailers do not pass.
    WHOLE("2;a=\"b;\"\t\xff\r\nhi\r\n0;e\r\n\r\n", "2\r\nhi\r\n" LAST),
    WHOLE("0;\r\n\r\n", LAST),
    WHOLE("0\r\na:b\r\n\r\n", LAST),
    WHOLE("0\r\na:\r\nb: c\r\n\r\n", LAST),
    MORE("7fffffffffffffff\r\nx", "7fffffffffffffff\r\nx"),
    MORE("07fffffffffffffff", "07fffffffffffffff"),
    MORE("3\r\nab", "3\r\nab"),
    MORE("3\r\nabc\r", "3\r\nabc\r"),
    MORE("0\r\n", "0\r\n"),
    MORE("0\r\n\r", "0\r\n\r"),
    MORE("0\r\na:b\r\n", "0\r\n"),
    // What comes behind the end is not looked at.
    {TEXT(LAST "GET"), TEXT(LAST), sizeof LAST - 1, NULL, true},
    {TEXT("0\r\na:b\r\n\r\n\r\n"), TEXT(LAST), sizeof "0\r\na:b\r\n\r\n" - 1, NULL, true},

    REFUSED("", "\r\n", "", SIZE),
    REFUSED("", ";", "", SIZE),
    REFUSED("", " 1", "", SIZE),
    REFUSED("", "-1", "", SIZE),
    REFUSED("", "g", "", SIZE),
    REFUSED("0", "x1", "0", SIZE),
    REFUSED("1", " \r\n", "1", SIZE),
    REFUSED("1", "\n", "1", SIZE),
    REFUSED("1\r", "x", "1\r", SIZE),
    REFUSED("1;a", "\n", "1", SIZE),
    REFUSED("1;a", "\x7f", "1", SIZE),
    REFUSED("1;a", "\0", "1", SIZE),
    REFUSED("1;a\r", "a", "1\r", SIZE),
    REFUSED("800000000000000", "0", "800000000000000", SIZE), // 2^63
    REFUSED("fffffffffffffff", "f", "fffffffffffffff", SIZE),
    REFUSED("1\r\nx", "y", "1\r\nx", END),
    REFUSED("1\r\nx", "\n", "1\r\nx", END),
    REFUSED("1\r\nx\r", "\r", "1\r\nx\r", END),
    REFUSED("1\r\nx\r\n", "\r\n", "1\r\nx\r\n", SIZE),
    REFUSED("0\r\n", "\n", "0\r\n", TRAILER),
    REFUSED("0\r\n", " a:b", "0\r\n", TRAILER),
    REFUSED("0\r\n", ":b", "0\r\n", TRAILER),
    REFUSED("0\r\na", " :b", "0\r\n", TRAILER),
    REFUSED("0\r\na", "\r\n", "0\r\n", TRAILER),
    REFUSED("0\r\na:b", "\n", "0\r\n", TRAILER),
    REFUSED("0\r\na:b\r", "\r", "0\r\n", TRAILER),
    REFUSED("0\r\n\r", "\r", "0\r\n\r", TRAILER),
};

static bool matches(const struct outcome *outcome, const struct row *row)
{
    if (outcome->taken != row->taken || outcome->end != row->end ||
        !text_eq((struct text){outcome->passed.data, outcome->passed.len}, row->passed))
        return false;
    if (row->refused == NULL)
        return outcome->refusal.status == 0;
    return outcome->refusal.status == 400 && strcmp(outcome->refusal.reason, row->refused) == 0;
}

static void test_framing_however_it_comes(void **state)
{
    (void)state;
    size_t failed = 0;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        for (size_t piece = 1; piece <= rows[i].body.len; piece++) {
            struct outcome outcome = fed(rows[i].body, piece);
            if (!matches(&outcome, &rows[i])) {
                print_error("%s (pieces of %zu): taken %zu, passed %zu, end %d, %u %s\n", rows[i].body.at, piece,
                            outcome.taken, outcome.passed.len, outcome.end, outcome.refusal.status,
                            outcome.refusal.status != 0 ? outcome.refusal.reason : "");
                failed++;
            }
            buf_fini(&outcome.passed);
        }
    }
    assert_int_equal(failed, 0);
}

// One line with a size, CRLF included, of H1_MAX_CHUNK_LINE bytes, and of one more; the same for a line that comes
// second: each line has the whole room.
static void test_length_of_a_size_line(void **state)
{
    (void)state;
    for (int kind = 0; kind < 4; kind++) {
        bool over = kind & 1, extension = kind & 2;
        struct buf body = BUF_EMPTY;
        for (int line = 0; line < 2; line++) {
            size_t room = H1_MAX_CHUNK_LINE - 3 + (over && line == 1);
            buf_str(&body, extension ? "1" : "");
            for (size_t i = 0; i < room; i++)
                buf_char(&body, extension ? ';' : '0');
            buf_str(&body, extension ? "\r\n" : "1\r\n");
            buf_str(&body, "x\r\n");
        }
        struct outcome outcome = fed((struct text){body.data, body.len}, body.len);
        assert_int_equal(outcome.refusal.status, over ? 400 : 0);
        if (over)
            assert_string_equal(outcome.refusal.reason, "chunk size line too long");
        else
            assert_int_equal(outcome.taken, body.len);
        buf_fini(&outcome.passed);
        buf_fini(&body);
    }
}

// All trailer lines together, with their CRLFs: MAX_TRAILERS bytes, and one more.
static void test_size_of_the_trailers(void **state)
{
    (void)state;
    static const struct {
        struct text body;
        unsigned status;
    } bodies[] = {
        {TEXT("0\r\n123456789:\r\n\r\n"), 0},   {TEXT("0\r\n123456789a:\r\n\r\n"), 431},
        {TEXT("0\r\na:12345678\r\n\r\n"), 0},   {TEXT("0\r\na:123456789\r\n\r\n"), 431},
        {TEXT("0\r\na:12\r\nb:12\r\n\r\n"), 0}, {TEXT("0\r\na:12\r\nb:123\r\n\r\n"), 431},
    };
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        struct outcome outcome = fed(bodies[i].body, bodies[i].body.len);
        if (outcome.refusal.status != bodies[i].status || outcome.end != (bodies[i].status == 0))
            fail_msg("%s: %u, end %d", bodies[i].body.at, outcome.refusal.status, outcome.end);
        if (outcome.refusal.status != 0)
            assert_string_equal(outcome.refusal.reason, "trailers too large");
        buf_fini(&outcome.passed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_framing_however_it_comes),
        cmocka_unit_test(test_length_of_a_size_line),
        cmocka_unit_test(test_size_of_the_trailers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
