// SPDX-License-Identifier: Apache-2.0
//
// Start: addresses are bound first, so that a port that is taken ends the start before anything runs; then output and
// workers; then listening begins. End, at the first signal: /ready says draining and nothing new is accepted; requests in flight
// are finished; the output gets what the store still has; threads end. All of it within SHUTDOWN_MS, or what hangs is left
// behind LAST_RESORT_MS later; a second signal ends the process at once.

#include "loomd/service.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "admin/admin.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "deliver/pump.h"
#include "http/router.h"
#include "http/server.h"
#include "loomd/worker.h"
#include "net/listener.h"
#include "net/stats.h"
#include "store/durable.h"
#include "store/memory.h"

enum {
    SHUTDOWN_MS = 15000,
    LAST_RESORT_MS = 1000,
    LAST_TRY_MS = 500,
    LAST_HAND_OVERS_MS = 3000,
    QUIET_MS = 10000,
    QUIET_BYTES = 1 << 20, // of bodies under way
    BURST_CONNECTIONS = 128,
    BURST_MS = 600,
    MANAGEMENT_ROUTES = 8,
    MANAGEMENT_CONNECTIONS = 64
};

struct service {
    const struct prepared *prepared;
    struct loop *loop;
    struct listener *listener;
    struct listener *management_listener; // NULL: off
    struct http_route management_routes[MANAGEMENT_ROUTES];
    struct http_router management_router;
    struct http_server *management;

    struct budget budget;
    struct store *store;
    struct pump *pump;
    struct ingest ingest;
    struct worker **workers;
    struct ingest_worker **ingest_workers; // the same, for admin
    size_t worker_count;
    size_t next_worker;
    struct admin admin;

    struct loop_signal sigterm, sigint;
    struct loop_timer shutdown_timer, quiet_timer, burst_timer;
    bool is_quiet;
    unsigned burst; // connections accepted since burst_timer was last due
    int64_t shutdown_by_ns;
    struct drained *drained; // one a worker
    size_t drained_count;
};

// A worker's word that its connections are closed.
struct drained {
    struct mail mail;
    struct service *service;
};

// The least loaded worker; among equals in turn, so that four sensors on two workers use both.
static struct worker *choose_worker(struct service *service, size_t *total)
{
    struct worker *best = NULL;
    size_t best_load = 0;

    *total = 0;
    for (size_t i = 0; i < service->worker_count; i++) {
        struct worker *worker = service->workers[(service->next_worker + i) % service->worker_count];
        size_t load = worker_load(worker);
        *total += load;
        if (best == NULL || load < best_load) {
            best = worker;
            best_load = load;
        }
    }
    service->next_worker++;
    return best;
}

// Many handshakes at once leave much behind that what comes after them does not fill: 20 MiB of 1,000 connections.
static void on_burst_due(struct loop_timer *timer)
{
    struct service *service = (struct service *)((char *)timer - offsetof(struct service, burst_timer));
    service->burst = 0;
    mem_give_back_now();
}

static void on_accept(void *ctx, int fd, const struct address *peer)
{
    static struct log_limit full_log;
    struct service *service = ctx;
    size_t total;
    uint64_t held_back;

    struct worker *worker = choose_worker(service, &total);
    if (total < (size_t)service->prepared->conf.limits.max_connections) {
        worker_hand_over(worker, fd, peer);
        if (++service->burst == BURST_CONNECTIONS)
            loop_timer_start(service->loop, &service->burst_timer, BURST_MS, on_burst_due);
        return;
    }
    close(fd);
    counter_add(&net_stats.refused_limit, 1);
    if (log_limit_pass(&full_log, 1, 1, &held_back))
        LOG(LOG_WARN, "connection closed: limits.max_connections is reached", LOG_INT("held_back", held_back));
}

static void on_management_accept(void *ctx, int fd, const struct address *peer)
{
    struct service *service = ctx;
    if (http_server_connections(service->management) < MANAGEMENT_CONNECTIONS)
        http_server_adopt(service->management, fd, peer, NULL);
    else
        close(fd); // a scraper that leaks connections must not take the sensors' descriptors
}

