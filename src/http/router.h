// SPDX-License-Identifier: Apache-2.0
#pragma once

// A table of exact paths. Give a server `http_router` as its handler and a struct http_router as its ctx: a request
// whose path and method stand in the table goes on to that route's handler, any other path is answered 404
// {"error":"not_found"}, any other method 405 {"error":"method_not_allowed"} with Allow. Paths compare byte by byte as
// they were sent: nothing is decoded, no slash is added or dropped. Frozen after set-up; may be shared by the servers
// of several loops when the routes' ctx may.

#include "http/http.h"

// A bit for each method a route takes: HTTP_ALLOW(POST) | HTTP_ALLOW(GET).
#define HTTP_ALLOW(method) (1u << HTTP_METHOD_##method)

struct http_route {
    const char *path;
    unsigned methods; // HTTP_METHOD_OTHER can't be allowed
    const struct http_handler *handler;
    void *ctx;
};

struct http_router {
    const struct http_route *routes;
    size_t count;
    // Called before a 404 or 405 goes out, for log and metrics; may be NULL. Must not answer.
    void (*on_miss)(void *ctx, struct http_request *request, unsigned status);
    void *ctx;
};

extern const struct http_handler http_router; // its ctx: a const struct http_router
