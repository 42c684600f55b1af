// SPDX-License-Identifier: Apache-2.0
//
// The exact parser: one byte after the other, one error at the first byte that is wrong. It is slow beside the kernels
// and runs only over a body that a kernel has refused, to say why; and in the tests, as what the kernels must equal.
//
// The grammar is a loop over tokens with a stack of the open containers, so depth costs no C stack. What is noted of an
// event stands apart from the grammar, in `struct watch`.

#include <errno.h>

#include "base/utf8.h"
#include "json/kernel.h"
#include "json/lex.h"

// What has been seen of the event that is being read. The rules are those of scan.h; kernel.inc has them as masks.
struct watch {
    struct json_event event;
    bool source_seen;
    bool source_next; // the next value is that of "source"
    bool in_source;
    bool ip_seen;
    bool ip_next; // the next value is that of "ip" in source
    size_t key_end;
};

struct exact {
    const uint8_t *body;
    const uint8_t *at;
    const uint8_t *end;
    struct json_events *events;
    struct json_error *error;
    struct watch watch;
    unsigned depth;
    bool is_object[JSON_DEPTH_MAX + 1]; // by depth; 1 is the outer array
};

static int fail(struct exact *x, const uint8_t *at, const char *reason)
{
    *x->error = (struct json_error){
        .reason = reason,
        .offset = (size_t)(at - x->body),
        .index = x->depth >= 2 ? (int64_t)x->events->count : -1,
    };
    return -EINVAL;
}

static int fail_here(struct exact *x, const char *reason)
{
    return fail(x, x->at, x->at == x->end ? "unexpected end" : reason);
}

static uint32_t offset_of(const struct exact *x, const uint8_t *at)
{
    return (uint32_t)(at - x->body);
}

static void skip_white(struct exact *x)
{
    for (; x->at < x->end && lex_is_white(*x->at); x->at++)
        if (*x->at == '\n' || *x->at == '\r')
            x->watch.event.flags |= JSON_EVENT_NEWLINE;
}

static int read_escape(struct exact *x)
{
    x->at++;
    if (x->at == x->end || !lex_is_escape(*x->at))
        return fail_here(x, "invalid escape in a string");
    if (*x->at++ != 'u')
        return 0;
    for (int i = 0; i < 4; i++, x->at++)
        if (x->at == x->end || lex_hex(*x->at) < 0)
            return fail_here(x, "invalid \\u escape in a string");
    return 0;
}

// Moves over a string; *escaped tells whether it holds a backslash.
static int read_string(struct exact *x, bool *escaped)
{
    *escaped = false;
    x->at++;
    for (;;) {
        if (x->at == x->end)
            return fail_here(x, NULL);
        uint8_t c = *x->at;
        if (c == '"')
            break;
        if (c < 0x20)
            return fail_here(x, "control character in a string");
        size_t step = 1;
        if (c == '\\') {
            *escaped = true;
            int rc = read_escape(x);
            if (rc != 0)
                return rc;
            continue;
        }
        if (c >= 0x80) {
            step = utf8_len(x->at, x->end);
            if (step == 0)
                return fail_here(x, "invalid UTF-8");
        }
        x->at += step;
    }
    x->at++;
    return 0;
}

static bool starts_with(const uint8_t *at, size_t len, const char *word, bool *whole)
{
    size_t n = strlen(word);
    if (len < n || memcmp(at, word, n) != 0 || (len > n && at[n] != '.'))
        return false;
    *whole = len == n;
    return true;
}

// A key at event level or in source, from its quote to one past its closing quote.
static void watch_key(struct exact *x, const uint8_t *begin, bool escaped)
{
    struct watch *w = &x->watch;
    size_t len = (size_t)(x->at - begin) - 2;
    bool whole;
    w->key_end = offset_of(x, x->at);
    if (escaped)
        w->event.flags |= JSON_EVENT_UNUSUAL;
    if (x->depth == 2 && starts_with(begin + 1, len, "source", &whole)) {
        if (!whole || w->source_seen)
            w->event.flags |= JSON_EVENT_UNUSUAL;
        w->source_seen = w->source_next = true;
    } else if (x->depth == 3 && w->in_source) {
        if (starts_with(begin + 1, len, "as", &whole) || starts_with(begin + 1, len, "geo", &whole)) {
            w->event.flags |= JSON_EVENT_UNUSUAL;
        } else if (starts_with(begin + 1, len, "ip", &whole) && whole) {
            if (w->ip_seen)
                w->event.flags |= JSON_EVENT_UNUSUAL;
            w->ip_seen = w->ip_next = true;
        }
    }
}

// The value of the key before it is about to be read.
static void watch_value(struct exact *x)
{
    struct watch *w = &x->watch;
    uint8_t c = *x->at;
    if (x->depth == 1 && c == '{')
        *w = (struct watch){.event.begin = offset_of(x, x->at)};
    else if (x->depth == 2 && w->source_next && c == '{')
        w->in_source = true;
    else if (x->depth == 2 && w->source_next)
        w->event.flags |= JSON_EVENT_UNUSUAL;
    if (x->depth == 3 && w->ip_next && (c != '"' || offset_of(x, x->at) - w->key_end > JSON_KEY_GAP_MAX))
        w->event.flags |= JSON_EVENT_UNUSUAL;
    w->source_next = false;
}

