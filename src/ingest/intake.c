// SPDX-License-Identifier: Apache-2.0
//
// Intakes and their memory. A worker keeps a few finished intakes with the buffers of their lines, and apart from them a
// few buffers for bodies, so that a steady stream allocates nothing, but for lines that the store keeps. What it keeps is bounded, so that a burst does not
// stay in memory. A buffer that is in use is charged to the budget with its capacity: its owner may hold it for long.

#include <errno.h>

#include "base/mem.h"
#include "ingest/worker.h"

enum {
    ADMIT_LEAST = 4096,
    SPARE_MAX = 32,
    SPARE_BYTES = 2 * 1024 * 1024, // of lines
    KEEP_BODY = 64 * 1024,
    KEEP_LINES = 128 * 1024,
    KEEP_EVENTS = 500,
};

struct intake *intake_get(struct ingest_worker *worker)
{
    struct intake *intake = TAILQ_FIRST(&worker->spare);
    if (intake != NULL) {
        TAILQ_REMOVE(&worker->spare, intake, link);
        worker->spare_count--;
        worker->spare_bytes -= intake->batch.lines.cap;
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

static void put_body(struct intake *intake)
{
    struct ingest_worker *worker = intake->worker;

    if (intake->body.cap == 0)
        return;
    if (worker->spare_body_count == SPARE_BODIES || intake->body.cap > KEEP_BODY) {
        buf_fini(&intake->body);
        return;
    }
    intake->body.len = 0;
    worker->spare_bodies[worker->spare_body_count++] = intake->body;
    intake->body = BUF_EMPTY;
}

// A spare buffer for a body that needs `want` bytes: all of it is charged, however few it will hold.
static bool take_body(struct intake *intake, uint64_t want)
{
    struct ingest_worker *worker = intake->worker;

    if (worker->spare_body_count == 0)
        return false;
    const struct buf *spare = &worker->spare_bodies[worker->spare_body_count - 1];
    if (spare->cap < want || !budget_admit(worker->ingest->budget, spare->cap))
        return false;
    worker->spare_body_count--;
    intake->body = *spare;
    intake->admitted = spare->cap;
    return true;
}

void intake_put(struct intake *intake)
{
    struct ingest_worker *worker = intake->worker;
    struct buf *lines = &intake->batch.lines;

    budget_release(worker->ingest->budget, intake->admitted);
    put_body(intake);
    if (worker->spare_count >= SPARE_MAX) {
        intake_free(intake);
        return;
    }

    if (lines->cap > KEEP_LINES || worker->spare_bytes + lines->cap > SPARE_BYTES)
        buf_fini(lines);
    lines->len = 0;
    if (intake->ends_cap > KEEP_EVENTS) {
        mem_free(intake->batch.ends);
        intake->batch.ends = NULL;
    }
    if (intake->batch.ends == NULL) // or the store has kept it
        intake->ends_cap = 0;
    *intake = (struct intake){
        .worker = worker,
        .batch = {.lines = intake->batch.lines, .ends = intake->batch.ends},
        .ends_cap = intake->ends_cap,
    };
    TAILQ_INSERT_HEAD(&worker->spare, intake, link); // the one whose memory is still in the cache comes first
    worker->spare_count++;
    worker->spare_bytes += lines->cap;
}

int intake_admit(struct intake *intake, uint64_t total, uint64_t most)
{
    struct budget *budget = intake->worker->ingest->budget;
    struct buf *body = &intake->body;

    if (total <= intake->admitted || (intake->admitted == 0 && take_body(intake, total)))
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
    char *data = mem_try_realloc(body->data, want); // what is admitted and no more, where a buf would double
    if (data == NULL)
        return -ENOMEM;
    body->data = data;
    body->cap = want;
    return 0;
}

// Lines that need much less room than was reserved for them (the body had white space) give it back.
static void shrink_lines(struct buf *lines)
{
    if (lines->cap / 4 <= lines->len + 1024)
        return;
    char *data = mem_try_realloc(lines->data, lines->len);
    if (data == NULL)
        return;
    lines->data = data;
    lines->cap = lines->len;
}

void intake_drop_body(struct intake *intake)
{
    struct budget *budget = intake->worker->ingest->budget;

    put_body(intake);
    shrink_lines(&intake->batch.lines);
    uint64_t held = sizeof *intake + intake->batch.lines.cap + intake->ends_cap * sizeof *intake->batch.ends;
    if (held > intake->admitted)
        budget_charge(budget, held - intake->admitted);
    else
        budget_release(budget, intake->admitted - held);
    intake->admitted = held;
}

void intake_free_spares(struct ingest_worker *worker)
{
    struct intake *intake;
    while ((intake = TAILQ_FIRST(&worker->spare)) != NULL) {
        TAILQ_REMOVE(&worker->spare, intake, link);
        intake_free(intake);
    }
    worker->spare_count = 0;
    worker->spare_bytes = 0;
    while (worker->spare_body_count > 0)
        buf_fini(&worker->spare_bodies[--worker->spare_body_count]);
}
