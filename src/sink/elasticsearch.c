// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "sink/es_bulk.h"
#include "sink/es_conf.h"
#include "sink/es_outcome.h"
#include "sink/es_reply.h"
#include "sink/es_setup.h"
#include "sink/http_client.h"
#include "sink/sink.h"
#include "json/member.h"

// Elasticsearch and OpenSearch. A hand-over is one bulk request. Before the first one, and again after an outage (the cluster
// may have come back empty), es_setup looks after the index template; hand-overs wait for it.

#define BULK_BYTES     (5 * 1024 * 1024) // of events; their action lines come on top
#define BULK_EVENTS    50000             // so that a reply, a line an event, stays well below REPLY_MAX
#define BULK_IN_FLIGHT 4
#define REPLY_MAX      ((size_t)32 * 1024 * 1024)
#define REASON_MAX     1024 // of a reason in a dead letter
#define KIND_MAX       128
#define TELL_EVERY_NS  (60 * NS_PER_S)
#define ELSEWHERE_NS   (60 * NS_PER_S) // see is_partial

struct es_sink;

// The mail of interrupt, which may still be on its way when the sink is closed: whoever is last lets it go.
struct es_wake {
    struct mail mail;     // first
    struct es_sink *sink; // NULL: closed
    bool pending;         // atomic: in the mailbox
};

struct es_sink {
    struct sink sink;
    struct sink_report report;
    const char *output; // output.type
    struct es_conf conf;
    struct http_client *client;
    struct es_bulk *bulk;
    struct es_setup *setup; // NULL: the template is not ours to manage
    struct es_wake *wake;
    struct buf path;
    bool gzip;
    bool ready;      // the setup is done
    bool setting_up; // it is under way
    bool interrupted;
    struct es_request *waiting; // for the setup; in no order, which nothing asks for
    struct es_item *items;      // of the reply that is being read
    size_t items_cap;
    int64_t delivered_ns; // when an event was last delivered
    int64_t told_ns;      // when the log last said that some of a hand-over can't be written
};

struct es_request {
    struct http_request http; // first
    struct es_sink *sink;
    struct handover *handover;
    struct buf body;
    struct es_request *next;
};

static struct es_sink *es_of(struct sink *sink)
{
    return (struct es_sink *)sink;
}

// ---- The end of a hand-over

// All of it comes again.
static void fail(struct es_sink *self, struct handover *handover, const struct es_outcome *why)
{
    for (size_t i = 0; i < handover->count; i++) {
        const struct sink_item item = handover->items[i];
        self->report.settle(self->report.ctx, handover, item.batch, item.first, item.count, VERDICT_RETRY);
    }
    const struct sink_outcome outcome = {
        .result = why->result, .retry_after_ms = why->retry_after_ms, .error = why->error};
    self->report.done(self->report.ctx, handover, &outcome);
}

static void fail_text(struct es_sink *self, struct handover *handover, enum sink_result result, const char *text)
{
    struct es_outcome why = {.result = result};
    snprintf(why.error, sizeof why.error, "%s: %s", self->output, text);
    fail(self, handover, &why);
}

static void free_request(struct es_request *request)
{
    http_request_fini(&request->http);
    buf_fini(&request->body);
    mem_free(request);
}

// The inside of a JSON string as text, cut at a character.
static struct text plain(struct text json, char *out, size_t cap)
{
    bool fits;
    size_t len = member_unescape(json, out, cap, &fits);
    if (!fits) {
        while (len > 0 && ((unsigned char)out[len - 1] & 0xc0) == 0x80)
            len--;
        if (len > 0 && (unsigned char)out[len - 1] >= 0xc0)
            len--;
    }
    return (struct text){out, len};
}

static void reject(struct es_sink *self, struct handover *handover, struct batch *batch, uint32_t event,
                   const struct es_item *item)
{
    char kind[KIND_MAX], text[REASON_MAX];
    struct text reason = plain(item->reason, text, sizeof text);
    if (item->cause.len > 0 && reason.len + 2 < sizeof text) {
        memcpy(text + reason.len, ": ", 2);
        reason.len += 2 + plain(item->cause, text + reason.len + 2, sizeof text - reason.len - 2).len;
    }
    self->report.reject(self->report.ctx, handover, batch, event, item->status, plain(item->type, kind, sizeof kind),
                        reason);
}

// ---- A reply to a bulk request

struct tally {
    size_t of[4]; // by enum es_class
    size_t busy;  // of ES_RETRY: 429 and 503
    const struct es_item *trouble;
    const struct es_item *retry;
    const struct batch *batch; // of the first one in trouble, or else of the first to be tried again
    uint32_t event;
};

