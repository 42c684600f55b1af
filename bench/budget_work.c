// SPDX-License-Identifier: Apache-2.0
//
// What bench/budget counts the instructions of: budget_work WHAT CITY.mmdb ASN.mmdb BATCH.json...
// or budget_work compiler, which says by whom and for what this was compiled: figures hold for that.
//
//   scan     json_scan of each batch
//   batch    the way from a body to a batch (ingest/build.c), with the addresses in the cache already
//   lookup   an address that is not in the cache yet, in the databases' trees; few records, so little reading of them
//   request  head, authentication, body, batch and answer, over a socket pair, with a store that keeps nothing
//
// Each is done once before it is counted. What is counted happens in budget_counted, which callgrind is told
// to collect (--toggle-collect), on one thread. Prints how many events (addresses,
// requests) that were.

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "http/router.h"
#include "http/server.h"
#include "ingest/worker.h"
#include "read.h"

#define TOKEN "budget-token"

static void fail(const char *what)
{
    fprintf(stderr, "budget_work: %s\n", what);
    exit(1);
}

// The other side of a store that promises at once what it is given. Loop's thread.
struct null_store {
    struct store store; // first
    struct batch *appended;
};

static bool null_accepts(struct store *store)
{
    (void)store;
    return true;
}

static int null_append(struct store *store, struct batch *batch)
{
    struct null_store *null = (struct null_store *)store;
    batch->next = null->appended;
    null->appended = batch;
    return 0;
}

static void null_kick(struct store *store)
{
    struct null_store *null = (struct null_store *)store;
    for (struct batch *batch = null->appended, *next; batch != NULL; batch = next) {
        next = batch->next;
        batch->status = 0;
        mailbox_send(batch->home, &batch->mail);
    }
    null->appended = NULL;
}

static const struct store_ops null_ops = {
    .name = "null", .accepts = null_accepts, .append = null_append, .kick = null_kick};

// All that a start has of one worker, and a client of it on the same loop.
struct bench {
    struct buf *bodies;
    struct buf *requests; // the bodies with their heads
    size_t count;
    uint64_t events;
    struct json_events scanned; // of scan
    struct enrich_cache *cache; // of lookup
    struct buf addresses;       // of lookup: lines

    struct budget budget;
    struct enricher *enricher;
    struct null_store store;
    struct ingest ingest;
    struct loop *loop;
    struct ingest_worker *worker;

    struct http_route route;
    struct http_router router;
    struct http_server *server;
    struct loop_poll client; // the descriptor is client_fd
    int client_fd;
    size_t sent;
};

static void read_batches(struct bench *bench, char **paths, size_t count)
{
    bench->count = count;
    bench->bodies = mem_array(count, sizeof *bench->bodies);
    bench->requests = mem_array(count, sizeof *bench->requests);
    for (size_t i = 0; i < count; i++) {
        read_file(paths[i], &bench->bodies[i]);
        buf_printf(&bench->requests[i],
                   "POST /api/v1/ingest HTTP/1.1\r\nHost: localhost:8080\r\nUser-Agent: spip/1.0\r\n"
                   "Content-Length: %zu\r\nAuthorization: Bearer " TOKEN "\r\nContent-Type: application/json\r\n"
                   "X-Spip-ID: budget\r\nAccept-Encoding: gzip\r\n\r\n",
                   bench->bodies[i].len);
        buf_append(&bench->requests[i], bench->bodies[i].data, bench->bodies[i].len);
    }
}

