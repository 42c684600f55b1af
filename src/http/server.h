// SPDX-License-Identifier: Apache-2.0
#pragma once

// The connections of one loop. One struct http_server a worker (and one for the management listener); owned by that
// loop.
//
// HTTP/1.1 (RFC 9112): keep-alive, pipelining (answers in order: the next request is read when the last one is
// answered), chunked, Expect: 100-continue, lingering close. A message that breaks the protocol is answered by this
// layer (400, 431) with the words of the ingest API, and the connection closed; one that is too slow gets 408 where a
// request has begun.

#include "http/http.h"
#include "net/stream.h"

// Every deadline is absolute, so that a byte now and then keeps nothing alive.
struct http_limits {
    int64_t headers_ms; // from the first byte of a request; of a new connection from accept, TLS handshake included
    int64_t body_ms;    // from the end of the headers to the end of the body
    int64_t write_ms;   // for the whole of an answer
    int64_t idle_ms;    // between requests
    size_t max_header_bytes; // request line and headers: 431 and close beyond; at most 64 KiB
    int64_t linger_ms; // after an answer in mid-body: how long the rest is read and dropped so that the answer arrives;
                       // shorter while draining
};
#define HTTP_LIMITS_DEFAULT ((struct http_limits){10000, 30000, 60000, 120000, 16384, 5000})

struct http_server_conf {
    struct loop *loop;
    const struct http_handler *handler; // usually http_router (http/router.h)
    void *ctx;
    struct http_limits limits;
    // What this layer refuses by itself (400, 408, 431, 503), for log and metrics; may be NULL. reason is a fixed text. The
    // request is NULL unless it had come as far as on_headers; it is aborted right after. Must not call into this server.
    void (*on_protocol_error)(void *ctx, const struct http_request *request, const struct address *peer,
                              unsigned status, const char *reason);
};

struct http_server;
struct http_server *http_server_new(const struct http_server_conf *conf);
// Takes over an accepted descriptor. tls NULL: plain. On its loop.
void http_server_adopt(struct http_server *server, int fd, const struct address *peer, struct tls_server *tls);
size_t http_server_connections(const struct http_server *server); // any thread
// Idle connections are closed at once, busy ones after their answer (Connection: close); on_drained, once, from the
// loop when none is left. The server may be freed in it. What is adopted later is closed at once.
void http_server_drain(struct http_server *server, void (*on_drained)(void *ctx), void *ctx);
// Aborts what is left (HTTP_ABORT_SHUTDOWN) and closes it. Not from inside a handler's call.
void http_server_free(struct http_server *server);
