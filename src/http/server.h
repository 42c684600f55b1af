// SPDX-License-Identifier: Apache-2.0
#pragma once

// The connections of one loop. One struct http_server a worker (and one for the management listener); owned by that loop.
//
// HTTP/1.1 (RFC 9112): keep-alive, pipelining (answers in order: the next request is read when the last one is answered), chunked,
// Expect: 100-continue, lingering close. A message that breaks the protocol is answered 400 by this layer with the body
// of `bad_request`, and the connection closed; time-outs in headers or body are answered 408 where a request has begun.

#include "base/metric.h"
#include "http/http.h"
#include "net/stream.h"

struct http_limits {
    int64_t headers_ms, body_ms, write_ms, idle_ms; // DESIGN: 10 s, 30 s, 60 s, 120 s; TLS handshake counts as headers
    size_t max_header_bytes;                        // request line and headers: 431 and close beyond; 16 KiB
};
#define HTTP_LIMITS_DEFAULT ((struct http_limits){10000, 30000, 60000, 120000, 16384})

struct http_server_conf {
    struct loop *loop;
    const struct http_handler *handler;
    void *ctx;
    struct http_limits limits;
    // What the HTTP layer answers by itself, so that the ingest API speaks with one voice: JSON words of the contract.
    // 400, 408, 431, 501, 505 -> e.g. {"error":"invalid_request","detail":"..."}
    void (*on_protocol_error)(void *ctx, const struct address *peer, unsigned status, const char *reason); // log, metrics; may be NULL
};

struct http_server;
struct http_server *http_server_new(const struct http_server_conf *conf);
// Takes over an accepted descriptor. tls NULL: plain. On its loop.
void http_server_adopt(struct http_server *server, int fd, const struct address *peer, struct tls_server *tls);
size_t http_server_connections(const struct http_server *server); // any thread
// Idle connections are closed at once, busy ones after their answer (Connection: close); on_drained once none is left.
void http_server_drain(struct http_server *server, void (*on_drained)(void *ctx), void *ctx);
void http_server_free(struct http_server *server); // aborts what is left (HTTP_ABORT_SHUTDOWN)
