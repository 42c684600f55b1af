// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sink/es_template.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

static struct es_name name_of(const char *index, const char *stream)
{
    struct conf_output conf = {.elasticsearch_index = (char *)index, .elasticsearch_data_stream = (char *)stream};
    struct es_name name;
    assert_int_equal(es_name_open(&conf, &name, NULL), 0);
    return name;
}

static json_t *template_of(const struct es_name *name, bool opensearch)
{
    struct buf text = BUF_EMPTY;
    es_template_print(name, opensearch, &text);
    json_t *json = json_loadb(text.data, text.len, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(json);
    buf_fini(&text);
    return json;
}

// The string at a path such as "template/mappings/properties/source/properties/ip/type".
static const char *at(json_t *json, const char *path)
{
    char key[64];
    while (*path != '\0') {
        size_t len = strcspn(path, "/");
        assert_true(len < sizeof key);
        memcpy(key, path, len);
        key[len] = '\0';
        json = json_object_get(json, key);
        path += len + (path[len] == '/');
    }
    return json_is_string(json) ? json_string_value(json) : "";
}

static void types(void **state)
{
    (void)state;
    struct es_name name = name_of("loom-%Y.%m.%d", "");
    for (int opensearch = 0; opensearch < 2; opensearch++) {
        json_t *json = template_of(&name, opensearch);
        static const char *const cases[][2] = {
            {"@timestamp", "date"},
            {"source/properties/ip", "ip"},
            {"source/properties/port", "long"},
            {"source/properties/as/properties/number", "long"},
            {"source/properties/geo/properties/location", "geo_point"},
            {"source/properties/geo/properties/country_iso_code", "keyword"},
            {"destination/properties/ip", "ip"},
            {"event/properties/ingested", "date"},
            {"event/properties/summary", "text"},
        };
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            char path[200];
            snprintf(path, sizeof path, "template/mappings/properties/%s/type", cases[i][0]);
            assert_string_equal(at(json, path), cases[i][1]);
        }
        static const char headers[] = "template/mappings/properties/http/properties/request/properties/headers/type";
        assert_string_equal(at(json, headers), opensearch ? "flat_object" : "flattened");
        assert_string_equal(at(json, "_meta/managed_by"), "loom");
        assert_string_equal(json_string_value(json_array_get(json_object_get(json, "index_patterns"), 0)),
                            "loom-*.*.*");
        assert_true(json_integer_value(json_object_get(json, "priority")) > 100);
        assert_null(json_object_get(json, "data_stream"));
        json_decref(json);
    }
    struct es_name stream = name_of("", "logs-loom.spip-default");
    json_t *json = template_of(&stream, false);
    assert_true(json_is_object(json_object_get(json, "data_stream")));
    json_decref(json);
}

static void names(void **state)
{
    (void)state;
    struct buf out = BUF_EMPTY;
    struct es_name name = name_of("x-%Y.%m", "");
    es_template_name(&name, &out);
    assert_true(text_eq((struct text){out.data, out.len}, TEXT("loom-x-yyyy.mm")));
    buf_fini(&out);
}

// The cluster's answer about a template. Takes it over.
static enum es_template_state compare(const struct es_name *name, json_t *template)
{
    json_t *answer = json_pack("{s:[{s:s,s:o}]}", "index_templates", "name", "x", "index_template", template);
    char *text = json_dumps(answer, 0);
    enum es_template_state state = es_template_compare(name, false, text_of(text));
    free(text);
    json_decref(answer);
    return state;
}

static void own_and_others(void **state)
{
    (void)state;
    struct es_name name = name_of("", "logs-a-b"), other = name_of("", "logs-a-c");
    assert_int_equal(compare(&name, template_of(&name, false)), ES_TEMPLATE_OURS);
    assert_int_equal(compare(&name, template_of(&other, false)), ES_TEMPLATE_OLDER); // of ours, and not this one
    assert_int_equal(compare(&name, template_of(&name, true)), ES_TEMPLATE_OLDER);

    json_t *json = template_of(&other, false);
    json_object_set_new(json_object_get(json, "_meta"), "version", json_integer(ES_TEMPLATE_VERSION + 1));
    assert_int_equal(compare(&name, json), ES_TEMPLATE_NEWER);

    json = template_of(&name, false);
    json_object_set_new(json, "priority", json_integer(501));
    assert_int_equal(compare(&name, json), ES_TEMPLATE_CHANGED);

    json = template_of(&name, false);
    json_object_set_new(json_object_get(json, "_meta"), "managed_by", json_string("me"));
    assert_int_equal(compare(&name, json), ES_TEMPLATE_CHANGED);

    json = template_of(&name, false);
    json_object_del(json, "_meta");
    assert_int_equal(compare(&name, json), ES_TEMPLATE_CHANGED);

    json = template_of(&name, false);
    json_t *properties = json_object_get(json_object_get(json_object_get(json, "template"), "mappings"), "properties");
    json_object_set_new(properties, "mine", json_pack("{s:s}", "type", "keyword"));
    assert_int_equal(compare(&name, json), ES_TEMPLATE_CHANGED);

    json = template_of(&name, false);
    json_object_set_new(json, "composed_of", json_pack("[s]", "mine"));
    assert_int_equal(compare(&name, json), ES_TEMPLATE_CHANGED);
}

// As servers give it back: settings flat or nested, all of them strings, and what they add by themselves.
static void servers_ways(void **state)
{
    (void)state;
    struct es_name name = name_of("", "logs-a-b");
    json_t *json = template_of(&name, false);
    json_object_set_new(json, "data_stream", json_pack("{s:b,s:b}", "hidden", 0, "allow_custom_routing", 0));
    json_object_set_new(json, "composed_of", json_array());
    json_t *inner = json_object_get(json, "template");
    json_object_set_new(inner, "aliases", json_object());
    json_object_set_new(
        inner, "settings",
        json_pack("{s:b,s:s}", "index.mapping.ignore_malformed", 1, "index.mapping.total_fields.limit", "2000"));
    assert_int_equal(compare(&name, json), ES_TEMPLATE_OURS);

    json = template_of(&name, false);
    inner = json_object_get(json, "template");
    json_object_set_new(
        inner, "settings",
        json_pack("{s:{s:s,s:{s:i}}}", "mapping", "ignore_malformed", "true", "total_fields", "limit", 2000));
    assert_int_equal(compare(&name, json), ES_TEMPLATE_OURS);
}

static void no_answer(void **state)
{
    (void)state;
    static const char *const texts[] = {"",      "{}", "[]", "{\"index_templates\":[]}", "{\"index_templates\":[{}]}",
                                        "<html>"};
    struct es_name name = name_of("a", "");
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        assert_int_equal(es_template_compare(&name, false, text_of(texts[i])), ES_TEMPLATE_UNREADABLE);
}

static void flavours(void **state)
{
    (void)state;
    assert_true(
        es_template_is_opensearch(TEXT("{\"version\":{\"distribution\":\"opensearch\",\"number\":\"2.19.3\"}}")));
    assert_false(es_template_is_opensearch(TEXT("{\"version\":{\"number\":\"8.18.0\"}}")));
    assert_false(es_template_is_opensearch(TEXT("{\"version\":{\"distribution\":1}}")));
    assert_false(es_template_is_opensearch(TEXT("{}")));
    assert_false(es_template_is_opensearch(TEXT("")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(types),        cmocka_unit_test(names),     cmocka_unit_test(own_and_others),
        cmocka_unit_test(servers_ways), cmocka_unit_test(no_answer), cmocka_unit_test(flavours),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
