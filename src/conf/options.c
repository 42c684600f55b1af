// SPDX-License-Identifier: Apache-2.0
#include "conf/options.h"

#include <inttypes.h>
#include <string.h>

#define KIB INT64_C(1024)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)

// A key is called like its field in struct conf, and its section like the struct around it.
#define KEY(section_, name_, type_)                                                                                    \
    .section = #section_, .name = #name_, .type = OPTION_##type_, .offset = offsetof(struct conf, section_.name_)
#define REFUSED(section_, name_) .section = #section_, .name = #name_, .type = OPTION_REFUSED

static const struct option_word output_types[] = {{"stdout", false},    {"elasticsearch", false}, {"opensearch", false},
                                                  {"clickhouse", true}, {"kafka", true},          {NULL, false}};
static const struct option_word when_full[] = {{"reject", false}, {"drop_oldest", false}, {NULL, false}};
static const struct option_word compressions[] = {{"gzip", false}, {"none", false}, {NULL, false}};
static const struct option_word log_levels[] = {
    {"debug", false}, {"info", false}, {"warn", false}, {"error", false}, {NULL, false}};
static const struct option_word log_formats[] = {{"json", false}, {"console", false}, {NULL, false}};

const struct option_section option_sections[] = {
    {"server", "Where Loom listens."},
    {"auth", "Which sensors may deliver. Tokens never stand in this file: they come from the environment "
             "(LOOM_SENSOR_<id>) or from a token file, and at least one is needed."},
    {"limits", "What one request and one sensor may ask for."},
    {"enrichment", "What Loom adds to source.ip. Without databases events pass as they came."},
    {"enrichment.dns", "Names of source addresses (PTR). Not built into this version: leave it disabled."},
    {"output", "Where events go."},
    {"output.outbox", "Events on disk until the output has them, and how deliveries are made and tried again."},
    {"logging", "Loom's own log, on standard error."},
    {"observability", "What Loom tells about itself on the management listener."},
};
const size_t option_sections_count = sizeof option_sections / sizeof *option_sections;

