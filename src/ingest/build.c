// SPDX-License-Identifier: Apache-2.0
//
// From the body of a request to a batch: the path every event takes. One pass finds the events, each is looked up and
// copied with what was found into the batch's lines.

#include "base/clock.h"
#include "base/hash.h"
#include "base/mem.h"
#include "ingest/worker.h"

// Room for what a lookup adds to an event, so that the lines of a usual batch are reserved once.
enum { ADDITIONS_GUESS = 320 };
enum { GROUP_EVENTS = 16 };

static int refuse(struct refusal *refusal, enum ingest_refusal why, const char *detail, int64_t event, int64_t offset)
{
    *refusal = (struct refusal){.why = why, .detail = detail, .event = event, .offset = offset};
    return -EINVAL;
}

static int check_limits(const struct ingest_limits *limits, const struct json_events *events, struct refusal *refusal)
{
    if (events->count > limits->max_events_per_batch)
        return refuse(refusal, INGEST_REFUSED_BATCH_SIZE, "more events than max_events_per_batch", -1, -1);

    for (size_t i = 0; i < events->count; i++) {
        const struct json_event *event = &events->at[i];
        if (event->end - event->begin > limits->max_event_size_bytes)
            return refuse(refusal, INGEST_REFUSED_EVENT_SIZE, "larger than max_event_size_bytes", (int64_t)i,
                          event->begin);
    }
    return 0;
}

// Of some events in a row, so that what the look-ups of all need comes from memory at the same time.
struct group {
    struct json_place place[GROUP_EVENTS];
    enum json_pass pass[GROUP_EVENTS];
    struct enrich_query query[GROUP_EVENTS];
};

static void locate_group(struct ingest_worker *worker, const char *body, const struct json_event *events, size_t count,
                         struct group *group)
{
    for (size_t i = 0; i < count; i++) {
        group->pass[i] = json_locate(body, &events[i], &group->place[i]);
        if (group->pass[i] == JSON_PASS_OK)
            enrich_ask(worker->cache, group->place[i].ip, &group->query[i]);
    }
    for (size_t i = 0; i < count; i++) {
        if (group->pass[i] == JSON_PASS_OK)
            enrich_ask_texts(worker->cache, &group->query[i]);
    }
}

static int write_located(struct ingest_worker *worker, const char *body, const struct group *group, size_t nth,
                         const struct json_event *event, struct buf *lines)
{
    if (group->pass[nth] != JSON_PASS_OK) {
        counter_bump(&worker->stats.unchanged[group->pass[nth]], 1);
        return json_copy(body, event, lines);
    }

    struct text additions;
    if (enrich_answer(worker->cache, &group->query[nth], &additions) != ENRICH_HIT)
        return json_copy(body, event, lines);
    return json_splice(body, &group->place[nth], additions, lines);
}

static int reserve(struct intake *intake, size_t count)
{
    struct batch *batch = &intake->batch;
    if (count > intake->ends_cap) {
        uint32_t *ends = mem_try_realloc(batch->ends, count * sizeof *ends);
        if (ends == NULL)
            return -ENOMEM;
        batch->ends = ends;
        intake->ends_cap = (uint32_t)count;
    }
    size_t additions = intake->worker->cache != NULL ? count * ADDITIONS_GUESS : count;
    return buf_try_reserve(&batch->lines, intake->body.len + additions);
}

static int write_events(struct intake *intake)
{
    struct ingest_worker *worker = intake->worker;
    const struct json_events *events = &worker->events;
    const char *body = intake->body.data;
    struct buf *lines = &intake->batch.lines;
    struct group group;
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < events->count; i++) {
        const struct json_event *event = &events->at[i];
        size_t nth = i % GROUP_EVENTS, left = events->count - i;
        if (worker->cache != NULL && nth == 0)
            locate_group(worker, body, event, left < GROUP_EVENTS ? left : GROUP_EVENTS, &group);
        if (worker->cache != NULL)
            rc = write_located(worker, body, &group, nth, event, lines);
        else
            rc = json_copy(body, event, lines);
        if (lines->len > UINT32_MAX)
            rc = -EFBIG;
        intake->batch.ends[i] = (uint32_t)lines->len;
    }
    return rc;
}

int ingest_build(struct intake *intake, struct refusal *refusal)
{
    struct ingest_worker *worker = intake->worker;
    struct json_events *events = &worker->events;
    struct batch *batch = &intake->batch;
    struct json_error error;

    int rc = json_scan(intake->body.data, intake->body.len, events, &error);
    if (rc == -EINVAL)
        return refuse(refusal, INGEST_REFUSED_INVALID, error.reason, error.index, (int64_t)error.offset);
    if (rc == 0)
        rc = check_limits(&worker->ingest->limits, events, refusal);
    if (rc == -EINVAL)
        return rc;
    if (rc == 0)
        rc = reserve(intake, events->count);

    if (rc == 0)
        rc = write_events(intake);
    if (rc != 0) {
        refuse(refusal, rc == -ENOMEM ? INGEST_REFUSED_MEMORY : INGEST_REFUSED_INTERNAL, NULL, -1, -1);
        return rc;
    }

    struct hash128 id = hash128_pair(text_of(intake->sensor->id), (struct text){intake->body.data, intake->body.len});
    batch->id = (struct batch_id){.low = id.low, .high = id.high};
    batch->count = (uint32_t)events->count;
    batch->arrived_real_ns = clock_real_ns();
    return 0;
}
