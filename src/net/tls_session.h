// SPDX-License-Identifier: Apache-2.0
#pragma once

// One TLS connection below a stream; net's own. OpenSSL reads and writes through a BIO over struct socket, not
// through its socket BIO: so a peer that has gone raises no SIGPIPE, and a socket that is known to be empty isn't
// asked again.

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "net/socket.h"
#include "net/tls.h"

struct ssl_st;

// Owned by its stream, on the stream's loop.
struct tls_session {
    struct ssl_st *ssl;
    struct socket *socket;
    bool handshake_done;
    uint64_t passed_on; // as many of socket->received as have left OpenSSL for certain
    bool dry;           // the last read ended in -EAGAIN: what OpenSSL may hold is no whole record
    bool notified;      // our close_notify is out, or nothing can be sent any more
    int lost;           // 0, or the code with which the connection ended
    const char *reason; // OpenSSL's word for it; static, or NULL
};

// `socket` must stay where it is. 0 or -ENOMEM.
int tls_session_open(struct tls_session *session, struct tls_server *server, struct socket *socket);
void tls_session_close(struct tls_session *session); // sends a close_notify when there still is a connection

// As stream_read and stream_writev. With -EAGAIN, *needs tells what the socket must be for the call to go on:
// LOOP_READABLE or LOOP_WRITABLE. After -EAGAIN a write must begin with the same bytes; more may follow them.
ssize_t tls_session_read(struct tls_session *session, void *out, size_t len, int *needs);
ssize_t tls_session_writev(struct tls_session *session, const struct iovec *parts, int count, int *needs);

// Sends close_notify. 0 when it is out or can't be sent any more, -EAGAIN when it waits for the socket to be writable.
int tls_session_shutdown(struct tls_session *session);

// How many bytes OpenSSL may hold that have been received and not been read; never too few. (It does not tell. What the
// records' own bytes are is not known either, so they count until OpenSSL holds nothing.)
uint64_t tls_session_held(const struct tls_session *session);

// Bytes wait inside OpenSSL that a read may get at, and that no poll will report.
bool tls_session_buffered(const struct tls_session *session);
