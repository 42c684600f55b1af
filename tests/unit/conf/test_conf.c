// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "conf/conf.h"
#include "conf/load.h"
#include "conf/options.h"

static struct conf read_ok(const char *text)
{
    struct conf conf;
    struct buf problems = BUF_EMPTY;
    int result = conf_read("loom.toml", text_of(text), &conf, &problems);
    if (result != 0)
        fail_msg("%s\n%.*s", text, (int)problems.len, problems.data);
    assert_int_equal(problems.len, 0);
    buf_fini(&problems);
    return conf;
}

static void assert_problems(const char *text, int code, const char *expected)
{
    struct conf conf;
    struct buf problems = BUF_EMPTY;
    int result = conf_read("loom.toml", text_of(text), &conf, &problems);
    buf_char(&problems, '\0');
    assert_string_equal(problems.data, expected);
    assert_int_equal(result, code);
    assert_non_null(conf.server.listen_address); // whole all the same
    conf_fini(&conf);
    buf_fini(&problems);
}

static void assert_defaults(const struct conf *conf)
{
    assert_string_equal(conf->server.listen_address, ":8443");
    assert_false(conf->server.tls);
    assert_string_equal(conf->server.cert_file, "");
    assert_string_equal(conf->server.management_listen_address, "");
    assert_true(conf->server.workers >= 1 && conf->server.workers <= 256);
    assert_string_equal(conf->auth.token_file, "");
    assert_int_equal(conf->limits.max_body_size_bytes, 2097152);
    assert_int_equal(conf->limits.max_events_per_batch, 500);
    assert_int_equal(conf->limits.max_event_size_bytes, 131072);
    assert_int_equal(conf->limits.per_sensor_rps, 50);
    assert_int_equal(conf->limits.per_sensor_events_rps, -1);
    assert_int_equal(conf->limits.max_connections, 10000);
    assert_int_equal(conf->limits.max_inflight_bytes, 268435456);
    assert_string_equal(conf->enrichment.geoip_db_path, "");
    assert_string_equal(conf->enrichment.language, "en");
    assert_false(conf->enrichment.dns.enabled);
    assert_int_equal(conf->enrichment.dns.cache_ttl_seconds, 300);
    assert_int_equal(conf->enrichment.dns.max_qps, 10);
    assert_string_equal(conf->output.type, "stdout");
    assert_int_equal(conf->output.ack_timeout_ms, 10000);
    assert_string_equal(conf->output.elasticsearch_index, "loom-events");
    assert_string_equal(conf->output.clickhouse_database, "default");
    assert_string_equal(conf->output.clickhouse_table, "loom_events");
    assert_non_null(conf->output.kafka_brokers);
    assert_null(conf->output.kafka_brokers[0]);
    assert_false(conf->output.outbox.enabled);
    assert_string_equal(conf->output.outbox.dir, "/var/lib/loom/outbox");
    assert_int_equal(conf->output.outbox.max_bytes, 268435456);
    assert_int_equal(conf->output.outbox.flush_interval_ms, 1000);
    assert_int_equal(conf->output.outbox.max_batch_size, -1);
    assert_string_equal(conf->output.outbox.when_full, "reject");
    assert_int_equal(conf->output.outbox.dead_letter_max_bytes, 67108864);
    assert_false(conf->output.outbox.dead_letter_overwrite);
    assert_null(conf->output.elasticsearch_url[0]);
    assert_string_equal(conf->output.elasticsearch_compression, "gzip");
    assert_true(conf->output.elasticsearch_manage_template);
    assert_false(conf->output.elasticsearch_insecure_skip_verify);
    assert_int_equal(conf->output.outbox.retry_backoff_ms, 1000);
    assert_int_equal(conf->output.outbox.retry_max_backoff_ms, 30000);
    assert_string_equal(conf->logging.level, "info");
    assert_string_equal(conf->logging.format, "json");
    assert_false(conf->observability.metrics_enabled);
}

