// SPDX-License-Identifier: Apache-2.0

#include "http/server.h"

#include <unistd.h>

#include "base/mem.h"
#include "http/conn.h"

#define MAX_HEADER_BYTES 65536 // http-parser takes 80 KiB
#define DRAIN_LINGER_MS  500

_Static_assert(sizeof(struct http_conn) <= 1024, "an idle connection should cost little");

struct http_server *http_server_new(const struct http_server_conf *conf)
{
    struct http_server *server = mem_zalloc(sizeof *server);

    server->conf = *conf;
    if (server->conf.limits.max_header_bytes > MAX_HEADER_BYTES)
        server->conf.limits.max_header_bytes = MAX_HEADER_BYTES;
    server->input = mem_alloc(HTTP_INPUT_BYTES);
    deadlines_init(&server->deadlines, conf->loop, conn_on_deadline);
    server->deadlines.queues[DEADLINE_HEADERS].ms = conf->limits.headers_ms;
    server->deadlines.queues[DEADLINE_BODY].ms = conf->limits.body_ms;
    server->deadlines.queues[DEADLINE_WRITE].ms = conf->limits.write_ms;
    server->deadlines.queues[DEADLINE_IDLE].ms = conf->limits.idle_ms;
    server->deadlines.queues[DEADLINE_LINGER].ms = conf->limits.linger_ms;
    return server;
}

void http_server_adopt(struct http_server *server, int fd, const struct address *peer, struct tls_server *tls)
{
    if (server->draining)
        close(fd);
    else
        conn_open(server, fd, peer, tls);
}

size_t http_server_connections(const struct http_server *server)
{
    return __atomic_load_n(&server->count, __ATOMIC_RELAXED);
}

static void on_drained_due(struct loop_timer *timer)
{
    struct http_server *server = (struct http_server *)((char *)timer - offsetof(struct http_server, drained));

    server->on_drained(server->drained_ctx); // which may free the server
}

static void end_drain(struct http_server *server)
{
    if (server->draining && server->count == 0 && server->on_drained != NULL)
        loop_timer_start(server->conf.loop, &server->drained, 0, on_drained_due);
}

void server_add(struct http_server *server, struct http_conn *conn)
{
    conn->next = server->conns;
    if (conn->next != NULL)
        conn->next->prev = conn;
    server->conns = conn;
    __atomic_fetch_add(&server->count, 1, __ATOMIC_RELAXED);
}

void server_remove(struct http_server *server, struct http_conn *conn)
{
    if (conn->prev != NULL)
        conn->prev->next = conn->next;
    else
        server->conns = conn->next;
    if (conn->next != NULL)
        conn->next->prev = conn->prev;
    __atomic_fetch_sub(&server->count, 1, __ATOMIC_RELAXED);
    end_drain(server);
}

void http_server_drain(struct http_server *server, void (*on_drained)(void *ctx), void *ctx)
{
    INVARIANT(!server->draining);
    server->draining = true;
    // A client with an open connection and nothing to say must not hold up the end for long.
    if (server->deadlines.queues[DEADLINE_LINGER].ms > DRAIN_LINGER_MS)
        server->deadlines.queues[DEADLINE_LINGER].ms = DRAIN_LINGER_MS;
    server->on_drained = on_drained;
    server->drained_ctx = ctx;
    for (struct http_conn *conn = server->conns, *next; conn != NULL; conn = next) {
        next = conn->next;
        conn_drain(conn);
    }
    end_drain(server);
}

void http_server_free(struct http_server *server)
{
    if (server == NULL)
        return;
    server->on_drained = NULL;
    while (server->conns != NULL)
        conn_free(server->conns, HTTP_ABORT_SHUTDOWN);
    deadlines_fini(&server->deadlines);
    loop_timer_close(&server->drained);
    buf_fini(&server->output);
    mem_free(server->input);
    mem_free(server);
}