static int open_listeners(struct service *service, struct err *err)
{
    const struct conf_server *conf = &service->prepared->conf.server;

    int rc = listener_open(service->loop, conf->listen_address, on_accept, service, &service->listener, err);
    if (rc != 0)
        return err_prefix(err, "server.listen_address");
    if (conf->management_listen_address[0] == '\0')
        return 0;
    rc = listener_open(service->loop, conf->management_listen_address, on_management_accept, service,
                       &service->management_listener, err);
    return rc == 0 ? 0 : err_prefix(err, "server.management_listen_address");
}

static int start_output(struct service *service, struct err *err)
{
    const struct conf *conf = &service->prepared->conf;
    const struct pump_conf pump = {.output = &conf->output, .stuck_ms = conf->output.ack_timeout_ms};

    int rc = 0;
    if (conf->output.outbox.enabled)
        rc = store_durable_open(&conf->output.outbox, &service->store, err);
    else
        service->store = store_memory_new();
    if (rc != 0)
        return rc;
    return pump_start(&pump, service->prepared->sink, service->store, &service->pump, err);
}

static int start_workers(struct service *service, struct err *err)
{
    const struct conf *conf = &service->prepared->conf;
    size_t count = (size_t)conf->server.workers;

    budget_init(&service->budget, conf->limits.max_inflight_bytes);
    service->ingest = (struct ingest){
        .limits =
            {
                .max_body_size_bytes = (uint64_t)conf->limits.max_body_size_bytes,
                .max_events_per_batch = (uint64_t)conf->limits.max_events_per_batch,
                .max_event_size_bytes = (uint64_t)conf->limits.max_event_size_bytes,
                .per_sensor_rps = conf->limits.per_sensor_rps,
                .per_sensor_events_rps = conf->limits.per_sensor_events_rps,
                .ack_timeout_ms = conf->output.ack_timeout_ms,
            },
        .auth = service->prepared->auth,
        .budget = &service->budget,
        .store = service->store,
        .enricher = service->prepared->enricher,
    };
    service->workers = mem_array(count, sizeof *service->workers);
    service->ingest_workers = mem_array(count, sizeof *service->ingest_workers);
    service->drained = mem_array(count, sizeof *service->drained);
    for (size_t i = 0; i < count; i++) {
        int rc = worker_start(&service->ingest, service->prepared->tls, (unsigned)i, &service->workers[i], err);
        if (rc != 0)
            return rc;
        service->ingest_workers[i] = worker_ingest(service->workers[i]);
        service->worker_count++;
    }
    return 0;
}

static void open_management(struct service *service)
{
    size_t count = 0;
    for (; admin_paths[count] != NULL; count++) {
        INVARIANT(count < MANAGEMENT_ROUTES);
        service->management_routes[count] = (struct http_route){
            .path = admin_paths[count],
            .methods = HTTP_ALLOW(GET) | HTTP_ALLOW(HEAD),
            .handler = &admin_handler,
            .ctx = &service->admin,
        };
    }
    service->management_router = (struct http_router){.routes = service->management_routes, .count = count};
    service->management = http_server_new(&(struct http_server_conf){
        .loop = service->loop,
        .handler = &http_router,
        .ctx = &service->management_router,
        .limits = HTTP_LIMITS_DEFAULT,
    });
}

static void start_management(struct service *service, const char *version)
{
    const struct conf *conf = &service->prepared->conf;

    service->admin = (struct admin){
        .phase = ADMIN_STARTING,
        .metrics_enabled = conf->observability.metrics_enabled,
        .version = version,
        .output = conf->output.type,
        .pump = service->pump,
        .store = service->store,
        .auth = service->prepared->auth,
        .budget = &service->budget,
        .enricher = service->prepared->enricher,
        .workers = service->ingest_workers,
        .worker_count = service->worker_count,
        .started_real_ns = clock_real_ns(),
    };
    if (service->management_listener == NULL)
        return;
    open_management(service);
    listener_start(service->management_listener);
}

