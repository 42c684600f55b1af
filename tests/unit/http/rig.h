// SPDX-License-Identifier: Apache-2.0
#pragma once

// A server on a loop thread of its own, and clients on the test's thread with blocking sockets. What the handler does
// is chosen by the path; what it has seen is counted.

#include <pthread.h>
#include <stdatomic.h>

#include "base/buf.h"
#include "http/server.h"

struct rig {
    struct loop *loop;
    struct http_server *server;
    pthread_t thread;
    atomic_uint headers;   // calls of on_headers
    atomic_uint completes; // calls of on_complete
    atomic_uint aborts[4]; // by enum http_abort
    atomic_uint refusals;  // calls of on_protocol_error, and the last status
    atomic_uint refused_status;
    atomic_uint drained;
    struct visit *waiting; // loop thread: requests to /wait, in order
    int accepted;          // the server's end of the last connection, for what the system says of it
};

// /echo     200 with the body that came, when it is whole
// /early    413 at the headers
// /half     413 when the first byte of the body has come
// /later    as /echo, but a few milliseconds later, from a timer
// /wait     when rig_answer is called
// /large    200 with RIG_LARGE bytes
// else      404
#define RIG_LARGE (8u << 20)

void rig_start(struct rig *rig, struct http_limits limits);
void rig_start_with(struct rig *rig, const struct http_handler *handler, void *ctx); // another handler, usual limits
void rig_stop(struct rig *rig); // frees the server; requests without an answer are aborted
void rig_drain(struct rig *rig);
void rig_answer(struct rig *rig); // the oldest /wait that waits: 200 "waited"
void rig_until(atomic_uint *value, unsigned at_least);

int rig_connect(struct rig *rig);       // over TCP on loopback
int rig_connect_local(struct rig *rig); // a socketpair
void rig_send(int fd, const char *bytes, size_t len);
void rig_say(int fd, const char *text);

// Reads one answer: the head and as much body as it says, with_body false for HEAD. `out` is filled anew.
void rig_read(int fd, struct buf *out, bool with_body);
void rig_expect(int fd, const char *status_line, const char *body); // reads an answer and compares
void rig_expect_end(int fd);                                        // nothing more but the end of the stream; closes fd
