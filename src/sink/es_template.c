// SPDX-License-Identifier: Apache-2.0
#include "sink/es_template.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/hash.h"
#include "base/mem.h"

// Why it is as it is:
// - Nothing in an event may make the cluster refuse it: what is no address or no number is left out of the index
//   (ignore_malformed) and stays in the document. A keyword holds at most 32766 bytes, so longer ones are left out too
//   (ignore_above counts characters, of up to four bytes). OpenSearch's flat_object can't do so: there a header of more than
//   32766 bytes goes to the dead letters.
// - Attackers choose the names of headers; as fields of their own these would exhaust the index's limit of fields.
// - A data stream takes no event whose @timestamp is none, so there ignore_malformed is off; elsewhere such an event would be lost
//   to every search by time.
// - A text that looks like a date is none (date_detection): the first event would decide for all that follow.
// - The payload is looked for by its words (event.summary); its hexadecimal form is kept, but not indexed.
static const char settings_json[] = "{'index':{'mapping':{'ignore_malformed':'true','total_fields':{'limit':'2000'}}}}";

#define KEYWORD   "{'type':'keyword','ignore_above':1024}"
#define NAMED     "{'type':'keyword','ignore_above':1024,'fields':{'text':{'type':'text'}}}"
#define SEARCHED  "{'type':'text','fields':{'keyword':" KEYWORD "}}"
#define FLATTENED "~" // the type of maps with free keys, see load
#define GEO                                                                                                            \
    "{'properties':{'location':{'type':'geo_point'},'city_name':" KEYWORD ",'continent_code':" KEYWORD                 \
    ",'continent_name':" KEYWORD ",'country_iso_code':" KEYWORD ",'country_name':" KEYWORD ",'postal_code':" KEYWORD   \
    ",'region_iso_code':" KEYWORD ",'region_name':" KEYWORD ",'timezone':" KEYWORD "}}"
#define AS "{'properties':{'number':{'type':'long'},'organization':{'properties':{'name':" NAMED "}}}}"
#define SIDE                                                                                                           \
    "{'properties':{'address':" KEYWORD ",'domain':" KEYWORD ",'ip':{'type':'ip'},'port':{'type':'long'},"             \
    "'bytes':{'type':'long'},'packets':{'type':'long'},'as':" AS ",'geo':" GEO "}}"
#define MESSAGE                                                                                                        \
    "{'properties':{'headers':" FLATTENED ",'bytes':{'type':'long'},"                                                  \
    "'body':{'properties':{'content':" SEARCHED ",'bytes':{'type':'long'}}}}}"
#define DYNAMIC(name, path, kind, mapping)                                                                             \
    "{'" name "':{'path_match':'" path "','match_mapping_type':'" kind "','mapping':" mapping "}}"
#define OBJECT(members) "{'properties':{" members "}}"

// Single quotes stand for double ones, ~ for the type that each kind of server has for free keys. clang-format would tear the macros apart.
// clang-format off
static const char mappings_json[] =
    "{'date_detection':false,'dynamic_templates':["
    DYNAMIC("ip", "ip", "string", "{'type':'ip'}") ","
    DYNAMIC("any_ip", "*.ip", "string", "{'type':'ip'}") ","
    DYNAMIC("resolved_ip", "*.resolved_ip", "string", "{'type':'ip'}") ","
    DYNAMIC("port", "*.port", "string", "{'type':'long'}") ","
    DYNAMIC("as_number", "*.as.number", "string", "{'type':'long'}") ","
    DYNAMIC("bytes", "*.bytes", "string", "{'type':'long'}") ","
    DYNAMIC("packets", "*.packets", "string", "{'type':'long'}") ","
    DYNAMIC("geo_location", "*.geo.location", "object", "{'type':'geo_point'}") ","
    DYNAMIC("not_before", "*.not_before", "string", "{'type':'date'}") ","
    DYNAMIC("not_after", "*.not_after", "string", "{'type':'date'}") ","
    DYNAMIC("headers", "*.headers", "object", FLATTENED) ","
    DYNAMIC("body", "*.body.content", "string", SEARCHED) ","
    DYNAMIC("strings", "*", "string", KEYWORD)
    "],'properties':{"
    "'@timestamp':{'type':'date','ignore_malformed':false},"
    "'message':" SEARCHED ","
    "'labels':" FLATTENED ","
    "'event':" OBJECT(
        "'created':{'type':'date'},'start':{'type':'date'},'end':{'type':'date'},'ingested':{'type':'date'},"
        "'summary':" SEARCHED ","
        "'original':{'type':'keyword','index':false,'doc_values':false},"
        "'original_payload_hex':{'type':'keyword','index':false,'doc_values':false}") ","
    "'source':" SIDE ","
    "'destination':" SIDE ","
    "'client':" SIDE ","
    "'server':" SIDE ","
    "'http':" OBJECT("'request':" MESSAGE ",'response':" MESSAGE) ","
    "'user_agent':" OBJECT("'original':" NAMED)
    "}}";
