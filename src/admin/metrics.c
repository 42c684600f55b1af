// SPDX-License-Identifier: Apache-2.0
//
// The metric families, in the order an operator reads them: requests, enrichment, connections, output, process.

#include <stdio.h>
#include <string.h>

#include "admin/admin.h"
#include "admin/expose.h"
#include "admin/process.h"
#include "base/clock.h"
#include "net/stats.h"

static const char *const db_names[ENRICH_DB_COUNT] = {[ENRICH_DB_ASN] = "asn", [ENRICH_DB_GEO] = "geo"};

static void family_sample(struct buf *out, const char *name, enum expose_type type, const char *help, double value)
{
    expose_family(out, name, type, help);
    expose_sample(out, name, NULL, value);
}

static void labelled(struct buf *out, const char *name, const char *label, const char *value, double number)
{
    expose_sample(out, name, (const char *const[]){label, value, NULL}, number);
}

// Only what has happened is listed: a fleet of thousands has a dozen statuses each.
static void sensor_requests(struct buf *out, const struct sensor *sensor)
{
    for (size_t i = 0; i < SENSOR_STATUS_COUNT; i++) {
        uint64_t count = counter_get(&sensor->requests[i]);
        char status[16];
        if (count == 0)
            continue;
        if (sensor_status[i] == 0)
            snprintf(status, sizeof status, "other");
        else
            snprintf(status, sizeof status, "%u", sensor_status[i]);
        expose_sample(out, "loom_ingest_requests_total",
                      (const char *const[]){"sensor_id", sensor->id, "status", status, NULL}, (double)count);
    }
}

static void write_sensors(const struct admin *admin, struct buf *out)
{
    expose_family(out, "loom_ingest_requests_total", EXPOSE_COUNTER,
                  "Answers by sensor and status; sensor_id unknown: no token matched.");
    for (size_t i = 0; i < auth_count(admin->auth); i++)
        sensor_requests(out, auth_sensor(admin->auth, i));
    sensor_requests(out, auth_unknown(admin->auth));

    expose_family(out, "loom_ingest_events_total", EXPOSE_COUNTER, "Events in batches answered with 204, by sensor.");
    for (size_t i = 0; i < auth_count(admin->auth); i++) {
        const struct sensor *sensor = auth_sensor(admin->auth, i);
        labelled(out, "loom_ingest_events_total", "sensor_id", sensor->id, (double)counter_get(&sensor->events));
    }
}

static void write_ingest(const struct admin *admin, struct buf *out)
{
    struct histogram duration = {0}, bytes = {0}, events = {0};
    uint64_t refused[INGEST_REFUSED_COUNT] = {0};
    uint64_t aborted = 0;

    for (size_t w = 0; w < admin->worker_count; w++) {
        const struct ingest_stats *stats = ingest_worker_stats(admin->workers[w]);
        expose_histogram_add(&duration, &stats->duration_ns);
        expose_histogram_add(&bytes, &stats->body_bytes);
        expose_histogram_add(&events, &stats->batch_events);
        for (size_t i = 0; i < INGEST_REFUSED_COUNT; i++)
            refused[i] += counter_get(&stats->refused[i]);
        aborted += counter_get(&stats->aborted);
    }
    expose_family(out, "loom_ingest_refused_total", EXPOSE_COUNTER, "Requests refused, by reason.");
    for (size_t i = 0; i < INGEST_REFUSED_COUNT; i++)
        labelled(out, "loom_ingest_refused_total", "reason", ingest_refusal_name((enum ingest_refusal)i),
                 (double)refused[i]);
    family_sample(out, "loom_ingest_aborted_total", EXPOSE_COUNTER,
                  "Requests whose client went away before the answer.", (double)aborted);
    expose_histogram(out, "loom_ingest_request_duration_seconds", "First byte of a request to its answer.", &duration,
                     histogram_duration_ns, 1e9);
    expose_histogram(out, "loom_ingest_body_bytes", "Bodies of accepted batches.", &bytes, histogram_size_bytes, 1);
    expose_histogram(out, "loom_ingest_batch_events", "Events in accepted batches.", &events, histogram_events, 1);
    family_sample(out, "loom_ingest_inflight_bytes", EXPOSE_GAUGE, "Bodies and batches held in memory.",
                  (double)budget_used(admin->budget));
    family_sample(out, "loom_ingest_inflight_limit_bytes", EXPOSE_GAUGE, "limits.max_inflight_bytes.",
                  (double)admin->budget->limit);
}

