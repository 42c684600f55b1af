// SPDX-License-Identifier: Apache-2.0

#include "http/h1.h"

#include "base/mem.h"

static size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

static void refuse(struct h1 *h1, unsigned status, const char *reason)
{
    h1->state = H1_REFUSED;
    h1->refusal = (struct h1_refusal){status, reason};
}

// ---- what the parser reports ----

static void take_once(struct h1 *h1, struct text *slot, unsigned bit, struct text value)
{
    if ((h1->seen & bit) != 0)
        h1->request->repeated |= bit;
    else
        *slot = value;
    h1->seen |= bit;
}

// Connection = #token (RFC 9110, 7.6.1).
static void take_connection(struct h1 *h1, struct text value)
{
    while (value.len > 0) {
        const char *comma = memchr(value.at, ',', value.len);
        size_t len = comma != NULL ? (size_t)(comma - value.at) : value.len;
        struct text token = text_trim((struct text){value.at, len});

        if (text_eq_nocase(token, TEXT("close")))
            h1->says_close = true;
        else if (text_eq_nocase(token, TEXT("keep-alive")))
            h1->says_keep_alive = true;
        len = min_size(len + 1, value.len);
        value = (struct text){value.at + len, value.len - len};
    }
}

static void end_of_field(struct h1 *h1)
{
    struct http_request *request = h1->request;
    struct text name = h1->name, value = text_trim(h1->value);

    if (text_eq_nocase(name, TEXT("Content-Type")))
        take_once(h1, &request->content_type, HTTP_REPEATED_CONTENT_TYPE, value);
    else if (text_eq_nocase(name, TEXT("Authorization")))
        take_once(h1, &request->authorization, HTTP_REPEATED_AUTHORIZATION, value);
    else if (text_eq_nocase(name, TEXT("X-Spip-ID")))
        take_once(h1, &request->sensor_id, HTTP_REPEATED_SENSOR_ID, value);
    else if (text_eq_nocase(name, TEXT("Content-Encoding")))
        take_once(h1, &request->content_encoding, HTTP_REPEATED_CONTENT_ENCODING, value);
    else if (text_eq_nocase(name, TEXT("Connection")))
        take_connection(h1, value);
    else if (text_eq_nocase(name, TEXT("Expect")))
        h1->expect_continue = text_eq_nocase(value, TEXT("100-continue"));
    h1->name = h1->value = (struct text){"", 0};
    h1->in_value = false;
}

// A head is fed as one block, so the spans of one name or value lie end to end.
static bool append_span(struct text *text, struct text span)
{
    if (text->len > 0 && text->at + text->len != span.at)
        return false;
    *text = (struct text){text->len > 0 ? text->at : span.at, text->len + span.len};
    return true;
}

static void on_target(void *ctx, struct text span)
{
    struct h1 *h1 = ctx;

    if (!append_span(&h1->request->path, span))
        h1->disagree = true;
}

static void on_name(void *ctx, struct text span)
{
    struct h1 *h1 = ctx;

    if (h1->in_value || !append_span(&h1->name, span)) {
        end_of_field(h1);
        h1->name = span;
    }
}

static void on_value(void *ctx, struct text span)
{
    struct h1 *h1 = ctx;

    h1->in_value = true;
    if (!append_span(&h1->value, span))
        h1->disagree = true;
}

static void on_head(void *ctx, const struct parser_framing *framing)
{
    struct h1 *h1 = ctx;
    const struct h1_head_check check = h1->head_check; // the union is the chunk check's from here on
    struct http_request *request = h1->request;
    bool connect = text_eq(check.method, TEXT("CONNECT"));

    end_of_field(h1);
    if (h1->disagree || framing->major != 1 || framing->minor != check.minor || framing->chunked != check.chunked ||
        framing->has_length != check.has_length || framing->length != check.length ||
        !h1_target_split(request->path, connect, &request->path, &request->query)) {
        h1->disagree = true;
        return;
    }
    request->content_length = check.chunked ? HTTP_LENGTH_UNKNOWN : check.length;
    h1->http_1_0 = check.minor == 0;
    h1->keep_alive = !h1->says_close && !connect && (check.minor > 0 || h1->says_keep_alive);
    h1->expect_continue = h1->expect_continue && check.minor > 0;
    h1->left = check.length;
    if (check.chunked) {
        h1->state = H1_BODY_CHUNKED;
        h1_chunk_check_init(&h1->chunk_check, h1->max_header_bytes);
    } else if (check.length > 0) {
        h1->state = H1_BODY_LENGTH;
    }
    h1->events->on_headers(h1->ctx);
}

static void on_body(void *ctx, struct text span)
{
    struct h1 *h1 = ctx;

    if (!h1->disagree && span.len > 0)
        h1->events->on_body(h1->ctx, span.at, span.len);
}

// The parser sees the end of the message; h1_feed calls it complete when the check has seen it too.
static void on_complete(void *ctx)
{
    struct h1 *h1 = ctx;

    h1->parser_complete = true;
}

static const struct parser_events parser_events = {
    .on_target = on_target,
    .on_name = on_name,
    .on_value = on_value,
    .on_head = on_head,
    .on_body = on_body,
    .on_complete = on_complete,
};

// ---- what is fed ----

static bool feed_parser(struct h1 *h1, struct text bytes)
{
    if (parser_feed(&h1->parser, bytes.at, bytes.len) && !h1->disagree)
        return true;
    refuse(h1, 400, "invalid request");
    return false;
}

