// SPDX-License-Identifier: Apache-2.0
#pragma once

// What RFC 9112 forbids and a lenient parser lets pass, refused before the parser sees it. No parser: it looks at the
// same bytes, says yes or no, and knows where the message ends, so that h1.c can hold the parser to it.
//
// The head is checked line by line as the lines become whole, so that a refusal does not wait for the end of the head;
// the framing of a chunked body byte by byte. Pure: no memory, no clock.

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/text.h"

#define H1_MAX_FIELDS     100 // header lines: 431 beyond
#define H1_MAX_CHUNK_LINE 256 // bytes of a line with a chunk size and its extensions

// A refusal: status 0 means none. reason is a fixed text.
struct h1_refusal {
    unsigned status;
    const char *reason;
};

struct h1_head_check {
    size_t checked; // bytes of the head in whole, lawful lines
    size_t line_at; // where the request line begins: behind an empty line that came before it (RFC 9112, 2.2)
    unsigned lines; // request line and header lines
    bool done;      // `checked` is the end of the head

    unsigned minor; // of HTTP/1
    unsigned hosts;
    bool has_length, chunked;
    uint64_t length;
    struct text method; // within the head as it was given at the last call
    struct h1_refusal refusal;
};

// Checks the lines that have become whole since the last call; head is all that came so far, or its first max bytes.
// True when the head is whole and lawful; else see refusal, without which more bytes are needed.
bool h1_head_check(struct h1_head_check *check, struct text head);

// The parts of a request target. false: none of the four forms of RFC 9112, 3.2.
bool h1_target_split(struct text target, bool connect, struct text *path, struct text *query);

enum h1_chunk_state {
    H1_CHUNK_SIZE,      // its first digit
    H1_CHUNK_SIZE_MORE, // digits, or what ends them
    H1_CHUNK_EXTENSION,
    H1_CHUNK_SIZE_LF,
    H1_CHUNK_DATA,
    H1_CHUNK_DATA_CR,
    H1_CHUNK_DATA_LF,
    H1_TRAILER, // the start of a line: a trailer, or the empty one
    H1_TRAILER_NAME,
    H1_TRAILER_VALUE,
    H1_TRAILER_LF,
    H1_CHUNKS_LF,
    H1_CHUNKS_END,
    H1_CHUNKS_BAD,
};

struct h1_chunk_check {
    enum h1_chunk_state state;
    uint64_t left;   // of the chunk
    size_t line;     // bytes of the line with the size
    size_t trailers; // bytes of all trailer lines
    size_t max_trailers;
    struct h1_refusal refusal;
};

void h1_chunk_check_init(struct h1_chunk_check *check, size_t max_trailers);

// Looks at a run of bytes that belong together and returns its length: *pass says whether they go to the parser.
// Extensions and trailers are checked and do not. 0: see refusal; what was lawful before it has been returned.
size_t h1_chunk_check(struct h1_chunk_check *check, const char *data, size_t len, bool *pass);
