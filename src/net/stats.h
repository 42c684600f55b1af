// SPDX-License-Identifier: Apache-2.0
#pragma once

// Counters of one process; written by every loop.
#include "base/metric.h"

struct net_stats {
    counter accepted;
    counter refused_limit; // over limits.max_connections: closed at once
    counter accept_errors;
    counter handshake_failures;
    counter bytes_received; // application bytes, TLS taken off
    counter bytes_sent;
    int64_t connections; // now open; __atomic
};
extern struct net_stats net_stats;
