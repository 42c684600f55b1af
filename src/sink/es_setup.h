// SPDX-License-Identifier: Apache-2.0
#pragma once

// What has to be done in the cluster before the first event goes there: the index template is looked at, and written where it
// is missing or an older Loom's. A cluster that does not let us, or fails on it five times, is no reason not to deliver.
// On the sink's thread.

#include <stdbool.h>

#include "sink/es_name.h"
#include "sink/es_outcome.h"
#include "sink/http_client.h"

struct es_setup;

// `on_done` says how each run ended: SINK_OK, or why the cluster can't be used now.
struct es_setup *es_setup_new(const char *output, const struct es_name *name, struct http_client *client,
                              void (*on_done)(void *ctx, const struct es_outcome *outcome), void *ctx);
void es_setup_start(struct es_setup *setup); // not while a run is under way
void es_setup_free(struct es_setup *setup);  // not while a run is under way; NULL is fine