static void log_listening(const struct service *service)
{
    const struct conf_server *conf = &service->prepared->conf.server;
    char address[ADDRESS_TEXT_MAX];

    if (service->management_listener != NULL)
        LOG(LOG_INFO, "management listening",
            LOG_STR("address", address_text(listener_address(service->management_listener), address)));
    LOG(LOG_INFO, "listening", LOG_STR("address", address_text(listener_address(service->listener), address)),
        LOG_STR("protocol", conf->tls ? "https" : "http"), LOG_INT("workers", service->worker_count),
        LOG_INT("sensors", auth_count(service->prepared->auth)),
        LOG_STR("output", service->prepared->conf.output.type));
}

// The memory of a burst is not kept for the next one.
static void on_quiet_due(struct loop_timer *timer)
{
    struct service *service = (struct service *)((char *)timer - offsetof(struct service, quiet_timer));
    bool was_quiet = service->is_quiet; // one look may fall between two batches
    service->is_quiet = budget_used(&service->budget) < QUIET_BYTES;
    if (was_quiet && service->is_quiet)
        mem_give_back();
    loop_timer_start(service->loop, &service->quiet_timer, QUIET_MS, on_quiet_due);
}

static void end_at_once(int number)
{
    _exit(128 + number);
}

// A sync on a disk that hangs comes back when it pleases, and with it the thread that would have to be joined. What waits for it
// was never acknowledged, so nothing is lost by going.
static void *end_anyway(void *ctx)
{
    const struct timespec pause = {.tv_sec = (SHUTDOWN_MS + LAST_RESORT_MS) / 1000};
    (void)ctx;
    nanosleep(&pause, NULL); // no signal cuts it short: those that come end the process
    LOG(LOG_ERROR, "the output or the disk of the outbox hangs, ending without it");
    _exit(EXIT_FAILURE);
}

static void start_last_resort(void)
{
    pthread_t thread;
    int rc = pthread_create(&thread, NULL, end_anyway, NULL);
    if (rc == 0)
        pthread_detach(thread);
    else
        LOG(LOG_WARN, "the end may take longer than 15 s", LOG_STR("error", err_text(-rc)));
}

static void on_shutdown_due(struct loop_timer *timer)
{
    struct service *service = (struct service *)((char *)timer - offsetof(struct service, shutdown_timer));
    LOG(LOG_WARN, "requests are still in flight after 15 s, cutting them off");
    for (size_t i = 0; i < service->worker_count; i++)
        worker_cut(service->workers[i]);
}

static void on_worker_drained(struct mail *mail)
{
    struct service *service = ((struct drained *)mail)->service;
    if (++service->drained_count == service->worker_count)
        loop_stop(service->loop);
}

static void on_signal(struct loop_signal *signal, int number)
{
    size_t offset = number == SIGINT ? offsetof(struct service, sigint) : offsetof(struct service, sigterm);
    struct service *service = (struct service *)((char *)signal - offset);

    LOG(LOG_INFO, "shutting down", LOG_STR("signal", number == SIGINT ? "SIGINT" : "SIGTERM"));
    loop_signal_close(&service->sigterm);
    loop_signal_close(&service->sigint);
    struct sigaction at_once = {.sa_handler = end_at_once};
    sigaction(SIGTERM, &at_once, NULL);
    sigaction(SIGINT, &at_once, NULL);

    service->admin.phase = ADMIN_DRAINING;
    service->shutdown_by_ns = clock_mono_ns() + SHUTDOWN_MS * NS_PER_MS;
    listener_close(service->listener);
    service->listener = NULL;
    loop_timer_start(service->loop, &service->shutdown_timer, SHUTDOWN_MS, on_shutdown_due);
    start_last_resort();
    for (size_t i = 0; i < service->worker_count; i++) {
        service->drained[i] = (struct drained){.mail.run = on_worker_drained, .service = service};
        worker_drain(service->workers[i], loop_mailbox(service->loop), &service->drained[i].mail);
    }
}

