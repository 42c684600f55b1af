// SPDX-License-Identifier: Apache-2.0
#pragma once

// The contract of an output. A sink is opened, driven and closed by one thread, the pump's; only `interrupt` may be called
// by others. It has no queue, no retry and no back-off of its own: it is given batches, and reports a verdict for each event.

#include <stdint.h>

#include "base/err.h"
#include "base/metric.h"
#include "conf/conf.h"
#include "store/store.h"

struct sink;

struct sink_stats {
    counter writes, events, bytes, errors;
};

// One hand-over: events [first, count) of a batch are still to be delivered (those before are settled already).
struct sink_item {
    struct batch *batch;
    uint32_t first;
};

// How the sink reports. Pump thread. RETRY for an event that is handed over again later; the others are final.
struct sink_report {
    void (*settle)(void *ctx, struct batch *batch, uint32_t first, uint32_t count, enum verdict verdict);
    // All items of the last deliver are reported. error: the reason of the RETRYs for /ready and the log, "" when there are none.
    void (*done)(void *ctx, const char *error);
    void *ctx;
};

struct sink_ops {
    const char *name; // as output.type names it
    // Checks the configuration and makes ready; does not need the other end to be up. A clear text on error.
    int (*open)(const struct conf_output *conf, const struct sink_report *report, struct sink **out, struct err *err);
    // Takes the items, in order; reports now or later. One hand-over at a time: not called again before `done`.
    void (*deliver)(struct sink *sink, const struct sink_item *items, size_t count);
    // Something is left over that must go out before anything else (half a line); tries again. 0 when nothing is left.
    int (*flush)(struct sink *sink, struct err *err);
    // Any thread, at shutdown: a deliver that blocks comes back soon with RETRY for what is not out.
    void (*interrupt)(struct sink *sink);
    const struct sink_stats *(*stats)(const struct sink *sink);
    void (*close)(struct sink *sink);
};

struct sink {
    const struct sink_ops *ops;
};

// The outputs of this build by output.type; NULL when there is none of that name.
const struct sink_ops *sink_find(const char *type);
extern const struct sink_ops sink_stdout;
