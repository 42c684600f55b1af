// SPDX-License-Identifier: Apache-2.0
#include "sink/http_nodes.h"

#include "base/clock.h"
#include "base/mem.h"

#define DOUBLINGS_MAX 6

void http_nodes_init(struct http_nodes *nodes, size_t count, int64_t set_aside_ms)
{
    *nodes = (struct http_nodes){
        .at = mem_array(count, sizeof *nodes->at), .count = count, .set_aside_ns = set_aside_ms * NS_PER_MS};
}

void http_nodes_fini(struct http_nodes *nodes)
{
    mem_free(nodes->at);
    *nodes = (struct http_nodes){0};
}

static void set_aside(struct http_nodes *nodes, struct http_node *node, int64_t now_ns)
{
    unsigned doublings = node->failures > DOUBLINGS_MAX ? DOUBLINGS_MAX : node->failures - 1;
    node->aside_until_ns = now_ns + (nodes->set_aside_ns << doublings);
}

size_t http_nodes_choose(struct http_nodes *nodes, int64_t now_ns)
{
    size_t best = nodes->next;
    for (size_t i = 0; i < nodes->count; i++) {
        size_t at = (nodes->next + i) % nodes->count;
        if (nodes->at[at].aside_until_ns <= now_ns) {
            best = at;
            break;
        }
        if (nodes->at[at].aside_until_ns < nodes->at[best].aside_until_ns)
            best = at;
    }
    nodes->next = best + 1 < nodes->count ? best + 1 : 0;
    // One request finds out whether it is back; a stream of them would each wait for its time-out.
    if (nodes->at[best].failures > 0)
        set_aside(nodes, &nodes->at[best], now_ns);
    return best;
}

void http_nodes_failed(struct http_nodes *nodes, size_t node, int64_t began_ns, int64_t now_ns)
{
    struct http_node *failed = &nodes->at[node];
    if (failed->failures > 0 && failed->failed_at_ns > began_ns)
        return;
    if (failed->failures <= DOUBLINGS_MAX)
        failed->failures++;
    failed->failed_at_ns = now_ns;
    set_aside(nodes, failed, now_ns);
}

void http_nodes_worked(struct http_nodes *nodes, size_t node)
{
    nodes->at[node] = (struct http_node){0};
}

bool http_nodes_available(const struct http_nodes *nodes, int64_t now_ns)
{
    for (size_t i = 0; i < nodes->count; i++)
        if (nodes->at[i].aside_until_ns <= now_ns)
            return true;
    return false;
}
