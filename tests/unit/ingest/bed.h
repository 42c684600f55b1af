// SPDX-License-Identifier: Apache-2.0
#pragma once

// A worker of ingest/ without a server before it and without a store behind it: for the tests of what stands between
// the two. All on the test's thread.

#include "ingest/worker.h"

struct bed {
    struct budget budget;
    struct ingest ingest; // limits: what a test sets; the rate limits are off
    struct enricher *enricher;
    struct loop *loop;
    struct ingest_worker *worker;
};

// Sensor "s1". With databases: mmdb_build.h's City and AS file of one network, 81.2.69.0/24.
struct bed *bed_new(const struct ingest_limits *limits, bool databases);
void bed_free(struct bed *bed); // also checks that the budget has got back all that was taken
struct sensor *bed_sensor(struct bed *bed);

// An intake that holds this body, as the request's handler would leave it: admitted and gathered.
struct intake *bed_intake(struct bed *bed, struct text body);

// From catch_log to caught_log, what is written to standard error goes to a file instead. caught_log returns its
// text, which stays until the next catch_log.
void catch_log(void);
const char *caught_log(void);
