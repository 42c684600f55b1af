// SPDX-License-Identifier: Apache-2.0
#pragma once

// Non-blocking reads and writes on a connected socket; net's own, used by the plain stream and by TLS below its
// records.
//
// A read that came back short has emptied the socket. The next one says -EAGAIN without asking the system, until the
// loop reports the socket readable again: polling is level-triggered, so whatever arrives in between is reported.
// That saves a useless recv in each request.

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

struct socket {
    int fd;
    bool drained;      // nothing to read until socket_readable
    uint64_t received; // bytes, as they came over the wire
};

// Bytes, 0 at the end of the stream, or a negative code.
ssize_t socket_recv(struct socket *socket, void *out, size_t len);
ssize_t socket_sendv(struct socket *socket, const struct iovec *parts, int count); // never SIGPIPE

// The loop has reported the socket readable.
static inline void socket_readable(struct socket *socket)
{
    socket->drained = false;
}