static void test_empty_file_is_all_defaults(void **state)
{
    (void)state;
    struct conf conf = read_ok("");
    assert_defaults(&conf);
    conf_fini(&conf);
}

static void test_zero_and_empty_mean_default(void **state)
{
    (void)state;
    struct buf text = BUF_EMPTY;
    for (size_t i = 0; i < options_count; i++) {
        const struct option *option = &options[i];
        const char *value = option->type == OPTION_INT    ? "0"
                            : option->type == OPTION_BOOL ? (option->flags & OPTION_TRUE ? "true" : "false")
                            : option->type == OPTION_LIST ? "[]"
                                                          : "\"\"";
        if (option->type != OPTION_REFUSED)
            buf_printf(&text, "%s.%s = %s\n", option->section, option->name, value);
    }
    buf_char(&text, '\0');
    struct conf conf = read_ok(text.data);
    assert_defaults(&conf);
    conf_fini(&conf);
    buf_fini(&text);
}

static void test_values_arrive(void **state)
{
    (void)state;
    struct conf conf =
        read_ok("[server]\nlisten_address = \"[::1]:1\"\ntls = true\ncert_file = \"c\"\nkey_file = \"k\"\n"
                "workers = 3\n"
                "[limits]\nper_sensor_rps = -1\nper_sensor_events_rps = 7\nmax_events_per_batch = 0x10\n"
                "[enrichment]\nlanguage = \"pt-BR\"\ndns.max_qps = 5\n"
                "[output]\ntype = \"stdout\"\nkafka_brokers = [\"a:1\", \"b:2\"]\n"
                "elasticsearch_manage_template = false\n"
                "outbox = { dir = \"/x\" }\n"
                "[logging]\nlevel = \"error\"\nformat = \"console\"\n"
                "[observability]\nmetrics_enabled = true\n");
    assert_false(conf.output.elasticsearch_manage_template);
    assert_string_equal(conf.server.listen_address, "[::1]:1");
    assert_true(conf.server.tls);
    assert_string_equal(conf.server.cert_file, "c");
    assert_string_equal(conf.server.key_file, "k");
    assert_int_equal(conf.server.workers, 3);
    assert_int_equal(conf.limits.per_sensor_rps, -1);
    assert_int_equal(conf.limits.per_sensor_events_rps, 7);
    assert_int_equal(conf.limits.max_events_per_batch, 16);
    assert_string_equal(conf.enrichment.language, "pt-BR");
    assert_int_equal(conf.enrichment.dns.max_qps, 5);
    assert_string_equal(conf.output.kafka_brokers[0], "a:1");
    assert_string_equal(conf.output.kafka_brokers[1], "b:2");
    assert_null(conf.output.kafka_brokers[2]);
    assert_string_equal(conf.output.outbox.dir, "/x");
    assert_string_equal(conf.logging.level, "error");
    assert_string_equal(conf.logging.format, "console");
    assert_true(conf.observability.metrics_enabled);
    conf_fini(&conf);
}

// Every number at its bounds and one beyond: the bounds are the table's, so are the messages.
static void test_bounds(void **state)
{
    (void)state;
    for (size_t i = 0; i < options_count; i++) {
        const struct option *option = &options[i];
        if (option->type != OPTION_INT)
            continue;
        const int64_t values[] = {option->min, option->max, option->min - 2, option->max + 1, -1, INT64_MIN, INT64_MAX};
        for (size_t j = 0; j < sizeof values / sizeof *values; j++) {
            bool allowed = (values[j] >= option->min && values[j] <= option->max) ||
                           (values[j] == -1 && option->flags & OPTION_OFF);
            struct buf text = BUF_EMPTY, problems = BUF_EMPTY;
            struct conf conf;
            buf_printf(&text, "limits.max_inflight_bytes = 1099511627776\n");
            if (strcmp(option->name, "max_inflight_bytes") == 0)
                text.len = 0, buf_str(&text, "limits.max_body_size_bytes = 1\n");
            if (strcmp(option->name, "retry_max_backoff_ms") == 0)
                buf_str(&text, "output.outbox.retry_backoff_ms = 1\n");
            if (strcmp(option->name, "retry_backoff_ms") == 0)
                buf_str(&text, "output.outbox.retry_max_backoff_ms = 3600000\n");
            buf_printf(&text, "%s.%s = ", option->section, option->name);
            buf_int(&text, values[j]);
            int result = conf_read("f", (struct text){text.data, text.len}, &conf, &problems);
            assert_int_equal(result, allowed ? 0 : ERR_CONFIG);
            const int64_t *field = (const int64_t *)(const void *)((const char *)&conf + option->offset);
            if (allowed)
                assert_int_equal(*field, values[j]);
            conf_fini(&conf);
            buf_fini(&text);
            buf_fini(&problems);
        }
    }
}

