// SPDX-License-Identifier: Apache-2.0

#include "http/router.h"

#include <stdio.h>

#include "base/mem.h"

void http_respond_word(struct http_request *request, unsigned status, const char *word, const char *headers)
{
    char body[128];
    int len = snprintf(body, sizeof body, "{\"error\":\"%s\"}", word);

    INVARIANT(len > 0 && (size_t)len < sizeof body);
    http_respond(request, &(struct http_response){.status = status,
                                                  .content_type = "application/json",
                                                  .headers = headers,
                                                  .body = {body, (size_t)len}});
}

static void refuse_method(struct http_request *request, unsigned methods)
{
    static const struct {
        unsigned bit;
        const char *name;
    } names[] = {{HTTP_ALLOW(GET), "GET"}, {HTTP_ALLOW(HEAD), "HEAD"}, {HTTP_ALLOW(POST), "POST"}};
    char allow[64] = "Allow:";
    size_t len = strlen(allow);

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if ((methods & names[i].bit) != 0)
            len += (size_t)snprintf(allow + len, sizeof allow - len, "%s %s", allow[len - 1] == ':' ? "" : ",",
                                    names[i].name);
    }
    snprintf(allow + len, sizeof allow - len, "\r\n");
    http_respond_word(request, 405, "method_not_allowed", allow);
}

static void on_headers(void *ctx, struct http_request *request)
{
    const struct http_router *router = ctx;
    const struct http_route *route = NULL;

    for (size_t i = 0; i < router->count && route == NULL; i++) {
        if (text_eq(request->path, text_of(router->routes[i].path)))
            route = &router->routes[i];
    }
    bool allowed =
        route != NULL && request->method != HTTP_METHOD_OTHER && (route->methods & 1u << request->method) != 0;
    if (!allowed && router->on_miss != NULL)
        router->on_miss(router->ctx, request, route == NULL ? 404 : 405);
    if (route == NULL) {
        http_respond_word(request, 404, "not_found", NULL);
    } else if (!allowed) {
        refuse_method(request, route->methods);
    } else {
        request->handler = route->handler;
        request->handler_ctx = route->ctx;
        route->handler->on_headers(route->ctx, request);
    }
}

// A request that has passed on_headers is answered or has another handler.
const struct http_handler http_router = {.on_headers = on_headers};
