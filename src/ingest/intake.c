// SPDX-License-Identifier: Apache-2.0
//
// Intakes and their memory. A worker keeps a few finished intakes with their buffers for the next requests, so that a
// steady stream allocates nothing; buffers that grew large are released, so that a burst does not stay in memory.

#include <errno.h>

#include "base/mem.h"
#include "ingest/worker.h"

enum { ADMIT_LEAST = 4096, SPARE_MAX = 32, KEEP_BODY = 64 * 1024, KEEP_LINES = 128 * 1024, KEEP_EVENTS = 500 };

struct intake *intake_get(struct ingest_worker *worker)
{
    struct intake *intake = TAILQ_FIRST(&worker->spare);
    if (intake != NULL) {
        TAILQ_REMOVE(&worker->spare, intake, link);
        worker->spare_count--;
        return intake;
    }
    intake = mem_zalloc(sizeof *intake);
    intake->worker = worker;
    return intake;
}

static void intake_free(struct intake *intake)
{
    buf_fini(&intake->body);
    buf_fini(&intake->batch.lines);
    mem_free(intake->batch.ends);
    mem_free(intake);
}

static void trim(struct buf *buf, size_t keep)
{
    if (buf->cap > keep)
        buf_fini(buf);
    buf->len = 0;
}

void intake_put(struct intake *intake)
{
    struct ingest_worker *worker = intake->worker;

    budget_release(worker->ingest->budget, intake->admitted);
    if (worker->spare_count >= SPARE_MAX) {
        intake_free(intake);
        return;
    }

    trim(&intake->body, KEEP_BODY);
    trim(&intake->batch.lines, KEEP_LINES);
    if (intake->ends_cap > KEEP_EVENTS) {
        mem_free(intake->batch.ends);
        intake->batch.ends = NULL;
        intake->ends_cap = 0;
    }
    *intake = (struct intake){
        .worker = worker,
        .body = intake->body,
        .batch = {.lines = intake->batch.lines, .ends = intake->batch.ends},
        .ends_cap = intake->ends_cap,
    };
    TAILQ_INSERT_HEAD(&worker->spare, intake, link); // the one whose memory is still in the cache comes first
    worker->spare_count++;
}

int intake_admit(struct intake *intake, uint64_t total, uint64_t most)
{
    struct budget *budget = intake->worker->ingest->budget;
    struct buf *body = &intake->body;

    if (total <= intake->admitted)
        return 0;
    // Twice as much as before, so that a large body does not come back here for each read; where that is not free, what
    // is needed.
    uint64_t want = intake->admitted * 2 > ADMIT_LEAST ? intake->admitted * 2 : ADMIT_LEAST;
    want = want < most ? want : most;
    want = want > total ? want : total;
    if (!budget_admit(budget, want - intake->admitted)) {
        want = total;
        if (!budget_admit(budget, want - intake->admitted))
            return -ENOBUFS;
    }
    intake->admitted = want;
    if (want <= body->cap)
        return 0;
    char *data = mem_try_realloc(body->data, want); // what is admitted and no more, where a buf would double
    if (data == NULL)
        return -ENOMEM;
    body->data = data;
    body->cap = want;
    return 0;
}

void intake_charge(struct intake *intake, uint64_t bytes)
{
    budget_charge(intake->worker->ingest->budget, bytes);
    intake->admitted += bytes;
}

void intake_drop_body(struct intake *intake)
{
    // Small bodies keep their buffer for the next request; what it holds does not count as in flight any more.
    uint64_t kept = intake->batch.lines.len;
    trim(&intake->body, KEEP_BODY);
    if (intake->admitted > kept) {
        budget_release(intake->worker->ingest->budget, intake->admitted - kept);
        intake->admitted = kept;
    }
}

void intake_free_spares(struct ingest_worker *worker)
{
    struct intake *intake;
    while ((intake = TAILQ_FIRST(&worker->spare)) != NULL) {
        TAILQ_REMOVE(&worker->spare, intake, link);
        intake_free(intake);
    }
    worker->spare_count = 0;
}