static void count_items(const struct handover *handover, const struct es_item *items, struct tally *out)
{
    *out = (struct tally){0};
    for (size_t i = 0; i < handover->count; i++) {
        const struct sink_item *part = &handover->items[i];
        for (uint32_t j = 0; j < part->count; j++, items++) {
            out->of[items->verdict]++;
            if (items->verdict == ES_RETRY && (items->status == 429 || items->status == 503))
                out->busy++;
            bool first =
                items->verdict == ES_TROUBLE ? out->trouble == NULL : items->verdict == ES_RETRY && out->retry == NULL;
            if (!first)
                continue;
            if (items->verdict == ES_TROUBLE)
                out->trouble = items;
            else
                out->retry = items;
            if (items->verdict == ES_TROUBLE || out->trouble == NULL) {
                out->batch = part->batch;
                out->event = part->first + j;
            }
        }
    }
}

// "elasticsearch: 403 cluster_block_exception, index loom-events, from https://a:9200". Types only: reasons quote events.
static void describe(const struct es_sink *self, const struct tally *tally, const char *url, char out[ES_ERROR_MAX])
{
    const struct es_item *item = tally->trouble != NULL ? tally->trouble : tally->retry;
    out[0] = '\0';
    if (item == NULL)
        return;
    struct buf index = BUF_EMPTY;
    es_name_write(&self->conf.name,
                  es_name_seconds(batch_event(tally->batch, tally->event), tally->batch->arrived_real_ns), &index);
    bool word = es_reply_is_word(item->type);
    snprintf(out, ES_ERROR_MAX, "%s: %u%s%.*s, %s %.*s, from %s", self->output, item->status, word ? " " : "",
             word ? (int)item->type.len : 0, item->type.at, self->conf.name.data_stream ? "data stream" : "index",
             (int)index.len, index.data, url);
    buf_fini(&index);
}

static bool refuses_us(const struct es_item *item)
{
    return item->status == 401 || text_eq(item->type, TEXT("security_exception"));
}

// With an index for each day some may be closed or blocked while the others are well: an event with an old date must not stop
// those of today. So trouble with an index is the event's own as long as other events get through.
static bool is_partial(const struct es_sink *self, const struct tally *tally)
{
    if (tally->of[ES_DELIVERED] + tally->of[ES_REJECTED] > 0)
        return true;
    return self->conf.name.dated && self->delivered_ns > 0 && clock_mono_ns() - self->delivered_ns < ELSEWHERE_NS &&
           !refuses_us(tally->trouble);
}

static enum sink_result result_of(const struct es_sink *self, const struct tally *tally, size_t count)
{
    if (tally->trouble != NULL && is_partial(self, tally))
        return SINK_OK;
    if (tally->trouble != NULL) // which of several indices is in trouble depends on the events
        return self->conf.name.dated && !refuses_us(tally->trouble) ? SINK_FAILED : SINK_DOWN;
    // One event that is too much for the cluster has its own pause; a cluster that takes none of many needs one.
    return count > 1 && tally->busy == count ? SINK_BUSY : SINK_OK;
}

// Each event its verdict, runs of the same together. A batch may be gone after its last one.
static void settle_items(struct es_sink *self, struct handover *handover, const struct es_item *items)
{
    for (size_t i = 0; i < handover->count; i++) {
        const struct sink_item part = handover->items[i];
        for (uint32_t begin = 0, end; begin < part.count; begin = end) {
            end = begin + 1;
            if (items[begin].verdict == ES_REJECTED) {
                reject(self, handover, part.batch, part.first + begin, &items[begin]);
                continue;
            }
            bool delivered = items[begin].verdict == ES_DELIVERED;
            while (end < part.count && items[end].verdict != ES_REJECTED &&
                   (items[end].verdict == ES_DELIVERED) == delivered)
                end++;
            self->report.settle(self->report.ctx, handover, part.batch, part.first + begin, end - begin,
                                delivered ? VERDICT_DELIVERED : VERDICT_RETRY);
        }
        items += part.count;
    }
}

static struct es_item *room_for(struct es_sink *self, size_t count)
{
    if (count > self->items_cap) {
        struct es_item *items = mem_try_realloc(self->items, count * sizeof *items);
        if (items == NULL)
            return NULL;
        self->items = items;
        self->items_cap = count;
    }
    return self->items;
}

static size_t count_events(const struct handover *handover)
{
    size_t count = 0;
    for (size_t i = 0; i < handover->count; i++)
        count += handover->items[i].count;
    return count;
}

