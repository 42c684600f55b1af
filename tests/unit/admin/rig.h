// SPDX-License-Identifier: Apache-2.0
#pragma once

// A Loom without sockets, for what admin/ tells of it: a worker that is handed requests, a memory store, a pump, and an
// output that is up or down as the test says. All but the pump on the test's thread. http_respond is the rig's own: it
// keeps the last answer.

#include "admin/admin.h"

struct rig {
    struct admin admin; // serving, metrics on
    struct budget budget;
    struct ingest ingest;
    struct enricher *enricher;
    struct loop *loop;
    struct ingest_worker *worker;
    struct store *store;
    struct pump *pump;
};

// Sensors "s1" and "s2" with tokens "token-s1" and "token-s2". With databases: those of mmdb_build.h.
struct rig *rig_new(bool databases);
void rig_free(struct rig *rig);

void rig_output(bool up);

// A request of the ingest API. rig_post waits for its answer and returns the status.
void rig_post_begin(struct rig *rig, const char *authorization, const char *body);
unsigned rig_post_end(struct rig *rig);
unsigned rig_post(struct rig *rig, const char *authorization, const char *body);

// A GET of the management listener: the status. The last answer of either kind stands in rig_answer.
unsigned rig_get(struct rig *rig, const char *path);
struct rig_answer {
    unsigned status;
    char content_type[128];
    struct buf body; // ends with a '\0' that does not count
};
extern struct rig_answer rig_answer;
