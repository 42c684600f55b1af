// SPDX-License-Identifier: Apache-2.0
#pragma once

// The configuration as the rest of Loom sees it: plain structs, filled by the option table (conf/options.c), frozen
// after conf_load. Strings are never NULL. The meanings, defaults and bounds stand in the table and in
// docs/CONFIGURATION.md.

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

struct conf_server {
    char *listen_address;
    bool tls;
    char *cert_file;
    char *key_file;
    char *management_listen_address; // "": off
    int64_t workers;                 // after loading at least 1
};
struct conf_auth {
    char *token_file; // "": none
};
struct conf_limits {
    int64_t max_body_size_bytes;
    int64_t max_events_per_batch;
    int64_t max_event_size_bytes;
    int64_t per_sensor_rps;        // -1: off
    int64_t per_sensor_events_rps; // -1: off
    int64_t max_connections;
    int64_t max_inflight_bytes;
};
struct conf_dns {
    bool enabled;
    char *resolver_addr;
    int64_t cache_ttl_seconds;
    int64_t max_qps;
};
struct conf_enrichment {
    char *geoip_db_path; // "": none
    char *asn_db_path;   // "": none
    char *language;
    struct conf_dns dns;
};
struct conf_outbox {
    bool enabled; // after loading: as the file says, else true for outputs on the network
    char *dir;    // of the dead letters too, so network outputs need it in any case
    int64_t max_bytes;
    char *when_full; // "reject" or "drop_oldest"
    int64_t dead_letter_max_bytes;
    bool dead_letter_overwrite;
    int64_t flush_interval_ms;
    int64_t max_batch_size; // -1: no limit
    int64_t retry_backoff_ms;
    int64_t retry_max_backoff_ms;
};
struct conf_output {
    char *type;
    bool network; // not a key: it has a server at the other end, and so an outbox and dead letters; what stdout has not
    int64_t ack_timeout_ms;
    char **elasticsearch_url; // NULL-terminated; one or several nodes of a cluster
    char *elasticsearch_index, *elasticsearch_data_stream, *elasticsearch_user;
    char *elasticsearch_ca_file, *elasticsearch_client_cert_file, *elasticsearch_client_key_file;
    char *elasticsearch_compression; // "gzip" or "none"
    bool elasticsearch_insecure_skip_verify;
    bool elasticsearch_manage_template;
    char *clickhouse_url, *clickhouse_database, *clickhouse_table, *clickhouse_user;
    char **kafka_brokers; // NULL-terminated
    char *kafka_topic;
    struct conf_outbox outbox;
};
struct conf_logging {
    char *level;
    char *format;
};
struct conf_observability {
    bool metrics_enabled;
};
struct conf {
    struct conf_server server;
    struct conf_auth auth;
    struct conf_limits limits;
    struct conf_enrichment enrichment;
    struct conf_output output;
    struct conf_logging logging;
    struct conf_observability observability;
};

// Reads and checks a file. 0, or a negative code with every fault in *problems, a line each: file:line:column: key:
// what was expected, nearest known key. A file that is no TOML has one line. Rules between keys (tls without cert_file)
// are checked here too; what needs the system (files, ports) is checked by who opens it. *conf is to be released with
// conf_fini in both cases.
int conf_load(const char *path, struct conf *conf, struct buf *problems);
void conf_fini(struct conf *conf);

// docs/CONFIGURATION.md and loom.example.toml, from the table.
void conf_print_reference(struct buf *out);
void conf_print_example(struct buf *out);