// The output as a whole is well, so that nobody else speaks of it.
static void tell_partial(struct es_sink *self, const char *error)
{
    int64_t now_ns = clock_mono_ns();
    if (self->told_ns != 0 && now_ns - self->told_ns < TELL_EVERY_NS)
        return;
    self->told_ns = now_ns;
    LOG(LOG_WARN, "some events have to wait", LOG_STR("reason", error));
}

static void take_reply(struct es_request *request)
{
    struct es_sink *self = request->sink;
    struct handover *handover = request->handover;
    size_t count = count_events(handover);
    struct es_item *items = room_for(self, count);
    const char *why = "no memory for the reply";
    struct es_outcome out = {0};

    if (items == NULL || es_reply_read(&request->http.reply, count, items, &why) != 0) {
        out.result = SINK_FAILED;
        snprintf(out.error, sizeof out.error, "%s: %s: %s", self->output, request->http.url, why);
        free_request(request);
        fail(self, handover, &out);
        return;
    }
    counter_bump(&self->report.stats->writes, 1);
    counter_bump(&self->report.stats->bytes, request->body.len);
    struct tally tally;
    count_items(handover, items, &tally);
    out.result = result_of(self, &tally, count);
    describe(self, &tally, request->http.url, out.error);
    if (tally.of[ES_DELIVERED] > 0)
        self->delivered_ns = clock_mono_ns();
    if (tally.trouble != NULL && out.result != SINK_OK)
        self->ready = false;
    else if (tally.trouble != NULL)
        tell_partial(self, out.error);

    settle_items(self, handover, items);
    free_request(request); // the items have borrowed from its reply
    const struct sink_outcome outcome = {.result = out.result, .error = out.error};
    self->report.done(self->report.ctx, handover, &outcome);
}

static void on_bulk_done(struct http_request *http)
{
    struct es_request *request = (struct es_request *)http;
    struct es_sink *self = request->sink;
    struct handover *handover = request->handover;
    struct es_outcome outcome;

    es_outcome_of(self->output, http, &outcome);
    if (outcome.result == SINK_OK) {
        take_reply(request);
        return;
    }
    // Only the server's own 413 blames an event that stands alone.
    if (outcome.result == SINK_TOO_LARGE && http->status != 413 && count_events(handover) == 1)
        outcome.result = SINK_FAILED;
    if (outcome.result == SINK_DOWN || outcome.result == SINK_FAILED)
        self->ready = false; // an outage behind a proxy is a 502, and where all fails the template was not the reason
    free_request(request);
    fail(self, handover, &outcome);
}

// ---- A hand-over on its way

static void send_bulk(struct es_request *request)
{
    struct es_sink *self = request->sink;
    struct handover *handover = request->handover;
    if (es_bulk_build(self->bulk, handover, &request->body) != 0) {
        free_request(request);
        fail_text(self, handover, count_events(handover) > 1 ? SINK_TOO_LARGE : SINK_FAILED,
                  "no memory for the request");
        return;
    }
    request->http.body = (struct text){request->body.data, request->body.len};
    http_client_start(self->client, &request->http);
}

static void on_setup_done(void *ctx, const struct es_outcome *outcome)
{
    struct es_sink *self = ctx;
    struct es_request *request = self->waiting;
    self->setting_up = false;
    self->ready = outcome->result == SINK_OK;
    self->waiting = NULL; // what the pump hands over meanwhile waits for the next setup
    while (request != NULL) {
        struct es_request *next = request->next;
        struct handover *handover = request->handover;
        if (self->interrupted) {
            free_request(request);
            fail_text(self, handover, SINK_DOWN, "interrupted");
        } else if (outcome->result == SINK_OK) {
            send_bulk(request);
        } else {
            free_request(request);
            fail(self, handover, outcome);
        }
        request = next;
    }
}

static void es_deliver(struct sink *sink, struct handover *handover)
{
    struct es_sink *self = es_of(sink);
    if (self->interrupted) {
        fail_text(self, handover, SINK_DOWN, "interrupted");
        return;
    }
    struct es_request *request = mem_zalloc(sizeof *request);
    request->sink = self;
    request->handover = handover;
    request->http = (struct http_request){.method = "POST",
                                          .path = self->path.data,
                                          .content_type = "application/x-ndjson",
                                          .gzip = self->gzip,
                                          .on_done = on_bulk_done};
    if (self->setup == NULL || self->ready) {
        send_bulk(request);
        return;
    }
    request->next = self->waiting;
    self->waiting = request;
    if (!self->setting_up) {
        self->setting_up = true;
        es_setup_start(self->setup);
    }
}

