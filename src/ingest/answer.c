// SPDX-License-Identifier: Apache-2.0
//
// What goes back to the sensor. One table says status and word for each reason; sensors and operators rely on both.

#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"
#include "ingest/worker.h"
#include "json/write.h"

static const struct {
    const char *name; // metric label and log
    const char *word; // in the body
    unsigned status;
} answers[INGEST_REFUSED_COUNT] = {
    [INGEST_REFUSED_NOT_FOUND] = {"not_found", "not_found", 404},
    [INGEST_REFUSED_METHOD] = {"method_not_allowed", "method_not_allowed", 405},
    [INGEST_REFUSED_CONTENT_TYPE] = {"invalid_content_type", "invalid_content_type", 415},
    [INGEST_REFUSED_UNAUTHORIZED] = {"unauthorized", "unauthorized", 401},
    [INGEST_REFUSED_RATE] = {"rate_limit_exceeded", "rate_limit_exceeded", 429},
    [INGEST_REFUSED_PAYLOAD_SIZE] = {"payload_too_large", "payload_too_large", 413},
    [INGEST_REFUSED_MEMORY] = {"memory", "unavailable", 503},
    [INGEST_REFUSED_OUTPUT] = {"output", "unavailable", 503},
    [INGEST_REFUSED_ACK_TIMEOUT] = {"ack_timeout", "unavailable", 503},
    [INGEST_REFUSED_INVALID] = {"invalid_request", "invalid_request", 400},
    [INGEST_REFUSED_BATCH_SIZE] = {"batch_too_large", "batch_too_large", 413},
    [INGEST_REFUSED_EVENT_SIZE] = {"event_too_large", "event_too_large", 413},
    [INGEST_REFUSED_PROTOCOL] = {"protocol", "invalid_request", 400},
    [INGEST_REFUSED_INTERNAL] = {"internal_error", "internal_error", 500},
};

const char *ingest_refusal_name(enum ingest_refusal refusal)
{
    return answers[refusal].name;
}

// A fleet with a wrong token must not fill the operator's disk: a burst, then some lines a second.
// For each reason, so that a scanner's 404s do not hide what befalls a sensor.
static struct log_limit refusal_log[INGEST_REFUSED_COUNT];
enum { REFUSAL_LOG_PER_S = 5, REFUSAL_LOG_BURST = 20 };

static void log_refusal(const struct address *peer, const char *sensor, enum ingest_refusal why, unsigned status,
                        const char *detail)
{
    uint64_t held_back;
    if (!log_enabled(LOG_INFO) || !log_limit_pass(&refusal_log[why], REFUSAL_LOG_PER_S, REFUSAL_LOG_BURST, &held_back))
        return;
    char address[ADDRESS_TEXT_MAX];
    LOG(LOG_INFO, "request refused", LOG_STR("reason", answers[why].name), LOG_INT("status", status),
        LOG_STR("sensor_id", sensor), LOG_STR("address", address_text(peer, address)),
        detail[0] != '\0' ? LOG_STR("detail", detail) : LOG_NONE,
        held_back > 0 ? LOG_INT("held_back", held_back) : LOG_NONE);
}

static void observe(struct ingest_worker *worker, const struct http_request *request)
{
    int64_t took_ns = clock_mono_ns() - request->began_ns;
    histogram_add(&worker->stats.duration_ns, histogram_duration_ns, took_ns > 0 ? (uint64_t)took_ns : 0);
}

void answer_ok(struct ingest_worker *worker, struct http_request *request, struct sensor *sensor)
{
    observe(worker, request);
    sensor_count(sensor, 204);
    http_respond(request, &(struct http_response){.status = 204});
}

static void write_detail(const struct refusal *refusal, char *out, size_t size)
{
    int n = snprintf(out, size, "%s", refusal->detail);
    if (refusal->event >= 0 && n > 0 && (size_t)n < size)
        n += snprintf(out + n, size - (size_t)n, ", event %lld", (long long)refusal->event);
    if (refusal->offset >= 0 && n > 0 && (size_t)n < size)
        snprintf(out + n, size - (size_t)n, ", at byte %lld", (long long)refusal->offset);
}

void answer_refusal(struct ingest_worker *worker, struct http_request *request, struct sensor *sensor,
                    const struct refusal *refusal, int64_t retry_after_s)
{
    unsigned status = answers[refusal->why].status;
    char detail[160] = "";
    char headers[64] = "";
    struct buf body = BUF_EMPTY;

    buf_printf(&body, "{\"error\":\"%s\"", answers[refusal->why].word);
    if (refusal->detail != NULL) {
        write_detail(refusal, detail, sizeof detail);
        buf_str(&body, ",\"detail\":");
        json_write_string(&body, text_of(detail));
    }
    buf_char(&body, '}');
    if (status == 401)
        snprintf(headers, sizeof headers, "WWW-Authenticate: Bearer\r\n");
    else if (retry_after_s > 0)
        snprintf(headers, sizeof headers, "Retry-After: %lld\r\n", (long long)retry_after_s);

    observe(worker, request);
    sensor_count(sensor, status);
    counter_bump(&worker->stats.refused[refusal->why], 1);
    log_refusal(request->peer, sensor->id, refusal->why, status, detail);
    http_respond(request, &(struct http_response){.status = status,
                                                  .content_type = "application/json",
                                                  .headers = headers[0] != '\0' ? headers : NULL,
                                                  .body = {body.data, body.len}});
    buf_fini(&body);
}

// What the HTTP layer answers is counted for the sensor where the request had come as far as its token.
static void count_refusal(struct ingest_worker *worker, const struct http_request *request, const struct address *peer,
                          enum ingest_refusal why, unsigned status, const char *detail)
{
    const struct intake *intake = request != NULL ? request->handler_data : NULL;
    struct sensor *sensor = intake != NULL ? intake->sensor : auth_unknown(worker->ingest->auth);

    if (request != NULL)
        observe(worker, request);
    sensor_count(sensor, status);
    counter_bump(&worker->stats.refused[why], 1);
    log_refusal(peer, sensor->id, why, status, detail);
}

void ingest_on_miss(void *ctx, struct http_request *request, unsigned status)
{
    enum ingest_refusal why = status == 404 ? INGEST_REFUSED_NOT_FOUND : INGEST_REFUSED_METHOD;
    count_refusal(ctx, request, request->peer, why, status, "");
}

void ingest_on_protocol_error(void *ctx, const struct http_request *request, const struct address *peer,
                              unsigned status, const char *reason)
{
    enum ingest_refusal why = status == 503 ? INGEST_REFUSED_MEMORY : INGEST_REFUSED_PROTOCOL;
    count_refusal(ctx, request, peer, why, status, reason);
}
