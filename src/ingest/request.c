// SPDX-License-Identifier: Apache-2.0
//
// The handler of the ingest paths: checks the headers in the order of the contract, gathers the body, hands the batch to
// the store and answers when the store has spoken. A request and its intake leave each other in one of three ways: answered, aborted by
// the client, or timed out; the batch goes on in the last two, and its mail finds nobody to answer.

#include <errno.h>

#include "base/clock.h"
#include "base/mem.h"
#include "ingest/rate.h"
#include "ingest/worker.h"
#include "net/secret.h"

const char *const ingest_paths[] = {"/api/v1/ingest", "/ingest", "/", NULL};

enum { RETRY_MEMORY_S = 1, RETRY_OUTPUT_S = 5, ADMIT_ANNOUNCED = 64 * 1024 };

static const struct refusal no_detail = {.offset = -1, .event = -1};

static void refuse(struct ingest_worker *worker, struct http_request *request, struct sensor *sensor,
                   enum ingest_refusal why, const char *detail, int64_t retry_after_s)
{
    struct refusal refusal = no_detail;
    refusal.why = why;
    refusal.detail = detail;
    answer_refusal(worker, request, sensor, &refusal, retry_after_s);
}

static bool is_json(const struct http_request *request)
{
    // Parameters (RFC 9110, 8.3.1) say nothing that matters for JSON, which is UTF-8 (RFC 8259, 8.1).
    struct text type = request->content_type;
    const char *semicolon = type.len > 0 ? memchr(type.at, ';', type.len) : NULL;
    if (semicolon != NULL)
        type.len = (size_t)(semicolon - type.at);
    if ((request->repeated & (HTTP_REPEATED_CONTENT_TYPE | HTTP_REPEATED_CONTENT_ENCODING)) != 0 ||
        !text_eq_nocase(text_trim(type), TEXT("application/json")))
        return false;
    return request->content_encoding.len == 0 || text_eq_nocase(request->content_encoding, TEXT("identity"));
}

// *sensor is who sends: that of the token, even where it claims to be another and is refused.
static bool authenticate(const struct ingest_worker *worker, const struct http_request *request, struct sensor **sensor)
{
    const struct auth *auth = worker->ingest->auth;
    *sensor = auth_unknown(auth);
    if ((request->repeated & (HTTP_REPEATED_AUTHORIZATION | HTTP_REPEATED_SENSOR_ID)) != 0)
        return false;
    struct sensor *found = auth_check(auth, worker->hasher, request->authorization);
    if (found == NULL)
        return false;
    *sensor = found;
    return request->sensor_id.at == NULL || text_eq(request->sensor_id, text_of(found->id));
}

// 0, or the seconds to wait. Requests are paid for here; events when their number is known, so what a batch overdrew
// is waited for by the next one.
static int64_t rate_limit(const struct ingest_limits *limits, struct sensor *sensor)
{
    int64_t now_ns = clock_mono_ns();
    int64_t wait_ns = 0;

    if (limits->per_sensor_events_rps > 0)
        wait_ns = rate_wait(&sensor->events_due_ns, now_ns, limits->per_sensor_events_rps);
    if (wait_ns == 0 && limits->per_sensor_rps > 0)
        wait_ns = rate_take(&sensor->requests_due_ns, now_ns, limits->per_sensor_rps, 1);
    return (wait_ns + NS_PER_S - 1) / NS_PER_S;
}

static void refuse_intake(struct intake *intake, const struct refusal *refusal, int64_t retry_after_s)
{
    struct ingest_worker *worker = intake->worker;
    struct http_request *request = intake->request;
    struct sensor *sensor = intake->sensor;

    request->handler_data = NULL;
    intake_put(intake);
    answer_refusal(worker, request, sensor, refusal, retry_after_s);
}

// What could not be received now is turned away before it is sent. But only the beginning is admitted: an announcement
// costs a client nothing, and must not keep the others out.
static void admit_announced(struct intake *intake, uint64_t length)
{
    struct refusal refusal = no_detail;
    uint64_t first = length < ADMIT_ANNOUNCED ? length : ADMIT_ANNOUNCED;

    if (budget_has_room(intake->worker->ingest->budget, length) && intake_admit(intake, first, first) == 0)
        return;
    refusal.why = INGEST_REFUSED_MEMORY;
    refuse_intake(intake, &refusal, RETRY_MEMORY_S);
}