static void watch_address(struct exact *x, const uint8_t *begin, bool escaped)
{
    struct json_event *event = &x->watch.event;
    event->ip_begin = offset_of(x, begin + 1);
    event->ip_end = offset_of(x, x->at - 1);
    if (escaped || event->ip_end - event->ip_begin > JSON_ADDRESS_LEN_MAX)
        event->flags |= JSON_EVENT_UNUSUAL;
}

// A container has been closed; x->depth is what is around it.
static int watch_close(struct exact *x)
{
    struct watch *w = &x->watch;
    if (x->depth == 2 && w->in_source) {
        w->event.source_end = offset_of(x, x->at - 1);
        w->in_source = false;
    }
    if (x->depth != 1)
        return 0;
    w->event.end = offset_of(x, x->at);
    if (w->event.flags & JSON_EVENT_UNUSUAL)
        w->event.ip_begin = w->event.ip_end = w->event.source_end = 0;
    return json_events_add(x->events, &w->event);
}

static int read_scalar(struct exact *x)
{
    uint8_t c = *x->at;
    if (c == '"') {
        const uint8_t *begin = x->at;
        bool escaped;
        int rc = read_string(x, &escaped);
        if (rc == 0 && x->depth == 3 && x->watch.ip_next)
            watch_address(x, begin, escaped);
        return rc;
    }
    if (c == '-' || lex_is_digit(c))
        return lex_number(&x->at, x->end) ? 0 : fail_here(x, "invalid number");
    if (c == 't' || c == 'f' || c == 'n')
        return lex_literal(&x->at, x->end) ? 0 : fail_here(x, "invalid literal");
    return fail_here(x, "value expected");
}

// The key, the colon and the blanks after it.
static int read_key(struct exact *x)
{
    const uint8_t *begin = x->at;
    bool escaped;
    if (x->at == x->end || *x->at != '"')
        return fail_here(x, "key expected");
    int rc = read_string(x, &escaped);
    if (rc != 0)
        return rc;
    watch_key(x, begin, escaped);
    skip_white(x);
    if (x->at == x->end || *x->at != ':')
        return fail_here(x, "colon expected");
    x->at++;
    skip_white(x);
    return 0;
}

// Moves over what closes containers and over the comma after a value, up to the next value. With depth 0: the end.
static int read_separators(struct exact *x)
{
    for (;;) {
        skip_white(x);
        bool is_object = x->is_object[x->depth];
        if (x->at == x->end || (*x->at != ',' && *x->at != (is_object ? '}' : ']')))
            return fail_here(x, is_object ? "comma or } expected" : "comma or ] expected");
        if (*x->at++ == ',') {
            skip_white(x);
            return is_object ? read_key(x) : 0;
        }
        x->depth--;
        int rc = watch_close(x);
        if (rc != 0 || x->depth == 0)
            return rc;
    }
}

// Enters a container and moves to its first value. *empty: it has none, x->at is what closes it.
static int read_open(struct exact *x, bool *empty)
{
    bool is_object = *x->at == '{';
    if (x->depth == JSON_DEPTH_MAX)
        return fail_here(x, "nested too deeply");
    x->is_object[++x->depth] = is_object;
    x->at++;
    skip_white(x);
    *empty = x->at < x->end && *x->at == (is_object ? '}' : ']');
    return *empty || !is_object ? 0 : read_key(x);
}

static bool starts_value(uint8_t c)
{
    return c == '[' || c == '"' || c == '-' || lex_is_digit(c) || c == 't' || c == 'f' || c == 'n';
}

static int read_value(struct exact *x)
{
    bool empty = false;
    int rc = 0;
    if (x->at == x->end)
        return fail_here(x, NULL);
    if (x->depth == 1 && *x->at != '{' && starts_value(*x->at)) {
        rc = fail(x, x->at, "element is no object");
        x->error->index = (int64_t)x->events->count;
        return rc;
    }
    watch_value(x);
    if (*x->at == '{' || *x->at == '[') {
        rc = read_open(x, &empty);
        if (rc != 0 || !empty)
            return rc;
    } else {
        rc = read_scalar(x);
    }
    x->watch.ip_next = false;
    return rc != 0 ? rc : read_separators(x);
}

int json_exact(const uint8_t *body, size_t len, struct json_events *events, struct json_error *error)
{
    struct exact x = {.body = body, .at = body, .end = body + len, .events = events, .error = error};
    int rc = 0;

    if (len >= 3 && memcmp(body, "\xef\xbb\xbf", 3) == 0)
        return fail_here(&x, "byte order mark before the array");
    skip_white(&x);
    if (x.at == x.end)
        return fail(&x, x.at, "empty body");
    if (*x.at != '[')
        return fail_here(&x, "not an array");
    do
        rc = read_value(&x);
    while (rc == 0 && x.depth > 0);
    if (rc != 0)
        return rc;
    skip_white(&x);
    return x.at == x.end ? 0 : fail_here(&x, "text after the array");
}
