// SPDX-License-Identifier: Apache-2.0
//
// Any batch, with several additions: each event becomes one line of valid JSON that has all of the additions, and
// undoing what was added or replaced gives the event again, byte for byte but for line breaks.
//
// The undoing is written without the code that it checks: it walks the event and the line side by side. What the line
// has more at an object's end must be additions; a value that differs must be one that the additions have; and the text
// between is taken from the line.

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "json/splice.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define WHOLE                                                                                                          \
    "\"as\":{\"number\":64500,\"organization\":{\"name\":\"Ex \\\"a\\\" mple\"}},"                                     \
    "\"geo\":{\"country_iso_code\":\"NL\",\"city_name\":\"Delft\",\"location\":{\"lat\":52.01,\"lon\":4.36}}"

static const char *const additions[] = {
    WHOLE,
    "\"as\":{\"number\":7}",
    "\"geo\":{\"location\":{\"lat\":-1,\"lon\":0}}",
};

// One member of an object. Spans are from the first to one past the last byte.
struct pair {
    const char *key, *key_end; // without quotes
    const char *value, *value_end;
};

static const char *blanks(const char *at, const char *end)
{
    while (at < end && strchr(" \t\r\n", *at) != NULL)
        at++;
    return at;
}

static const char *skip_string(const char *at)
{
    for (at++; *at != '"'; at++)
        if (*at == '\\')
            at++;
    return at + 1;
}

static const char *skip_value(const char *at, const char *end)
{
    int depth = 0;
    do {
        if (*at == '"') {
            at = skip_string(at);
            continue;
        }
        depth += (*at == '{' || *at == '[') - (*at == '}' || *at == ']');
        at++;
        if (depth == 0 && at[-1] != '}' && at[-1] != ']')
            while (at < end && strchr(",]} \t\r\n", *at) == NULL)
                at++;
    } while (depth > 0);
    return at;
}

// The member at `at` (blanks and a comma before it); false at the end of the object.
static bool next_pair(const char **at, const char *end, struct pair *pair)
{
    const char *p = blanks(*at, end);
    if (p < end && *p == ',')
        p = blanks(p + 1, end);
    if (p == end || *p == '}')
        return false;
    pair->key = p + 1;
    p = skip_string(p);
    pair->key_end = p - 1;
    p = blanks(p, end);
    pair->value = blanks(p + 1, end); // p is at the colon
    *at = pair->value_end = skip_value(pair->value, end);
    return true;
}

// A key as ASCII; other characters become '?', which no name of Loom's has. Cut off beyond any such name.
static void decode(const struct pair *pair, char out[64])
{
    size_t n = 0;
    for (const char *p = pair->key; p < pair->key_end && n < 63; p++) {
        unsigned c = (unsigned char)*p;
        if (c == '\\' && *++p == 'u') {
            char hex[5] = {p[1], p[2], p[3], p[4], 0};
            c = (unsigned)strtoul(hex, NULL, 16);
            p += 4;
        } else if (c == '\\') {
            c = strchr("bfnrt", *p) != NULL ? '?' : (unsigned char)*p;
        }
        out[n++] = c > 0 && c < 0x80 ? (char)c : '?';
    }
    out[n] = '\0';
}

// The value that `members` (an object's inside) have for a dotted path; .at is NULL when they have none.
static struct text find(const char *members, const char *end, const char *path)
{
    struct pair pair;
    while (next_pair(&members, end, &pair)) {
        char key[64];
        decode(&pair, key);
        size_t len = strlen(key);
        if (strcmp(key, path) == 0)
            return (struct text){pair.value, (size_t)(pair.value_end - pair.value)};
        if (strncmp(key, path, len) == 0 && path[len] == '.' && *pair.value == '{') {
            struct text value = find(pair.value + 1, pair.value_end, path + len + 1);
            if (value.at != NULL)
                return value;
        }
    }
    return (struct text){NULL, 0};
}

// How often `members` have a dotted path, in whatever form. What is below location counts: it is one value.
static unsigned count(const char *members, const char *end, const char *path)
{
    unsigned found = 0;
    struct pair pair;
    while (next_pair(&members, end, &pair)) {
        char key[64];
        decode(&pair, key);
        size_t len = strlen(key), path_len = strlen(path);
        if (strcmp(key, path) == 0)
            found++;
        else if (strncmp(key, path, path_len) == 0 && key[path_len] == '.' && strstr(path, "location") != NULL)
            found++;
        else if (strncmp(key, path, len) == 0 && path[len] == '.' && *pair.value == '{')
            found += count(pair.value + 1, pair.value_end, path + len + 1);
    }
    return found;
}

static bool is_break(char c)
{
    return c == '\n' || c == '\r';
}

static void strip(struct buf *out, const char *at, const char *end)
{
    for (; at < end; at++)
        if (!is_break(*at))
            buf_char(out, *at);
}

static bool same_but_breaks(const char *a, const char *a_end, const char *b, const char *b_end)
{
    for (; a < a_end; a++) {
        if (is_break(*a))
            continue;
        if (b == b_end || *a != *b++)
            return false;
    }
    return b == b_end;
}

struct undo {
    struct text additions;
    struct buf out;
    size_t changes;
};

