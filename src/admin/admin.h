// SPDX-License-Identifier: Apache-2.0
#pragma once

// What operators and their tools ask a running Loom: /health, /live, /ready and /metrics on the management listener. Runs on
// the main loop; reads counters of every other thread and writes none.

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "deliver/pump.h"
#include "enrich/enrich.h"
#include "ingest/ingest.h"
#include "store/store.h"

enum admin_phase { ADMIN_STARTING, ADMIN_SERVING, ADMIN_DRAINING };

// Where the numbers come from. Main thread; filled before the listener starts, the pointers outlive it.
struct admin {
    enum admin_phase phase;
    bool metrics_enabled;
    const char *version;
    const char *output; // output.type, a label
    struct pump *pump;
    struct store *store;
    const struct auth *auth;
    const struct budget *budget;
    const struct enricher *enricher; // NULL without databases
    struct ingest_worker *const *workers;
    size_t worker_count;
    int64_t started_real_ns;
};

// For the router; ctx is the struct admin.
extern const struct http_handler admin_handler;
extern const char *const admin_paths[]; // NULL-terminated

// True when a sensor may be sent here. `reasons` gets a JSON list of what is wrong, [{"reason":"output","detail":"stdout: Broken
// pipe"}], or nothing. With a durable store there can be reasons although it is ready: the output is away, and events wait on disk.
bool admin_ready(const struct admin *admin, struct buf *reasons);

// The metrics in Prometheus' text format 0.0.4. Labels come from the configuration and from fixed words only.
void admin_metrics(const struct admin *admin, struct buf *out);
