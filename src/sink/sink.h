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
    counter writes, bytes;            // the sink's: writes or requests that succeeded, and what they carried
    counter events, rejected, errors; // the pump's: final verdicts, and hand-overs in which something has to be retried
};

// Events [first, first + count) of a batch, to be delivered. Several items of one hand-over may be parts of the same
// batch.
struct sink_item {
    struct batch *batch;
    uint32_t first;
    uint32_t count;
};

// How the sink reports. Pump thread; from within `deliver` or later.
struct sink_report {
    // Each event of a hand-over gets one verdict, in any order; part by part is fine, and early is good: it frees the
    // sensors that wait. After the final verdict on the last event of a batch the batch is gone. What got RETRY comes
    // again, in the order of these reports and before any other event, so a sink may remember where in that first event
    // it was.
    void (*settle)(void *ctx, struct batch *batch, uint32_t first, uint32_t count, enum verdict verdict);
    // Every event of the hand-over has its verdict. error: the reason of the RETRYs for /ready and the log, "" when
    // there are none.
    void (*done)(void *ctx, const char *error);
    void *ctx;
    struct sink_stats *stats;
    struct loop *loop; // of the pump's thread, for a sink that waits on sockets or timers rather than block
};

struct sink_ops {
    const char *name; // as output.type names it
    // Checks the configuration and makes ready; does not need the other end to be up. A clear text on error.
    int (*open)(const struct conf_output *conf, const struct sink_report *report, struct sink **out, struct err *err);
    // Takes the items, in order. One hand-over at a time: not called again before `done`. The items are the sink's to
    // read until then.
    void (*deliver)(struct sink *sink, const struct sink_item *items, size_t count);
    // Any thread, at shutdown, and again and again until `done` has come: a deliver that waits ends soon, with RETRY
    // for what is not out. So does each one after it.
    void (*interrupt)(struct sink *sink);
    void (*close)(struct sink *sink);
};

struct sink {
    const struct sink_ops *ops;
};

// The outputs of this build by output.type; NULL when there is none of that name.
const struct sink_ops *sink_find(const char *type);
extern const struct sink_ops sink_stdout;