static void test_wrong_types(void **state)
{
    (void)state;
    static const char *const values[] = {"'text'", "1", "1.5", "true", "1979-05-27", "[1]", "['a']", "{}"};
    static const bool fits[][8] = {
        [OPTION_STRING] = {true},           [OPTION_WORD] = {false},
        [OPTION_BOOL] = {[3] = true},       [OPTION_INT] = {[1] = true},
        [OPTION_LIST] = {true, [6] = true},
    };
    for (size_t i = 0; i < options_count; i++) {
        const struct option *option = &options[i];
        if (option->type == OPTION_REFUSED || option->flags & OPTION_UNBUILT)
            continue;
        for (size_t j = 0; j < sizeof values / sizeof *values; j++) {
            struct buf text = BUF_EMPTY, problems = BUF_EMPTY;
            struct conf conf;
            buf_printf(&text, "%s.%s = %s\n", option->section, option->name, values[j]);
            conf_read("f", (struct text){text.data, text.len}, &conf, &problems);
            buf_char(&problems, '\0');
            struct buf prefix = BUF_EMPTY;
            buf_printf(&prefix, "%s.%s: expected ", option->section, option->name);
            buf_char(&prefix, '\0');
            bool complained = strstr(problems.data, prefix.data) != NULL;
            bool fit = fits[option->type][j] && !(option->flags & OPTION_URL); // no value is a URL
            if (complained == fit)
                fail_msg("%.*s%s", (int)text.len, text.data, problems.data);
            conf_fini(&conf);
            buf_fini(&text);
            buf_fini(&problems);
            buf_fini(&prefix);
        }
    }
}

static void test_messages(void **state)
{
    (void)state;
    assert_problems("[server]\nlisten_adress = \":1\"\n", ERR_CONFIG,
                    "loom.toml:2:1: server.listen_adress: unknown key, did you mean \"listen_address\"?\n");
    assert_problems("[server]\n  max_connections = 5\n", ERR_CONFIG,
                    "loom.toml:2:3: server.max_connections: unknown key; it belongs in [limits]\n");
    assert_problems("[server]\ntls = \"yes\"\n", ERR_CONFIG,
                    "loom.toml:2:1: server.tls: expected true or false, not a string\n");
    assert_problems("[server]\nworkers = 300\n", ERR_CONFIG,
                    "loom.toml:2:1: server.workers: expected a whole number from 1 to 256 (0: the default), not 300\n");
    assert_problems("[limits]\nper_sensor_rps = -2\n", ERR_CONFIG,
                    "loom.toml:2:1: limits.per_sensor_rps: expected a whole number from 1 to 1000000 (0: the default, "
                    "-1: off), not -2\n");
    assert_problems("[logging]\nlevel = \"INFO\"\n", ERR_CONFIG,
                    "loom.toml:2:1: logging.level: expected one of \"debug\", \"info\", \"warn\", \"error\", not "
                    "\"INFO\", did you mean \"info\"?\n");
    assert_problems("server = 5\n", ERR_CONFIG, "loom.toml:1:1: server: expected a section, [server], not a number\n");
    assert_problems("[output]\nkafka_brokers = ['a', '']\n", ERR_CONFIG,
                    "loom.toml:2:1: output.kafka_brokers: has an element that is empty, too long or has a control "
                    "character\n");
    assert_problems("[server]\nlisten_address = \"a\\nb\"\n", ERR_CONFIG,
                    "loom.toml:2:1: server.listen_address: has a control character\n");
    assert_problems("[server]\nlisten_address = \"\\u0000\"\n", ERR_CONFIG,
                    "loom.toml:2:1: server.listen_address: has a control character\n");
}

