// SPDX-License-Identifier: Apache-2.0
//
// HTTP/1: the first byte of the input seeds how it is cut, the rest is what a client sends. Properties:
//
// - However the bytes are cut into pieces, the same requests or the same refusal come out.
// - What is accepted is lawful by a second, naive reading of the rules of RFC 9112 (is_lawful), which finds the same
//   end of the message and the same body: nothing can be smuggled past the checks or past the parser.

#include <stdint.h>
#include <stdlib.h>
#include <strings.h>

#include "../tests/unit/http/record.h"
#include "base/mem.h"

enum { MAX_HEADER_BYTES = 1024 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// ---- cuts ----

static uint32_t next_random(uint32_t *state)
{
    *state = *state * 1664525 + 1013904223;
    return *state >> 16;
}

static void feed_in_pieces(struct record *record, struct text sent, uint32_t seed, size_t max_piece)
{
    record_begin(record, MAX_HEADER_BYTES);
    for (size_t at = 0; at < sent.len;) {
        size_t len = max_piece == SIZE_MAX ? sent.len : 1 + next_random(&seed) % max_piece;
        if (len > sent.len - at)
            len = sent.len - at;
        // A block of its own shows reads that go beyond the piece, and spans kept for longer than they live.
        char *piece = mem_alloc(len);
        memcpy(piece, sent.at + at, len);
        record_feed(record, piece, len);
        mem_free(piece);
        at += len;
    }
}

static void check_cuts(struct text sent, uint32_t seed)
{
    static const size_t max_pieces[] = {1, 7, 64};
    struct record whole, cut;

    feed_in_pieces(&whole, sent, seed, SIZE_MAX);
    for (size_t i = 0; i < sizeof max_pieces / sizeof *max_pieces; i++) {
        feed_in_pieces(&cut, sent, seed, max_pieces[i]);
        INVARIANT(text_eq((struct text){whole.text.data, whole.text.len}, (struct text){cut.text.data, cut.text.len}));
        record_end(&cut);
    }
    record_end(&whole);
}

// ---- the second reading ----

// Takes a line with its CRLF off the front; false when there is none, or a CR or LF stands anywhere else in it.
static bool take_line(struct text *rest, struct text *line)
{
    const char *lf = memchr(rest->at, '\n', rest->len);

    if (lf == NULL || lf == rest->at || lf[-1] != '\r')
        return false;
    *line = (struct text){rest->at, (size_t)(lf - 1 - rest->at)};
    *rest = (struct text){lf + 1, rest->len - line->len - 2};
    return memchr(line->at, '\r', line->len) == NULL;
}

static bool is_text(struct text line)
{
    for (size_t i = 0; i < line.len; i++) {
        unsigned char c = (unsigned char)line.at[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return false;
    }
    return true;
}

struct reading {
    unsigned hosts, lengths, encodings;
    unsigned long long length;
};

static bool read_field(struct reading *reading, struct text line)
{
    const char *colon = memchr(line.at, ':', line.len);

    if (!is_text(line) || colon == NULL || colon == line.at)
        return false;
    for (const char *c = line.at; c < colon; c++) {
        if (*c <= ' ' || strchr("\"(),/:;<=>?@[\\]{}", *c) != NULL)
            return false;
    }
    struct text name = {line.at, (size_t)(colon - line.at)};
    struct text value = text_trim((struct text){colon + 1, line.len - name.len - 1});
    if (text_eq_nocase(name, TEXT("host")))
        reading->hosts++;
    if (text_eq_nocase(name, TEXT("transfer-encoding"))) {
        reading->encodings++;
        return text_eq_nocase(value, TEXT("chunked"));
    }
    if (text_eq_nocase(name, TEXT("content-length"))) {
        char digits[1024] = "";
        reading->lengths++;
        memcpy(digits, value.at, value.len);
        reading->length = strtoull(digits, NULL, 10);
        return value.len > 0 && strspn(digits, "0123456789") == value.len;
    }
    return true;
}

static bool read_head(struct text *rest, struct reading *reading)
{
    struct text line;

    if (rest->len >= 2 && memcmp(rest->at, "\r\n", 2) == 0)
        *rest = (struct text){rest->at + 2, rest->len - 2};
    if (!take_line(rest, &line) || line.len < sizeof "T * HTTP/1.1" - 1 || !is_text(line))
        return false;
    unsigned spaces = 0;
    for (size_t i = 0; i < line.len; i++)
        spaces += line.at[i] == ' ' || line.at[i] == '\t';
    struct text version = {line.at + line.len - 9, 9};
    bool is_1_0 = text_eq(version, TEXT(" HTTP/1.0"));
    if (spaces != 2 || (!is_1_0 && !text_eq(version, TEXT(" HTTP/1.1"))))
        return false;
    while (take_line(rest, &line)) {
        if (line.len == 0)
            return reading->lengths + reading->encodings <= 1 &&
                   (reading->hosts == 1 || (is_1_0 && reading->hosts == 0)) && !(is_1_0 && reading->encodings > 0);
        if (!read_field(reading, line))
            return false;
    }
    return false;
}

static bool read_chunks(struct text *rest, struct buf *body)
{
    struct text line;

    for (;;) {
        char size[32] = "";
        if (!take_line(rest, &line) || !is_text(line))
            return false;
        const char *semicolon = memchr(line.at, ';', line.len);
        size_t digits = semicolon != NULL ? (size_t)(semicolon - line.at) : line.len;
        while (digits > 16 && *line.at == '0') // leading zeros
            line = (struct text){line.at + 1, line.len - 1}, digits--;
        if (digits == 0 || digits > 16)
            return false;
        memcpy(size, line.at, digits);
        unsigned long long len = strtoull(size, NULL, 16);
        if (strspn(size, "0123456789abcdefABCDEF") != digits || (len > 0 && len + 2 > rest->len))
            return false;
        if (len == 0)
            break;
        buf_append(body, rest->at, len);
        if (memcmp(rest->at + len, "\r\n", 2) != 0)
            return false;
        *rest = (struct text){rest->at + len + 2, rest->len - len - 2};
    }
    struct reading ignored = {0};
    while (take_line(rest, &line)) {
        if (line.len == 0)
            return true;
        // A trailer's Content-Length means nothing, whatever it says.
        if (!read_field(&ignored, line) && ignored.lengths + ignored.encodings == 0)
            return false;
    }
    return false;
}

static bool is_lawful(struct text message, struct text body)
{
    struct reading reading = {0};
    struct buf chunks = BUF_EMPTY;
    struct text rest = message;
    bool lawful = read_head(&rest, &reading);

    if (lawful && reading.encodings > 0) {
        lawful = read_chunks(&rest, &chunks) && rest.len == 0 && text_eq((struct text){chunks.data, chunks.len}, body);
    } else if (lawful) {
        lawful = rest.len == reading.length && text_eq(rest, body);
    }
    buf_fini(&chunks);
    return lawful;
}

static void ignore(void *ctx)
{
    (void)ctx;
}

static void append_body(void *ctx, const char *data, size_t len)
{
    buf_append(ctx, data, len);
}

static void check_accepted(struct text sent)
{
    static const struct h1_events events = {ignore, append_body, ignore};
    struct http_request request = {0};
    struct buf body = BUF_EMPTY;
    struct h1 h1;

    h1_init(&h1, &events, &body, &request, MAX_HEADER_BYTES);
    while (sent.len > 0) {
        size_t used = h1_feed(&h1, sent.at, sent.len);
        if (h1.state != H1_COMPLETE)
            break;
        INVARIANT(is_lawful((struct text){sent.at, used}, (struct text){body.data, body.len}));
        sent = (struct text){sent.at + used, sent.len - used};
        body.len = 0;
        h1_next(&h1);
    }
    h1_fini(&h1);
    buf_fini(&body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    struct text sent = {(const char *)data + 1, size - 1};
    check_cuts(sent, data[0]);
    check_accepted(sent);
    return 0;
}
