// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sink/es_reply.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static void classes(void **state)
{
    (void)state;
    static const struct {
        unsigned status;
        const char *type, *reason;
        enum es_class verdict;
    } cases[] = {
        {200, "", "", ES_DELIVERED},
        {201, "", "", ES_DELIVERED},
        {409, "version_conflict_engine_exception", "[x]: version conflict", ES_DELIVERED},
        {409, "", "", ES_DELIVERED},
        {409, "resource_already_exists_exception", "", ES_RETRY},
        {409, "something_else", "", ES_RETRY},
        {429, "es_rejected_execution_exception", "", ES_RETRY},
        {429, "rejected_execution_exception", "", ES_RETRY},
        {429, "circuit_breaking_exception", "", ES_RETRY},
        {429, "cluster_block_exception", "index [x] blocked by: [TOO_MANY_REQUESTS/12/disk usage", ES_TROUBLE},
        {500, "illegal_state_exception", "", ES_RETRY},
        {502, "", "", ES_RETRY},
        {503, "unavailable_shards_exception", "", ES_RETRY},
        {503, "cluster_block_exception", "", ES_TROUBLE},
        {504, "", "", ES_RETRY},
        {400, "mapper_parsing_exception", "", ES_REJECTED},
        {400, "document_parsing_exception", "", ES_REJECTED},
        {400, "strict_dynamic_mapping_exception", "", ES_REJECTED},
        {400, "illegal_argument_exception", "Limit of total fields [1000] has been exceeded", ES_REJECTED},
        {400, "illegal_argument_exception", "mapper [a] cannot be changed from type [long] to [text]", ES_REJECTED},
        {400, "illegal_argument_exception", "x no write index is defined for alias", ES_REJECTED}, // an event's words
        {400, "illegal_argument_exception", "no write index is defined for alias [loom-events]", ES_TROUBLE},
        {400, "illegal_argument_exception", "pipeline with id [geo] does not exist", ES_TROUBLE},
        {400, "illegal_argument_exception", "id is too long, must be no longer than 512 bytes", ES_REJECTED},
        {400, "action_request_validation_exception", "", ES_REJECTED},
        {400, "never_heard_of_exception", "", ES_REJECTED},
        {400, "", "", ES_REJECTED},
        {400, "index_closed_exception", "", ES_TROUBLE},
        {400, "validation_exception", "Validation Failed: 1: this action would add [2] shards", ES_TROUBLE},
        {400, "illegal_argument_exception", "Number of documents in the index can't exceed [2147483519]", ES_TROUBLE},
        {400, "invalid_index_name_exception", "", ES_TROUBLE},
        {400, "resource_already_exists_exception", "", ES_RETRY},
        {401, "security_exception", "", ES_TROUBLE},
        {403, "security_exception", "", ES_TROUBLE},
        {403, "cluster_block_exception", "", ES_TROUBLE},
        {403, "", "", ES_TROUBLE},
        {404, "index_not_found_exception", "", ES_TROUBLE},
        {404, "", "", ES_TROUBLE},
        {408, "", "", ES_RETRY},
        {413, "", "", ES_REJECTED},
        {422, "", "", ES_REJECTED},
        {100, "", "", ES_RETRY},
        {301, "", "", ES_RETRY},
        {600, "", "", ES_RETRY},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        enum es_class verdict = es_reply_class(cases[i].status, text_of(cases[i].type), text_of(cases[i].reason));
        if (verdict != cases[i].verdict)
            fail_msg("%u %s %s: %d", cases[i].status, cases[i].type, cases[i].reason, verdict);
    }
}

static int read_text(const char *text, size_t len, size_t count, struct es_item *items, struct buf *reply)
{
    const char *why = NULL;
    reply->len = 0;
    buf_append(reply, text, len);
    int rc = es_reply_read(reply, count, items, &why);
    assert_true(rc == 0 || why != NULL);
    return rc;
}

// What a real Elasticsearch 8.18 and an OpenSearch 2.19 have said.
static const char real[] =
    "{\"errors\":true,\"items\":[{\"create\":{\"status\":201}},"
    "{\"create\":{\"status\":409,\"error\":{\"type\":\"version_conflict_engine_exception\",\"reason\":\"[x]: version "
    "conflict, document already exists (current version [1])\"}}},"
    "{\"create\":{\"status\":400,\"error\":{\"type\":\"document_parsing_exception\",\"reason\":\"[1:12] object mapping "
    "for "
    "[source] tried to parse field [source] as object, but found a concrete value, \\\"\\u00e9\xc3\xa9\\\"\"}}},"
    "{\"create\":{\"status\":429,\"error\":{\"type\":\"es_rejected_execution_exception\",\"reason\":\"full\"}}},"
    "{\"create\":{\"status\":403,\"error\":{\"type\":\"cluster_block_exception\",\"reason\":\"index [loom] "
    "blocked\",\"caused_by\":{\"type\":\"x\",\"reason\":\"why\"}}}}]}";

