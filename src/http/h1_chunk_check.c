// SPDX-License-Identifier: Apache-2.0
//
// The framing of a chunked body, byte by byte:
//
//     SIZE [";" extension] CR LF  data CR LF  ...  0 [";" extension] CR LF  [trailer CR LF]...  CR LF
//
// A receiver may ignore extensions and trailers (RFC 9112, 7.1.1 and 7.1.2), and parsers differ in what they take for
// one: they are checked here for their characters and their size, and go no further.

#include "http/h1_check.h"
#include "http/h1_class.h"
#include "json/lex.h"

void h1_chunk_check_init(struct h1_chunk_check *check, size_t max_trailers)
{
    *check = (struct h1_chunk_check){.state = H1_CHUNK_SIZE, .max_trailers = max_trailers};
}

static enum h1_chunk_state after_size_byte(const struct h1_chunk_check *check, char c)
{
    if (lex_hex((uint8_t)c) >= 0)
        return check->left <= INT64_MAX >> 4 ? H1_CHUNK_SIZE_MORE : H1_CHUNKS_BAD;
    if (check->state == H1_CHUNK_SIZE)
        return H1_CHUNKS_BAD;
    return c == '\r' ? H1_CHUNK_SIZE_LF : c == ';' ? H1_CHUNK_EXTENSION : H1_CHUNKS_BAD;
}

// The state that a byte of framing leads to.
static enum h1_chunk_state after_byte(const struct h1_chunk_check *check, char c)
{
    switch (check->state) {
    case H1_CHUNK_SIZE:
    case H1_CHUNK_SIZE_MORE:
        return after_size_byte(check, c);
    case H1_CHUNK_EXTENSION:
        return c == '\r' ? H1_CHUNK_SIZE_LF : h1_is(c, H1_VALUE) ? H1_CHUNK_EXTENSION : H1_CHUNKS_BAD;
    case H1_CHUNK_SIZE_LF:
        return c != '\n' ? H1_CHUNKS_BAD : check->left > 0 ? H1_CHUNK_DATA : H1_TRAILER;
    case H1_CHUNK_DATA_CR:
        return c == '\r' ? H1_CHUNK_DATA_LF : H1_CHUNKS_BAD;
    case H1_CHUNK_DATA_LF:
        return c == '\n' ? H1_CHUNK_SIZE : H1_CHUNKS_BAD;
    case H1_TRAILER:
        return c == '\r' ? H1_CHUNKS_LF : h1_is(c, H1_TOKEN) ? H1_TRAILER_NAME : H1_CHUNKS_BAD;
    case H1_TRAILER_NAME:
        return c == ':' ? H1_TRAILER_VALUE : h1_is(c, H1_TOKEN) ? H1_TRAILER_NAME : H1_CHUNKS_BAD;
    case H1_TRAILER_VALUE:
        return c == '\r' ? H1_TRAILER_LF : h1_is(c, H1_VALUE) ? H1_TRAILER_VALUE : H1_CHUNKS_BAD;
    case H1_TRAILER_LF:
        return c == '\n' ? H1_TRAILER : H1_CHUNKS_BAD;
    case H1_CHUNKS_LF:
        return c == '\n' ? H1_CHUNKS_END : H1_CHUNKS_BAD;
    case H1_CHUNK_DATA:
    case H1_CHUNKS_END:
    case H1_CHUNKS_BAD:
        break;
    }
    return H1_CHUNKS_BAD;
}

static const char *fault(enum h1_chunk_state state)
{
    if (state <= H1_CHUNK_SIZE_LF)
        return "invalid chunk size line";
    return state < H1_TRAILER ? "invalid end of a chunk" : "invalid trailer";
}

static bool in_trailer(enum h1_chunk_state state)
{
    return state >= H1_TRAILER_NAME && state <= H1_TRAILER_LF;
}

// Takes the byte c, which leads to `next`.
static void step(struct h1_chunk_check *check, char c, enum h1_chunk_state next)
{
    enum h1_chunk_state state = check->state;

    if (next == H1_CHUNKS_BAD)
        check->refusal = (struct h1_refusal){400, fault(state)};
    else if (state <= H1_CHUNK_SIZE_LF && ++check->line > H1_MAX_CHUNK_LINE)
        check->refusal = (struct h1_refusal){400, "chunk size line too long"};
    else if ((in_trailer(state) || in_trailer(next)) && ++check->trailers > check->max_trailers)
        check->refusal = (struct h1_refusal){431, "trailers too large"};
    else if (next == H1_CHUNK_SIZE_MORE)
        check->left = check->left << 4 | (unsigned)lex_hex((uint8_t)c);
    else if (next == H1_CHUNK_SIZE)
        check->line = 0;
    check->state = next;
}

static size_t skip_data(struct h1_chunk_check *check, size_t len)
{
    size_t n = len < check->left ? len : (size_t)check->left;

    check->left -= n;
    if (check->left == 0)
        check->state = H1_CHUNK_DATA_CR;
    return n;
}

size_t h1_chunk_check(struct h1_chunk_check *check, const char *data, size_t len, bool *pass)
{
    size_t run = 0;

    while (run < len && check->state != H1_CHUNKS_END && check->refusal.status == 0) {
        enum h1_chunk_state next = H1_CHUNK_DATA;
        bool keep = true;
        if (check->state != H1_CHUNK_DATA) {
            next = after_byte(check, data[run]);
            keep = next != H1_CHUNK_EXTENSION && !in_trailer(next) && !in_trailer(check->state);
        }
        if (run > 0 && keep != *pass)
            break;

        *pass = keep;
        if (check->state == H1_CHUNK_DATA) {
            run += skip_data(check, len - run);
            continue;
        }
        step(check, data[run], next);
        if (check->refusal.status == 0)
            run++;
    }
    return run;
}