static void sum_enrich(const struct admin *admin, struct enrich_stats *sum, uint64_t unchanged[JSON_PASS_COUNT])
{
    for (size_t w = 0; w < admin->worker_count; w++) {
        const struct enrich_stats *part = ingest_worker_enrich_stats(admin->workers[w]);
        for (size_t i = 0; i < JSON_PASS_COUNT; i++)
            unchanged[i] += counter_get(&ingest_worker_stats(admin->workers[w])->unchanged[i]);
        if (part == NULL)
            continue;
        for (size_t db = 0; db < ENRICH_DB_COUNT; db++) {
            sum->hits[db] += counter_get(&part->hits[db]);
            sum->misses[db] += counter_get(&part->misses[db]);
            sum->errors[db] += counter_get(&part->errors[db]);
        }
        sum->cache_hits += counter_get(&part->cache_hits);
        sum->cache_misses += counter_get(&part->cache_misses);
        sum->not_an_address += counter_get(&part->not_an_address);
    }
}

static void write_lookups(const struct admin *admin, struct buf *out, const struct enrich_stats *sum)
{
    expose_family(out, "loom_enrich_lookups_total", EXPOSE_COUNTER, "Addresses looked up, by database and result.");
    for (size_t db = 0; db < ENRICH_DB_COUNT; db++) {
        const struct {
            const char *result;
            uint64_t count;
        } rows[] = {{"hit", sum->hits[db]}, {"miss", sum->misses[db]}, {"error", sum->errors[db]}};
        if (enricher_info(admin->enricher, (enum enrich_db)db) == NULL)
            continue;
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
            expose_sample(out, "loom_enrich_lookups_total",
                          (const char *const[]){"database", db_names[db], "result", rows[i].result, NULL},
                          (double)rows[i].count);
    }
    expose_family(out, "loom_enrich_cache_total", EXPOSE_COUNTER, "Look-ups in the address cache, by result.");
    labelled(out, "loom_enrich_cache_total", "result", "hit", (double)sum->cache_hits);
    labelled(out, "loom_enrich_cache_total", "result", "miss", (double)sum->cache_misses);

    expose_family(out, "loom_enrich_database_build_timestamp_seconds", EXPOSE_GAUGE, "When the database was built.");
    for (size_t db = 0; db < ENRICH_DB_COUNT; db++) {
        const struct enrich_db_info *info = enricher_info(admin->enricher, (enum enrich_db)db);
        if (info != NULL)
            labelled(out, "loom_enrich_database_build_timestamp_seconds", "database", db_names[db],
                     (double)info->build_epoch);
    }
}

static void write_enrich(const struct admin *admin, struct buf *out)
{
    struct enrich_stats sum = {0};
    uint64_t unchanged[JSON_PASS_COUNT] = {0};

    if (admin->enricher == NULL)
        return;
    sum_enrich(admin, &sum, unchanged);
    write_lookups(admin, out, &sum);
    expose_family(out, "loom_enrich_unchanged_total", EXPOSE_COUNTER, "Events that could not be enriched, by reason.");
    for (size_t i = JSON_PASS_OK + 1; i < JSON_PASS_COUNT; i++)
        labelled(out, "loom_enrich_unchanged_total", "reason", json_pass_name((enum json_pass)i), (double)unchanged[i]);
    labelled(out, "loom_enrich_unchanged_total", "reason", "not_an_address", (double)sum.not_an_address);
}

