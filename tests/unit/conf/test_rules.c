// SPDX-License-Identifier: Apache-2.0
//
// What must hold between keys: each row is a file and the whole list of its problems, "" where there is none.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "conf/conf.h"
#include "conf/load.h"

struct row {
    const char *name;
    const char *text;
    const char *problems;
};

static void check_rows(const struct row *rows, size_t count)
{
    size_t failed = 0;

    for (const struct row *row = rows; row < rows + count; row++) {
        struct conf conf;
        struct buf problems = BUF_EMPTY;
        int code = conf_read("f", text_of(row->text), &conf, &problems);
        buf_char(&problems, '\0');
        int expected_code = row->problems[0] == '\0' ? 0 : ERR_CONFIG;
        if (strcmp(problems.data, row->problems) != 0 || code != expected_code) {
            print_error("%s: %d, expected %d\n%s---\n%s", row->name, code, expected_code, problems.data, row->problems);
            failed++;
        }
        conf_fini(&conf);
        buf_fini(&problems);
    }
    assert_int_equal(failed, 0);
}

#define CHECK(rows) check_rows(rows, sizeof(rows) / sizeof *(rows))

#define NO_CERT  "server.tls: true needs server.cert_file, which is not set\n"
#define NO_KEY   "server.tls: true needs server.key_file, which is not set\n"
#define UNWANTED "is set, but server.tls is not true: set it, or remove this\n"

static void test_tls(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"nothing", "[server]\n", ""},
        {"off, alone", "[server]\ntls = false\n", ""},
        {"off, empty files", "[server]\ntls = false\ncert_file = ''\nkey_file = ''\n", ""},
        {"on, both", "[server]\ntls = true\ncert_file = 'c'\nkey_file = 'k'\n", ""},
        {"on, both, files first", "[server]\nkey_file = 'k'\ncert_file = 'c'\ntls = true\n", ""},
        {"on, neither", "[server]\ntls = true\n", "f:2:1: " NO_CERT "f:2:1: " NO_KEY},
        {"on, both empty", "[server]\ncert_file = ''\nkey_file = ''\ntls = true\n", "f:4:1: " NO_CERT "f:4:1: " NO_KEY},
        {"on, no certificate", "[server]\nkey_file = 'k'\ntls = true\n", "f:3:1: " NO_CERT},
        {"on, no key", "[server]\ncert_file = 'c'\ntls = true\n", "f:3:1: " NO_KEY},
        {"unsaid, both", "[server]\ncert_file = 'c'\nkey_file = 'k'\n",
         "f:2:1: server.cert_file: " UNWANTED "f:3:1: server.key_file: " UNWANTED},
        {"unsaid, certificate", "server.cert_file = 'c'\n", "f:1:8: server.cert_file: " UNWANTED},
        {"off, key", "[server]\nkey_file = 'k'\ntls = false\n", "f:2:1: server.key_file: " UNWANTED},
        {"tls is wrong: nothing follows", "[server]\ntls = 1\ncert_file = 'c'\nkey_file = 'k'\n",
         "f:2:1: server.tls: expected true or false, not a number\n"},
        {"tls is wrong, no files", "[server]\ntls = 'true'\n",
         "f:2:1: server.tls: expected true or false, not a string\n"},
        {"certificate is wrong, key is fine", "[server]\ntls = true\ncert_file = \"\\u0001\"\nkey_file = 'k'\n",
         "f:3:1: server.cert_file: has a control character\n"},
        {"certificate is wrong, key is missing", "[server]\ntls = true\ncert_file = \"\\u0001\"\n",
         "f:3:1: server.cert_file: has a control character\nf:2:1: " NO_KEY},
        {"key is wrong, certificate is missing", "[server]\ntls = true\nkey_file = \"\\u0001\"\n",
         "f:3:1: server.key_file: has a control character\nf:2:1: " NO_CERT},
        {"off, certificate is wrong", "[server]\ncert_file = \"\\u0001\"\n",
         "f:2:1: server.cert_file: has a control character\n"},
    };
    CHECK(rows);
}