static void expect_addition(struct undo *undo, const char *path, const char *value, const char *value_end)
{
    INVARIANT(strncmp(path, "source.", 7) == 0);
    struct text text = find(undo->additions.at, undo->additions.at + undo->additions.len, path + 7);
    INVARIANT(text.at != NULL);
    INVARIANT(text_eq(text, (struct text){value, (size_t)(value_end - value)}));
    undo->changes++;
}

static bool is_container(const char *path)
{
    return strcmp(path, "source") == 0 || strcmp(path, "source.as") == 0 || strcmp(path, "source.geo") == 0 ||
           strcmp(path, "source.as.organization") == 0;
}

// `event` and `line` are at the { of the same object, before and after; `path` is its dotted path.
static void undo_object(struct undo *undo, const char *event, const char *event_end, const char *line,
                        const char *line_end, const char *path)
{
    const char *copied = line++;
    struct pair before, after;
    event++;
    while (next_pair(&event, event_end, &before)) {
        char key[64], inner[130];
        INVARIANT(next_pair(&line, line_end, &after));
        decode(&before, key);
        snprintf(inner, sizeof inner, "%s%s%s", path, *path != '\0' ? "." : "", key);
        INVARIANT(same_but_breaks(before.key, before.key_end, after.key, after.key_end));
        buf_append(&undo->out, copied, (size_t)(after.value - copied));
        copied = after.value_end;
        if (same_but_breaks(before.value, before.value_end, after.value, after.value_end)) {
            buf_append(&undo->out, after.value, (size_t)(after.value_end - after.value));
        } else if (is_container(inner) && *before.value == '{' && *after.value == '{') {
            undo_object(undo, before.value, before.value_end, after.value, after.value_end, inner);
        } else {
            expect_addition(undo, inner, after.value, after.value_end);
            strip(&undo->out, before.value, before.value_end);
        }
    }
    const char *added = blanks(line, line_end); // blanks before what was added are the event's own
    buf_append(&undo->out, copied, (size_t)(added - copied));
    while (next_pair(&line, line_end, &after)) {
        char key[64], inner[130];
        decode(&after, key);
        snprintf(inner, sizeof inner, "%s%s%s", path, *path != '\0' ? "." : "", key);
        expect_addition(undo, inner, after.value, after.value_end);
        added = line;
    }
    buf_append(&undo->out, added, (size_t)(line_end - added));
}

// All additions are there, each once and in one form.
static void expect_all_present(struct text members, const char *path, const char *line, const char *line_end)
{
    const char *at = members.at;
    struct pair pair;
    while (next_pair(&at, members.at + members.len, &pair)) {
        char key[64], inner[130];
        decode(&pair, key);
        snprintf(inner, sizeof inner, "%s.%s", path, key);
        struct text value = {pair.value, (size_t)(pair.value_end - pair.value)};
        if (*pair.value == '{' && strcmp(key, "location") != 0) {
            expect_all_present((struct text){pair.value + 1, value.len - 2}, inner, line, line_end);
            continue;
        }
        INVARIANT(text_eq(find(line + 1, line_end, inner), value));
        INVARIANT(count(line + 1, line_end, inner) == 1);
    }
}

static void expect_one_line(const struct buf *line)
{
    struct buf body = BUF_EMPTY;
    struct json_events events = {0};
    struct json_error error;
    INVARIANT(line->len > 1 && line->data[line->len - 1] == '\n');
    for (size_t i = 0; i + 1 < line->len; i++)
        INVARIANT(!is_break(line->data[i]));
    buf_char(&body, '[');
    buf_append(&body, line->data, line->len - 1);
    buf_char(&body, ']');
    INVARIANT(json_scan(body.data, body.len, &events, &error) == 0 && events.count == 1);
    json_events_fini(&events);
    buf_fini(&body);
}

static void check_event(const char *body, const struct json_event *event, struct text add)
{
    struct buf line = BUF_EMPTY;
    struct json_place place;
    enum json_pass pass = json_locate(body, event, &place);
    int rc = pass == JSON_PASS_OK ? json_splice(body, &place, add, &line) : json_copy(body, event, &line);
    INVARIANT(rc == 0);
    expect_one_line(&line);

    const char *line_end = line.data + line.len - 1;
    struct undo undo = {.additions = add, .out = BUF_EMPTY};
    undo_object(&undo, body + event->begin, body + event->end, line.data, line_end, "");
    INVARIANT(same_but_breaks(body + event->begin, body + event->end, undo.out.data, undo.out.data + undo.out.len));
    INVARIANT(pass == JSON_PASS_OK || undo.changes == 0);
    if (pass == JSON_PASS_OK)
        expect_all_present(add, "source", line.data, line_end);
    buf_fini(&undo.out);
    buf_fini(&line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *body = (const char *)data;
    struct json_events events = {0};
    struct json_error error;
    if (json_scan(body, size, &events, &error) == 0)
        for (size_t i = 0; i < events.count; i++)
            for (size_t k = 0; k < sizeof additions / sizeof *additions; k++)
                check_event(body, &events.at[i], text_of(additions[k]));
    json_events_fini(&events);
    return 0;
}
