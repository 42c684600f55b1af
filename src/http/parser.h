// SPDX-License-Identifier: Apache-2.0
#pragma once

// The HTTP/1 parser library behind one interface: llhttp (parser_llhttp.c) or, where the system has none, http-parser
// (parser_http_parser.c). Which one is chosen by Meson; the rest of Loom does not know. Either keeps no bytes: what it
// reports are spans of what it is fed. `Upgrade:` and CONNECT never make it stop; the message is read as any other.

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/text.h"

// What the library makes of a head; h1.c compares it with what its own check saw.
struct parser_framing {
    unsigned major, minor;
    bool chunked;
    bool has_length;
    uint64_t length; // 0 without has_length
};

// Events in the order of the message. The four with a span can come more than once for one target, name, value or body.
struct parser_events {
    void (*on_target)(void *ctx, struct text span);
    void (*on_name)(void *ctx, struct text span);
    void (*on_value)(void *ctx, struct text span);
    void (*on_head)(void *ctx, const struct parser_framing *framing);
    void (*on_body)(void *ctx, struct text span);
    void (*on_complete)(void *ctx);
};

// The library's struct lies in `state`, so that its header stays in one file. Each parser_*.c asserts that it fits.
#define PARSER_STATE_BYTES 128
struct parser {
    const struct parser_events *events;
    void *ctx;
    union {
        unsigned char bytes[PARSER_STATE_BYTES];
        void *align_pointer;
        uint64_t align_number;
    } state;
};

extern const char parser_name[]; // "llhttp" or "http-parser"

void parser_init(struct parser *parser, const struct parser_events *events, void *ctx); // for each message anew
bool parser_feed(struct parser *parser, const char *data, size_t len);                  // false: not HTTP; feed no more
