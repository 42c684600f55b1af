// SPDX-License-Identifier: Apache-2.0
//
// json_splice and json_copy: from an event in the body to its line in the output. The common case is three copies into
// space that was reserved once. An event with `as` or `geo` of its own is walked beside the additions, and what lies
// between the values that are replaced is copied as it is.

#include "json/splice.h"

#include <errno.h>
#include <stdint.h>

#include "base/mem.h"
#include "json/member.h"

// Bounds of what the renderer makes: members in one object of the additions, values in all, a value's dotted path.
#define ADDITIONS_MAX 32
#define PATH_MAX_LEN  96

// A copy in the making: where it goes, and up to where the event has been copied.
struct copy {
    struct buf *out;
    const char *from;
    bool strip; // line breaks
};

static int append(struct copy *copy, const char *at, size_t len)
{
    return buf_try_append(copy->out, at, len);
}

// Copies the event up to `to`. A raw line break can only stand between tokens, since the event is valid JSON.
static int copy_to(struct copy *copy, const char *to)
{
    const char *from = copy->from;
    size_t len = (size_t)(to - from);
    copy->from = to;
    if (!copy->strip)
        return append(copy, from, len);
    int rc = buf_try_reserve(copy->out, len);
    if (rc != 0)
        return rc;
    char *write = copy->out->data + copy->out->len;
    for (; from < to; from++)
        if (*from != '\n' && *from != '\r')
            *write++ = *from;
    copy->out->len = (size_t)(write - copy->out->data);
    return 0;
}

static int copy_start(struct copy *copy, const char *body, const struct json_event *event, struct buf *out)
{
    *copy = (struct copy){out, body + event->begin, (event->flags & JSON_EVENT_NEWLINE) != 0};
    return buf_try_reserve(out, event->end - event->begin + 1);
}

// Writes `value` instead of what stands in the event at `old`.
static int replace(struct copy *copy, struct text old, struct text value)
{
    int rc = copy_to(copy, old.at);
    copy->from = old.at + old.len;
    return rc != 0 ? rc : append(copy, value.at, value.len);
}

static bool key_is(const struct member *member, struct text name)
{
    char decoded[PATH_MAX_LEN];
    bool fits;
    size_t len = member_unescape(member->key, decoded, sizeof decoded, &fits);
    return fits && text_eq((struct text){decoded, len}, name);
}

// as, organization and geo are merged member by member, every other value is one.
static bool is_merged(const struct member *addition)
{
    return member_is_object(addition) && !text_eq(addition->key, TEXT("location"));
}

static int merge_object(struct copy *copy, struct text object, struct text additions);

// A member that the event has and that may be among the additions; *used gets the bit of the one that was taken.
static int merge_member(struct copy *copy, const struct member *member, struct text additions, uint32_t *used)
{
    const char *at = additions.at, *end = additions.at + additions.len;
    struct member addition;
    for (unsigned i = 0; member_next(&at, end, &addition); i++) {
        if (!key_is(member, addition.key))
            continue;
        INVARIANT(i < ADDITIONS_MAX);
        *used |= UINT32_C(1) << i;
        if (!is_merged(&addition) || !member_is_object(member))
            return replace(copy, member->value, addition.value);
        return merge_object(copy, member->value, (struct text){addition.value.at + 1, addition.value.len - 2});
    }
    return 0;
}

// Merges additions into an object of the event: its own members keep their places, new ones go before its brace.
static int merge_object(struct copy *copy, struct text object, struct text additions)
{
    const char *at = object.at + 1, *end = object.at + object.len;
    struct member member;
    bool empty = true;
    uint32_t used = 0;
    int rc = 0;
    for (; rc == 0 && member_next(&at, end, &member); empty = false)
        rc = merge_member(copy, &member, additions, &used);
    if (rc == 0)
        rc = copy_to(copy, end - 1);

    at = additions.at;
    for (unsigned i = 0; rc == 0 && member_next(&at, additions.at + additions.len, &member); i++) {
        if (used & UINT32_C(1) << i)
            continue;
        const char *from = member.key.at - 1;
        if (!empty)
            rc = append(copy, ",", 1);
        if (rc == 0)
            rc = append(copy, from, (size_t)(at - from));
        empty = false;
    }
    return rc;
}

static int splice_nested(struct copy *copy, const struct json_event *event, const char *body, struct text additions)
{
    const char *at = body + event->begin + 1;
    struct member member;
    while (member_next(&at, body + event->end, &member))
        if (key_is(&member, TEXT("source")))
            return merge_object(copy, member.value, additions);
    return 0;
}

