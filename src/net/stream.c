// SPDX-License-Identifier: Apache-2.0
#include "net/stream.h"

#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "net/socket.h"
#include "net/stats.h"
#include "net/tls_session.h"

enum {
    EXPECT_MIN = 4 * 1024,  // for less, two system calls more are no gain
    EXPECT_MAX = 32 * 1024, // so that the peer can send on while this is read
};

// Owned by one loop.
struct stream {
    struct loop_poll poll; // first: on_socket_ready is handed its address
    struct loop *loop;
    struct socket socket;
    struct tls_session tls;     // tls.ssl NULL: plain
    struct loop_timer buffered; // due at once when a read can go on without the socket
    stream_on_ready *on_ready;
    void *ctx;
    int wanted;          // what the owner waits for
    int read_needs;      // what the socket must be for a read to go on; with TLS it can be writable
    int write_needs;     // the same for a write
    int low_water;       // SO_RCVLOWAT
    bool notify_pending; // stream_shutdown's close_notify found no room
};

static bool is_tls(const struct stream *stream)
{
    return stream->tls.ssl != NULL;
}

static void watch_socket(struct stream *stream)
{
    int events = stream->notify_pending ? LOOP_WRITABLE : 0;
    if (stream->wanted & LOOP_READABLE)
        events |= stream->read_needs;
    if (stream->wanted & LOOP_WRITABLE)
        events |= stream->write_needs;
    loop_poll_set(&stream->poll, events);
}

static void on_socket_ready(struct loop_poll *poll, int ready)
{
    struct stream *stream = (struct stream *)poll;
    if (ready & LOOP_READABLE)
        socket_readable(&stream->socket);
    if (stream->notify_pending && (ready & LOOP_WRITABLE)) {
        stream_shutdown(stream);
        watch_socket(stream);
    }

    int events = 0;
    if ((stream->wanted & LOOP_READABLE) && (ready & stream->read_needs))
        events |= LOOP_READABLE;
    if ((stream->wanted & LOOP_WRITABLE) && (ready & stream->write_needs))
        events |= LOOP_WRITABLE;
    if (events != 0)
        stream->on_ready(stream->ctx, events);
}

static void on_buffered(struct loop_timer *timer)
{
    struct stream *stream = (struct stream *)((char *)timer - offsetof(struct stream, buffered));
    stream->on_ready(stream->ctx, LOOP_READABLE);
}

struct stream *stream_open(struct loop *loop, int fd, struct tls_server *tls, stream_on_ready *on_ready, void *ctx)
{
    struct stream *stream = mem_try_alloc(sizeof *stream);
    if (stream == NULL)
        goto out_fd;
    *stream = (struct stream){
        .loop = loop,
        .socket = {.fd = fd},
        .on_ready = on_ready,
        .ctx = ctx,
        .read_needs = LOOP_READABLE,
        .low_water = 1,
        .write_needs = LOOP_WRITABLE,
    };
    if (tls != NULL && tls_session_open(&stream->tls, tls, &stream->socket) != 0)
        goto out_stream;
    if (loop_poll_open(loop, &stream->poll, fd, on_socket_ready) != 0)
        goto out_tls;
    __atomic_fetch_add(&net_stats.connections, 1, __ATOMIC_RELAXED);
    return stream;

out_tls:
    if (is_tls(stream))
        tls_session_close(&stream->tls);
out_stream:
    mem_free(stream);
out_fd:
    close(fd);
    return NULL;
}

ssize_t stream_read(struct stream *stream, void *out, size_t len)
{
    INVARIANT(len > 0);
    ssize_t n = is_tls(stream) ? tls_session_read(&stream->tls, out, len, &stream->read_needs)
                               : socket_recv(&stream->socket, out, len);
    if (n > 0)
        counter_add(&net_stats.bytes_received, (uint64_t)n);
    return n;
}

ssize_t stream_writev(struct stream *stream, const struct iovec *parts, int count)
{
    ssize_t n = is_tls(stream) ? tls_session_writev(&stream->tls, parts, count, &stream->write_needs)
                               : socket_sendv(&stream->socket, parts, count);
    if (n > 0)
        counter_add(&net_stats.bytes_sent, (uint64_t)n);
    return n;
}

void stream_wait(struct stream *stream, int events)
{
    stream->wanted = events;
    if ((events & LOOP_READABLE) && is_tls(stream) && tls_session_buffered(&stream->tls))
        loop_timer_start(stream->loop, &stream->buffered, 0, on_buffered);
    else
        loop_timer_stop(&stream->buffered);
    watch_socket(stream);
}

void stream_expect(struct stream *stream, uint64_t bytes)
{
    // What OpenSSL has already is not to come over the socket.
    uint64_t there = is_tls(stream) ? tls_session_held(&stream->tls) : 0;
    uint64_t wanted = bytes > there ? bytes - there : 0;
    int low_water = wanted < EXPECT_MIN ? 1 : wanted < EXPECT_MAX ? (int)wanted : EXPECT_MAX;
    if (low_water != stream->low_water &&
        setsockopt(stream->socket.fd, SOL_SOCKET, SO_RCVLOWAT, &low_water, sizeof low_water) == 0)
        stream->low_water = low_water;
}

bool stream_handshake_done(const struct stream *stream)
{
    return !is_tls(stream) || stream->tls.handshake_done;
}

const char *stream_reason(const struct stream *stream)
{
    return stream->tls.reason;
}

void stream_shutdown(struct stream *stream)
{
    stream->notify_pending = is_tls(stream) && tls_session_shutdown(&stream->tls) == -EAGAIN;
    if (stream->notify_pending)
        watch_socket(stream);
    else
        shutdown(stream->socket.fd, SHUT_WR);
}

void stream_close(struct stream *stream)
{
    if (stream == NULL)
        return;
    if (is_tls(stream)) {
        // Who connects and says nothing (a port check) has not failed at TLS.
        if (!stream->tls.handshake_done && stream->socket.received > 0)
            counter_add(&net_stats.handshake_failures, 1);
        tls_session_close(&stream->tls);
    }
    loop_timer_close(&stream->buffered);
    loop_poll_close(&stream->poll);
    close(stream->socket.fd);
    __atomic_fetch_sub(&net_stats.connections, 1, __ATOMIC_RELAXED);
    mem_free(stream);
}
