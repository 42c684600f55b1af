// SPDX-License-Identifier: Apache-2.0
#include "sink/es_outcome.h"

#include <stdio.h>

#include "sink/es_reply.h"

static enum sink_result of_failure(enum http_failure failure)
{
    switch (failure) {
    case HTTP_LOST: // a hand-over that is too much for the time or for a proxy ends so too: it must come smaller
        return SINK_FAILED;
    case HTTP_REPLY_LARGE:
        return SINK_TOO_LARGE;
    case HTTP_UNREACHABLE:
    case HTTP_ABORTED:
    case HTTP_ANSWERED:
        break;
    }
    return SINK_DOWN;
}

static enum sink_result of_status(unsigned status)
{
    if (status >= 200 && status < 300)
        return SINK_OK;
    if (status == 413)
        return SINK_TOO_LARGE;
    if (status == 429 || status == 503)
        return SINK_BUSY;
    if (status >= 500 || status == 408)
        return SINK_FAILED;
    // 401, 403, 404; but a 400 too, for a body that the server can't read is Loom's fault, and no event's.
    return SINK_DOWN;
}

void es_outcome_of(const char *output, struct http_request *request, struct es_outcome *out)
{
    *out = (struct es_outcome){.retry_after_ms = request->retry_after_ms};
    if (request->failure != HTTP_ANSWERED) {
        out->result = of_failure(request->failure);
        if (request->failure == HTTP_ABORTED)
            snprintf(out->error, sizeof out->error, "%s: %s", output, request->error);
        else
            snprintf(out->error, sizeof out->error, "%s: %s: %s", output, request->url, request->error);
        return;
    }
    out->result = of_status(request->status);
    if (out->result == SINK_OK)
        return;
    struct text type = es_reply_error_type(&request->reply);
    snprintf(out->error, sizeof out->error, "%s: %u%s%.*s from %s", output, request->status, type.len > 0 ? " " : "",
             (int)type.len, type.at, request->url);
}