static void test_syntax_error_stands_alone(void **state)
{
    (void)state;
    assert_problems("[server]\nunknown = 1\ntls = yes\n", ERR_SYNTAX,
                    "loom.toml:3:7: Error while parsing value: could not determine value type\n");
}

// All at once, in the order of the file; what stands inside an unknown section is not looked at.
static void test_all_problems_at_once(void **state)
{
    (void)state;
    assert_problems("tls = true\n"
                    "[sever]\n"
                    "x = 1\n"
                    "y.z = 1\n"
                    "[server]\n"
                    "workers = -1\n"
                    "\"a b\" = 1\n"
                    "\"a.b\" = 1\n"
                    "tls.x = 1\n"
                    "[[logging]]\n"
                    "level = 'debug'\n",
                    ERR_CONFIG,
                    "loom.toml:1:1: tls: unknown key; it belongs in [server]\n"
                    "loom.toml:2:2: sever: unknown section, did you mean [server]?\n"
                    "loom.toml:6:1: server.workers: expected a whole number from 1 to 256 (0: the default), not -1\n"
                    "loom.toml:7:1: server.\"a b\": unknown key\n"
                    "loom.toml:8:1: server.\"a.b\": unknown key\n"
                    "loom.toml:9:1: server.tls: expected true or false, not a table\n"
                    "loom.toml:10:3: logging: expected a section, [logging], not a list of other things\n");
}

static void test_what_is_not_built(void **state)
{
    (void)state;
    assert_problems("[output]\ntype = \"clickhouse\"\n[enrichment.dns]\nenabled = true\n", ERR_CONFIG,
                    "loom.toml:2:1: output.type: \"clickhouse\" is not built into this version of Loom\n"
                    "loom.toml:4:1: enrichment.dns.enabled: true is not built into this version of Loom\n");
    assert_problems("output.type = \"kafka\"\n", ERR_CONFIG,
                    "loom.toml:1:8: output.type: \"kafka\" is not built into this version of Loom\n");
    assert_problems("output.type = \"loki\"\n", ERR_CONFIG,
                    "loom.toml:1:8: output.type: expected one of \"stdout\", \"elasticsearch\", \"opensearch\", "
                    "\"clickhouse\", \"kafka\", not \"loki\"\n");
}

static void test_output_rules(void **state)
{
    (void)state;
    assert_problems("[output]\ntype = \"opensearch\"\n", ERR_CONFIG,
                    "loom.toml:2:1: output.type: needs output.elasticsearch_url, which is not set\n");
    assert_problems("[output]\nelasticsearch_index = 'a'\nelasticsearch_data_stream = 'b'\n", ERR_CONFIG,
                    "loom.toml:3:1: output.elasticsearch_data_stream: and output.elasticsearch_index exclude each "
                    "other: remove one\n");
    assert_problems("[output]\nelasticsearch_client_key_file = '/k'\n", ERR_CONFIG,
                    "loom.toml:2:1: output.elasticsearch_client_key_file: a client certificate and its key are set "
                    "together\n");
    static const struct {
        const char *text;
        bool enabled;
    } outboxes[] = {
        {"output.type = 'stdout'\n", false},
        {"output.type = 'stdout'\noutput.outbox.enabled = true\n", true},
        {"output.type = 'elasticsearch'\noutput.elasticsearch_url = 'http://a'\n", true},
        {"output.type = 'elasticsearch'\noutput.elasticsearch_url = 'http://a'\noutput.outbox.enabled = false\n",
         false},
    };
    for (size_t i = 0; i < sizeof outboxes / sizeof *outboxes; i++) {
        struct conf conf = read_ok(outboxes[i].text);
        assert_int_equal(conf.output.outbox.enabled, outboxes[i].enabled);
        conf_fini(&conf);
    }
}

