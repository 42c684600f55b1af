// SPDX-License-Identifier: Apache-2.0
#pragma once

// A worker: one thread, one loop, its HTTP connections and its part of ingest. Connections are accepted on the main thread and
// handed over, to the worker that has the fewest.

#include "http/server.h"
#include "ingest/ingest.h"
#include "net/tls.h"

struct worker;

// Starts the thread. tls NULL: plain. Main thread; everything given outlives the worker.
int worker_start(const struct ingest *ingest, struct tls_server *tls, unsigned number, struct worker **out,
                 struct err *err);

// Main thread, from here on.
size_t worker_load(const struct worker *worker); // connections, with those on their way
void worker_hand_over(struct worker *worker, int fd, const struct address *peer);
struct ingest_worker *worker_ingest(const struct worker *worker);

// Idle connections close, busy ones finish; then `drained` is sent to `home`.
void worker_drain(struct worker *worker, struct mailbox *home, struct mail *drained);

// After worker_drain, when it takes too long: what is left is cut off, and `drained` is sent if it was not before.
void worker_cut(struct worker *worker);

// The store must have sent back every batch. Ends and joins the thread; releases the worker.
void worker_stop(struct worker *worker);
