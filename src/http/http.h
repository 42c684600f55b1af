// SPDX-License-Identifier: Apache-2.0
#pragma once

// What a handler sees of an HTTP request, the same for every version of the protocol. A request lives on the loop of
// its connection; all calls there.
//
// Order of calls: on_headers, on_body any number of times, on_complete. http_respond ends it at any point, from inside
// a call or later from the loop: nothing is called for that request afterwards, and its pointer is dead once the
// handler returns. When the client goes away, breaks the protocol or is too slow before there is an answer, on_abort
// comes instead of what is missing. http_respond never calls a handler, so a caller need not expect to be entered
// again.

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/text.h"
#include "net/address.h"
#include "net/loop.h"

enum http_method { HTTP_METHOD_GET, HTTP_METHOD_HEAD, HTTP_METHOD_POST, HTTP_METHOD_OTHER };

#define HTTP_LENGTH_UNKNOWN UINT64_MAX

struct http_handler;

struct http_request {
    struct loop *loop;
    // Whom the calls go to, and with which ctx: the server's at first. Inside on_headers a handler may put another in
    // its place and call its on_headers (http/router.h does).
    const struct http_handler *handler;
    void *handler_ctx;
    void *handler_data; // the handler's own, NULL at first
    const struct address *peer;
    int64_t began_ns; // monotonic: when the first byte of it arrived
    enum http_method method;
    uint64_t content_length; // HTTP_LENGTH_UNKNOWN: chunked; 0 without a body
    unsigned repeated; // bits of enum http_repeated: that header came more than once; the first value stands below

    // Valid during on_headers only. Header values are trimmed, "" when absent.
    struct text path;  // of the target as sent, nothing decoded, without the query; of an absolute-form target its path
    struct text query; // after the '?', "" when there is none
    struct text content_type;
    struct text authorization;
    struct text sensor_id; // X-Spip-ID; at is NULL when it was not sent
    struct text content_encoding;
};

enum http_repeated {
    HTTP_REPEATED_CONTENT_TYPE = 1,
    HTTP_REPEATED_AUTHORIZATION = 2,
    HTTP_REPEATED_SENSOR_ID = 4,
    HTTP_REPEATED_CONTENT_ENCODING = 8,
};

struct http_handler {
    // Headers are whole and lawful. The handler may answer here: the body is then never read into memory.
    void (*on_headers)(void *ctx, struct http_request *request);
    // A piece of the body, never empty; valid during the call. May answer.
    void (*on_body)(void *ctx, struct http_request *request, const char *data, size_t len);
    // The body is whole. The handler answers now or, from this loop, later.
    void (*on_complete)(void *ctx, struct http_request *request);
    // The request is over without an answer (reason: enum http_abort); handler_data is to be released. Not called once
    // answered.
    void (*on_abort)(void *ctx, struct http_request *request, int reason);
};

enum http_abort { HTTP_ABORT_CLIENT_GONE, HTTP_ABORT_TIMEOUT, HTTP_ABORT_PROTOCOL, HTTP_ABORT_SHUTDOWN };

// An answer. Content-Length, Date and Connection are the HTTP layer's. 204 has no body, an answer to HEAD none either.
struct http_response {
    unsigned status;
    const char *content_type; // NULL: none
    const char *headers;      // further "Name: value\r\n" lines, or NULL
    struct text body;         // copied, as the other texts are
};
void http_respond(struct http_request *request, const struct http_response *response);

// The usual short answer: body {"error":"<word>"} as application/json; headers as above.
void http_respond_word(struct http_request *request, unsigned status, const char *word, const char *headers);