static int wait_for_signals(struct service *service, struct err *err)
{
    int rc = loop_signal_start(service->loop, &service->sigterm, SIGTERM, on_signal);
    if (rc == 0)
        rc = loop_signal_start(service->loop, &service->sigint, SIGINT, on_signal);
    return rc == 0 ? 0 : err_set(err, rc, "cannot wait for signals: %s", err_text(rc));
}

// What an output that is down still has to take was never promised: one more try, and no waiting for it. What is on disk
// is as safe there as it will be after the next start: what is under way may end, and no more.
static int64_t output_grace_ms(struct service *service)
{
    int64_t left_ms = service->shutdown_by_ns > 0 ? (service->shutdown_by_ns - clock_mono_ns()) / NS_PER_MS : 0;
    int64_t most_ms = SHUTDOWN_MS;
    struct pump_state state;

    pump_state(service->pump, &state);
    if (!state.up)
        most_ms = LAST_TRY_MS;
    else if (service->store->ops->durable)
        most_ms = LAST_HAND_OVERS_MS;
    if (left_ms > most_ms)
        left_ms = most_ms;
    return left_ms > 0 ? left_ms : 0;
}

// The store is closed before the workers end: they wait for the batches that it sends back.
static void stop_output(struct service *service)
{
    const struct store_ops *ops = service->store->ops;

    ops->drain(service->store);
    if (service->pump != NULL) {
        uint64_t given_back = pump_stop(service->pump, output_grace_ms(service));
        if (given_back > 0 && !ops->durable)
            LOG(LOG_WARN, "the output did not take all events; none of them was acknowledged",
                LOG_INT("events", given_back));
    }
    ops->close(service->store);
}

// No connection is left here, so nothing more is appended. The store is emptied into the output before the workers end: each
// batch goes back to its worker.
static void stop(struct service *service)
{
    // From here on this thread waits, and a probe should be refused rather than hang.
    if (service->management_listener != NULL)
        listener_close(service->management_listener);
    if (service->management != NULL)
        http_server_free(service->management);
    if (service->store != NULL)
        stop_output(service);
    for (size_t i = 0; i < service->worker_count; i++)
        worker_stop(service->workers[i]);
    pump_free(service->pump);
    loop_timer_close(&service->shutdown_timer);
    loop_timer_close(&service->quiet_timer);
    loop_timer_close(&service->burst_timer);
    loop_signal_close(&service->sigterm);
    loop_signal_close(&service->sigint);
    if (service->listener != NULL)
        listener_close(service->listener);
    loop_free(service->loop);
    mem_free(service->workers);
    mem_free(service->ingest_workers);
    mem_free(service->drained);
}

int service_run(const struct prepared *prepared, const char *version, struct err *err)
{
    struct service service = {.prepared = prepared, .loop = loop_new()};

    if (service.loop == NULL)
        return err_set(err, -EMFILE, "cannot start: %s", err_text(-EMFILE));
    // First, so that one that comes during the start ends in the orderly way, too: its turn is when the loop runs. From
    // open_listeners on there are clients that wait to be accepted, and perhaps a socket to remove.
    int rc = wait_for_signals(&service, err);
    if (rc == 0)
        rc = open_listeners(&service, err);
    if (rc == 0)
        rc = start_output(&service, err);
    if (rc == 0)
        rc = start_workers(&service, err);
    if (rc == 0) {
        start_management(&service, version);
        listener_start(service.listener);
        service.admin.phase = ADMIN_SERVING;
        log_listening(&service);
        loop_timer_start(service.loop, &service.quiet_timer, QUIET_MS, on_quiet_due);
        loop_run(service.loop);
    }
    stop(&service);
    if (rc == 0)
        LOG(LOG_INFO, "stopped");
    return rc;
}
