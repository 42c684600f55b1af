// SPDX-License-Identifier: Apache-2.0

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "conf/load.h"
#include "conf/options.h"

static struct loaded_option *loaded(struct loading *loading, const char *path)
{
    const struct option *option = option_find(path);
    INVARIANT(option != NULL);
    return &loading->loaded[option - options];
}

// Where a rule between two keys points: at the first that stands in the file. NULL where the rule must stay silent.
static const struct toml_node *blamed(struct loading *loading, const char *path, const char *other_path)
{
    const struct loaded_option *first = loaded(loading, path);
    const struct loaded_option *other = loaded(loading, other_path);
    if (first->refused || other->refused)
        return NULL;
    return first->node != NULL ? first->node : other->node;
}

static void check_tls_file(struct loading *loading, const char *path, const char *file, const char *missing,
                           const char *unwanted)
{
    const struct conf_server *server = &loading->conf->server;
    if (server->tls && file[0] == '\0') {
        const struct toml_node *node = blamed(loading, "server.tls", path);
        if (node != NULL)
            loading_problem(loading, node, missing);
    } else if (!server->tls && file[0] != '\0') {
        const struct toml_node *node = blamed(loading, path, "server.tls");
        if (node != NULL)
            loading_problem(loading, node, unwanted);
    }
}

static void check_memory(struct loading *loading)
{
    const struct conf_limits *limits = &loading->conf->limits;
    if (limits->max_inflight_bytes >= limits->max_body_size_bytes)
        return;
    const struct toml_node *node = blamed(loading, "limits.max_inflight_bytes", "limits.max_body_size_bytes");
    if (node == NULL)
        return;
    char text[200];
    snprintf(text, sizeof text,
             "limits.max_inflight_bytes (%" PRId64 ") must be at least limits.max_body_size_bytes (%" PRId64
             "), or the largest bodies could never be received",
             limits->max_inflight_bytes, limits->max_body_size_bytes);
    loading_problem(loading, node, text);
}

static void check_backoff(struct loading *loading)
{
    const struct conf_outbox *outbox = &loading->conf->output.outbox;
    if (outbox->retry_backoff_ms <= outbox->retry_max_backoff_ms)
        return;
    const struct toml_node *node =
        blamed(loading, "output.outbox.retry_backoff_ms", "output.outbox.retry_max_backoff_ms");
    if (node == NULL)
        return;
    char text[200];
    snprintf(text, sizeof text,
             "the first pause, retry_backoff_ms (%" PRId64 "), must not be longer than the longest, "
             "retry_max_backoff_ms (%" PRId64 ")",
             outbox->retry_backoff_ms, outbox->retry_max_backoff_ms);
    loading_problem(loading, node, text);
}

static void check_output(struct loading *loading)
{
    struct conf_output *output = &loading->conf->output;
    const struct toml_node *node;

    output->network = strcmp(output->type, "stdout") != 0;
    if (loaded(loading, "output.outbox.enabled")->node == NULL)
        output->outbox.enabled = output->network;
    bool elasticsearch = strcmp(output->type, "elasticsearch") == 0 || strcmp(output->type, "opensearch") == 0;
    if (elasticsearch && output->elasticsearch_url[0] == NULL &&
        (node = blamed(loading, "output.type", "output.elasticsearch_url")) != NULL)
        loading_problem(loading, node, "needs output.elasticsearch_url, which is not set");
    // An index that is the default anyway contradicts nothing: the example with all its keys in force is one.
    bool index = strcmp(output->elasticsearch_index, option_find("output.elasticsearch_index")->text) != 0;
    if (index && output->elasticsearch_data_stream[0] != '\0' &&
        (node = blamed(loading, "output.elasticsearch_data_stream", "output.elasticsearch_index")) != NULL)
        loading_problem(loading, node, "and output.elasticsearch_index exclude each other: remove one");
    bool cert = output->elasticsearch_client_cert_file[0] != '\0',
         key = output->elasticsearch_client_key_file[0] != '\0';
    if (cert != key && (node = blamed(loading, "output.elasticsearch_client_cert_file",
                                      "output.elasticsearch_client_key_file")) != NULL)
        loading_problem(loading, node, "a client certificate and its key are set together");
}

void loading_check_rules(struct loading *loading)
{
    const struct conf_server *server = &loading->conf->server;
    check_tls_file(loading, "server.cert_file", server->cert_file, "true needs server.cert_file, which is not set",
                   "is set, but server.tls is not true: set it, or remove this");
    check_tls_file(loading, "server.key_file", server->key_file, "true needs server.key_file, which is not set",
                   "is set, but server.tls is not true: set it, or remove this");
    check_memory(loading);
    check_backoff(loading);
    check_output(loading);
}