// One entry a key; clang-format would give each field a line of its own.
// clang-format off
const struct option options[] = {
    {KEY(server, listen_address, STRING), .flags = OPTION_SHOWN | OPTION_ADDRESS, .text = ":8443",
     .help = "Address that sensors send to. See \"Listen addresses\" for the forms."},
    {KEY(server, tls, BOOL), .flags = OPTION_SHOWN, .example = "true",
     .help = "Serve HTTPS (TLS 1.2 and 1.3). Needs cert_file and key_file. When false Loom serves plain HTTP, "
             "tokens cross the network in the clear, and cert_file and key_file must not be set."},
    {KEY(server, cert_file, STRING), .flags = OPTION_SHOWN, .example = "\"/etc/loom/tls.crt\"",
     .help = "PEM file with the server's certificate, followed by its intermediate certificates."},
    {KEY(server, key_file, STRING), .flags = OPTION_SHOWN, .example = "\"/etc/loom/tls.key\"",
     .help = "PEM file with the private key of cert_file, without a passphrase."},
    {KEY(server, management_listen_address, STRING), .flags = OPTION_SHOWN | OPTION_ADDRESS, .default_note = "off",
     .example = "\"127.0.0.1:9080\"",
     .help = "Address of /health, /live, /ready and /metrics, plain HTTP and without authentication: keep it on a "
             "private address."},
    {KEY(server, workers, INT), .min = 1, .max = 256, .default_note = "as many as the process has cores",
     .help = "Threads that serve sensors."},

    {KEY(auth, token_file, STRING), .default_note = "none", .example = "\"/etc/loom/tokens\"",
     .help = "File with one \"token,sensor_id\" a line. Only Loom's user should be able to read it. See \"Tokens\"."},
    {REFUSED(auth, tokens),
     .help = "set LOOM_SENSOR_<sensor id>=<token> in the environment, or name a file in auth.token_file"},

    {KEY(limits, max_body_size_bytes, INT), .number = 2 * MIB, .min = 1, .max = GIB,
     .help = "Largest body of a request. Above: 413 payload_too_large. Must not exceed max_inflight_bytes."},
    {KEY(limits, max_events_per_batch, INT), .number = 500, .min = 1, .max = 1000000,
     .help = "Most events in one request. Above: 413 batch_too_large."},
    {KEY(limits, max_event_size_bytes, INT), .number = 128 * KIB, .min = 1, .max = GIB,
     .help = "Largest event, counted as the bytes the sensor sent for it. Above: 413 event_too_large."},
    {KEY(limits, per_sensor_rps, INT), .flags = OPTION_OFF, .number = 50, .min = 1, .max = 1000000,
     .help = "Requests a second that one sensor may send; up to one second's worth may come at once. Above: 429. -1 "
             "turns the limit off."},
    {KEY(limits, per_sensor_events_rps, INT), .flags = OPTION_OFF, .number = -1, .min = 1, .max = 10000000,
     .default_note = "off", .example = "5000",
     .help = "Events a second that one sensor may send, counted like per_sensor_rps. Above: 429."},
    {KEY(limits, max_connections, INT), .number = 10000, .min = 1, .max = 1000000,
     .help = "Connections of sensors at the same time. Each takes a file descriptor: raise LimitNOFILE with it."},
    {KEY(limits, max_inflight_bytes, INT), .number = 256 * MIB, .min = 1, .max = 1024 * GIB,
     .help = "Memory for bodies that are being received or wait for the output, over all sensors. Beyond: 503 "
             "unavailable. At least max_body_size_bytes."},

    {KEY(enrichment, geoip_db_path, STRING), .default_note = "none", .example = "\"/var/lib/loom/GeoLite2-City.mmdb\"",
     .help = "City or Country database in MaxMind's MMDB format (MaxMind, DB-IP): source.geo."},
    {KEY(enrichment, asn_db_path, STRING), .default_note = "none", .example = "\"/var/lib/loom/GeoLite2-ASN.mmdb\"",
     .help = "ASN database in the same format: source.as."},
    {KEY(enrichment, language, STRING), .text = "en",
     .help = "Language of names, as the database calls it (de, en, es, fr, ja, pt-BR, ru, zh-CN). A name that the "
             "database lacks in this language is given in English."},

    {KEY(enrichment.dns, enabled, BOOL), .flags = OPTION_UNBUILT,
     .help = "Look up PTR names."},
    {KEY(enrichment.dns, resolver_addr, STRING), .default_note = "the system's", .example = "\"127.0.0.1:53\"",
     .help = "Resolver to ask."},
    {KEY(enrichment.dns, cache_ttl_seconds, INT), .number = 300, .min = 1, .max = 86400,
     .help = "How long a name is remembered."},
    {KEY(enrichment.dns, max_qps, INT), .number = 10, .min = 1, .max = 1000000,
     .help = "Queries a second."},

    {KEY(output, type, WORD), .flags = OPTION_SHOWN, .text = "stdout", .words = output_types,
     .help = "stdout writes each event as one line of JSON to standard output. elasticsearch and opensearch are the "
             "same output: both write documents by the bulk API."},
    {KEY(output, ack_timeout_ms, INT), .number = 10000, .min = 1, .max = 60000,
     .help = "How long a sensor waits for its batch to be safe (on disk in the outbox, or without one in the output) "
             "before Loom answers 503. Spip itself gives up after 15 seconds, so stay below that."},
    {KEY(output, elasticsearch_url, LIST), .flags = OPTION_URL, .default_note = "none",
     .example = "\"https://localhost:9200\"",
     .help = "For type elasticsearch and opensearch: where the cluster is. Several nodes are a list; when one fails, the "
             "next is used."},
    {KEY(output, elasticsearch_index, STRING), .text = "loom-events",
     .help = "Index that events are written to. %Y, %m, %d and %H stand for the UTC date and hour of the event's "
             "@timestamp, or of its arrival where it has none: \"loom-%Y.%m.%d\"."},
    {KEY(output, elasticsearch_data_stream, STRING), .default_note = "none", .example = "\"logs-loom.spip-default\"",
     .help = "Data stream to write to, instead of an index. An event without @timestamp gets its arrival's."},
    {KEY(output, elasticsearch_user, STRING), .default_note = "none", .example = "\"loom\"",
     .help = "User for basic authentication; LOOM_ELASTICSEARCH_USER says the same. The password comes by "
             "LOOM_ELASTICSEARCH_PASS. An API key comes by LOOM_ELASTICSEARCH_API_KEY, and no user goes with it."},
    {REFUSED(output, elasticsearch_pass),
     .help = "set LOOM_ELASTICSEARCH_PASS in the environment, or name a file in LOOM_ELASTICSEARCH_PASS_FILE"},
    {REFUSED(output, elasticsearch_api_key),
     .help = "set LOOM_ELASTICSEARCH_API_KEY in the environment, or name a file in LOOM_ELASTICSEARCH_API_KEY_FILE"},
    {KEY(output, elasticsearch_ca_file, STRING), .default_note = "the system's", .example = "\"/etc/loom/elastic-ca.pem\"",
     .help = "PEM file with the certificates that may sign the cluster's."},
    {KEY(output, elasticsearch_client_cert_file, STRING), .default_note = "none", .example = "\"/etc/loom/client.crt\"",
     .help = "PEM file with the certificate that Loom shows to the cluster. Needs elasticsearch_client_key_file."},
    {KEY(output, elasticsearch_client_key_file, STRING), .default_note = "none", .example = "\"/etc/loom/client.key\"",
     .help = "PEM file with its private key, without a passphrase."},
    {KEY(output, elasticsearch_insecure_skip_verify, BOOL),
     .help = "Take any certificate of the cluster. Whoever sits in between then reads events and password."},
    {KEY(output, elasticsearch_compression, WORD), .text = "gzip", .words = compressions,
     .help = "How requests to the cluster are compressed."},
    {KEY(output, elasticsearch_manage_template, BOOL), .flags = OPTION_TRUE,
     .help = "Keep an index template with the types of the ECS fields in the cluster (`loom template` prints it). One "
             "that somebody else has changed is left alone."},
    {KEY(output, clickhouse_url, STRING), .flags = OPTION_URL, .default_note = "none",
     .example = "\"http://localhost:8123\"",
     .help = "For type clickhouse: where the server's HTTP interface is."},
    {KEY(output, clickhouse_database, STRING), .text = "default",
     .help = "For type clickhouse: database."},
    {KEY(output, clickhouse_table, STRING), .text = "loom_events",
     .help = "For type clickhouse: table."},
    {KEY(output, clickhouse_user, STRING), .default_note = "none", .example = "\"loom\"",
     .help = "For type clickhouse: user."},
    {REFUSED(output, clickhouse_password),
     .help = "set LOOM_CLICKHOUSE_PASSWORD in the environment"},
    {KEY(output, kafka_brokers, LIST), .default_note = "none", .example = "[\"broker1:9092\", \"broker2:9092\"]",
     .help = "For type kafka: brokers to start from."},
    {KEY(output, kafka_topic, STRING), .default_note = "none", .example = "\"loom-events\"",
     .help = "For type kafka: topic."},

    {KEY(output.outbox, enabled, BOOL), .default_note = "true for outputs on the network, false for stdout",
     .example = "true",
     .help = "Keep events on disk until the output has them: a sensor's batch is answered when it is on disk, and waits "
             "there while the output is away. When false a batch is answered when the output has taken it, and while "
             "the output is away sensors hear 503."},
    {KEY(output.outbox, dir, STRING), .text = "/var/lib/loom/outbox",
     .help = "Directory of the outbox, for one Loom alone, on a local disk. The dead letters of an output on the network stand "
             "here too, in dead-letters.ndjson, with and without the outbox."},
    {KEY(output.outbox, max_bytes, INT), .number = 256 * MIB, .min = 1, .max = 1024 * GIB,
     .help = "Largest size of the records on disk, which are compressed. The file itself takes some more."},
    {KEY(output.outbox, when_full, WORD), .text = "reject", .words = when_full,
     .help = "What to do beyond max_bytes: reject answers sensors with 503; drop_oldest deletes the oldest events, "
             "counts them and goes on."},
    {KEY(output.outbox, flush_interval_ms, INT), .number = 1000, .min = 1, .max = 3600000,
     .help = "How long events in the outbox may wait for a fuller delivery."},
    {KEY(output.outbox, max_batch_size, INT), .flags = OPTION_OFF, .number = -1, .min = 1, .max = 1000000,
     .default_note = "no limit but bytes", .example = "1000",
     .help = "Most events in one delivery."},
    {KEY(output.outbox, retry_backoff_ms, INT), .number = 1000, .min = 1, .max = 3600000,
     .help = "First pause after a failed delivery, with and without the outbox; it doubles with each further failure. At "
             "most retry_max_backoff_ms."},
    {KEY(output.outbox, retry_max_backoff_ms, INT), .number = 30000, .min = 1, .max = 3600000,
     .help = "Longest such pause."},
    {KEY(output.outbox, dead_letter_max_bytes, INT), .number = 64 * MIB, .min = 1, .max = 1024 * GIB,
     .help = "Largest size of dead-letters.ndjson, where events stand that the output will never take. At this size they "
             "stay in the outbox and are tried again, and /ready says so."},
    {KEY(output.outbox, dead_letter_overwrite, BOOL),
     .help = "At that size begin the file anew and keep the one before as dead-letters.ndjson.1."},

    {KEY(logging, level, WORD), .flags = OPTION_SHOWN, .text = "info", .words = log_levels,
     .help = "Least severe kind of line that is written."},
    {KEY(logging, format, WORD), .flags = OPTION_SHOWN, .text = "json", .words = log_formats,
     .help = "json for machines, console for people."},

    {KEY(observability, metrics_enabled, BOOL), .flags = OPTION_SHOWN, .example = "true",
     .help = "Serve /metrics (Prometheus) on server.management_listen_address; otherwise it is 404. Without that address it "
             "does nothing, which gives a warning."},
};
// clang-format on
const size_t options_count = sizeof options / sizeof *options;

