// SPDX-License-Identifier: Apache-2.0
#pragma once

// Which sensor a token belongs to. struct auth is shared and frozen after auth_open; struct sensor inside it has atomic
// counters and the rate limit, written by all workers. Tokens are kept as keyed digests only.

#include "base/err.h"
#include "base/metric.h"
#include "base/text.h"

#define SENSOR_STATUS_COUNT 13
// 204, 400, 401, 404, 405, 408, 413, 415, 429, 431, 500, 503, 0 (other)
extern const unsigned sensor_status[SENSOR_STATUS_COUNT];

struct sensor {
    const char *id;
    counter requests[SENSOR_STATUS_COUNT];
    counter events;
    int64_t requests_due_ns; // token bucket (generic cell rate): see ingest/rate.h; atomic
    int64_t events_due_ns;
};
void sensor_count(struct sensor *sensor, unsigned status); // any thread

struct auth;
// Reads LOOM_SENSOR_* of the environment and token_file ("" or NULL: none). All faults at once, a line each, in
// *problems (errors) and *warnings; texts name variable, sensor, file and line, never a token. 0, or ERR_CONFIG when
// there are errors: then *out is NULL. No token at all is an error.
struct buf;
int auth_open(char *const *env, const char *token_file, struct auth **out, struct buf *problems, struct buf *warnings);
void auth_close(struct auth *auth); // or NULL

// The sensor of an Authorization value ("Bearer <token>", scheme in any case), or NULL. The time it takes depends on
// the length of the token that was sent, and on nothing else of it or of the tokens that there are.
// The hasher is of the thread that asks.
struct secret_hasher;
struct secret_hasher *auth_hasher_new(const struct auth *auth);
struct sensor *auth_check(const struct auth *auth, struct secret_hasher *hasher, struct text authorization);
size_t auth_count(const struct auth *auth);
struct sensor *auth_sensor(const struct auth *auth, size_t i); // in order of id
struct sensor *auth_unknown(const struct auth *auth);          // "unknown": requests that no token matched
