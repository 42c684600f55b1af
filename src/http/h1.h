// SPDX-License-Identifier: Apache-2.0
#pragma once

// HTTP/1 from bytes to the events of a request; knows no socket, no clock and no answer. Owned by its connection.
//
// A head is gathered until it is whole (in place when it comes in one piece), checked (h1_check.h) and only then given
// to the parser library; what the two make of it must agree. A body is handed on as spans of the bytes that were fed,
// never copied.

#include "base/buf.h"
#include "http/h1_check.h"
#include "http/http.h"
#include "http/parser.h"

struct h1_events {
    void (*on_headers)(void *ctx);
    void (*on_body)(void *ctx, const char *data, size_t len);
    void (*on_complete)(void *ctx);
};

enum h1_state {
    H1_HEAD,
    H1_BODY_LENGTH,
    H1_BODY_CHUNKED,
    H1_COMPLETE, // fed no further until h1_next
    H1_REFUSED,  // for good; see refusal
};

struct h1 {
    const struct h1_events *events;
    void *ctx;
    struct http_request *request; // whose method, content_length, repeated and texts are filled before on_headers
    size_t max_header_bytes;      // of a head, and of the trailers of a body

    enum h1_state state;
    bool body_begun;      // at least one byte came after the head
    bool http_1_0;        // this and the next two: known from on_headers on
    bool keep_alive;      // as the client wishes
    bool expect_continue; // the client waits for 100 (RFC 9110, 10.1.1)
    struct h1_refusal refusal;

    struct buf head; // the beginning of a head that came in pieces
    uint64_t left;   // of a body with a length
    struct parser parser;
    bool parser_complete; // the parser has seen the end of the message
    bool disagree;        // it saw something else than the check
    union {
        struct h1_head_check head_check;
        struct h1_chunk_check chunk_check;
    };

    // The header line that the parser is at, and what the lines before it said. During a head only.
    struct text name, value;
    bool in_value;
    bool says_close, says_keep_alive;
    unsigned seen; // bits of enum http_repeated
};

// The rest of *h1 is zero or whatever h1_fini left.
void h1_init(struct h1 *h1, const struct h1_events *events, void *ctx, struct http_request *request,
             size_t max_header_bytes);
void h1_fini(struct h1 *h1);
void h1_next(struct h1 *h1); // ready for the next message

// Feeds bytes; returns how many were taken: all, or less when the message is complete or refused.
size_t h1_feed(struct h1 *h1, const char *data, size_t len);

// From on_headers on: bytes of the body still to come; HTTP_LENGTH_UNKNOWN when it is chunked or the message is
// refused.
uint64_t h1_left(const struct h1 *h1);
