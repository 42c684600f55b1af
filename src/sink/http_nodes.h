// SPDX-License-Identifier: Apache-2.0
#pragma once

// Which of several servers is asked next: around the circle, those that failed lately last. Plain data of one thread;
// times are monotonic and come from the caller.

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct http_node {
    unsigned failures;      // in a row
    int64_t failed_at_ns;   // the last of them
    int64_t aside_until_ns; // not asked before, unless all are set aside
};

struct http_nodes {
    struct http_node *at;
    size_t count;
    size_t next; // where the circle goes on
    int64_t set_aside_ns;
};

void http_nodes_init(struct http_nodes *nodes, size_t count, int64_t set_aside_ms);
void http_nodes_fini(struct http_nodes *nodes);

// The node for the next request: the next one on the circle that is not set aside; when all are, the one whose time is up
// first. One that failed before stays set aside for the others while this request tries it.
size_t http_nodes_choose(struct http_nodes *nodes, int64_t now_ns);
// A request that began at began_ns failed. Several that were under way together count as one failure.
void http_nodes_failed(struct http_nodes *nodes, size_t node, int64_t began_ns, int64_t now_ns);
void http_nodes_worked(struct http_nodes *nodes, size_t node);
bool http_nodes_available(const struct http_nodes *nodes, int64_t now_ns); // is there one that is not set aside?