// ---- Interruption

static void on_wake(struct mail *mail)
{
    struct es_wake *wake = (struct es_wake *)mail;
    __atomic_store_n(&wake->pending, false, __ATOMIC_RELEASE);
    if (wake->sink == NULL) {
        mem_free(wake);
        return;
    }
    wake->sink->interrupted = true;
    http_client_abort_all(wake->sink->client);
}

static void es_interrupt(struct sink *sink)
{
    struct es_sink *self = es_of(sink);
    if (!__atomic_exchange_n(&self->wake->pending, true, __ATOMIC_ACQ_REL))
        mailbox_send(loop_mailbox(self->report.loop), &self->wake->mail);
}

static void close_wake(struct es_sink *self)
{
    self->wake->sink = NULL;
    if (!__atomic_load_n(&self->wake->pending, __ATOMIC_ACQUIRE))
        mem_free(self->wake);
    else
        mailbox_run(loop_mailbox(self->report.loop)); // the loop may have made its last turn
}

// ---- Open and close

static int es_check(const struct conf_output *conf, struct buf *problems, struct buf *warnings)
{
    struct es_conf checked;
    int rc = es_conf_open(conf, &checked, problems, warnings);
    es_conf_fini(&checked);
    return rc;
}

static int open_client(struct es_sink *self, const struct conf_output *conf, struct err *err)
{
    const struct http_client_conf client = {
        .loop = self->report.loop,
        .urls = conf->elasticsearch_url,
        .authorization = self->conf.authorization,
        .ca_file = conf->elasticsearch_ca_file,
        .client_cert_file = conf->elasticsearch_client_cert_file,
        .client_key_file = conf->elasticsearch_client_key_file,
        .insecure_skip_verify = conf->elasticsearch_insecure_skip_verify,
        .connect_ms = 5000,
        .total_ms = 60000, // as long as Elasticsearch itself waits for a shard
        .stall_s = 45,
        .set_aside_ms = 5000,
        .reply_max = REPLY_MAX,
    };
    return http_client_open(&client, &self->client, err);
}

// The first line of what es_conf_open found.
static int refuse(int rc, const struct buf *problems, struct err *err)
{
    struct text rest = {problems->data, problems->len}, line = TEXT("");
    text_line(&rest, &line);
    return err_set(err, rc, "%.*s", (int)line.len, line.at);
}

static void es_close(struct sink *sink)
{
    struct es_sink *self = es_of(sink);
    http_client_close(self->client);
    es_setup_free(self->setup);
    es_bulk_free(self->bulk);
    es_conf_fini(&self->conf);
    buf_fini(&self->path);
    mem_free(self->items);
    close_wake(self);
    mem_free(self);
}

static int es_open(const struct conf_output *conf, const struct sink_report *report, struct sink_limits *limits,
                   struct sink **out, struct err *err)
{
    struct buf problems = BUF_EMPTY;
    struct es_sink *self = mem_zalloc(sizeof *self);
    self->sink.ops = &sink_elasticsearch;
    self->report = *report;
    self->output = conf->type;
    self->gzip = strcmp(conf->elasticsearch_compression, "gzip") == 0;
    self->wake = mem_zalloc(sizeof *self->wake);
    self->wake->mail.run = on_wake;
    self->wake->sink = self;

    int rc = es_conf_open(conf, &self->conf, &problems, NULL);
    if (rc != 0)
        rc = refuse(rc, &problems, err);
    else
        rc = open_client(self, conf, err);
    buf_fini(&problems);
    if (rc != 0) {
        es_close(&self->sink);
        return rc;
    }
    es_bulk_path(&self->conf.name, &self->path);
    buf_char(&self->path, '\0');
    self->bulk = es_bulk_new(&self->conf.name, self->gzip);
    if (conf->elasticsearch_manage_template)
        self->setup = es_setup_new(self->output, &self->conf.name, self->client, on_setup_done, self);
    *limits = (struct sink_limits){
        .max_bytes = BULK_BYTES,
        .max_events = conf->outbox.max_batch_size > 0 ? (uint32_t)conf->outbox.max_batch_size : BULK_EVENTS,
        .in_flight = BULK_IN_FLIGHT,
        .linger_ms = conf->outbox.flush_interval_ms,
    };
    *out = &self->sink;
    return 0;
}

const struct sink_ops sink_elasticsearch = {
    .name = "elasticsearch",
    .check = es_check,
    .open = es_open,
    .deliver = es_deliver,
    .interrupt = es_interrupt,
    .close = es_close,
};