static void test_urls(void **state)
{
    (void)state;
    static const char *const bad[] = {"a", "ftp://a", "http://", "https:///path"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct buf text = BUF_EMPTY;
        buf_printf(&text, "[output]\nelasticsearch_url = ['http://a:9200', '%s']\n", bad[i]);
        buf_char(&text, '\0');
        assert_problems(
            text.data, ERR_CONFIG,
            "loom.toml:2:1: output.elasticsearch_url: expected a URL, such as \"https://localhost:9200\"\n");
        buf_fini(&text);
    }
    struct conf conf = read_ok("output.elasticsearch_url = 'HTTPS://a:9200/x'\n");
    assert_string_equal(conf.output.elasticsearch_url[0], "HTTPS://a:9200/x");
    assert_null(conf.output.elasticsearch_url[1]);
    conf_fini(&conf);
}

// Whatever stands there, and however it is written: it is refused, with what to use instead, and never repeated.
static void test_secrets(void **state)
{
    (void)state;
    static const struct {
        const char *text, *instead;
    } cases[] = {
        {"[output]\nelasticsearch_pass = \"hunter2\"", "LOOM_ELASTICSEARCH_PASS"},
        {"[output]\nelasticsearch_pass = [\"hunter2\"]", "LOOM_ELASTICSEARCH_PASS"},
        {"[output]\nclickhouse_password = \"hunter2\"", "LOOM_CLICKHOUSE_PASSWORD"},
        {"[output]\nclickhouse_password = \"\"", "LOOM_CLICKHOUSE_PASSWORD"},
        {"[output.clickhouse_password]\nhunter2 = 1", "LOOM_CLICKHOUSE_PASSWORD"},
        {"[output]\nclickhouse_pass = \"hunter2\"", "LOOM_CLICKHOUSE_PASSWORD"},
        {"[output]\npassword = \"hunter2\"", "LOOM_"},
        {"[auth.tokens]\n\"hunter2\" = \"spip-001\"", "LOOM_SENSOR_<sensor id>"},
        {"[auth.tokens]\n\"hunter2.hunter2\" = \"spip-001\"", "auth.token_file"},
        {"[auth]\ntokens = { hunter2 = \"spip-001\" }", "auth.token_file"},
        {"[auth]\ntokens.hunter2.hunter2 = 1", "auth.token_file"},
        {"[[auth.tokens]]\nhunter2 = \"spip-001\"", "auth.token_file"},
        {"[auth]\ntoken = \"hunter2\"", "auth.token_file"},
        {"[output]\nelasticsearch_url = \"https://me:hunter2@localhost:9200/\"", "password in the environment"},
        {"[output]\nclickhouse_url = \"hunter2@localhost\"", "password in the environment"},
        {"[output]\nelasticsearch_url = \"https://me:1/hunter2@localhost:9200\"", "password in the environment"},
        {"[output]\nelasticsearch_url = \"https://me:1#hunter2@localhost:9200\"", "password in the environment"},
        {"[output]\nelasticsearch_url = \"https://localhost:9200/?key=hunter2\"", "has a query or a fragment"},
        {"[output]\nelasticsearch_url = 12345678\nelasticsearch_pass = 'hunter2' # 12345678",
         "LOOM_ELASTICSEARCH_PASS"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct conf conf;
        struct buf problems = BUF_EMPTY;
        assert_int_equal(conf_read("f", text_of(cases[i].text), &conf, &problems), ERR_CONFIG);
        buf_char(&problems, '\0');
        assert_non_null(strstr(problems.data, cases[i].instead));
        assert_null(strstr(problems.data, "hunter2"));
        assert_null(strstr(problems.data, "12345678"));
        conf_fini(&conf);
        buf_fini(&problems);
    }
    // An "@" of the path is escaped, as one that is not could end a password.
    struct conf conf = read_ok("[output]\nelasticsearch_url = \"https://localhost:9200/a%40b\"\n");
    conf_fini(&conf);
}

static void test_rules_tls(void **state)
{
    (void)state;
    assert_problems("[server]\ntls = true\n", ERR_CONFIG,
                    "loom.toml:2:1: server.tls: true needs server.cert_file, which is not set\n"
                    "loom.toml:2:1: server.tls: true needs server.key_file, which is not set\n");
    assert_problems("[server]\ntls = true\ncert_file = 'c'\nkey_file = ''\n", ERR_CONFIG,
                    "loom.toml:2:1: server.tls: true needs server.key_file, which is not set\n");
    assert_problems("[server]\ncert_file = 'c'\n", ERR_CONFIG,
                    "loom.toml:2:1: server.cert_file: is set, but server.tls is not true: set it, or remove this\n");
    assert_problems("[server]\ntls = false\nkey_file = 'k'\n", ERR_CONFIG,
                    "loom.toml:3:1: server.key_file: is set, but server.tls is not true: set it, or remove this\n");
    // Where tls itself is wrong, what would follow from it is not said.
    assert_problems("[server]\ntls = 1\nkey_file = 'k'\n", ERR_CONFIG,
                    "loom.toml:2:1: server.tls: expected true or false, not a number\n");
}

static void test_rules_memory(void **state)
{
    (void)state;
    assert_problems("[limits]\nmax_body_size_bytes = 1000\nmax_inflight_bytes = 999\n", ERR_CONFIG,
                    "loom.toml:3:1: limits.max_inflight_bytes: limits.max_inflight_bytes (999) must be at least "
                    "limits.max_body_size_bytes (1000), or the largest bodies could never be received\n");
    assert_problems("[limits]\nmax_body_size_bytes = 1073741824\n", ERR_CONFIG,
                    "loom.toml:2:1: limits.max_body_size_bytes: limits.max_inflight_bytes (268435456) must be at least "
                    "limits.max_body_size_bytes (1073741824), or the largest bodies could never be received\n");
    struct conf conf = read_ok("[limits]\nmax_body_size_bytes = 1000\nmax_inflight_bytes = 1000\n");
    conf_fini(&conf);
}

static void test_rules_backoff(void **state)
{
    (void)state;
    assert_problems("[output.outbox]\nretry_max_backoff_ms = 99\nretry_backoff_ms = 100\n", ERR_CONFIG,
                    "loom.toml:3:1: output.outbox.retry_backoff_ms: the first pause, retry_backoff_ms (100), must not "
                    "be longer than the longest, retry_max_backoff_ms (99)\n");
    assert_problems("[output.outbox]\nretry_max_backoff_ms = 999\n", ERR_CONFIG,
                    "loom.toml:2:1: output.outbox.retry_max_backoff_ms: the first pause, retry_backoff_ms (1000), must "
                    "not be longer than the longest, retry_max_backoff_ms (999)\n");
    assert_problems("[output.outbox]\nretry_backoff_ms = 'long'\nretry_max_backoff_ms = 999\n", ERR_CONFIG,
                    "loom.toml:2:1: output.outbox.retry_backoff_ms: expected a whole number from 1 to 3600000 (0: the "
                    "default), not a string\n");
    struct conf conf = read_ok("[output.outbox]\nretry_backoff_ms = 100\nretry_max_backoff_ms = 100\n");
    conf_fini(&conf);
}

// A key or value of any length makes a line of bounded length, cut between characters.
static void test_long_texts_are_cut(void **state)
{
    (void)state;
    struct buf text = BUF_EMPTY, problems = BUF_EMPTY;
    struct conf conf;
    buf_str(&text, "logging.level = \"x");
    for (int i = 0; i < 5000; i++)
        buf_str(&text, "\xC3\xA9");
    buf_str(&text, "\"\n");
    assert_int_equal(conf_read("f", (struct text){text.data, text.len}, &conf, &problems), ERR_CONFIG);
    assert_true(problems.len < 300);
    buf_char(&problems, '\0');
    assert_non_null(strstr(problems.data, "is longer than 4096 bytes"));
    conf_fini(&conf);

    text.len = 0;
    problems.len = 0;
    buf_str(&text, "\"x");
    for (int i = 0; i < 5000; i++)
        buf_str(&text, "\xC3\xA9");
    buf_str(&text, "\" = 1\n");
    assert_int_equal(conf_read("f", (struct text){text.data, text.len}, &conf, &problems), ERR_CONFIG);
    assert_true(problems.len < 300);
    buf_char(&problems, '\0');
    assert_non_null(strstr(problems.data, "\xC3\xA9: unknown key"));
    conf_fini(&conf);
    buf_fini(&text);
    buf_fini(&problems);
}

static void write_file(const char *path, const char *data, size_t len)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, len, file), len);
    assert_int_equal(fclose(file), 0);
}