// clang-format on

// A constant of this file.
static json_t *load(const char *constant, bool opensearch)
{
    struct buf text = BUF_EMPTY;
    for (const char *at = constant; *at != '\0'; at++) {
        if (*at == '~') // flat_object takes no parameters
            buf_str(&text,
                    opensearch ? "{\"type\":\"flat_object\"}" : "{\"type\":\"flattened\",\"ignore_above\":8191}");
        else
            buf_char(&text, *at == '\'' ? '"' : *at);
    }
    json_t *json = json_loadb(text.data, text.len, JSON_REJECT_DUPLICATES, NULL);
    INVARIANT(json != NULL);
    buf_fini(&text);
    return json;
}

// ---- What makes a template this one and no other

// Index settings come back with every value as a string and with or without "index." before them, nested or flat: all ways
// become "index.mapping.x": "value".
static void flatten(json_t *out, const char *prefix, json_t *value)
{
    char key[512], number[64];
    const char *name;
    json_t *member;
    if (json_is_object(value)) {
        json_object_foreach(value, name, member)
        {
            snprintf(key, sizeof key, "%s%s%s", prefix, prefix[0] != '\0' ? "." : "", name);
            flatten(out, key, member);
        }
        return;
    }
    bool whole = strncmp(prefix, "index.", 6) == 0;
    snprintf(key, sizeof key, "%s%s", whole ? "" : "index.", prefix);
    if (json_is_integer(value))
        snprintf(number, sizeof number, "%lld", (long long)json_integer_value(value));
    else if (json_is_boolean(value))
        snprintf(number, sizeof number, "%s", json_is_true(value) ? "true" : "false");
    else {
        json_object_set(out, key, value);
        return;
    }
    json_object_set_new(out, key, json_string(number));
}

static json_t *pick(json_t *object, const char *key)
{
    return json_object_get(object, key); // NULL of NULL
}

static bool is_nothing(json_t *value)
{
    return value == NULL || json_is_null(value) || (json_is_object(value) && json_object_size(value) == 0) ||
           (json_is_array(value) && json_array_size(value) == 0);
}