static void write_net(struct buf *out)
{
    family_sample(out, "loom_net_connections", EXPOSE_GAUGE, "Open connections.",
                  (double)__atomic_load_n(&net_stats.connections, __ATOMIC_RELAXED));
    family_sample(out, "loom_net_accepted_total", EXPOSE_COUNTER, "Connections accepted.",
                  (double)counter_get(&net_stats.accepted));
    family_sample(out, "loom_net_refused_total", EXPOSE_COUNTER, "Connections closed at once: limits.max_connections.",
                  (double)counter_get(&net_stats.refused_limit));
    family_sample(out, "loom_net_accept_errors_total", EXPOSE_COUNTER,
                  "Failures to accept, such as no descriptors left.", (double)counter_get(&net_stats.accept_errors));
    family_sample(out, "loom_net_handshake_failures_total", EXPOSE_COUNTER, "TLS handshakes that failed.",
                  (double)counter_get(&net_stats.handshake_failures));
    family_sample(out, "loom_net_received_bytes_total", EXPOSE_COUNTER, "Bytes received, TLS taken off.",
                  (double)counter_get(&net_stats.bytes_received));
    family_sample(out, "loom_net_sent_bytes_total", EXPOSE_COUNTER, "Bytes sent, before TLS.",
                  (double)counter_get(&net_stats.bytes_sent));
}

static void output_family(const struct admin *admin, struct buf *out, const char *name, enum expose_type type,
                          const char *help, double value)
{
    expose_family(out, name, type, help);
    labelled(out, name, "output", admin->output, value);
}

// A copy, so that all its numbers are of about the same moment.
static void write_handovers(struct buf *out, const struct histogram *durations)
{
    struct histogram sum = {0};
    expose_histogram_add(&sum, durations);
    expose_histogram(out, "loom_output_handover_duration_seconds", "How long the output took for a hand-over.", &sum,
                     histogram_duration_ns, 1e9);
}

static void write_output(const struct admin *admin, struct buf *out)
{
    const struct sink_stats *stats = pump_sink_stats(admin->pump);
    static const char *const kinds[] = {"retry", "busy", "too_large", "failed", "down"};
    struct pump_state state;

    pump_state(admin->pump, &state);
    output_family(admin, out, "loom_output_up", EXPOSE_GAUGE, "1 while the output takes events.", state.up ? 1 : 0);
    expose_family(out, "loom_output_last_error", EXPOSE_GAUGE, "1: how the last hand-over that failed did.");
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        expose_sample(out, "loom_output_last_error",
                      (const char *const[]){"output", admin->output, "kind", kinds[i], NULL},
                      strcmp(state.last_error, kinds[i]) == 0 ? 1 : 0);
    output_family(admin, out, "loom_output_writes_total", EXPOSE_COUNTER, "Writes to the output.",
                  (double)counter_get(&stats->writes));
    output_family(admin, out, "loom_output_events_total", EXPOSE_COUNTER, "Events the output has taken.",
                  (double)counter_get(&stats->events));
    output_family(admin, out, "loom_output_rejected_total", EXPOSE_COUNTER, "Events the output will never take.",
                  (double)counter_get(&stats->rejected));
    output_family(admin, out, "loom_output_bytes_total", EXPOSE_COUNTER, "Bytes the output has taken.",
                  (double)counter_get(&stats->bytes));
    output_family(admin, out, "loom_output_retried_total", EXPOSE_COUNTER, "Events handed over that have to go again.",
                  (double)counter_get(&stats->retried));
    output_family(admin, out, "loom_output_let_go_total", EXPOSE_COUNTER, "Events left to their sensors to send again.",
                  (double)state.let_go);
    output_family(admin, out, "loom_output_errors_total", EXPOSE_COUNTER, "Hand-overs that failed, all or in part.",
                  (double)counter_get(&stats->errors));
    output_family(admin, out, "loom_output_in_flight_events", EXPOSE_GAUGE, "Events the output has not answered for.",
                  (double)counter_get(&stats->in_flight));
    write_handovers(out, &stats->handover_ns);
}

