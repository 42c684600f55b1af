// SPDX-License-Identifier: Apache-2.0
#include "rig.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/mem.h"
#include "enrich/mmdb_build.h"
#include "store/memory.h"

#define SOON_NS (60 * NS_PER_S) // for what takes milliseconds on an idle machine

struct rig_answer rig_answer;

void http_respond(struct http_request *request, const struct http_response *response)
{
    (void)request;
    rig_answer.status = response->status;
    snprintf(rig_answer.content_type, sizeof rig_answer.content_type, "%s",
             response->content_type != NULL ? response->content_type : "");
    rig_answer.body.len = 0;
    buf_text(&rig_answer.body, response->body);
    buf_char(&rig_answer.body, '\0');
    rig_answer.body.len--;
}

// ---- The output

struct output {
    struct sink sink;
    struct sink_report report;
};

static bool output_up; // atomic

void rig_output(bool up)
{
    __atomic_store_n(&output_up, up, __ATOMIC_RELEASE);
}

static void output_deliver(struct sink *sink, struct handover *handover)
{
    const struct sink_report *report = &((struct output *)sink)->report;
    bool up = __atomic_load_n(&output_up, __ATOMIC_ACQUIRE);

    const struct sink_item *items = handover->items;
    for (size_t i = 0; i < handover->count; i++) {
        if (up) { // first, because the batch may be gone afterwards
            counter_bump(&report->stats->writes, 1);
            counter_bump(&report->stats->bytes, items[i].batch->lines.len);
        }
        report->settle(report->ctx, handover, items[i].batch, items[i].first, items[i].count,
                       up ? VERDICT_DELIVERED : VERDICT_RETRY);
    }
    report->done(report->ctx, handover,
                 &(struct sink_outcome){.result = up ? SINK_OK : SINK_DOWN, .error = up ? "" : "test: \"not\" now"});
}

static void output_interrupt(struct sink *sink)
{
    (void)sink;
}

static void output_close(struct sink *sink)
{
    mem_free(sink);
}

static int output_open(const struct conf_output *conf, const struct sink_report *report, struct sink_limits *limits,
                       struct sink **out, struct err *err);
static const struct sink_ops output_ops = {.name = "test",
                                           .open = output_open,
                                           .deliver = output_deliver,
                                           .interrupt = output_interrupt,
                                           .close = output_close};

static int output_open(const struct conf_output *conf, const struct sink_report *report, struct sink_limits *limits,
                       struct sink **out, struct err *err)
{
    struct output *output = mem_zalloc(sizeof *output);
    (void)conf, (void)err;
    output->sink.ops = &output_ops;
    output->report = *report;
    *limits = (struct sink_limits){.max_bytes = 1 << 20, .max_events = UINT32_MAX, .in_flight = 1, .ordered = true};
    *out = &output->sink;
    return 0;
}

// ---- The rig

static void open_databases(struct rig *rig)
{
    struct buf city = build_city_file(), asn = build_asn_file();
    char *city_path = build_write(city.data, city.len), *asn_path = build_write(asn.data, asn.len);
    const struct enrich_conf conf = {.geoip_db_path = city_path, .asn_db_path = asn_path, .language = "en"};

    assert_int_equal(enricher_open(&conf, &rig->enricher, NULL, NULL), 0);
    unlink(city_path);
    unlink(asn_path);
    mem_free(city_path);
    mem_free(asn_path);
    buf_fini(&city);
    buf_fini(&asn);
}