static void real_reply(void **state)
{
    (void)state;
    struct buf reply = BUF_EMPTY;
    struct es_item items[5];
    assert_int_equal(read_text(real, sizeof real - 1, 5, items, &reply), 0);
    static const enum es_class verdicts[] = {ES_DELIVERED, ES_DELIVERED, ES_REJECTED, ES_RETRY, ES_TROUBLE};
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(items[i].verdict, verdicts[i]);
    assert_int_equal(items[2].status, 400);
    assert_true(text_eq(items[2].type, TEXT("document_parsing_exception")));
    assert_memory_equal(items[2].reason.at, "[1:12] object", 13);
    assert_int_equal(items[2].cause.len, 0);
    assert_true(text_eq(items[4].cause, TEXT("why")));
    assert_int_equal(items[0].type.len, 0);
    assert_int_equal(items[0].reason.len, 0);
    buf_fini(&reply);
}

static void every_cut(void **state)
{
    (void)state;
    struct buf reply = BUF_EMPTY;
    struct es_item items[5];
    for (size_t len = 0; len < sizeof real - 1; len++)
        assert_int_equal(read_text(real, len, 5, items, &reply), -EINVAL);
    // One byte wrong: either it is no reply any more, or no event that was refused counts as delivered.
    for (size_t at = 0; at < sizeof real - 1; at++) {
        char changed[sizeof real];
        memcpy(changed, real, sizeof real);
        changed[at] = (char)(changed[at] ^ 0x01);
        if (read_text(changed, sizeof real - 1, 5, items, &reply) == 0)
            for (size_t i = 0; i < 5; i++)
                assert_true(items[i].verdict != ES_DELIVERED || items[i].status / 100 == 2 || items[i].status == 409);
    }
    buf_fini(&reply);
}

static void not_a_reply(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        "{}",
        "[]",
        "null",
        "{\"items\":[]}",
        "{\"items\":{}}",
        "{\"items\":null}",
        "{\"errors\":false}",
        "{\"items\":[{\"create\":{\"status\":201}}]}",
        "{\"items\":[{\"create\":{\"status\":201}},{\"create\":{\"status\":201}},{\"create\":{\"status\":201}}]}",
        "{\"items\":[{\"create\":{\"status\":201}},3]}",
        "{\"items\":[{\"create\":{\"status\":201}},{\"create\":{\"status\":201}}]}x",
        "{\"items\":[{\"create\":{\"status\":201}},{\"create\":{\"status\":201}}]}{}",
        "{\"items\":[{\"create\":{\"status\":201}},{\"create\":{\"status\":201}}]},{\"items\":[]}",
        "{\"items\":[{\"create\":{\"status\":201}},{\"create\":{\"status\":201}}],\"items\":[]}",
        "{\"error\":{\"type\":\"x\"},\"status\":400}",
        "<html>{\"items\":[{\"create\":{\"status\":201}},{\"create\":{\"status\":201}}]}",
    };
    struct buf reply = BUF_EMPTY;
    struct es_item items[2];
    for (size_t i = 0; i < COUNT(texts); i++)
        if (read_text(texts[i], strlen(texts[i]), 2, items, &reply) == 0)
            fail_msg("%s passes", texts[i]);
    buf_fini(&reply);
}