const struct option *option_find(const char *path)
{
    for (size_t i = 0; i < options_count; i++) {
        size_t section_len = strlen(options[i].section);
        if (strncmp(path, options[i].section, section_len) == 0 && path[section_len] == '.' &&
            strcmp(path + section_len + 1, options[i].name) == 0)
            return &options[i];
    }
    return NULL;
}

const struct option_section *option_section_find(struct text name)
{
    for (size_t i = 0; i < option_sections_count; i++)
        if (text_eq(text_of(option_sections[i].name), name))
            return &option_sections[i];
    return NULL;
}

static void print_words(const struct option_word *words, struct buf *out)
{
    buf_str(out, "one of ");
    for (const struct option_word *word = words; word->word != NULL; word++)
        buf_printf(out, "%s\"%s\"", word == words ? "" : ", ", word->word);
}

void option_print_expected(const struct option *option, struct buf *out)
{
    switch (option->type) {
    case OPTION_STRING:
        buf_str(out, "a string");
        break;
    case OPTION_WORD:
        print_words(option->words, out);
        break;
    case OPTION_BOOL:
        buf_str(out, "true or false");
        break;
    case OPTION_INT:
        buf_printf(out, "a whole number from %" PRId64 " to %" PRId64 " (0: the default%s)", option->min, option->max,
                   option->flags & OPTION_OFF ? ", -1: off" : "");
        break;
    case OPTION_LIST:
        buf_str(out, "a string or a list of strings");
        break;
    case OPTION_REFUSED:
        buf_str(out, "nothing");
        break;
    }
}
