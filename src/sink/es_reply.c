// SPDX-License-Identifier: Apache-2.0
#include "sink/es_reply.h"

#include <errno.h>

#include "base/err.h"
#include "json/member.h"
#include "json/scan.h"

#define WORD_MAX 80

// ---- Verdicts

// Errors whose status would blame the document, and which yet are about the index or the cluster. Where the type alone does
// not tell, the server's own words do that stand before anything that a document could have put there.
static const struct {
    const char *type, *begin;
} troubles[] = {
    {"cluster_block_exception", ""},      // 403; 429 when the disk is nearly full
    {"index_closed_exception", ""},       // 400
    {"index_not_found_exception", ""},    // 404
    {"security_exception", ""},           // 401, 403
    {"validation_exception", ""},         // 400: a new index would be one shard too many for the cluster
    {"invalid_index_name_exception", ""}, // 400
    {"invalid_index_template_exception", ""},
    {"invalid_alias_name_exception", ""},
    {"routing_missing_exception", ""}, // 400: the mapping wants a routing for each document
    {"illegal_argument_exception", "no write index is defined for alias"},
    {"illegal_argument_exception", "pipeline with id ["}, // index.default_pipeline names none
    {"illegal_argument_exception", "Validation Failed: 1: this action would add"},
    {"illegal_argument_exception", "Number of documents in the index can't exceed"}, // 400: a shard is full
};

static bool begins_with(struct text text, const char *begin)
{
    size_t len = strlen(begin);
    return text.len >= len && memcmp(text.at, begin, len) == 0;
}

static bool is_trouble(struct text type, struct text reason)
{
    for (size_t i = 0; i < sizeof troubles / sizeof *troubles; i++)
        if (text_eq(type, text_of(troubles[i].type)) && begins_with(reason, troubles[i].begin))
            return true;
    return false;
}

enum es_class es_reply_class(unsigned status, struct text type, struct text reason)
{
    if (status >= 200 && status < 300)
        return ES_DELIVERED;
    if (status < 400 || status > 599) // no server says so: not a word on the event
        return ES_RETRY;
    if (is_trouble(type, reason) || status == 401 || status == 403 || status == 404)
        return ES_TROUBLE;
    if (status == 409) // `create` of an id that is there already
        return type.len == 0 || text_eq(type, TEXT("version_conflict_engine_exception")) ? ES_DELIVERED : ES_RETRY;
    if (status == 408 || status == 425 || status == 429 || text_eq(type, TEXT("resource_already_exists_exception")))
        return ES_RETRY; // the last: two requests made the same new index
    return status < 500 ? ES_REJECTED : ES_RETRY;
}

