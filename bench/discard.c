// SPDX-License-Identifier: Apache-2.0
//
// The most that Loom's own HTTP layer can do: takes requests, drops their bodies, answers 204. bench/run puts Loom's
// figures beside it.
//
//     bench_discard [--tls CERT KEY] [--workers N] [--bulk] ADDRESS
//
// --bulk: an Elasticsearch that throws documents away. It counts the lines of a request that is not compressed and says
// of each document that it has been created; it knows nothing of ids, mappings or templates.
//
// Prints the address it listens on (with the port the system chose), and serves until SIGTERM or SIGINT. The main
// thread accepts and hands each connection to the worker that has the fewest, as loomd does.

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "http/server.h"
#include "net/listener.h"

enum { MAX_WORKERS = 64 };

struct worker {
    pthread_t thread;
    struct loop *loop;
    struct http_server *server;
    size_t in_transit; // __atomic: connections handed over and not adopted yet
};

static struct worker workers[MAX_WORKERS];
static unsigned worker_count = 1;
static struct tls_server *tls;
static struct loop *main_loop;

static void ignore_headers(void *ctx, struct http_request *request)
{
    (void)ctx, (void)request;
}

static void drop_body(void *ctx, struct http_request *request, const char *data, size_t len)
{
    (void)ctx, (void)request, (void)data, (void)len;
}

static void answer(void *ctx, struct http_request *request)
{
    (void)ctx;
    http_respond(request, &(struct http_response){.status = 204});
}

// ---- --bulk

static void bulk_headers(void *ctx, struct http_request *request)
{
    (void)ctx;
    request->handler_data = mem_zalloc(sizeof(size_t));
}

static void bulk_body(void *ctx, struct http_request *request, const char *data, size_t len)
{
    size_t *lines = request->handler_data;

    (void)ctx;
    for (const char *at = data; (at = memchr(at, '\n', len - (size_t)(at - data))) != NULL; at++)
        ++*lines;
}

static void bulk_answer(void *ctx, struct http_request *request)
{
    static const char item[] = "{\"create\":{\"status\":201}}";
    size_t *lines = request->handler_data;
    struct buf body = BUF_EMPTY;

    (void)ctx;
    if (request->method == HTTP_METHOD_POST) {
        buf_str(&body, "{\"errors\":false,\"items\":[");
        for (size_t i = 0; i < *lines / 2; i++)
            buf_printf(&body, "%s%s", i > 0 ? "," : "", item);
        buf_str(&body, "]}");
    } else {
        buf_str(&body, "{\"version\":{\"number\":\"8.0.0\"}}");
    }
    mem_free(lines);
    http_respond(request, &(struct http_response){.status = 200,
                                                  .content_type = "application/json",
                                                  .headers = "X-Elastic-Product: Elasticsearch\r\n",
                                                  .body = {body.data, body.len}});
    buf_fini(&body);
}

static void bulk_abort(void *ctx, struct http_request *request, int reason)
{
    (void)ctx, (void)reason;
    mem_free(request->handler_data);
}

static void ignore_abort(void *ctx, struct http_request *request, int reason)
{
    (void)ctx, (void)request, (void)reason;
}

static const struct http_handler discard = {ignore_headers, drop_body, answer, ignore_abort};
static const struct http_handler bulk = {bulk_headers, bulk_body, bulk_answer, bulk_abort};
static const struct http_handler *handler = &discard;

struct handover {
    struct mail mail;
    struct worker *worker;
    int fd;
    struct address peer;
};

static void on_handover(struct mail *mail)
{
    struct handover *handover = (struct handover *)mail;

    http_server_adopt(handover->worker->server, handover->fd, &handover->peer, tls);
    __atomic_sub_fetch(&handover->worker->in_transit, 1, __ATOMIC_RELAXED);
    mem_free(handover);
}

static size_t load(const struct worker *worker)
{
    return http_server_connections(worker->server) + __atomic_load_n(&worker->in_transit, __ATOMIC_RELAXED);
}

static void on_accept(void *ctx, int fd, const struct address *peer)
{
    struct handover *handover = mem_alloc(sizeof *handover);
    struct worker *least = &workers[0];

    (void)ctx;
    for (unsigned i = 1; i < worker_count; i++) {
        if (load(&workers[i]) < load(least))
            least = &workers[i];
    }
    __atomic_add_fetch(&least->in_transit, 1, __ATOMIC_RELAXED);
    *handover = (struct handover){.mail.run = on_handover, .worker = least, .fd = fd, .peer = *peer};
    mailbox_send(loop_mailbox(least->loop), &handover->mail);
}

static void *run_worker(void *arg)
{
    struct worker *worker = arg;

    loop_run(worker->loop);
    return NULL;
}

static void start_worker(struct worker *worker)
{
    worker->loop = loop_new();
    worker->server = http_server_new(
        &(struct http_server_conf){.loop = worker->loop, .handler = handler, .limits = HTTP_LIMITS_DEFAULT});
    if (pthread_create(&worker->thread, NULL, run_worker, worker) != 0) {
        fputs("bench_discard: no thread\n", stderr);
        exit(1);
    }
}

static void stop_worker(struct worker *worker)
{
    loop_stop(worker->loop);
    pthread_join(worker->thread, NULL);
    http_server_free(worker->server);
    loop_free(worker->loop);
}

static void on_signal(struct loop_signal *signal, int number)
{
    (void)signal, (void)number;
    loop_stop(main_loop);
}

static int usage(void)
{
    fputs("usage: bench_discard [--tls CERT KEY] [--workers N] [--bulk] ADDRESS\n", stderr);
    return 2;
}

static int fail(const struct err *err)
{
    fprintf(stderr, "bench_discard: %s\n", err->text);
    return 1;
}

static int serve(const char *where)
{
    struct loop_signal interrupt = {0}, terminate = {0};
    char text[ADDRESS_TEXT_MAX];
    struct listener *listener;
    struct err err;

    main_loop = loop_new();
    if (listener_open(main_loop, where, on_accept, NULL, &listener, &err) != 0)
        return fail(&err);
    loop_signal_start(main_loop, &interrupt, SIGINT, on_signal);
    loop_signal_start(main_loop, &terminate, SIGTERM, on_signal);
    for (unsigned i = 0; i < worker_count; i++)
        start_worker(&workers[i]);
    printf("%s\n", address_text(listener_address(listener), text));
    fflush(stdout);

    listener_start(listener);
    loop_run(main_loop);

    listener_close(listener);
    for (unsigned i = 0; i < worker_count; i++)
        stop_worker(&workers[i]);
    loop_signal_close(&interrupt);
    loop_signal_close(&terminate);
    loop_free(main_loop);
    return 0;
}

int main(int argc, char **argv)
{
    struct err err;
    int i = 1;

    for (; i < argc && argv[i][0] == '-'; i++) {
        if (strcmp(argv[i], "--tls") == 0 && argc - i > 2) {
            if (tls_server_open(argv[i + 1], argv[i + 2], &tls, NULL, &err) != 0)
                return fail(&err);
            i += 2;
        } else if (strcmp(argv[i], "--workers") == 0 && argc - i > 1) {
            worker_count = (unsigned)strtoul(argv[++i], NULL, 10);
        } else if (strcmp(argv[i], "--bulk") == 0) {
            handler = &bulk;
        } else {
            return usage();
        }
    }
    if (argc - i != 1 || worker_count < 1 || worker_count > MAX_WORKERS)
        return usage();
    int status = serve(argv[i]);
    if (tls != NULL)
        tls_server_close(tls);
    return status;
}
