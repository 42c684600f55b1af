// SPDX-License-Identifier: Apache-2.0
//
// http-parser (Debian 12). Its build there is the lenient one: see h1_check.h for what is refused before it gets here.

#include <http_parser.h>

#include "base/mem.h"
#include "http/parser.h"

const char parser_name[] = "http-parser";

_Static_assert(sizeof(http_parser) <= PARSER_STATE_BYTES, "struct parser has no room for an http_parser");

static struct parser *parser_of(http_parser *lib)
{
    return lib->data;
}

static int on_target(http_parser *lib, const char *at, size_t len)
{
    struct parser *parser = parser_of(lib);
    parser->events->on_target(parser->ctx, (struct text){at, len});
    return 0;
}

static int on_name(http_parser *lib, const char *at, size_t len)
{
    struct parser *parser = parser_of(lib);
    parser->events->on_name(parser->ctx, (struct text){at, len});
    return 0;
}

static int on_value(http_parser *lib, const char *at, size_t len)
{
    struct parser *parser = parser_of(lib);
    parser->events->on_value(parser->ctx, (struct text){at, len});
    return 0;
}

static int on_head(http_parser *lib)
{
    struct parser *parser = parser_of(lib);
    bool has_length = (lib->flags & F_CONTENTLENGTH) != 0;
    struct parser_framing framing = {
        .major = lib->http_major,
        .minor = lib->http_minor,
        .chunked = (lib->flags & F_CHUNKED) != 0,
        .has_length = has_length,
        .length = has_length ? lib->content_length : 0,
    };
    lib->upgrade = 0; // or it would stop after the head
    parser->events->on_head(parser->ctx, &framing);
    return 0;
}

static int on_body(http_parser *lib, const char *at, size_t len)
{
    struct parser *parser = parser_of(lib);
    parser->events->on_body(parser->ctx, (struct text){at, len});
    return 0;
}

static int on_complete(http_parser *lib)
{
    struct parser *parser = parser_of(lib);
    parser->events->on_complete(parser->ctx);
    return 0;
}

static const http_parser_settings settings = {
    .on_url = on_target,
    .on_header_field = on_name,
    .on_header_value = on_value,
    .on_headers_complete = on_head,
    .on_body = on_body,
    .on_message_complete = on_complete,
};

void parser_init(struct parser *parser, const struct parser_events *events, void *ctx)
{
    http_parser *lib = (http_parser *)parser->state.bytes;

    parser->events = events;
    parser->ctx = ctx;
    http_parser_init(lib, HTTP_REQUEST);
    lib->data = parser;
}

bool parser_feed(struct parser *parser, const char *data, size_t len)
{
    http_parser *lib = (http_parser *)parser->state.bytes;

    // A feed of nothing means the end of the stream to http-parser.
    INVARIANT(len > 0);
    return http_parser_execute(lib, &settings, data, len) == len && HTTP_PARSER_ERRNO(lib) == HPE_OK;
}