// The parts that an operator may have changed, sorted and without blanks, and their hash. What a server adds by itself
// (data_stream's defaults) is left out; _meta, which holds the hash, too.
static void content_hash(json_t *template, char out[33])
{
    json_t *content = json_object(), *settings = json_object();
    json_t *inner = pick(template, "template");
    if (pick(inner, "settings") != NULL)
        flatten(settings, "", pick(inner, "settings"));
    json_object_set(content, "index_patterns", pick(template, "index_patterns"));
    json_object_set(content, "priority", pick(template, "priority"));
    json_object_set(content, "mappings", pick(inner, "mappings"));
    json_object_set_new(content, "settings", settings);
    json_object_set_new(content, "data_stream", json_boolean(pick(template, "data_stream") != NULL));
    static const char *const others[] = {"composed_of", "ignore_missing_component_templates", "allow_auto_create"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (!is_nothing(pick(template, others[i])))
            json_object_set(content, others[i], pick(template, others[i]));
    static const char *const inners[] = {"aliases", "lifecycle", "data_stream_options"};
    for (size_t i = 0; i < sizeof inners / sizeof *inners; i++)
        if (!is_nothing(pick(inner, inners[i])))
            json_object_set(content, inners[i], pick(inner, inners[i]));

    char *text = json_dumps(content, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY);
    INVARIANT(text != NULL);
    struct hash128 hash = hash128(text, strlen(text), 0);
    snprintf(out, 33, "%016llx%016llx", (unsigned long long)hash.high, (unsigned long long)hash.low);
    free(text); // jansson's own
    json_decref(content);
}

static json_t *make(const struct es_name *name, bool opensearch)
{
    struct buf pattern = BUF_EMPTY;
    es_name_pattern(name, &pattern);
    json_t *template = json_object(), *inner = json_object(), *patterns = json_array(), *meta = json_object();

    json_array_append_new(patterns, json_stringn(pattern.data, pattern.len));
    json_object_set_new(template, "index_patterns", patterns);
    // Over 100, where the templates are that an Elasticsearch brings with it (logs-*-*).
    json_object_set_new(template, "priority", json_integer(500));
    if (name->data_stream)
        json_object_set_new(template, "data_stream", json_object());
    json_object_set_new(inner, "settings", load(settings_json, opensearch));
    json_object_set_new(inner, "mappings", load(mappings_json, opensearch));
    json_object_set_new(template, "template", inner);

    char hash[33];
    content_hash(template, hash);
    json_object_set_new(meta, "managed_by", json_string("loom"));
    json_object_set_new(meta, "version", json_integer(ES_TEMPLATE_VERSION));
    json_object_set_new(meta, "hash", json_string(hash));
    json_object_set_new(template, "_meta", meta);
    buf_fini(&pattern);
    return template;
}

// ---- For the sink and for `loom template`

void es_template_name(const struct es_name *name, struct buf *out)
{
    buf_str(out, "loom-");
    es_name_label(name, out);
}

void es_template_print(const struct es_name *name, bool opensearch, struct buf *out)
{
    json_t *template = make(name, opensearch);
    char *text = json_dumps(template, JSON_INDENT(2));
    INVARIANT(text != NULL);
    buf_str(out, text);
    buf_char(out, '\n');
    free(text);
    json_decref(template);
}

static const char *string_at(json_t *object, const char *key)
{
    const char *text = json_string_value(pick(object, key));
    return text != NULL ? text : "";
}

enum es_template_state es_template_compare(const struct es_name *name, bool opensearch, struct text answer)
{
    json_t *root = json_loadb(answer.at, answer.len, 0, NULL);
    json_t *theirs = pick(json_array_get(pick(root, "index_templates"), 0), "index_template");
    json_t *meta = pick(theirs, "_meta");
    enum es_template_state state = ES_TEMPLATE_CHANGED;
    char their_hash[33], our_hash[33];
    if (!json_is_object(theirs)) {
        state = ES_TEMPLATE_UNREADABLE;
        goto out;
    }
    content_hash(theirs, their_hash);
    if (strcmp(string_at(meta, "managed_by"), "loom") != 0 || strcmp(string_at(meta, "hash"), their_hash) != 0)
        goto out;
    json_t *ours = make(name, opensearch);
    snprintf(our_hash, sizeof our_hash, "%s", string_at(pick(ours, "_meta"), "hash"));
    json_decref(ours);
    if (strcmp(our_hash, their_hash) == 0)
        state = ES_TEMPLATE_OURS;
    else if (json_integer_value(pick(meta, "version")) > ES_TEMPLATE_VERSION)
        state = ES_TEMPLATE_NEWER;
    else
        state = ES_TEMPLATE_OLDER;
out:
    json_decref(root);
    return state;
}

bool es_template_is_opensearch(struct text answer)
{
    json_t *root = json_loadb(answer.at, answer.len, 0, NULL);
    bool opensearch = strcmp(string_at(pick(root, "version"), "distribution"), "opensearch") == 0;
    json_decref(root);
    return opensearch;
}