// A value of the additions with its dotted path.
struct leaf {
    char path[PATH_MAX_LEN];
    size_t path_len;
    struct text value;
    bool used;
};

struct leaves {
    struct leaf at[ADDITIONS_MAX];
    size_t count;
};

static void flatten(struct leaves *leaves, struct text prefix, struct text additions)
{
    const char *at = additions.at, *end = additions.at + additions.len;
    struct member member;
    while (member_next(&at, end, &member)) {
        INVARIANT(leaves->count < ADDITIONS_MAX && prefix.len + 1 + member.key.len <= PATH_MAX_LEN);
        struct leaf *leaf = &leaves->at[leaves->count];
        memcpy(leaf->path, prefix.at, prefix.len);
        leaf->path[prefix.len] = '.';
        memcpy(leaf->path + prefix.len + 1, member.key.at, member.key.len);
        leaf->path_len = prefix.len + 1 + member.key.len;
        leaf->value = member.value;
        leaf->used = false;
        if (is_merged(&member)) { // not a value: its members take the place that was prepared
            char path[PATH_MAX_LEN];
            struct text inner = {path, leaf->path_len};
            memcpy(path, leaf->path, leaf->path_len);
            flatten(leaves, inner, (struct text){member.value.at + 1, member.value.len - 2});
        } else {
            leaves->count++;
        }
    }
}

static int splice_dotted(struct copy *copy, const struct json_event *event, const char *body, struct text additions)
{
    struct leaves leaves;
    leaves.count = 0;
    flatten(&leaves, TEXT("source"), additions);

    const char *at = body + event->begin + 1, *end = body + event->end;
    struct member member;
    int rc = 0;
    while (rc == 0 && member_next(&at, end, &member)) {
        for (size_t i = 0; i < leaves.count; i++) {
            struct leaf *leaf = &leaves.at[i];
            if (leaf->used || !key_is(&member, (struct text){leaf->path, leaf->path_len}))
                continue;
            leaf->used = true;
            rc = replace(copy, member.value, leaf->value);
            break;
        }
    }
    if (rc == 0)
        rc = copy_to(copy, end - 1);
    for (size_t i = 0; rc == 0 && i < leaves.count; i++) {
        const struct leaf *leaf = &leaves.at[i];
        if (leaf->used)
            continue;
        rc = buf_try_reserve(copy->out, leaf->path_len + leaf->value.len + 4);
        if (rc != 0)
            break;
        buf_append(copy->out, ",\"", 2); // an event has a member: its address
        buf_append(copy->out, leaf->path, leaf->path_len);
        buf_append(copy->out, "\":", 2);
        buf_text(copy->out, leaf->value);
    }
    return rc;
}

static int splice_walked(const char *body, const struct json_place *place, struct text additions, struct buf *out)
{
    const struct json_event *event = place->event;
    size_t len = out->len;
    struct copy copy;
    int rc = copy_start(&copy, body, event, out);
    if (rc == 0 && place->dotted)
        rc = splice_dotted(&copy, event, body, additions);
    else if (rc == 0)
        rc = splice_nested(&copy, event, body, additions);
    if (rc == 0)
        rc = copy_to(&copy, body + event->end);
    if (rc == 0)
        rc = append(&copy, "\n", 1);
    if (rc != 0)
        out->len = len;
    return rc;
}

int json_splice(const char *body, const struct json_place *place, struct text additions, struct buf *out)
{
    const struct json_event *event = place->event;
    if (additions.len == 0)
        return json_copy(body, event, out);
    if (place->merge || place->dotted || (event->flags & JSON_EVENT_NEWLINE))
        return splice_walked(body, place, additions, out);

    size_t head = place->insert - event->begin;
    size_t tail = event->end - place->insert;
    int rc = buf_try_reserve(out, head + 1 + additions.len + tail + 1);
    if (rc != 0)
        return rc;
    char *write = out->data + out->len;
    memcpy(write, body + event->begin, head);
    write += head;
    *write++ = ','; // the object has a member: its address
    memcpy(write, additions.at, additions.len);
    write += additions.len;
    memcpy(write, body + place->insert, tail);
    write[tail] = '\n';
    out->len += head + 1 + additions.len + tail + 1;
    return 0;
}

int json_copy(const char *body, const struct json_event *event, struct buf *out)
{
    struct copy copy;
    size_t len = out->len;
    int rc = copy_start(&copy, body, event, out);
    if (rc == 0)
        rc = copy_to(&copy, body + event->end);
    if (rc == 0)
        rc = append(&copy, "\n", 1);
    if (rc != 0)
        out->len = len;
    return rc;
}
