// SPDX-License-Identifier: Apache-2.0
#pragma once

// Feeds bytes to an h1 and writes down what comes out, for test_h1.c and the fuzz target: a line of text per request,
//
//     POST /path?query 5 [hello] end
//
// method number or name, target, length ("chunked" without one), the body, and `end`; `status reason` where it is
// refused.

#include <string.h>

#include "http/h1.h"

struct record {
    struct buf text;
    struct h1 h1;
    struct http_request request;
    bool in_body;
};

static inline void record_on_headers(void *ctx)
{
    static const char *const methods[] = {"GET", "HEAD", "POST", "OTHER"};
    struct record *record = ctx;
    const struct http_request *request = &record->request;

    buf_printf(&record->text, "%s %.*s", methods[request->method], (int)request->path.len, request->path.at);
    if (request->query.len > 0)
        buf_printf(&record->text, "?%.*s", (int)request->query.len, request->query.at);
    if (request->content_length == HTTP_LENGTH_UNKNOWN)
        buf_str(&record->text, " chunked");
    else
        buf_printf(&record->text, " %llu", (unsigned long long)request->content_length);
    if (!record->h1.keep_alive)
        buf_str(&record->text, " close");
    if (record->h1.expect_continue)
        buf_str(&record->text, " expect");
    const struct text fields[] = {request->content_type, request->authorization, request->sensor_id,
                                  request->content_encoding};
    for (unsigned i = 0; i < 4; i++) {
        if (fields[i].len > 0)
            buf_printf(&record->text, " %u=%.*s", i, (int)fields[i].len, fields[i].at);
    }
    if (request->repeated != 0)
        buf_printf(&record->text, " repeated=%u", request->repeated);
    record->in_body = false;
}

static inline void record_on_body(void *ctx, const char *data, size_t len)
{
    struct record *record = ctx;

    if (!record->in_body)
        buf_str(&record->text, " [");
    record->in_body = true;
    buf_append(&record->text, data, len);
}

static inline void record_on_complete(void *ctx)
{
    struct record *record = ctx;

    buf_str(&record->text, record->in_body ? "] end\n" : " end\n");
    record->in_body = false;
}

static const struct h1_events record_events = {record_on_headers, record_on_body, record_on_complete};

static inline void record_begin(struct record *record, size_t max_header_bytes)
{
    *record = (struct record){.text = BUF_EMPTY};
    h1_init(&record->h1, &record_events, record, &record->request, max_header_bytes);
}

// One piece of what the client sends.
static inline void record_feed(struct record *record, const char *data, size_t len)
{
    while (len > 0 && record->h1.state != H1_REFUSED) {
        if (record->h1.state == H1_COMPLETE)
            h1_next(&record->h1);
        size_t used = h1_feed(&record->h1, data, len);
        data += used;
        len -= used;
        if (record->h1.state == H1_REFUSED)
            buf_printf(&record->text, "%s%u %s\n",
                       record->in_body        ? "] "
                       : record->text.len > 0 ? " "
                                              : "",
                       record->h1.refusal.status, record->h1.refusal.reason);
    }
}

static inline void record_end(struct record *record)
{
    h1_fini(&record->h1);
    buf_fini(&record->text);
}