bool es_reply_is_word(struct text type)
{
    if (type.len == 0 || type.len > WORD_MAX)
        return false;
    for (size_t i = 0; i < type.len; i++) {
        char c = type.at[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_'))
            return false;
    }
    return true;
}

// ---- Reading

static bool is_string(struct text value)
{
    return value.len >= 2 && value.at[0] == '"';
}

static struct text inside(struct text value) // of a string or an object
{
    return (struct text){value.at + 1, value.len - 2};
}

// The one member of that name: false when it is missing, or there twice, which no server says.
static bool find_one(struct text object, struct text key, struct text *value)
{
    const char *at = object.at + 1, *end = object.at + object.len;
    struct member member;
    unsigned found = 0;
    while (member_next(&at, end, &member)) {
        if (text_eq(member.key, key)) {
            *value = member.value;
            found++;
        }
    }
    return found == 1;
}

static unsigned read_status(struct text value)
{
    if (value.len != 3)
        return 0;
    unsigned status = 0;
    for (size_t i = 0; i < 3; i++) {
        if (value.at[i] < '0' || value.at[i] > '9')
            return 0;
        status = status * 10 + (unsigned)(value.at[i] - '0');
    }
    return status;
}

static void read_error(struct text action, struct es_item *item)
{
    struct text error, value, cause;
    if (!find_one(action, TEXT("error"), &error))
        return;
    if (error.at[0] == '{') {
        if (find_one(error, TEXT("type"), &value) && is_string(value))
            item->type = inside(value);
        if (find_one(error, TEXT("reason"), &value) && is_string(value))
            item->reason = inside(value);
        if (find_one(error, TEXT("caused_by"), &cause) && cause.at[0] == '{' &&
            find_one(cause, TEXT("reason"), &value) && is_string(value))
            item->cause = inside(value);
    } else if (is_string(error)) {
        item->reason = inside(error);
    }
}

// What does not look like an item is not decided by it.
static void read_item(struct text object, struct es_item *item)
{
    const char *at = object.at + 1, *end = object.at + object.len;
    struct member action;
    struct text status;
    *item = (struct es_item){.verdict = ES_RETRY, .type = TEXT(""), .reason = TEXT(""), .cause = TEXT("")};
    if (!member_next(&at, end, &action) || !text_eq(action.key, TEXT("create")) || !member_is_object(&action))
        return;
    if (find_one(action.value, TEXT("status"), &status))
        item->status = read_status(status);
    read_error(action.value, item);
    if (item->status >= 100)
        item->verdict = es_reply_class(item->status, item->type, item->reason);
}

// The reply to a request of which all was created, as a server writes it under the filter_path of es_bulk.c, to the byte: there is
// nothing in it to look for. Nearly all are like this; any other is read.
static bool is_all_created(const struct buf *reply, size_t count)
{
    static const char head[] = "{\"errors\":false,\"items\":[", item[] = "{\"create\":{\"status\":201}},",
                      tail[] = "]}";
    enum { HEAD = sizeof head - 1, ITEM = sizeof item - 1, TAIL = sizeof tail - 1 };
    if (count == 0 || reply->len < HEAD + TAIL || (reply->len - HEAD - TAIL + 1) / ITEM != count ||
        (reply->len - HEAD - TAIL + 1) % ITEM != 0)
        return false;
    size_t items_len = count * ITEM - 1; // no comma after the last
    const char *items = reply->data + HEAD;
    return memcmp(reply->data, head, HEAD) == 0 && memcmp(items, item, ITEM - 1) == 0 &&
           (count == 1 || (items[ITEM - 1] == ',' && memcmp(items, items + ITEM, items_len - ITEM) == 0)) &&
           memcmp(items + items_len, tail, TAIL) == 0;
}

// Puts the reply into brackets, so that the scanner for arrays of objects proves that it is valid JSON and one object: what
// follows may then walk it without looking left and right. A reason that quotes half a character must not spoil the whole
// reply, so for a second try all that is not ASCII is blanked.
static int prove(struct buf *reply, struct text *object)
{
    if (buf_try_reserve(reply, 2) != 0)
        return -ENOMEM;
    memmove(reply->data + 1, reply->data, reply->len);
    reply->data[0] = '[';
    reply->data[reply->len + 1] = ']';
    reply->len += 2;

    struct json_events events = {0};
    struct json_error error;
    int rc = json_scan(reply->data, reply->len, &events, &error);
    if (rc == -EINVAL) {
        for (size_t i = 0; i < reply->len; i++)
            if ((unsigned char)reply->data[i] >= 0x80)
                reply->data[i] = '?';
        rc = json_scan(reply->data, reply->len, &events, &error);
    }
    if (rc == 0 && events.count != 1)
        rc = -EINVAL;
    if (rc == 0)
        *object = (struct text){reply->data + events.at[0].begin, events.at[0].end - events.at[0].begin};
    json_events_fini(&events);
    return rc;
}

int es_reply_read(struct buf *reply, size_t count, struct es_item *items, const char **why)
{
    struct json_events events = {.keep_max = count + 1};
    struct json_error error;
    struct text object, list;

    if (is_all_created(reply, count)) {
        for (size_t i = 0; i < count; i++)
            items[i] = (struct es_item){
                .status = 201, .verdict = ES_DELIVERED, .type = TEXT(""), .reason = TEXT(""), .cause = TEXT("")};
        return 0;
    }
    int rc = prove(reply, &object);
    if (rc != 0) {
        *why = rc == -ENOMEM ? "no memory for the reply" : "the reply is cut or no JSON";
        return rc;
    }
    *why = "the reply has no items";
    if (!find_one(object, TEXT("items"), &list) || list.at[0] != '[')
        return -EINVAL;
    rc = json_scan(list.at, list.len, &events, &error);
    if (rc == 0 && events.count != count) {
        *why = "the reply has not one item for each event";
        rc = -EINVAL;
    }
    for (size_t i = 0; rc == 0 && i < count; i++)
        read_item((struct text){list.at + events.at[i].begin, events.at[i].end - events.at[i].begin}, &items[i]);
    json_events_fini(&events);
    return rc;
}

struct text es_reply_error_type(struct buf *reply)
{
    struct text object, error, type;
    if (prove(reply, &object) == 0 && find_one(object, TEXT("error"), &error) && error.at[0] == '{' &&
        find_one(error, TEXT("type"), &type) && is_string(type) && es_reply_is_word(inside(type)))
        return inside(type);
    return TEXT("");
}