#define MEMORY(inflight, body)                                                                                         \
    "limits.max_inflight_bytes (" inflight ") must be at least limits.max_body_size_bytes (" body                      \
    "), or the largest bodies could never be received\n"

static void test_memory(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"equal", "[limits]\nmax_inflight_bytes = 4096\nmax_body_size_bytes = 4096\n", ""},
        {"one less", "[limits]\nmax_inflight_bytes = 4095\nmax_body_size_bytes = 4096\n",
         "f:2:1: limits.max_inflight_bytes: " MEMORY("4095", "4096")},
        {"one less, the other order", "[limits]\nmax_body_size_bytes = 4096\nmax_inflight_bytes = 4095\n",
         "f:3:1: limits.max_inflight_bytes: " MEMORY("4095", "4096")},
        {"the default body just fits", "[limits]\nmax_inflight_bytes = 2097152\n", ""},
        {"below the default body", "[limits]\nmax_inflight_bytes = 2097151\n",
         "f:2:1: limits.max_inflight_bytes: " MEMORY("2097151", "2097152")},
        {"a body as large as the default memory", "[limits]\nmax_body_size_bytes = 268435456\n", ""},
        {"a body above the default memory", "[limits]\nmax_body_size_bytes = 268435457\n",
         "f:2:1: limits.max_body_size_bytes: " MEMORY("268435456", "268435457")},
        {"0 is the default, and is blamed", "[limits]\nmax_body_size_bytes = 268435457\nmax_inflight_bytes = 0\n",
         "f:3:1: limits.max_inflight_bytes: " MEMORY("268435456", "268435457")},
        {"memory is wrong", "[limits]\nmax_inflight_bytes = true\nmax_body_size_bytes = 268435457\n",
         "f:2:1: limits.max_inflight_bytes: expected a whole number from 1 to 1099511627776 (0: the default), not true "
         "or false\n"},
        {"the body is wrong", "[limits]\nmax_inflight_bytes = 4096\nmax_body_size_bytes = 1.5\n",
         "f:3:1: limits.max_body_size_bytes: expected a whole number from 1 to 1073741824 (0: the default), not a "
         "number "
         "with a fraction\n"},
    };
    CHECK(rows);
}

#define BACKOFF(first, longest)                                                                                        \
    "the first pause, retry_backoff_ms (" first "), must not be longer than the longest, retry_max_backoff_ms "        \
    "(" longest ")\n"

static void test_backoff(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"equal", "[output.outbox]\nretry_backoff_ms = 5\nretry_max_backoff_ms = 5\n", ""},
        {"one more", "[output.outbox]\nretry_backoff_ms = 6\nretry_max_backoff_ms = 5\n",
         "f:2:1: output.outbox.retry_backoff_ms: " BACKOFF("6", "5")},
        {"one more, the other order", "[output.outbox]\nretry_max_backoff_ms = 5\nretry_backoff_ms = 6\n",
         "f:3:1: output.outbox.retry_backoff_ms: " BACKOFF("6", "5")},
        {"as long as the default longest", "[output.outbox]\nretry_backoff_ms = 30000\n", ""},
        {"above the default longest", "[output.outbox]\nretry_backoff_ms = 30001\n",
         "f:2:1: output.outbox.retry_backoff_ms: " BACKOFF("30001", "30000")},
        {"the default first just fits", "[output.outbox]\nretry_max_backoff_ms = 1000\n", ""},
        {"below the default first", "[output.outbox]\nretry_max_backoff_ms = 999\n",
         "f:2:1: output.outbox.retry_max_backoff_ms: " BACKOFF("1000", "999")},
        {"the first is wrong", "[output.outbox]\nretry_backoff_ms = -1\nretry_max_backoff_ms = 5\n",
         "f:2:1: output.outbox.retry_backoff_ms: expected a whole number from 1 to 3600000 (0: the default), not -1\n"},
        {"the longest is wrong", "[output.outbox]\nretry_backoff_ms = 30001\nretry_max_backoff_ms = ''\n",
         "f:3:1: output.outbox.retry_max_backoff_ms: expected a whole number from 1 to 3600000 (0: the default), not a "
         "string\n"},
    };
    CHECK(rows);
}

