// SPDX-License-Identifier: Apache-2.0

#include "loomd/worker.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "base/mem.h"
#include "http/router.h"

enum { ROUTES_MAX = 4 };

struct worker {
    pthread_t thread;
    struct loop *loop;
    struct ingest_worker *ingest;
    struct http_route routes[ROUTES_MAX];
    struct http_router router;
    struct http_server *server;
    struct tls_server *tls;
    size_t in_transit; // atomic: handed over and not adopted yet

    struct mail drain, cut, stop;
    struct mailbox *drained_home;
    struct mail *drained; // NULL once it was sent
};

// A connection between the main thread and its worker.
struct handover {
    struct mail mail;
    struct worker *worker;
    int fd;
    struct address peer;
};

static void on_handover(struct mail *mail)
{
    struct handover *handover = (struct handover *)mail;
    struct worker *worker = handover->worker;

    http_server_adopt(worker->server, handover->fd, &handover->peer, worker->tls);
    __atomic_sub_fetch(&worker->in_transit, 1, __ATOMIC_RELAXED);
    mem_free(handover);
}

void worker_hand_over(struct worker *worker, int fd, const struct address *peer)
{
    struct handover *handover = mem_try_alloc(sizeof *handover);
    if (handover == NULL) {
        close(fd);
        return;
    }
    *handover = (struct handover){.mail.run = on_handover, .worker = worker, .fd = fd, .peer = *peer};
    __atomic_add_fetch(&worker->in_transit, 1, __ATOMIC_RELAXED);
    mailbox_send(loop_mailbox(worker->loop), &handover->mail);
}

size_t worker_load(const struct worker *worker)
{
    return http_server_connections(worker->server) + __atomic_load_n(&worker->in_transit, __ATOMIC_RELAXED);
}

struct ingest_worker *worker_ingest(const struct worker *worker)
{
    return worker->ingest;
}

static void on_drained(void *ctx)
{
    struct worker *worker = ctx;
    if (worker->drained == NULL)
        return;
    mailbox_send(worker->drained_home, worker->drained);
    worker->drained = NULL;
}

static void on_drain(struct mail *mail)
{
    struct worker *worker = (struct worker *)((char *)mail - offsetof(struct worker, drain));
    http_server_drain(worker->server, on_drained, worker);
}

void worker_drain(struct worker *worker, struct mailbox *home, struct mail *drained)
{
    worker->drained_home = home;
    worker->drained = drained;
    worker->drain.run = on_drain;
    mailbox_send(loop_mailbox(worker->loop), &worker->drain);
}

static void on_cut(struct mail *mail)
{
    struct worker *worker = (struct worker *)((char *)mail - offsetof(struct worker, cut));
    http_server_free(worker->server);
    worker->server = NULL;
    on_drained(worker);
}

void worker_cut(struct worker *worker)
{
    worker->cut.run = on_cut;
    mailbox_send(loop_mailbox(worker->loop), &worker->cut);
}

static void on_stop(struct mail *mail)
{
    struct worker *worker = (struct worker *)((char *)mail - offsetof(struct worker, stop));
    loop_stop(worker->loop);
}

static void *run(void *ctx)
{
    struct worker *worker = ctx;
    loop_run(worker->loop);
    return NULL;
}

static void release(struct worker *worker)
{
    if (worker->server != NULL)
        http_server_free(worker->server);
    ingest_worker_free(worker->ingest);
    loop_free(worker->loop);
    mem_free(worker);
}

void worker_stop(struct worker *worker)
{
    worker->stop.run = on_stop;
    mailbox_send(loop_mailbox(worker->loop), &worker->stop);
    pthread_join(worker->thread, NULL);
    release(worker); // the thread is gone: its things are ours
}

// Workers leave all signals to the main thread.
static int start_thread(struct worker *worker)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&worker->thread, NULL, run, worker);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return -rc;
}

// The HTTP layer hands over the ctx of its handler: the router, whose own ctx is ingest's.
static void on_protocol_error(void *ctx, const struct http_request *request, const struct address *peer,
                              unsigned status, const char *reason)
{
    const struct http_router *router = ctx;
    ingest_on_protocol_error(router->ctx, request, peer, status, reason);
}

static void open_server(struct worker *worker)
{
    size_t count = 0;
    for (; ingest_paths[count] != NULL; count++) {
        INVARIANT(count < ROUTES_MAX);
        worker->routes[count] = (struct http_route){
            .path = ingest_paths[count],
            .methods = HTTP_ALLOW(POST),
            .handler = &ingest_handler,
            .ctx = worker->ingest,
        };
    }
    worker->router = (struct http_router){
        .routes = worker->routes, .count = count, .on_miss = ingest_on_miss, .ctx = worker->ingest};
    worker->server = http_server_new(&(struct http_server_conf){
        .loop = worker->loop,
        .handler = &http_router,
        .ctx = &worker->router,
        .limits = HTTP_LIMITS_DEFAULT,
        .on_protocol_error = on_protocol_error,
    });
}

int worker_start(const struct ingest *ingest, struct tls_server *tls, unsigned number, struct worker **out,
                 struct err *err)
{
    struct worker *worker = mem_zalloc(sizeof *worker);

    worker->tls = tls;
    worker->loop = loop_new();
    if (worker->loop == NULL) {
        mem_free(worker);
        return err_set(err, -EMFILE, "cannot start worker thread %u: %s", number, err_text(-EMFILE));
    }
    worker->ingest = ingest_worker_new(ingest, worker->loop);
    open_server(worker);
    int rc = start_thread(worker);
    if (rc != 0) {
        release(worker);
        return err_set(err, rc, "cannot start worker thread %u: %s", number, err_text(rc));
    }
    char name[16];
    snprintf(name, sizeof name, "loom-worker-%u", number % 1000);
    pthread_setname_np(worker->thread, name);
    *out = worker;
    return 0;
}
