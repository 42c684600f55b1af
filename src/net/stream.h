// SPDX-License-Identifier: Apache-2.0
#pragma once

// The bytes of one connection, plain or TLS, over a descriptor of its own. Owned by one loop. Never blocks.
//
// Read until STREAM_AGAIN: with TLS read-ahead, bytes can wait inside OpenSSL that no poll will report. A
// renegotiation or a key update may make a read wait for writability and the other way round; the stream knows, so
// after each turn of work the owner calls stream_wait with what it would like to do next and the stream asks the loop
// for what that needs.

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "net/loop.h"
#include "net/tls.h"

struct stream;

// Called when what stream_wait asked for may go on: LOOP_READABLE, LOOP_WRITABLE (as the owner meant it, not as TLS
// needs it).
typedef void stream_on_ready(void *ctx, int events);

// Takes over fd. tls NULL: plain. NULL when memory is gone (fd is then closed).
struct stream *stream_open(struct loop *loop, int fd, struct tls_server *tls, stream_on_ready *on_ready, void *ctx);

#define STREAM_AGAIN (-EAGAIN) // nothing now; stream_wait
#define STREAM_EOF   0         // the peer has closed its side (close_notify, or a plain end of the socket)
// Bytes read (> 0), STREAM_EOF, STREAM_AGAIN, or another negative code: the connection is lost. The handshake runs
// inside the first reads; -EPROTO is a failed one. stream_handshake_done tells where it stands.
ssize_t stream_read(struct stream *stream, void *out, size_t len);
// Bytes written (> 0), STREAM_AGAIN or a negative code; never SIGPIPE. TLS writes the parts as few records. What was
// not written must be offered again as it was (more may follow it): TLS may have encrypted it already.
ssize_t stream_writev(struct stream *stream, const struct iovec *parts, int count);
void stream_wait(struct stream *stream, int events); // 0: nothing (back-pressure)
// So many bytes more will come before there is anything to do: what comes stays in the system's memory, and does not wake the
// loop, until all or 32 KiB of it are there, or the connection ends. A hint, which holds until the next; 0: any byte counts.
// What is no message waits with the rest: that a TLS peer has said close_notify in the midst of one, and leaves the socket open,
// is seen by the owner's deadline only.
void stream_expect(struct stream *stream, uint64_t bytes);
bool stream_handshake_done(const struct stream *stream); // true at once for plain
const char *stream_reason(const struct stream *stream);  // why TLS failed, as OpenSSL puts it; static, NULL if unknown

// Ends our side after what was written (shutdown(SHUT_WR), TLS close_notify first): for a lingering close, RFC 9112,
// 9.6.
void stream_shutdown(struct stream *stream);
void stream_close(struct stream *stream); // closes the descriptor; not reported again. From on_ready too.