static void open_ingest(struct bench *bench, const char *city, const char *asn)
{
    static const char *const env[] = {"LOOM_SENSOR_budget=" TOKEN, NULL};
    const struct enrich_conf conf = {.geoip_db_path = city, .asn_db_path = asn, .language = "en"};
    struct buf problems = BUF_EMPTY, warnings = BUF_EMPTY;

    if (enricher_open(&conf, &bench->enricher, &problems, &warnings) != 0)
        fail("cannot open the databases");
    budget_init(&bench->budget, INT64_C(1) << 30);
    bench->store.store.ops = &null_ops;
    bench->ingest = (struct ingest){
        .limits = {.max_body_size_bytes = 1 << 20,
                   .max_events_per_batch = 1000,
                   .max_event_size_bytes = 1 << 18,
                   .per_sensor_rps = -1,
                   .per_sensor_events_rps = -1,
                   .ack_timeout_ms = 600 * 1000},
        .budget = &bench->budget,
        .store = &bench->store.store,
        .enricher = bench->enricher,
    };
    if (auth_open((char *const *)env, NULL, &bench->ingest.auth, &problems, &warnings) != 0)
        fail("no token");
    buf_fini(&problems);
    buf_fini(&warnings);
    bench->loop = loop_new();
    if (bench->loop == NULL)
        fail("no loop");
    bench->worker = ingest_worker_new(&bench->ingest, bench->loop);
}

static void close_all(struct bench *bench)
{
    if (bench->server != NULL) {
        loop_poll_close(&bench->client);
        close(bench->client_fd);
        http_server_free(bench->server);
    }
    enrich_cache_free(bench->cache);
    buf_fini(&bench->addresses);
    ingest_worker_free(bench->worker);
    loop_free(bench->loop);
    auth_close(bench->ingest.auth);
    enricher_close(bench->enricher);
    for (size_t i = 0; i < bench->count; i++) {
        buf_fini(&bench->bodies[i]);
        buf_fini(&bench->requests[i]);
    }
    mem_free(bench->bodies);
    mem_free(bench->requests);
    json_events_fini(&bench->scanned);
}

static void run_scan(struct bench *bench)
{
    struct json_error error;
    for (size_t i = 0; i < bench->count; i++) {
        if (json_scan(bench->bodies[i].data, bench->bodies[i].len, &bench->scanned, &error) != 0)
            fail("no batch");
        bench->events += bench->scanned.count;
    }
}

static void run_batch(struct bench *bench)
{
    struct refusal refusal;
    for (size_t i = 0; i < bench->count; i++) {
        struct intake *intake = intake_get(bench->worker);
        struct buf body = intake->body;
        intake->sensor = auth_sensor(bench->ingest.auth, 0);
        intake->body = bench->bodies[i]; // lent: what copies a body into its buffer is part of a request
        if (ingest_build(intake, &refusal) != 0)
            fail("no batch");
        bench->events += intake->batch.count;
        intake->body = body;
        intake_put(intake);
    }
}

// A cache that knows nothing yet, and as many addresses of IPv6 as of IPv4, each once.
static void prepare_lookup(struct bench *bench)
{
    static const char *const networks[] = {"192.0.2.",     "198.51.100.",    "203.0.113.",
                                           "2001:db8::1:", "2001:db8:4::1:", "2001:db8:ffff:1:2:3:4:"};
    enrich_cache_free(bench->cache);
    bench->cache = enrich_cache_new(bench->enricher);
    bench->addresses.len = 0;
    for (unsigned i = 0; i < 256; i++)
        for (size_t network = 0; network < sizeof networks / sizeof *networks; network++)
            buf_printf(&bench->addresses, network < 3 ? "%s%u\n" : "%s%x\n", networks[network], i);
}

static void run_lookup(struct bench *bench)
{
    const char *at = bench->addresses.data, *end = at + bench->addresses.len;
    for (const char *next; at < end; at = next + 1) {
        struct text additions;
        next = memchr(at, '\n', (size_t)(end - at));
        if (enrich_lookup(bench->cache, (struct text){at, (size_t)(next - at)}, &additions) == ENRICH_NOT_AN_ADDRESS)
            fail("no address");
        bench->events++;
    }
}

static void send_request(struct bench *bench)
{
    const struct buf *request = &bench->requests[bench->sent++];
    if (send(bench->client_fd, request->data, request->len, MSG_NOSIGNAL) != (ssize_t)request->len)
        fail("the socket does not take a request at once");
}

