// SPDX-License-Identifier: Apache-2.0
#pragma once

// The contract of an output. A sink is opened, driven and closed by one thread, the pump's; only `interrupt` is called
// by others. It has no queue, no retry and no back-off of its own: it is given events, and reports a verdict for each.

#include <stdint.h>

#include "base/err.h"
#include "base/metric.h"
#include "conf/conf.h"
#include "net/loop.h"
#include "store/store.h"

struct sink;

// What an output has done. Written on the pump's thread; kept by the pump, so that it outlives the sink.
struct sink_stats {
    counter writes, bytes;        // the sink's: writes or requests that succeeded, and what they carried
    counter events, rejected;     // the pump's: final verdicts
    counter retried;              // the pump's: events that were handed over and came back
    counter errors;               // the pump's: hand-overs in which something has to be retried
    counter in_flight;            // the pump's: events handed over and without a verdict; a gauge
    struct histogram handover_ns; // the pump's: how long a hand-over took (histogram_duration_ns)
};

// Events [first, first + count) of a batch, to be delivered. Several items of one hand-over may be parts of the same
// batch.
struct sink_item {
    struct batch *batch;
    uint32_t first;
    uint32_t count;
};

// What is given to the sink at once. The pump's; the sink reads it until `done`.
struct handover {
    struct sink_item *items;
    size_t count;
    uint64_t bytes; // of its lines
    uint32_t events;
    void *sink_data; // the sink's own; NULL at first
};

// What a sink can take; filled by its open, constant afterwards.
struct sink_limits {
    uint64_t max_bytes;  // of one hand-over; more only when a single event is larger
    uint32_t max_events; // of one hand-over
    unsigned in_flight;  // hand-overs at the same time, at least 1
    int64_t linger_ms;   // how long events of a durable store may wait for a fuller hand-over; 0: not at all
    bool ordered;        // one hand-over at a time, and what got RETRY comes again first, in order: stdout
};

// How a hand-over ended as a whole.
enum sink_result {
    SINK_OK,   // the output answered for each event; some may have RETRY and wait for their own time. If all have, and
               // for the first time, the output gets a pause too
    SINK_BUSY, // it asks for time: 429, 503
    SINK_TOO_LARGE, // it takes no hand-over of this size: 413. All its events have RETRY, and come again in halves
    SINK_FAILED,    // it failed on this hand-over: 500, 502, 504, a cut reply. An event may be the reason
    SINK_DOWN,      // it is away, or refuses us: nothing that the events can help. 401, 403, 404, write block
};
struct sink_outcome {
    enum sink_result result;
    int64_t retry_after_ms; // of the output's Retry-After; 0: none
    const char
        *error; // why events have RETRY, for /ready and the log: "elasticsearch: 503 from https://a:9200"; "" else
};

// How the sink reports. Pump thread; from within `deliver` or later. Each event of a hand-over gets one verdict, in any
// order; part by part is fine, and early is good: it frees the sensors that wait. After the final verdict on the last event
// of a batch the batch is gone.
struct sink_report {
    // DELIVERED or RETRY.
    void (*settle)(void *ctx, struct handover *handover, struct batch *batch, uint32_t first, uint32_t count,
                   enum verdict verdict);
    // REJECTED, with what the dead letter is to say: status of the output (0: none), kind and reason as it gave them. The
    // texts are borrowed.
    void (*reject)(void *ctx, struct handover *handover, struct batch *batch, uint32_t event, unsigned status,
                   struct text kind, struct text reason);
    // Every event of the hand-over has its verdict. The hand-over is the pump's again.
    void (*done)(void *ctx, struct handover *handover, const struct sink_outcome *outcome);
    void *ctx;
    struct sink_stats *stats;
    struct loop *loop; // of the pump's thread, for a sink that waits on sockets or timers rather than block
};

struct sink_ops {
    const char *name; // as output.type names it
    // What `open` would refuse, and what is doubtful, a line each, without touching the other end: for `loom check` and before
    // a start. 0, or the code of a problem. May be NULL. Main thread.
    int (*check)(const struct conf_output *conf, struct buf *problems, struct buf *warnings);
    // Checks the configuration and makes ready; does not need the other end to be up. A clear text on error.
    int (*open)(const struct conf_output *conf, const struct sink_report *report, struct sink_limits *limits,
                struct sink **out, struct err *err);
    // Takes a hand-over, in order. At most limits.in_flight of them have no `done` yet.
    void (*deliver)(struct sink *sink, struct handover *handover);
    // Any thread, at shutdown, and again and again until each `done` has come: a deliver that waits ends soon, with RETRY
    // for what is not out. So does each one after it.
    void (*interrupt)(struct sink *sink);
    void (*close)(struct sink *sink); // may come from within the last `done`
};

struct sink {
    const struct sink_ops *ops;
};

// The outputs of this build by output.type; NULL when there is none of that name.
const struct sink_ops *sink_find(const char *type);
extern const struct sink_ops sink_stdout;
extern const struct sink_ops sink_elasticsearch; // "elasticsearch" and "opensearch"
