// SPDX-License-Identifier: Apache-2.0
//
// llhttp with its strict defaults: no lenient flag is set.

#include <llhttp.h>

#include "base/mem.h"
#include "http/parser.h"

const char parser_name[] = "llhttp";

_Static_assert(sizeof(llhttp_t) <= PARSER_STATE_BYTES, "struct parser has no room for an llhttp_t");

static struct parser *parser_of(llhttp_t *lib)
{
    return lib->data;
}

static int on_target(llhttp_t *lib, const char *at, size_t len)
{
    struct parser *parser = parser_of(lib);
    parser->events->on_target(parser->ctx, (struct text){at, len});
    return 0;
}

static int on_name(llhttp_t *lib, const char *at, size_t len)
{
    struct parser *parser = parser_of(lib);
    parser->events->on_name(parser->ctx, (struct text){at, len});
    return 0;
}

static int on_value(llhttp_t *lib, const char *at, size_t len)
{
    struct parser *parser = parser_of(lib);
    parser->events->on_value(parser->ctx, (struct text){at, len});
    return 0;
}

static int on_head(llhttp_t *lib)
{
    struct parser *parser = parser_of(lib);
    bool has_length = (lib->flags & F_CONTENT_LENGTH) != 0;
    struct parser_framing framing = {
        .major = lib->http_major,
        .minor = lib->http_minor,
        .chunked = (lib->flags & F_CHUNKED) != 0,
        .has_length = has_length,
        .length = has_length ? lib->content_length : 0,
    };
    lib->upgrade = 0; // or it would stop after the message
    parser->events->on_head(parser->ctx, &framing);
    return 0;
}

static int on_body(llhttp_t *lib, const char *at, size_t len)
{
    struct parser *parser = parser_of(lib);
    parser->events->on_body(parser->ctx, (struct text){at, len});
    return 0;
}

static int on_complete(llhttp_t *lib)
{
    struct parser *parser = parser_of(lib);
    parser->events->on_complete(parser->ctx);
    return 0;
}

static const llhttp_settings_t settings = {
    .on_url = on_target,
    .on_header_field = on_name,
    .on_header_value = on_value,
    .on_headers_complete = on_head,
    .on_body = on_body,
    .on_message_complete = on_complete,
};

void parser_init(struct parser *parser, const struct parser_events *events, void *ctx)
{
    llhttp_t *lib = (llhttp_t *)parser->state.bytes;

    parser->events = events;
    parser->ctx = ctx;
    llhttp_init(lib, HTTP_REQUEST, &settings);
    lib->data = parser;
}

bool parser_feed(struct parser *parser, const char *data, size_t len)
{
    llhttp_t *lib = (llhttp_t *)parser->state.bytes;

    INVARIANT(len > 0); // as for http-parser
    return llhttp_execute(lib, data, len) == HPE_OK;
}