#define NO_URL "output.type: needs output.elasticsearch_url, which is not set\n"
#define A_URL  "expected a URL, such as \"https://localhost:9200\"\n"

static void test_network_needs_a_url(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"stdout needs none", "[output]\ntype = 'stdout'\n", ""},
        {"stdout may have one", "[output]\nelasticsearch_url = 'http://a'\n", ""},
        {"elasticsearch", "[output]\ntype = 'elasticsearch'\n", "f:2:1: " NO_URL},
        {"opensearch", "[output]\ntype = 'opensearch'\n", "f:2:1: " NO_URL},
        {"an empty list is none", "[output]\nelasticsearch_url = []\ntype = 'opensearch'\n", "f:3:1: " NO_URL},
        {"an empty string is none", "[output]\nelasticsearch_url = ''\ntype = 'opensearch'\n", "f:3:1: " NO_URL},
        {"one", "[output]\ntype = 'opensearch'\nelasticsearch_url = 'http://a'\n", ""},
        {"two", "[output]\ntype = 'elasticsearch'\nelasticsearch_url = ['http://a', 'https://b']\n", ""},
        {"the URL is wrong", "[output]\ntype = 'elasticsearch'\nelasticsearch_url = 'a:9200'\n",
         "f:3:1: output.elasticsearch_url: " A_URL},
        {"one of two is wrong", "[output]\ntype = 'elasticsearch'\nelasticsearch_url = ['http://a', 'http://']\n",
         "f:3:1: output.elasticsearch_url: " A_URL},
        {"the type is wrong", "[output]\ntype = 'kafka'\n",
         "f:2:1: output.type: \"kafka\" is not built into this version of Loom\n"},
    };
    CHECK(rows);
}

#define EXCLUDE  "and output.elasticsearch_index exclude each other: remove one\n"
#define TOGETHER "a client certificate and its key are set together\n"
#define CONTROL  "has a control character\n"

static void test_keys_of_elasticsearch(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"index", "[output]\nelasticsearch_index = 'i'\n", ""},
        {"data stream", "[output]\nelasticsearch_data_stream = 'd'\n", ""},
        {"both", "[output]\nelasticsearch_index = 'i'\nelasticsearch_data_stream = 'd'\n",
         "f:3:1: output.elasticsearch_data_stream: " EXCLUDE},
        {"both, the other order", "[output]\nelasticsearch_data_stream = 'd'\nelasticsearch_index = 'i'\n",
         "f:2:1: output.elasticsearch_data_stream: " EXCLUDE},
        {"the default index, said", "[output]\nelasticsearch_index = 'loom-events'\nelasticsearch_data_stream = 'd'\n",
         ""},
        {"an empty index is the default", "[output]\nelasticsearch_index = ''\nelasticsearch_data_stream = 'd'\n", ""},
        {"an empty data stream is none", "[output]\nelasticsearch_index = 'i'\nelasticsearch_data_stream = ''\n", ""},
        {"the index is wrong", "[output]\nelasticsearch_index = \"\\u0001\"\nelasticsearch_data_stream = 'd'\n",
         "f:2:1: output.elasticsearch_index: " CONTROL},
        {"the data stream is wrong", "[output]\nelasticsearch_index = 'i'\nelasticsearch_data_stream = \"\\u0001\"\n",
         "f:3:1: output.elasticsearch_data_stream: " CONTROL},

        {"client certificate with key",
         "[output]\nelasticsearch_client_key_file = 'k'\nelasticsearch_client_cert_file = 'c'\n", ""},
        {"certificate without key", "[output]\nelasticsearch_client_cert_file = 'c'\n",
         "f:2:1: output.elasticsearch_client_cert_file: " TOGETHER},
        {"key without certificate", "[output]\nelasticsearch_client_key_file = 'k'\n",
         "f:2:1: output.elasticsearch_client_key_file: " TOGETHER},
        {"key with an empty certificate",
         "[output]\nelasticsearch_client_key_file = 'k'\nelasticsearch_client_cert_file = ''\n",
         "f:3:1: output.elasticsearch_client_cert_file: " TOGETHER},
        {"both empty", "[output]\nelasticsearch_client_key_file = ''\nelasticsearch_client_cert_file = ''\n", ""},
        {"the certificate is wrong",
         "[output]\nelasticsearch_client_key_file = 'k'\nelasticsearch_client_cert_file = \"\\u0001\"\n",
         "f:3:1: output.elasticsearch_client_cert_file: " CONTROL},
        {"the key is wrong",
         "[output]\nelasticsearch_client_key_file = \"\\u0001\"\nelasticsearch_client_cert_file = 'c'\n",
         "f:2:1: output.elasticsearch_client_key_file: " CONTROL},
    };
    CHECK(rows);
}