static void on_headers(void *ctx, struct http_request *request)
{
    struct ingest_worker *worker = ctx;
    const struct ingest *ingest = worker->ingest;
    struct sensor *sensor;

    if (!is_json(request)) {
        refuse(worker, request, auth_unknown(ingest->auth), INGEST_REFUSED_CONTENT_TYPE, NULL, 0);
        return;
    }
    if (!authenticate(worker, request, &sensor)) {
        refuse(worker, request, sensor, INGEST_REFUSED_UNAUTHORIZED, NULL, 0);
        return;
    }
    int64_t wait_s = rate_limit(&ingest->limits, sensor);
    if (wait_s > 0) {
        refuse(worker, request, sensor, INGEST_REFUSED_RATE, NULL, wait_s);
        return;
    }
    bool known = request->content_length != HTTP_LENGTH_UNKNOWN;
    if (known && request->content_length > ingest->limits.max_body_size_bytes) {
        refuse(worker, request, sensor, INGEST_REFUSED_PAYLOAD_SIZE, "larger than max_body_size_bytes", 0);
        return;
    }
    if (!store_accepts(ingest->store)) {
        refuse(worker, request, sensor, INGEST_REFUSED_OUTPUT, NULL, RETRY_OUTPUT_S);
        return;
    }
    struct intake *intake = intake_get(worker);
    intake->request = request;
    intake->sensor = sensor;
    request->handler_data = intake;
    admit_announced(intake, known ? request->content_length : 0);
}

static void on_body(void *ctx, struct http_request *request, const char *data, size_t len)
{
    struct intake *intake = request->handler_data;
    struct ingest_worker *worker = ctx;
    struct refusal refusal = no_detail;
    uint64_t total = intake->body.len + len;
    uint64_t most = worker->ingest->limits.max_body_size_bytes;

    if (total > most) {
        refusal.why = INGEST_REFUSED_PAYLOAD_SIZE;
        refusal.detail = "larger than max_body_size_bytes";
        refuse_intake(intake, &refusal, 0);
        return;
    }
    if (request->content_length != HTTP_LENGTH_UNKNOWN)
        most = request->content_length;
    if (intake_admit(intake, total, most) != 0 || buf_try_append(&intake->body, data, len) != 0) {
        refusal.why = INGEST_REFUSED_MEMORY;
        refuse_intake(intake, &refusal, RETRY_MEMORY_S);
    }
}

// The intake is given back first: who has its answer may count on the memory for the next request.
static void accept_answer(struct intake *intake)
{
    struct ingest_worker *worker = intake->worker;
    struct http_request *request = intake->request;
    struct sensor *sensor = intake->sensor;

    counter_add(&sensor->events, intake->batch.count);
    histogram_add(&worker->stats.body_bytes, histogram_size_bytes, intake->body_len);
    histogram_add(&worker->stats.batch_events, histogram_events, intake->batch.count);
    request->handler_data = NULL;
    intake_put(intake);
    answer_ok(worker, request, sensor);
}

static void stop_waiting(struct intake *intake)
{
    if (!intake->waiting)
        return;
    TAILQ_REMOVE(&intake->worker->waiting, intake, link);
    intake->waiting = false;
}

static void on_ack_due(struct loop_timer *timer)
{
    struct ingest_worker *worker = (struct ingest_worker *)((char *)timer - offsetof(struct ingest_worker, ack_timer));
    int64_t now_ns = clock_mono_ns();
    struct intake *intake;

    while ((intake = TAILQ_FIRST(&worker->waiting)) != NULL && intake->deadline_ns <= now_ns) {
        struct refusal refusal = no_detail;
        struct http_request *request = intake->request;

        // Not promised, but not taken back either: the batch stays with the store and may still be delivered.
        stop_waiting(intake);
        intake->request = NULL;
        request->handler_data = NULL;
        refusal.why = INGEST_REFUSED_ACK_TIMEOUT;
        answer_refusal(worker, request, intake->sensor, &refusal, RETRY_OUTPUT_S);
    }
    if (intake != NULL)
        loop_timer_start(worker->loop, timer, (intake->deadline_ns - now_ns) / NS_PER_MS + 1, on_ack_due);
}

static void wait_for_store(struct intake *intake)
{
    struct ingest_worker *worker = intake->worker;
    int64_t timeout_ms = worker->ingest->limits.ack_timeout_ms;

    intake->deadline_ns = clock_mono_ns() + timeout_ms * NS_PER_MS;
    intake->waiting = true;
    if (TAILQ_EMPTY(&worker->waiting))
        loop_timer_start(worker->loop, &worker->ack_timer, timeout_ms, on_ack_due);
    TAILQ_INSERT_TAIL(&worker->waiting, intake, link);
}

