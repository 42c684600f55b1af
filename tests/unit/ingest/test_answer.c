// SPDX-License-Identifier: Apache-2.0
//
// What a sensor is told, and what is counted and logged for it. http_respond is this file's own: it keeps the answer.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"
#include "bed.h"

static struct {
    unsigned count, status;
    char content_type[64], headers[128], body[512];
} answered;

void http_respond(struct http_request *request, const struct http_response *response)
{
    (void)request;
    answered.count++;
    answered.status = response->status;
    snprintf(answered.content_type, sizeof answered.content_type, "%s",
             response->content_type != NULL ? response->content_type : "");
    snprintf(answered.headers, sizeof answered.headers, "%s", response->headers != NULL ? response->headers : "");
    snprintf(answered.body, sizeof answered.body, "%.*s", (int)response->body.len,
             response->body.len > 0 ? response->body.at : "");
}

static const struct ingest_limits limits = {.max_body_size_bytes = 1000, .max_events_per_batch = 10};
static struct address peer;

static struct http_request request_new(void)
{
    return (struct http_request){.peer = &peer, .began_ns = clock_mono_ns()};
}

static uint64_t status_count(const struct sensor *sensor, unsigned status)
{
    for (size_t i = 0; i < SENSOR_STATUS_COUNT; i++)
        if (sensor_status[i] == status)
            return counter_get(&sensor->requests[i]);
    fail_msg("no counter for status %u", status);
    return 0;
}

static uint64_t durations(const struct bed *bed)
{
    uint64_t count = 0;
    for (size_t i = 0; i <= HISTOGRAM_BUCKETS; i++)
        count += counter_get(&ingest_worker_stats(bed->worker)->duration_ns.buckets[i]);
    return count;
}

static int set_up(void **state)
{
    struct err err = {0};
    memset(&answered, 0, sizeof answered);
    *state = bed_new(&limits, false);
    return address_parse("192.0.2.7:4711", &peer, &err);
}

static int tear_down(void **state)
{
    bed_free(*state);
    return 0;
}

static void test_ok(void **state)
{
    struct bed *bed = *state;
    struct http_request request = request_new();

    catch_log();
    answer_ok(bed->worker, &request, bed_sensor(bed));
    assert_string_equal(caught_log(), "");
    assert_int_equal(answered.count, 1);
    assert_int_equal(answered.status, 204);
    assert_string_equal(answered.content_type, "");
    assert_string_equal(answered.body, "");
    assert_int_equal(status_count(bed_sensor(bed), 204), 1);
    assert_int_equal(durations(bed), 1);
}