// What is no clear word on an event decides nothing about it.
static void odd_items(void **state)
{
    (void)state;
    static const struct {
        const char *item;
        enum es_class verdict;
        unsigned status;
    } cases[] = {
        {"{}", ES_RETRY, 0},
        {"{\"create\":{}}", ES_RETRY, 0},
        {"{\"create\":201}", ES_RETRY, 0},
        {"{\"create\":[201]}", ES_RETRY, 0},
        {"{\"create\":{\"status\":\"201\"}}", ES_RETRY, 0},
        {"{\"create\":{\"status\":2010}}", ES_RETRY, 0},
        {"{\"create\":{\"status\":20}}", ES_RETRY, 0},
        {"{\"create\":{\"status\":-20}}", ES_RETRY, 0},
        {"{\"create\":{\"status\":2e2}}", ES_RETRY, 0},
        {"{\"create\":{\"status\":2.0}}", ES_RETRY, 0},
        {"{\"create\":{\"status\":201,\"status\":400}}", ES_RETRY, 0},
        {"{\"index\":{\"status\":201}}", ES_RETRY, 0},
        {"{\"create\":{\"error\":{\"type\":\"x\"}}}", ES_RETRY, 0},
        {"{\"create\":{\"status\":400,\"error\":\"text\"}}", ES_REJECTED, 400},
        {"{\"create\":{\"status\":400,\"error\":null}}", ES_REJECTED, 400},
        {"{\"create\":{\"status\":400,\"error\":{\"type\":5,\"reason\":{}}}}", ES_REJECTED, 400},
        {"{ \"create\" : { \"_id\" : \"x\" , \"status\" : 201 } }", ES_DELIVERED, 201},
        {"{\"create\":{\"status\":400,\"error\":{\"type\":\"a\",\"reason\":\"half \xc3\"}}}", ES_REJECTED, 400},
    };
    struct buf reply = BUF_EMPTY;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct es_item item;
        char text[256];
        snprintf(text, sizeof text, "{\"items\":[%s]}", cases[i].item);
        assert_int_equal(read_text(text, strlen(text), 1, &item, &reply), 0);
        if (item.verdict != cases[i].verdict || item.status != cases[i].status)
            fail_msg("%s: %d, status %u", cases[i].item, item.verdict, item.status);
    }
    buf_fini(&reply);
}

// The reply to what was all created is taken as a whole. Any other byte in it, or another length, and it means what it means
// when it is read: as it is with a blank in front.
static void all_created_or_not(void **state)
{
    (void)state;
    static const char created[] =
        "{\"errors\":false,\"items\":[{\"create\":{\"status\":201}},{\"create\":{\"status\":201}},"
        "{\"create\":{\"status\":201}}]}";
    static const char bytes[] = " ,x4{}[]\"\\\xff";
    enum { ITEMS = 3, LEN = sizeof created - 1 };
    struct buf reply = BUF_EMPTY;
    struct es_item items[ITEMS + 1], expected[ITEMS + 1];
    assert_int_equal(read_text(created, LEN, ITEMS, items, &reply), 0);
    for (size_t i = 0; i < ITEMS; i++) {
        assert_int_equal(items[i].verdict, ES_DELIVERED);
        assert_int_equal(items[i].status, 201);
        assert_int_equal(items[i].type.len + items[i].reason.len + items[i].cause.len, 0);
    }
    for (size_t count = 0; count <= ITEMS + 1; count++)
        if (count != ITEMS)
            assert_int_equal(read_text(created, LEN, count, items, &reply), -EINVAL);
    for (size_t len = 0; len < LEN; len++)
        assert_int_equal(read_text(created, len, ITEMS, items, &reply), -EINVAL);
    for (size_t at = 0; at < LEN * (sizeof bytes - 1); at++) {
        char text[LEN + 2] = " ";
        memcpy(text + 1, created, LEN);
        text[1 + at / (sizeof bytes - 1)] = bytes[at % (sizeof bytes - 1)];
        int rc = read_text(text, LEN + 1, ITEMS, expected, &reply);
        assert_int_equal(read_text(text + 1, LEN, ITEMS, items, &reply), rc);
        for (size_t i = 0; rc == 0 && i < ITEMS; i++) {
            assert_int_equal(items[i].verdict, expected[i].verdict);
            assert_int_equal(items[i].status, expected[i].status);
        }
    }
    buf_fini(&reply);
}

static void error_types(void **state)
{
    (void)state;
    static const struct {
        const char *reply, *type;
    } cases[] = {
        {"{\"error\":{\"type\":\"security_exception\",\"reason\":\"x\"},\"status\":401}", "security_exception"},
        {"{\"error\":{\"type\":\"a b\"}}", ""},
        {"{\"error\":{\"type\":\"a\\nb\"}}", ""},
        {"{\"error\":{\"type\":\"\"}}", ""},
        {"{\"error\":\"Incorrect HTTP method\",\"status\":405}", ""},
        {"Unauthorized", ""},
        {"", ""},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct buf reply = BUF_EMPTY;
        buf_str(&reply, cases[i].reply);
        assert_true(text_eq(es_reply_error_type(&reply), text_of(cases[i].type)));
        buf_fini(&reply);
    }
    char long_word[100];
    memset(long_word, 'a', sizeof long_word);
    assert_true(es_reply_is_word((struct text){long_word, 80}));
    assert_false(es_reply_is_word((struct text){long_word, 81}));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(classes),     cmocka_unit_test(real_reply), cmocka_unit_test(every_cut),
        cmocka_unit_test(not_a_reply), cmocka_unit_test(odd_items),  cmocka_unit_test(all_created_or_not),
        cmocka_unit_test(error_types),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
