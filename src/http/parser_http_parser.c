// SPDX-License-Identifier: Apache-2.0
//
// http-parser (Debian 12). Its build there is the lenient one: see h1_check.h for what is refused before it gets here.

#include <http_parser.h>

#include "base/mem.h"
#include "http/parser.h"

const char parser_name[] = "http-parser";

#define PARSER_LIB        http_parser
#define PARSER_SETTINGS   http_parser_settings
#define PARSER_HAS_LENGTH F_CONTENTLENGTH
#include "http/parser_callbacks.inc"

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