static void on_settled(struct mail *mail)
{
    struct intake *intake = (struct intake *)mail; // first member of its first member
    struct ingest_worker *worker = intake->worker;

    worker->outstanding--;
    intake->in_store = false;
    stop_waiting(intake);
    if (intake->request == NULL) {
        intake_put(intake);
    } else if (intake->batch.status == 0) {
        accept_answer(intake);
    } else {
        struct refusal refusal = no_detail;
        refusal.why = INGEST_REFUSED_OUTPUT;
        refuse_intake(intake, &refusal, RETRY_OUTPUT_S);
    }
}

static void on_complete(void *ctx, struct http_request *request)
{
    struct ingest_worker *worker = ctx;
    struct intake *intake = request->handler_data;
    struct refusal refusal = no_detail;

    if (ingest_build(intake, &refusal) != 0) {
        refuse_intake(intake, &refusal, refusal.why == INGEST_REFUSED_MEMORY ? RETRY_MEMORY_S : 0);
        return;
    }
    if (worker->ingest->limits.per_sensor_events_rps > 0)
        rate_charge(&intake->sensor->events_due_ns, clock_mono_ns(), worker->ingest->limits.per_sensor_events_rps,
                    intake->batch.count);
    intake->body_len = intake->body.len;
    if (intake->batch.count == 0) { // `[]`: nothing to keep safe
        accept_answer(intake);
        return;
    }
    intake_drop_body(intake);

    // From the append on the batch is the store's, and its mail may be on the way already.
    intake->batch.mail.run = on_settled;
    intake->batch.home = loop_mailbox(worker->loop);
    intake->batch.sensor = intake->sensor->id;
    intake->in_store = true;
    worker->outstanding++;
    wait_for_store(intake);
    int rc = store_append(worker->ingest->store, &intake->batch);
    if (rc == 0) {
        worker->appended = true;
        return;
    }
    worker->outstanding--;
    intake->in_store = false;
    stop_waiting(intake);
    int64_t retry_after_s = RETRY_OUTPUT_S;
    refusal.why = INGEST_REFUSED_OUTPUT;
    if (rc == -EFBIG) { // it will never fit: to send it again is of no use
        refusal.why = INGEST_REFUSED_BATCH_SIZE;
        refusal.detail = "larger than the outbox may become";
        retry_after_s = 0;
    }
    refuse_intake(intake, &refusal, retry_after_s);
}

static void on_turn_end(struct loop_turn *turn)
{
    struct ingest_worker *worker = (struct ingest_worker *)((char *)turn - offsetof(struct ingest_worker, turn));
    if (!worker->appended)
        return;
    worker->appended = false;
    store_kick(worker->ingest->store);
}

static void on_abort(void *ctx, struct http_request *request, int reason)
{
    struct ingest_worker *worker = ctx;
    struct intake *intake = request->handler_data;

    if (reason == HTTP_ABORT_CLIENT_GONE || reason == HTTP_ABORT_SHUTDOWN) // the others are answered, and counted there
        counter_bump(&worker->stats.aborted, 1);
    if (intake == NULL)
        return;
    request->handler_data = NULL;
    intake->request = NULL;
    stop_waiting(intake);
    if (!intake->in_store)
        intake_put(intake);
}

const struct http_handler ingest_handler = {
    .on_headers = on_headers,
    .on_body = on_body,
    .on_complete = on_complete,
    .on_abort = on_abort,
};

struct ingest_worker *ingest_worker_new(const struct ingest *ingest, struct loop *loop)
{
    struct ingest_worker *worker = mem_zalloc(sizeof *worker);
    worker->ingest = ingest;
    worker->loop = loop;
    worker->hasher = auth_hasher_new(ingest->auth);
    worker->events.keep_max = ingest->limits.max_events_per_batch;
    TAILQ_INIT(&worker->spare);
    TAILQ_INIT(&worker->waiting);
    loop_turn_start(loop, &worker->turn, on_turn_end);
    if (ingest->enricher != NULL)
        worker->cache = enrich_cache_new(ingest->enricher);
    return worker;
}

void ingest_worker_free(struct ingest_worker *worker)
{
    if (worker == NULL)
        return;
    INVARIANT(worker->outstanding == 0);
    loop_timer_close(&worker->ack_timer);
    loop_turn_close(&worker->turn);
    intake_free_spares(worker);
    json_events_fini(&worker->events);
    secret_hasher_free(worker->hasher);
    if (worker->cache != NULL)
        enrich_cache_free(worker->cache);
    mem_free(worker);
}

const struct ingest_stats *ingest_worker_stats(const struct ingest_worker *worker)
{
    return &worker->stats;
}

const struct enrich_stats *ingest_worker_enrich_stats(const struct ingest_worker *worker)
{
    return worker->cache != NULL ? enrich_cache_stats(worker->cache) : NULL;
}

size_t ingest_worker_outstanding(const struct ingest_worker *worker)
{
    return worker->outstanding;
}