static void open_ingest(struct rig *rig)
{
    static const char *const env[] = {"LOOM_SENSOR_s1=token-s1", "LOOM_SENSOR_s2=token-s2", NULL};
    struct buf problems = BUF_EMPTY, warnings = BUF_EMPTY;

    budget_init(&rig->budget, 1000000);
    rig->ingest = (struct ingest){
        .limits = {.max_body_size_bytes = 100000,
                   .max_events_per_batch = 1000,
                   .max_event_size_bytes = 10000,
                   .per_sensor_rps = -1,
                   .per_sensor_events_rps = -1,
                   .ack_timeout_ms = 60000},
        .budget = &rig->budget,
        .store = rig->store,
        .enricher = rig->enricher,
    };
    assert_int_equal(auth_open((char *const *)env, NULL, &rig->ingest.auth, &problems, &warnings), 0);
    buf_fini(&problems);
    buf_fini(&warnings);
    rig->loop = loop_new();
    rig->worker = ingest_worker_new(&rig->ingest, rig->loop);
}

struct rig *rig_new(bool databases)
{
    static const struct conf_output output = {.type = (char *)"stdout",
                                              .outbox = {.retry_backoff_ms = 5, .retry_max_backoff_ms = 5}};
    const struct pump_conf conf = {.output = &output, .stuck_ms = 60000};
    struct rig *rig = mem_zalloc(sizeof *rig);
    struct err err = {0};

    if (databases)
        open_databases(rig);
    rig_output(true);
    rig->store = store_memory_new();
    assert_int_equal(pump_start(&conf, &output_ops, rig->store, &rig->pump, &err), 0);
    open_ingest(rig);
    rig->admin = (struct admin){
        .phase = ADMIN_SERVING,
        .metrics_enabled = true,
        .version = "1.2.3",
        .output = "test",
        .pump = rig->pump,
        .store = rig->store,
        .auth = rig->ingest.auth,
        .budget = &rig->budget,
        .enricher = rig->enricher,
        .workers = &rig->worker,
        .worker_count = 1,
        .started_real_ns = 1700000000 * NS_PER_S,
    };
    return rig;
}

void rig_free(struct rig *rig)
{
    rig->store->ops->drain(rig->store);
    pump_stop(rig->pump, 10000);
    mailbox_run(loop_mailbox(rig->loop));
    ingest_worker_free(rig->worker);
    loop_free(rig->loop);
    pump_free(rig->pump);
    rig->store->ops->close(rig->store);
    auth_close(rig->ingest.auth);
    if (rig->enricher != NULL)
        enricher_close(rig->enricher);
    buf_fini(&rig_answer.body);
    mem_free(rig);
}

// ---- Requests

static struct address peer = {.len = sizeof(sa_family_t)};
static struct http_request posted;

void rig_post_begin(struct rig *rig, const char *authorization, const char *body)
{
    peer.sa.ss_family = AF_UNIX;
    posted = (struct http_request){
        .loop = rig->loop,
        .peer = &peer,
        .began_ns = clock_mono_ns(),
        .method = HTTP_METHOD_POST,
        .content_length = strlen(body),
        .path = TEXT("/"),
        .content_type = TEXT("application/json"),
        .authorization = text_of(authorization),
    };
    rig_answer.status = 0;
    ingest_handler.on_headers(rig->worker, &posted);
    if (rig_answer.status == 0)
        ingest_handler.on_body(rig->worker, &posted, body, strlen(body));
    if (rig_answer.status == 0)
        ingest_handler.on_complete(rig->worker, &posted);
    store_kick(rig->store); // as the end of the loop's turn would
}

unsigned rig_post_end(struct rig *rig)
{
    int64_t deadline_ns = clock_mono_ns() + SOON_NS;
    while (rig_answer.status == 0) {
        assert_true(clock_mono_ns() < deadline_ns);
        if (!mailbox_run(loop_mailbox(rig->loop)))
            poll(NULL, 0, 1);
    }
    return rig_answer.status;
}

unsigned rig_post(struct rig *rig, const char *authorization, const char *body)
{
    rig_post_begin(rig, authorization, body);
    return rig_post_end(rig);
}

unsigned rig_get(struct rig *rig, const char *path)
{
    struct http_request request = {.loop = rig->loop, .peer = &peer, .method = HTTP_METHOD_GET, .path = text_of(path)};
    rig_answer.status = 0;
    admin_handler.on_headers(&rig->admin, &request);
    return rig_answer.status;
}