static void test_files(void **state)
{
    (void)state;
    char dir[] = "/tmp/loom-test-XXXXXX";
    assert_non_null(mkdtemp(dir));
    char path[64];
    snprintf(path, sizeof path, "%s/loom.toml", dir);
    struct buf problems = BUF_EMPTY, big = BUF_EMPTY;
    struct conf conf;

    write_file(path, "[server]\r\nworkers = 2\r\n", 23);
    assert_int_equal(conf_load(path, &conf, &problems), 0);
    assert_int_equal(conf.server.workers, 2);
    conf_fini(&conf);

    // At the limit of the size, and one byte beyond.
    while (big.len < 1024 * 1024)
        buf_str(&big, "# padding, 16 .\n");
    assert_int_equal(big.len, 1024 * 1024);
    write_file(path, big.data, big.len);
    assert_int_equal(conf_load(path, &conf, &problems), 0);
    conf_fini(&conf);
    buf_char(&big, '\n');
    write_file(path, big.data, big.len);
    assert_int_equal(conf_load(path, &conf, &problems), -EFBIG);
    conf_fini(&conf);
    buf_char(&problems, '\0');
    assert_non_null(strstr(problems.data, "larger than 1048576 bytes"));

    assert_int_equal(unlink(path), 0);
    problems.len = 0;
    assert_int_equal(conf_load(path, &conf, &problems), -ENOENT);
    assert_defaults(&conf);
    conf_fini(&conf);
    buf_char(&problems, '\0');
    assert_int_equal(strncmp(problems.data, path, strlen(path)), 0);
    assert_string_equal(problems.data + strlen(path), ": No such file or directory\n");

    problems.len = 0;
    assert_int_equal(conf_load(dir, &conf, &problems), -EISDIR);
    conf_fini(&conf);
    assert_int_equal(rmdir(dir), 0);
    buf_fini(&problems);
    buf_fini(&big);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty_file_is_all_defaults),
        cmocka_unit_test(test_zero_and_empty_mean_default),
        cmocka_unit_test(test_values_arrive),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_wrong_types),
        cmocka_unit_test(test_messages),
        cmocka_unit_test(test_syntax_error_stands_alone),
        cmocka_unit_test(test_all_problems_at_once),
        cmocka_unit_test(test_what_is_not_built),
        cmocka_unit_test(test_output_rules),
        cmocka_unit_test(test_urls),
        cmocka_unit_test(test_secrets),
        cmocka_unit_test(test_rules_tls),
        cmocka_unit_test(test_rules_memory),
        cmocka_unit_test(test_rules_backoff),
        cmocka_unit_test(test_long_texts_are_cut),
        cmocka_unit_test(test_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
