// SPDX-License-Identifier: Apache-2.0
#include "owner.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "support.h"

uint64_t owner_hash(uint64_t hash, const char *data, size_t len)
{
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ (unsigned char)data[i]) * UINT64_C(1099511628211);
    return hash;
}

static void owner_end(struct owner *owner, int code)
{
    owner->end = code;
    owner->handshake_done = stream_handshake_done(owner->stream);
    owner->reason = stream_reason(owner->stream);
    loop_timer_close(&owner->pause);
    stream_close(owner->stream);
    owner->stream = NULL;
    loop_stop(owner->loop);
}

// Each answer goes out in pieces that TLS may put together: 0, 10 and many bytes.
static ssize_t write_answer(struct owner *owner)
{
    char chunk[40000];
    size_t left = owner->answer_len - owner->answered;
    size_t len = left < sizeof chunk ? left : sizeof chunk;
    for (size_t i = 0; i < len; i++)
        chunk[i] = owner_pattern(owner->answered + i);
    size_t head = len < 10 ? len : 10;
    const struct iovec parts[] = {{chunk, 0}, {chunk, head}, {chunk + head, len - head}};
    ssize_t n = stream_writev(owner->stream, parts, 3);
    if (n > 0)
        owner->answered += (size_t)n;
    return n;
}

static ssize_t write_echo(struct owner *owner)
{
    const struct iovec part = {owner->out + owner->out_at, owner->out_len - owner->out_at};
    ssize_t n = stream_writev(owner->stream, &part, 1);
    if (n > 0)
        owner->out_at += (size_t)n;
    return n;
}

// 0 when all is written.
static ssize_t owner_write(struct owner *owner)
{
    while (owner->out_at < owner->out_len) {
        ssize_t n = write_echo(owner);
        if (n <= 0)
            return n;
    }
    owner->out_at = owner->out_len = 0;
    while (owner->answering && owner->answered < owner->answer_len) {
        ssize_t n = write_answer(owner);
        if (n <= 0)
            return n;
    }
    if (owner->answering && owner->shut_down) {
        owner->shut_down = false;
        if (owner->around_shutdown != NULL)
            owner->around_shutdown(owner, false);
        stream_shutdown(owner->stream);
        if (owner->around_shutdown != NULL)
            owner->around_shutdown(owner, true);
    }
    return 0;
}

static ssize_t owner_read(struct owner *owner)
{
    char data[65536];
    ssize_t n = stream_read(owner->stream, data, owner->read_size);
    if (n <= 0)
        return n;
    CHECK((size_t)n <= owner->read_size);
    owner->received += (size_t)n;
    owner->hash = owner_hash(owner->hash, data, (size_t)n);
    owner->answering = owner->answer_len > 0;
    if (owner->echo) {
        memcpy(owner->out, data, (size_t)n);
        owner->out_len = (size_t)n;
    }
    return n;
}

static void wait_to_read(struct owner *owner)
{
    size_t begun = owner->message_len > 0 ? owner->received % owner->message_len : 0;
    size_t left = begun > 0 ? owner->message_len - begun : 0;
    stream_expect(owner->stream, left);
    __atomic_store_n(&owner->waits_for, left, __ATOMIC_RELEASE);
    stream_wait(owner->stream, LOOP_READABLE);
}

static void on_pause_over(struct loop_timer *timer)
{
    struct owner *owner = (struct owner *)((char *)timer - offsetof(struct owner, pause));
    wait_to_read(owner);
}

static void on_ready(void *ctx, int events)
{
    struct owner *owner = ctx;
    CHECK(events != 0);
    owner->wakes++;
    for (;;) {
        ssize_t n = owner_write(owner);
        if (n == STREAM_AGAIN) {
            stream_wait(owner->stream, LOOP_WRITABLE);
            return;
        }
        if (n == 0 && (n = owner_read(owner)) == STREAM_AGAIN) {
            wait_to_read(owner);
            return;
        }
        if (n <= 0) {
            owner_end(owner, (int)n);
            return;
        }
        if (owner->style == OWNER_DRAINS)
            continue;
        if (owner->out_len == 0 && !owner->answering)
            break;
        if ((n = owner_write(owner)) == STREAM_AGAIN) {
            stream_wait(owner->stream, LOOP_WRITABLE);
            return;
        }
        if (n < 0) {
            owner_end(owner, (int)n);
            return;
        }
        break;
    }
    if (owner->style != OWNER_PAUSES) {
        wait_to_read(owner);
        return;
    }
    stream_wait(owner->stream, 0);
    loop_timer_start(owner->loop, &owner->pause, 1, on_pause_over);
}

// ---- The two ends

void owner_tcp_pair(int pair[2])
{
    struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof sin;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(listener >= 0 && bind(listener, (struct sockaddr *)&sin, sizeof sin) == 0 && listen(listener, 1) == 0);
    CHECK(getsockname(listener, (struct sockaddr *)&sin, &len) == 0);
    pair[1] = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(pair[1] >= 0 && connect(pair[1], (struct sockaddr *)&sin, sizeof sin) == 0);
    pair[0] = accept(listener, NULL, NULL);
    CHECK(pair[0] >= 0);
    close(listener);
}

struct client_thread {
    owner_client *run;
    int fd;
    void *ctx;
};

static void *client_main(void *ctx)
{
    struct client_thread *client = ctx;
    client->run(client->fd, client->ctx);
    return NULL;
}

void owner_run(struct owner *owner, owner_client *client, void *ctx)
{
    int pair[2];
    pthread_t thread;
    if (owner->family == AF_UNIX)
        CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    else
        owner_tcp_pair(pair);
    fcntl(pair[0], F_SETFL, O_NONBLOCK);
    if (owner->answer_len > 0) { // a long answer meets back-pressure on every machine
        const int small = 16384;
        setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    }

    owner->loop = loop_new();
    owner->fd = pair[0];
    owner->hash = OWNER_HASH;
    owner->stream = stream_open(owner->loop, pair[0], owner->tls, on_ready, owner);
    CHECK(owner->loop != NULL && owner->stream != NULL);
    owner->answering = owner->speaks_first;
    stream_wait(owner->stream, owner->speaks_first ? LOOP_WRITABLE : LOOP_READABLE);

    struct client_thread arguments = {client, pair[1], ctx};
    CHECK(pthread_create(&thread, NULL, client_main, &arguments) == 0);
    loop_run(owner->loop);
    pthread_join(thread, NULL);
    loop_free(owner->loop);
}
