// SPDX-License-Identifier: Apache-2.0
//
// llhttp with its strict defaults: no lenient flag is set.

#include <llhttp.h>

#include "base/mem.h"
#include "http/parser.h"

const char parser_name[] = "llhttp";

#define PARSER_LIB        llhttp_t
#define PARSER_SETTINGS   llhttp_settings_t
#define PARSER_HAS_LENGTH F_CONTENT_LENGTH
#include "http/parser_callbacks.inc"

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
