// SPDX-License-Identifier: Apache-2.0
#pragma once

// The ingest API: one request from its headers to its answer.
//
//   headers   answer.c's table in its order: 415, 401, 429, 413, 503; then memory is taken for the body
//   body      gathered in the intake's buffer
//   complete  build.c: json_scan, limits, enrich_lookup and json_splice for each event -> struct batch
//   append    the store takes the batch; the request waits for the mail (or for output.ack_timeout_ms)
//   answer    204, or the word for what went wrong; counted once, with the status that was sent
//
// struct ingest is shared and frozen. struct ingest_worker belongs to one loop.

#include "base/metric.h"
#include "enrich/enrich.h"
#include "http/http.h"
#include "ingest/auth.h"
#include "ingest/budget.h"
#include "net/loop.h"
#include "store/store.h"
#include "json/splice.h"

struct ingest_limits {
    uint64_t max_body_size_bytes;
    uint64_t max_events_per_batch;
    uint64_t max_event_size_bytes;
    int64_t per_sensor_rps;        // requests a second; -1: off
    int64_t per_sensor_events_rps; // events a second; -1: off
    int64_t ack_timeout_ms;        // how long an answer may wait for the store
};

// What all workers share. Every pointer outlives the workers.
struct ingest {
    struct ingest_limits limits;
    struct auth *auth;
    struct budget *budget;
    struct store *store;
    const struct enricher *enricher; // NULL: no database is configured; events pass as they are
};

enum ingest_refusal {
    INGEST_REFUSED_NOT_FOUND,
    INGEST_REFUSED_METHOD,
    INGEST_REFUSED_CONTENT_TYPE,
    INGEST_REFUSED_UNAUTHORIZED,
    INGEST_REFUSED_RATE,
    INGEST_REFUSED_PAYLOAD_SIZE,
    INGEST_REFUSED_MEMORY,
    INGEST_REFUSED_OUTPUT,
    INGEST_REFUSED_ACK_TIMEOUT,
    INGEST_REFUSED_INVALID,
    INGEST_REFUSED_BATCH_SIZE,
    INGEST_REFUSED_EVENT_SIZE,
    INGEST_REFUSED_PROTOCOL, // what the HTTP layer refused
    INGEST_REFUSED_INTERNAL,
    INGEST_REFUSED_COUNT,
};
const char *ingest_refusal_name(enum ingest_refusal refusal); // label of loom_ingest_refused_total

// Written by one worker, read by any thread.
struct ingest_stats {
    counter refused[INGEST_REFUSED_COUNT];
    counter aborted;                    // the client went away before its answer
    counter unchanged[JSON_PASS_COUNT]; // events that passed unchanged, by reason
    struct histogram duration_ns;       // first byte of a request to its answer
    struct histogram body_bytes;        // of accepted batches
    struct histogram batch_events;      // of accepted batches
};

struct ingest_worker;
struct ingest_worker *ingest_worker_new(const struct ingest *ingest, struct loop *loop);
// After the HTTP server of the loop is gone and the store has sent back every batch.
void ingest_worker_free(struct ingest_worker *worker);
const struct ingest_stats *ingest_worker_stats(const struct ingest_worker *worker); // any thread
const struct enrich_stats *
ingest_worker_enrich_stats(const struct ingest_worker *worker); // any thread; NULL without databases
// Batches that the store still has: the worker's loop must go on until there are none. On its loop.
size_t ingest_worker_outstanding(const struct ingest_worker *worker);

// For the router: POST of the ingest paths; ctx is the struct ingest_worker.
extern const struct http_handler ingest_handler;
extern const char *const ingest_paths[]; // NULL-terminated

// What the HTTP layer answers without asking the handler is counted and logged here too; ctx is the struct ingest_worker.
void ingest_on_miss(void *ctx, struct http_request *request, unsigned status);
void ingest_on_protocol_error(void *ctx, const struct http_request *request, const struct address *peer,
                              unsigned status, const char *reason);
