// SPDX-License-Identifier: Apache-2.0
#pragma once

// Private to ingest/: what a worker keeps, and one request on its way.

#include <sys/queue.h>

#include "ingest/ingest.h"
#include "json/scan.h"

// One request. Reused: lives in the worker's list of spare ones between requests. Its loop's, but for `batch` while
// the store owns that.
struct intake {
    struct batch batch; // first: the mail of the batch finds the intake
    struct ingest_worker *worker;
    TAILQ_ENTRY(intake) link;     // in one of the worker's two lists
    struct http_request *request; // NULL when it was answered or the client is gone
    struct sensor *sensor;
    struct buf body;
    uint64_t body_len;   // kept for the metrics when the body is gone
    uint64_t admitted;   // bytes taken from the budget
    uint32_t ends_cap;   // of batch.ends
    int64_t deadline_ns; // of a waiting request
    bool waiting;        // in the worker's list of waiting requests
    bool in_store;       // the store owns the batch
};

enum { SPARE_BODIES = 4 };

struct ingest_worker {
    const struct ingest *ingest;
    struct loop *loop;
    struct secret_hasher *hasher; // for auth_check
    struct enrich_cache *cache;   // NULL without databases
    struct json_events events;    // of the batch that is being built
    struct ingest_stats stats;
    TAILQ_HEAD(intake_list, intake) spare;
    unsigned spare_count;
    size_t spare_bytes; // of their lines
    struct buf spare_bodies[SPARE_BODIES];
    unsigned spare_body_count;
    struct intake_list waiting; // for the store, in order of deadline: the time-out is the same for all
    struct loop_timer ack_timer;
    struct loop_turn turn; // kicks the store once for all that a turn of the loop has appended
    bool appended;
    size_t outstanding;
};

// What went wrong with a batch, for the answer.
struct refusal {
    enum ingest_refusal why;
    const char *detail; // fixed text, or NULL
    int64_t offset;     // byte of the body, -1: none
    int64_t event;      // index in the batch, -1: none
};

// build.c: body -> batch. 0, or a negative code with *refusal filled. The events of an empty array make no batch: count is 0.
int ingest_build(struct intake *intake, struct refusal *refusal);

// intake.c: objects and their memory.
struct intake *intake_get(struct ingest_worker *worker);
void intake_put(struct intake *intake); // gives back what it took from the budget
// Takes from the budget, and makes room for, at least `total` bytes of a body that has at most `most`. 0, or a negative
// code.
int intake_admit(struct intake *intake, uint64_t total, uint64_t most);
// Once the batch is built: the body goes, and what stays in memory while the batch waits is charged in its place.
void intake_drop_body(struct intake *intake);
void intake_free_spares(struct ingest_worker *worker);

// answer.c: what goes back to the sensor, and what is counted and logged for it.
void answer_ok(struct ingest_worker *worker, struct http_request *request, struct sensor *sensor);
// retry_after_s 0: no such header.
void answer_refusal(struct ingest_worker *worker, struct http_request *request, struct sensor *sensor,
                    const struct refusal *refusal, int64_t retry_after_s);