static void test_rules_speak_in_their_order(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"all at once",
         "[output]\ntype = 'opensearch'\nelasticsearch_client_cert_file = 'c'\n[output.outbox]\n"
         "retry_backoff_ms = 6\nretry_max_backoff_ms = 5\n[limits]\nmax_inflight_bytes = 4096\n[server]\ntls = true\n",
         "f:10:1: " NO_CERT "f:10:1: " NO_KEY "f:8:1: limits.max_inflight_bytes: " MEMORY(
             "4096", "2097152") "f:5:1: output.outbox.retry_backoff_ms: " BACKOFF("6",
                                                                                  "5") "f:2:1: " NO_URL "f:3:1: "
                                                                                       "output.elasticsearch_client_"
                                                                                       "cert_file: " TOGETHER},
        {"a problem elsewhere silences no rule", "[server]\ntls = true\ncert_file = 'c'\nworkers = 'x'\n",
         "f:4:1: server.workers: expected a whole number from 1 to 256 (0: the default), not a string\n"
         "f:2:1: " NO_KEY},
    };
    CHECK(rows);
}

static void test_outbox_follows_the_type(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool enabled;
    } rows[] = {
        {"", false},
        {"output.outbox.enabled = true\n", true},
        {"output.outbox.enabled = false\n", false},
        {"output.type = ''\n", false},
        {"output.type = 'stdout'\n", false},
        {"output.type = 'stdout'\noutput.outbox.enabled = true\n", true},
        {"output.type = 'elasticsearch'\noutput.elasticsearch_url = 'http://a'\n", true},
        {"output.type = 'opensearch'\noutput.elasticsearch_url = 'http://a'\n", true},
        {"output.elasticsearch_url = 'http://a'\n", false}, // a URL alone makes no output
        {"output.outbox.dir = '/x'\noutput.type = 'opensearch'\noutput.elasticsearch_url = 'http://a'\n", true},
        {"output.outbox.enabled = false\noutput.type = 'opensearch'\noutput.elasticsearch_url = 'http://a'\n", false},
        {"output.outbox.enabled = true\noutput.type = 'opensearch'\noutput.elasticsearch_url = 'http://a'\n", true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct conf conf;
        struct buf problems = BUF_EMPTY;
        int code = conf_read("f", text_of(rows[i].text), &conf, &problems);
        if (code != 0 || conf.output.outbox.enabled != rows[i].enabled)
            fail_msg("%s: %d, enabled %d", rows[i].text, code, conf.output.outbox.enabled);
        assert_int_equal(conf.output.network, strstr(rows[i].text, "opensearch") || strstr(rows[i].text, "'elastic"));
        conf_fini(&conf);
        buf_fini(&problems);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tls),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_backoff),
        cmocka_unit_test(test_network_needs_a_url),
        cmocka_unit_test(test_keys_of_elasticsearch),
        cmocka_unit_test(test_rules_speak_in_their_order),
        cmocka_unit_test(test_outbox_follows_the_type),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
