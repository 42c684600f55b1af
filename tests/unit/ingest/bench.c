// SPDX-License-Identifier: Apache-2.0
#include "bench.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"

static bool fake_accepts(struct store *store)
{
    return !((struct fake_store *)store)->closed;
}

void bench_settle(struct batch *batch, int status)
{
    batch->status = status;
    mailbox_send(batch->home, &batch->mail);
}

static int fake_append(struct store *store, struct batch *batch)
{
    struct fake_store *fake = (struct fake_store *)store;
    enum store_mode mode = __atomic_load_n(&fake->mode, __ATOMIC_ACQUIRE);

    if (mode == STORE_REFUSES)
        return -EAGAIN;
    snprintf(fake->lines, sizeof fake->lines, "%.*s", (int)batch->lines.len, batch->lines.data);
    if (mode == STORE_HOLDS)
        __atomic_store_n(&fake->held, batch, __ATOMIC_RELEASE);
    else
        bench_settle(batch, mode == STORE_SAFE ? 0 : -ENOSPC);
    return 0;
}

static void fake_kick(struct store *store)
{
    __atomic_add_fetch(&((struct fake_store *)store)->kicks, 1, __ATOMIC_RELAXED);
}

static const struct store_ops fake_ops = {
    .name = "fake", .accepts = fake_accepts, .append = fake_append, .kick = fake_kick};

static void *run_loop(void *ctx)
{
    loop_run(((struct bench *)ctx)->loop);
    return NULL;
}

struct bench *bench_new(void)
{
    static const char *const env[] = {"LOOM_SENSOR_s1=token-one", "LOOM_SENSOR_s2=second", NULL};
    struct bench *b = mem_zalloc(sizeof *b);
    struct buf problems = BUF_EMPTY, warnings = BUF_EMPTY;

    b->store.store.ops = &fake_ops;
    budget_init(&b->budget, 10000);
    b->ingest = (struct ingest){
        .limits = {.max_body_size_bytes = 1000,
                   .max_events_per_batch = 3,
                   .max_event_size_bytes = 200,
                   .per_sensor_rps = -1,
                   .per_sensor_events_rps = -1,
                   .ack_timeout_ms = 60000},
        .budget = &b->budget,
        .store = &b->store.store,
    };
    assert_int_equal(auth_open((char *const *)env, NULL, &b->ingest.auth, &problems, &warnings), 0);
    buf_fini(&problems);
    buf_fini(&warnings);
    b->loop = loop_new();
    b->worker = ingest_worker_new(&b->ingest, b->loop);
    b->server = http_server_new(&(struct http_server_conf){
        .loop = b->loop, .handler = &ingest_handler, .ctx = b->worker, .limits = HTTP_LIMITS_DEFAULT});
    return b;
}

int bench_connect(struct bench *b)
{
    int pair[2];
    struct address peer = {.len = sizeof(sa_family_t)};
    struct timeval patience = {.tv_sec = 60};

    peer.sa.ss_family = AF_UNIX;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    setsockopt(pair[1], SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    http_server_adopt(b->server, pair[0], &peer, NULL);
    return pair[1];
}

void bench_start(struct bench *b)
{
    assert_int_equal(pthread_create(&b->thread, NULL, run_loop, b), 0);
}

void bench_stop(struct bench *b)
{
    loop_stop(b->loop);
    pthread_join(b->thread, NULL);
}

void bench_free(struct bench *b)
{
    http_server_free(b->server);
    assert_int_equal(ingest_worker_outstanding(b->worker), 0);
    ingest_worker_free(b->worker);
    auth_close(b->ingest.auth);
    loop_free(b->loop);
    assert_int_equal(budget_used(&b->budget), 0); // whatever happened, every byte was given back
    mem_free(b);
}

void bench_end(struct bench *b)
{
    bench_stop(b);
    bench_free(b);
}

void bench_post(int fd, const char *body)
{
    char request[4096];
    int len = snprintf(request, sizeof request,
                       "POST / HTTP/1.1\r\nHost: loom\r\nAuthorization: Bearer token-one\r\n"
                       "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                       strlen(body), body);
    assert_int_equal(write(fd, request, (size_t)len), len);
}

int bench_answer(int fd, char *text, size_t size)
{
    size_t len = 0;
    int status = 0, length = 0;
    const char *body = NULL, *header;

    while (body == NULL || (size_t)(text + len - body) < (size_t)length) {
        ssize_t n;
        do // libuv may be at work in the kernel for this process (io_uring), which interrupts a read with a time-out
            n = read(fd, text + len, size - 1 - len);
        while (n < 0 && errno == EINTR);
        assert_true(n > 0);
        len += (size_t)n;
        text[len] = '\0';
        if ((body = strstr(text, "\r\n\r\n")) != NULL)
            body += 4;
        if ((header = strstr(text, "Content-Length: ")) != NULL)
            length = atoi(header + 16);
    }
    assert_int_equal(sscanf(text, "HTTP/1.1 %d", &status), 1);
    return status;
}