static void write_store(const struct admin *admin, struct buf *out)
{
    struct store_stats store;

    admin->store->ops->stats(admin->store, &store);
    family_sample(out, "loom_store_batches", EXPOSE_GAUGE, "Batches on their way to the output.",
                  (double)store.batches);
    family_sample(out, "loom_store_events", EXPOSE_GAUGE, "Events on their way to the output.", (double)store.events);
    family_sample(out, "loom_store_bytes", EXPOSE_GAUGE, "Bytes on their way to the output.", (double)store.bytes);
    if (!admin->store->ops->durable)
        return;
    int64_t age_ns = store.oldest_real_ns > 0 ? clock_real_ns() - store.oldest_real_ns : 0;
    family_sample(out, "loom_store_oldest_age_seconds", EXPOSE_GAUGE, "Age of the oldest event the output lacks.",
                  age_ns > 0 ? (double)age_ns / 1e9 : 0);
    family_sample(out, "loom_store_max_bytes", EXPOSE_GAUGE, "output.outbox.max_bytes.", (double)store.bytes_max);
    family_sample(out, "loom_store_dropped_events_total", EXPOSE_COUNTER, "Events deleted by when_full drop_oldest.",
                  (double)store.dropped_events);
    family_sample(out, "loom_store_damaged_records_total", EXPOSE_COUNTER, "Records that could not be read, set aside.",
                  (double)store.damaged_records);
    family_sample(out, "loom_store_later_version_events_total", EXPOSE_COUNTER,
                  "Events that a later version of Loom has written, which stay.", (double)store.later_events);
    family_sample(out, "loom_store_errors_total", EXPOSE_COUNTER, "Commits and reads that failed.",
                  (double)store.errors);
    expose_histogram(out, "loom_store_commit_duration_seconds", "Time of a commit, its sync included.",
                     &store.commit_ns, histogram_duration_ns, 1e9);
    expose_histogram(out, "loom_store_commit_batches", "Batches in a commit.", &store.commit_batches, histogram_events,
                     1);
}

static void write_process(const struct admin *admin, struct buf *out)
{
    struct process_usage usage;
    process_usage(&usage);

    expose_family(out, "loom_build_info", EXPOSE_GAUGE, "Version of this Loom, and what compiled it.");
    expose_sample(out, "loom_build_info",
                  (const char *const[]){"version", admin->version, "compiler", __VERSION__, NULL}, 1);
    family_sample(out, "process_cpu_seconds_total", EXPOSE_COUNTER, "User and system CPU time.", usage.cpu_seconds);
    family_sample(out, "process_resident_memory_bytes", EXPOSE_GAUGE, "Resident memory.", (double)usage.resident_bytes);
    family_sample(out, "process_virtual_memory_bytes", EXPOSE_GAUGE, "Virtual memory.", (double)usage.virtual_bytes);
    family_sample(out, "process_open_fds", EXPOSE_GAUGE, "Open descriptors.", (double)usage.open_fds);
    family_sample(out, "process_max_fds", EXPOSE_GAUGE, "Limit of descriptors.", (double)usage.max_fds);
    family_sample(out, "process_threads", EXPOSE_GAUGE, "Threads.", (double)usage.threads);
    family_sample(out, "process_start_time_seconds", EXPOSE_GAUGE, "When this process started, Unix time.",
                  (double)admin->started_real_ns / 1e9);
}

void admin_metrics(const struct admin *admin, struct buf *out)
{
    write_sensors(admin, out);
    write_ingest(admin, out);
    write_enrich(admin, out);
    write_net(out);
    write_output(admin, out);
    write_store(admin, out);
    write_process(admin, out);
}