// The end of the message by the check's count, which must be the parser's too.
static void end_of_message(struct h1 *h1)
{
    if (!h1->parser_complete) {
        refuse(h1, 400, "invalid request");
        return;
    }
    h1->state = H1_COMPLETE;
    h1->events->on_complete(h1->ctx);
}

static enum http_method method_of(struct text name)
{
    return text_eq(name, TEXT("GET"))    ? HTTP_METHOD_GET
           : text_eq(name, TEXT("HEAD")) ? HTTP_METHOD_HEAD
           : text_eq(name, TEXT("POST")) ? HTTP_METHOD_POST
                                         : HTTP_METHOD_OTHER;
}

// A head that is whole and lawful. The parsers know lists of methods, each its own, and refuse the rest; a method that
// Loom has no use for is shown to them as OPTIONS, so that it ends in 404 or 405 like any other. Framing does not
// depend on it.
static void parse_head(struct h1 *h1, struct text head)
{
    struct text method = h1->head_check.method;

    h1->request->method = method_of(method);
    head = (struct text){method.at, head.len - (size_t)(method.at - head.at)};
    if (h1->request->method == HTTP_METHOD_OTHER && !text_eq(method, TEXT("CONNECT"))) {
        if (!feed_parser(h1, TEXT("OPTIONS")))
            return;
        head = (struct text){head.at + method.len, head.len - method.len};
    }
    if (feed_parser(h1, head) && h1->state == H1_HEAD)
        end_of_message(h1);
}

static size_t feed_head(struct h1 *h1, const char *data, size_t len)
{
    size_t before = h1->head.len;
    struct text head = {data, min_size(len, h1->max_header_bytes)};

    if (before > 0) {
        if (buf_try_append(&h1->head, data, min_size(len, h1->max_header_bytes - before)) != 0) {
            refuse(h1, 503, "out of memory");
            return 0;
        }
        head = (struct text){h1->head.data, h1->head.len};
    }
    bool whole = h1_head_check(&h1->head_check, head);
    size_t end = h1->head_check.checked;
    if (whole) {
        parse_head(h1, (struct text){head.at, end});
        buf_fini(&h1->head);
        return end - before;
    }
    if (h1->head_check.refusal.status != 0)
        refuse(h1, h1->head_check.refusal.status, h1->head_check.refusal.reason);
    else if (head.len == h1->max_header_bytes)
        refuse(h1, 431, "headers too large");
    else if (before == 0 && buf_try_append(&h1->head, data, len) != 0)
        refuse(h1, 503, "out of memory");
    return len;
}

static size_t feed_length(struct h1 *h1, const char *data, size_t len)
{
    size_t n = len < h1->left ? len : (size_t)h1->left;

    h1->left -= n;
    if (feed_parser(h1, (struct text){data, n}) && h1->left == 0)
        end_of_message(h1);
    return n;
}

static size_t feed_chunked(struct h1 *h1, const char *data, size_t len)
{
    bool pass;
    size_t n = h1_chunk_check(&h1->chunk_check, data, len, &pass);

    if (n == 0)
        refuse(h1, h1->chunk_check.refusal.status, h1->chunk_check.refusal.reason);
    else if ((!pass || feed_parser(h1, (struct text){data, n})) && h1->chunk_check.state == H1_CHUNKS_END)
        end_of_message(h1);
    return n;
}

size_t h1_feed(struct h1 *h1, const char *data, size_t len)
{
    size_t used = 0;

    while (used < len && h1->state != H1_COMPLETE && h1->state != H1_REFUSED) {
        if (h1->state == H1_HEAD) {
            used += feed_head(h1, data + used, len - used);
            continue;
        }
        h1->body_begun = true;
        if (h1->state == H1_BODY_LENGTH)
            used += feed_length(h1, data + used, len - used);
        else
            used += feed_chunked(h1, data + used, len - used);
    }
    return used;
}

uint64_t h1_left(const struct h1 *h1)
{
    if (h1->state == H1_BODY_CHUNKED || h1->state == H1_REFUSED)
        return HTTP_LENGTH_UNKNOWN;
    return h1->state == H1_COMPLETE ? 0 : h1->left;
}

void h1_next(struct h1 *h1)
{
    struct http_request *request = h1->request;
    const struct text none = {"", 0};

    INVARIANT(h1->state != H1_REFUSED);
    h1->state = H1_HEAD;
    h1->body_begun = h1->keep_alive = h1->expect_continue = false;
    h1->says_close = h1->says_keep_alive = h1->in_value = h1->disagree = h1->parser_complete = false;
    h1->seen = 0;
    h1->head_check = (struct h1_head_check){0};
    h1->name = h1->value = none;
    request->repeated = 0;
    request->path = request->query = none;
    request->content_type = request->authorization = request->content_encoding = none;
    request->sensor_id = (struct text){NULL, 0};
    parser_init(&h1->parser, &parser_events, h1);
}

void h1_init(struct h1 *h1, const struct h1_events *events, void *ctx, struct http_request *request,
             size_t max_header_bytes)
{
    *h1 = (struct h1){.events = events, .ctx = ctx, .request = request, .max_header_bytes = max_header_bytes};
    h1_next(h1);
}

void h1_fini(struct h1 *h1)
{
    buf_fini(&h1->head);
}
