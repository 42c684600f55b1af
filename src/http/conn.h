// SPDX-License-Identifier: Apache-2.0
#pragma once

// One HTTP/1 connection: its stream, the request that it is at, and the answer on its way out. Between server.c and
// conn.c.

#include "base/buf.h"
#include "http/deadline.h"
#include "http/h1.h"
#include "http/response.h"
#include "http/server.h"

// What a read takes at most. One buffer for all connections of a loop: what a turn reads it uses up or copies.
#define HTTP_INPUT_BYTES 65536

struct http_server {
    struct http_server_conf conf;
    struct deadlines deadlines;
    char *input;
    struct buf output; // where an answer is put together
    struct response_date date;
    struct http_conn *conns;
    size_t count; // __atomic: http_server_connections
    bool draining;
    void (*on_drained)(void *ctx);
    void *drained_ctx;
    struct loop_timer drained;
};

enum http_phase {
    PHASE_NEW,    // accepted; not a byte of a request yet
    PHASE_IDLE,   // between requests
    PHASE_HEAD,   // in a head
    PHASE_BODY,   // the handler has seen the headers, the body is coming
    PHASE_ANSWER, // the request is whole, the handler owes an answer
    PHASE_SKIP,   // answered in mid-body; what is left is little, so it is read over and the connection kept
    PHASE_CLOSE,  // answered; to be closed when the answer is out
    PHASE_LINGER, // our side is closed; input is dropped until the client closes too
};

struct http_conn {
    struct http_request request; // first: http_respond gets its address
    struct http_server *server;
    struct http_conn *prev, *next;
    struct stream *stream;
    struct address peer;
    struct deadline deadline;
    struct h1 h1;
    enum http_phase phase;
    unsigned begun;     // requests that this turn has begun
    bool with_handler;  // a handler has the request: it answers, or is told that it is over
    bool running;       // a turn is on the stack, and looks after what follows from an answer
    bool lost;          // to be released at the end of the turn
    bool stray_line;    // an empty line came since the last request
    bool eof;           // the client has closed its sending side
    bool renew;         // the phase is new: its deadline begins now, though of the same kind as the last
    struct buf pending; // input beyond the request that waits for its answer (pipelining)
    size_t pending_at;  // what of it has been used
    struct buf out;     // what the socket has not taken yet
    uint64_t lingered;  // bytes dropped in PHASE_LINGER
};

// The descriptor is closed when there is no memory for it.
void conn_open(struct http_server *server, int fd, const struct address *peer, struct tls_server *tls);
void conn_drain(struct http_conn *conn);            // closes it at once when idle; may release it
void conn_free(struct http_conn *conn, int reason); // reason: told to a handler that has its request
void conn_on_deadline(struct deadline *deadline);

void server_add(struct http_server *server, struct http_conn *conn);
void server_remove(struct http_server *server, struct http_conn *conn);