static const struct row {
    struct refusal refusal;
    int64_t retry_after_s;
    unsigned status;
    const char *headers, *body;
    const char *logged; // reason, and detail where there is one
} rows[] = {
    {{INGEST_REFUSED_NOT_FOUND, NULL, -1, -1}, 0, 404, "", "{\"error\":\"not_found\"}", "not_found"},
    {{INGEST_REFUSED_METHOD, NULL, -1, -1}, 0, 405, "", "{\"error\":\"method_not_allowed\"}", "method_not_allowed"},
    {{INGEST_REFUSED_CONTENT_TYPE, NULL, -1, -1},
     0,
     415,
     "",
     "{\"error\":\"invalid_content_type\"}",
     "invalid_content_type"},
    {{INGEST_REFUSED_UNAUTHORIZED, NULL, -1, -1},
     0,
     401,
     "WWW-Authenticate: Bearer\r\n",
     "{\"error\":\"unauthorized\"}",
     "unauthorized"},
    {{INGEST_REFUSED_RATE, NULL, -1, -1},
     3,
     429,
     "Retry-After: 3\r\n",
     "{\"error\":\"rate_limit_exceeded\"}",
     "rate_limit_exceeded"},
    {{INGEST_REFUSED_PAYLOAD_SIZE, "larger than x", -1, -1},
     0,
     413,
     "",
     "{\"error\":\"payload_too_large\",\"detail\":\"larger than x\"}",
     "payload_too_large"},
    {{INGEST_REFUSED_MEMORY, NULL, -1, -1}, 1, 503, "Retry-After: 1\r\n", "{\"error\":\"unavailable\"}", "memory"},
    {{INGEST_REFUSED_OUTPUT, NULL, -1, -1}, 5, 503, "Retry-After: 5\r\n", "{\"error\":\"unavailable\"}", "output"},
    {{INGEST_REFUSED_ACK_TIMEOUT, NULL, -1, -1},
     5,
     503,
     "Retry-After: 5\r\n",
     "{\"error\":\"unavailable\"}",
     "ack_timeout"},
    {{INGEST_REFUSED_INVALID, "no \"good\"", 70000, 2},
     0,
     400,
     "",
     "{\"error\":\"invalid_request\",\"detail\":\"no \\\"good\\\", event 2, at byte 70000\"}",
     "invalid_request"},
    {{INGEST_REFUSED_INVALID, "no array", 0, -1},
     0,
     400,
     "",
     "{\"error\":\"invalid_request\",\"detail\":\"no array, at byte 0\"}",
     "invalid_request"},
    {{INGEST_REFUSED_BATCH_SIZE, "more", -1, -1},
     0,
     413,
     "",
     "{\"error\":\"batch_too_large\",\"detail\":\"more\"}",
     "batch_too_large"},
    {{INGEST_REFUSED_EVENT_SIZE, "larger", 1, 0},
     0,
     413,
     "",
     "{\"error\":\"event_too_large\",\"detail\":\"larger, event 0, at byte 1\"}",
     "event_too_large"},
    {{INGEST_REFUSED_PROTOCOL, NULL, -1, -1}, 0, 400, "", "{\"error\":\"invalid_request\"}", "protocol"},
    {{INGEST_REFUSED_INTERNAL, NULL, -1, -1}, 0, 500, "", "{\"error\":\"internal_error\"}", "internal_error"},
};

// One line, with every field in its place and nothing else.
static void assert_logged(const char *log, const struct row *row)
{
    char expected[512], detail[256] = "";
    const char *begin = strstr(row->body, ",\"detail\":");

    if (begin != NULL) // as it stands in the answer
        snprintf(detail, sizeof detail, "%.*s", (int)strlen(begin) - 1, begin);
    snprintf(expected, sizeof expected,
             "\"level\":\"info\",\"message\":\"request refused\",\"reason\":\"%s\",\"status\":%u,\"sensor_id\":\"s1\","
             "\"address\":\"192.0.2.7:4711\"%s}\n",
             row->logged, row->status, detail);
    assert_non_null(strstr(log, expected));
    assert_ptr_equal(strchr(log, '\n'), log + strlen(log) - 1);
}

static void test_every_refusal(void **state)
{
    struct bed *bed = *state;
    bool seen[INGEST_REFUSED_COUNT] = {0};

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct row *row = &rows[i];
        struct http_request request = request_new();
        uint64_t refused = counter_get(&ingest_worker_stats(bed->worker)->refused[row->refusal.why]);
        uint64_t answers = status_count(bed_sensor(bed), row->status);

        catch_log();
        answer_refusal(bed->worker, &request, bed_sensor(bed), &row->refusal, row->retry_after_s);
        assert_logged(caught_log(), row);
        assert_int_equal(answered.count, i + 1);
        assert_int_equal(answered.status, row->status);
        assert_string_equal(answered.content_type, "application/json");
        assert_string_equal(answered.headers, row->headers);
        assert_string_equal(answered.body, row->body);
        assert_string_equal(ingest_refusal_name(row->refusal.why), row->logged);
        assert_int_equal(counter_get(&ingest_worker_stats(bed->worker)->refused[row->refusal.why]), refused + 1);
        assert_int_equal(status_count(bed_sensor(bed), row->status), answers + 1);
        assert_int_equal(durations(bed), i + 1);
        seen[row->refusal.why] = true;
    }
    for (size_t i = 0; i < INGEST_REFUSED_COUNT; i++)
        assert_true(seen[i]);
}