static void on_answer(struct loop_poll *poll, int ready)
{
    static const char expected[] = "HTTP/1.1 204 ";
    struct bench *bench = (struct bench *)((char *)poll - offsetof(struct bench, client));
    char answer[4096];
    (void)ready;

    ssize_t n = recv(bench->client_fd, answer, sizeof answer, MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n < (ssize_t)sizeof expected || memcmp(answer, expected, sizeof expected - 1) != 0)
        fail("a request was refused");
    if (bench->sent < bench->count)
        send_request(bench);
    else
        loop_stop(bench->loop);
}

static void open_connection(struct bench *bench)
{
    const int room = 1 << 20;
    const struct address peer = {0};
    int fds[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) != 0)
        fail("no socket pair");
    setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
    bench->client_fd = fds[0];
    bench->route = (struct http_route){
        .path = ingest_paths[0], .methods = HTTP_ALLOW(POST), .handler = &ingest_handler, .ctx = bench->worker};
    bench->router =
        (struct http_router){.routes = &bench->route, .count = 1, .on_miss = ingest_on_miss, .ctx = bench->worker};
    bench->server = http_server_new(&(struct http_server_conf){
        .loop = bench->loop, .handler = &http_router, .ctx = &bench->router, .limits = HTTP_LIMITS_DEFAULT});
    http_server_adopt(bench->server, fds[1], &peer, NULL);
    if (loop_poll_open(bench->loop, &bench->client, bench->client_fd, on_answer) != 0)
        fail("no poll");
    loop_poll_set(&bench->client, LOOP_READABLE);
}

static void run_request(struct bench *bench)
{
    if (bench->server == NULL)
        open_connection(bench);
    bench->sent = 0;
    send_request(bench);
    loop_run(bench->loop);
    bench->events += bench->count;
}

static const struct {
    const char *name;
    void (*prepare)(struct bench *bench); // before each run; may be NULL
    void (*run)(struct bench *bench);
} works[] = {
    {"scan", NULL, run_scan},
    {"batch", NULL, run_batch},
    {"lookup", prepare_lookup, run_lookup},
    {"request", NULL, run_request},
};

void budget_counted(struct bench *bench, void (*run)(struct bench *bench));
__attribute__((noinline)) void budget_counted(struct bench *bench, void (*run)(struct bench *bench))
{
    run(bench);
    __asm__ volatile("" ::: "memory"); // no tail call, which would leave this function at once
}

#ifdef __clang__
#define COMPILER         "clang"
#define COMPILER_VERSION __clang_major__, __clang_minor__, __clang_patchlevel__
#else
#define COMPILER         "gcc"
#define COMPILER_VERSION __GNUC__, __GNUC_MINOR__, __GNUC_PATCHLEVEL__
#endif
#ifdef __x86_64__
#define TARGET "x86_64"
#elif defined(__aarch64__)
#define TARGET "aarch64"
#else
#define TARGET "other"
#endif

static void work(struct bench *bench, size_t i)
{
    for (int round = 0; round < 2; round++) {
        if (works[i].prepare != NULL)
            works[i].prepare(bench);
        bench->events = 0;
        if (round == 0)
            works[i].run(bench);
        else
            budget_counted(bench, works[i].run);
    }
    printf("%llu\n", (unsigned long long)bench->events);
}

int main(int argc, char **argv)
{
    struct bench bench = {0};
    for (size_t i = 0; argc > 4 && i < sizeof works / sizeof *works; i++) {
        if (strcmp(argv[1], works[i].name) != 0)
            continue;
        read_batches(&bench, argv + 4, (size_t)argc - 4);
        open_ingest(&bench, argv[2], argv[3]);
        work(&bench, i);
        close_all(&bench);
        return 0;
    }
    if (argc == 2 && strcmp(argv[1], "compiler") == 0) {
        printf(COMPILER " %d.%d.%d " TARGET "\n", COMPILER_VERSION);
        return 0;
    }
    fprintf(stderr, "usage: budget_work scan|batch|lookup|request CITY.mmdb ASN.mmdb BATCH.json...\n"
                    "       budget_work compiler\n");
    return 2;
}
