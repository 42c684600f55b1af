// SPDX-License-Identifier: Apache-2.0

#include "admin/admin.h"

#include "json/write.h"

const char *const admin_paths[] = {"/health", "/live", "/ready", "/metrics", NULL};

static void add_reason(struct buf *reasons, const char *reason, const char *detail)
{
    buf_char(reasons, reasons->len == 0 ? '[' : ',');
    buf_str(reasons, "{\"reason\":");
    json_write_string(reasons, text_of(reason));
    if (detail != NULL) {
        buf_str(reasons, ",\"detail\":");
        json_write_string(reasons, text_of(detail));
    }
    buf_char(reasons, '}');
}

// What is wrong with the output keeps sensors away only when they would have to wait for it: a durable store takes their
// batches all the same, and the reason is told to who asks.
static bool add_output(const struct admin *admin, struct buf *reasons)
{
    struct pump_state state;
    bool ready = true;

    if (admin->pump == NULL)
        return true;
    pump_state(admin->pump, &state);
    if (!state.up) {
        add_reason(reasons, "output", state.reason);
        ready = admin->store->ops->durable;
    }
    if (state.dead_letters[0] != '\0') {
        add_reason(reasons, "dead_letters", state.dead_letters);
        ready = ready && admin->store->ops->durable;
    }
    return ready;
}

static bool add_store(const struct admin *admin, struct buf *reasons)
{
    struct store_health health;

    if (admin->store == NULL)
        return true;
    admin->store->ops->health(admin->store, &health);
    if (!health.accepts)
        add_reason(reasons, "outbox", health.reason);
    return health.accepts;
}

bool admin_ready(const struct admin *admin, struct buf *reasons)
{
    bool ready = admin->phase == ADMIN_SERVING;

    if (admin->phase == ADMIN_STARTING)
        add_reason(reasons, "starting", NULL);
    if (admin->phase == ADMIN_DRAINING)
        add_reason(reasons, "draining", NULL);
    ready = add_store(admin, reasons) && ready;
    ready = add_output(admin, reasons) && ready;
    if (reasons->len > 0)
        buf_char(reasons, ']');
    return ready;
}

static void respond(struct http_request *request, unsigned status, const char *type, struct text body)
{
    http_respond(request, &(struct http_response){.status = status, .content_type = type, .body = body});
}

static void on_headers(void *ctx, struct http_request *request)
{
    const struct admin *admin = ctx;
    struct buf body = BUF_EMPTY;

    if (text_eq(request->path, TEXT("/ready"))) {
        unsigned status = admin_ready(admin, &body) ? 200 : 503;
        if (body.len == 0)
            respond(request, status, "text/plain", TEXT("ok"));
        else
            respond(request, status, "application/json", (struct text){body.data, body.len});
    } else if (!text_eq(request->path, TEXT("/metrics"))) {
        respond(request, 200, "text/plain", TEXT("ok"));
    } else if (admin->metrics_enabled && admin->phase != ADMIN_STARTING) {
        admin_metrics(admin, &body);
        respond(request, 200, "text/plain; version=0.0.4; charset=utf-8", (struct text){body.data, body.len});
    } else {
        respond(request, 404, "application/json", TEXT("{\"error\":\"not_found\"}"));
    }
    buf_fini(&body);
}

// Every answer is given at the headers; what a client still sends with a GET is none of ours.
static void on_body(void *ctx, struct http_request *request, const char *data, size_t len)
{
    (void)ctx, (void)request, (void)data, (void)len;
}
static void on_complete(void *ctx, struct http_request *request)
{
    (void)ctx, (void)request;
}
static void on_abort(void *ctx, struct http_request *request, int reason)
{
    (void)ctx, (void)request, (void)reason;
}

const struct http_handler admin_handler = {
    .on_headers = on_headers,
    .on_body = on_body,
    .on_complete = on_complete,
    .on_abort = on_abort,
};