// What the HTTP layer answers by itself is the unknown sensor's; the answer is not given here.
static void test_answers_of_the_http_layer(void **state)
{
    struct bed *bed = *state;
    struct http_request request = request_new();
    const struct sensor *unknown = auth_unknown(bed->ingest.auth);
    const struct ingest_stats *stats = ingest_worker_stats(bed->worker);

    catch_log();
    ingest_on_miss(bed->worker, &request, 404);
    ingest_on_miss(bed->worker, &request, 405);
    ingest_on_protocol_error(bed->worker, NULL, &peer, 400, "bare LF");
    ingest_on_protocol_error(bed->worker, NULL, &peer, 408, "too slow");
    ingest_on_protocol_error(bed->worker, NULL, &peer, 431, "too long");
    const char *log = caught_log();
    assert_non_null(strstr(log, "\"reason\":\"not_found\",\"status\":404,\"sensor_id\":\"unknown\""));
    assert_non_null(strstr(log, "\"reason\":\"method_not_allowed\",\"status\":405,\"sensor_id\":\"unknown\""));
    assert_non_null(strstr(log, "\"reason\":\"protocol\",\"status\":400,\"sensor_id\":\"unknown\","
                                "\"address\":\"192.0.2.7:4711\",\"detail\":\"bare LF\"}\n"));
    assert_int_equal(answered.count, 0);
    assert_int_equal(counter_get(&stats->refused[INGEST_REFUSED_NOT_FOUND]), 1);
    assert_int_equal(counter_get(&stats->refused[INGEST_REFUSED_METHOD]), 1);
    assert_int_equal(counter_get(&stats->refused[INGEST_REFUSED_PROTOCOL]), 3);
    assert_int_equal(status_count(unknown, 404), 1);
    assert_int_equal(status_count(unknown, 405), 1);
    assert_int_equal(status_count(unknown, 400), 1);
    assert_int_equal(status_count(unknown, 408), 1);
    assert_int_equal(status_count(unknown, 431), 1);
}

static unsigned lines_of(const char *log)
{
    unsigned count = 0;
    for (; *log != '\0'; log++)
        count += *log == '\n';
    return count;
}

// A storm is a burst of lines and then some a second; the line after it says how many there would have been.
static void test_log_is_limited(void **state)
{
    enum { STORM = 10000 };
    struct bed *bed = *state;
    struct refusal refusal = rows[0].refusal;
    struct http_request request = request_new();
    int64_t began_ns = clock_mono_ns();

    catch_log();
    for (int i = 0; i < STORM; i++)
        answer_refusal(bed->worker, &request, bed_sensor(bed), &refusal, 0);
    unsigned lines = lines_of(caught_log());
    int64_t took_s = (clock_mono_ns() - began_ns) / NS_PER_S + 1;
    assert_true(lines <= 20 + 5 * took_s);
    assert_int_equal(answered.count, STORM); // each was answered and counted all the same
    assert_int_equal(counter_get(&ingest_worker_stats(bed->worker)->refused[refusal.why]), STORM);

    for (bool told = false; !told;) { // a line is allowed again in 200 ms
        catch_log();
        answer_refusal(bed->worker, &request, bed_sensor(bed), &refusal, 0);
        told = strstr(caught_log(), "\"held_back\":") != NULL;
    }
}

static void test_quiet_below_info(void **state)
{
    struct bed *bed = *state;
    struct http_request request = request_new();

    log_setup(LOG_WARN, LOG_JSON);
    catch_log();
    answer_refusal(bed->worker, &request, bed_sensor(bed), &rows[0].refusal, 0);
    assert_string_equal(caught_log(), "");
    log_setup(LOG_INFO, LOG_JSON);
}

int main(void)
{
    // The log's limit is the program's: the storm comes last.
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_ok, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_every_refusal, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_answers_of_the_http_layer, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_quiet_below_info, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_log_is_limited, set_up, tear_down),
    };
    log_setup(LOG_INFO, LOG_JSON);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
