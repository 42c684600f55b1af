// SPDX-License-Identifier: Apache-2.0
#include "sink/es_setup.h"

#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "sink/es_reply.h"
#include "sink/es_template.h"

#define FAILURES_MAX 5 // in a row, before events go without

// GET / -> GET /_index_template/NAME -> PUT of the same, as far as needed.

struct es_setup {
    struct http_request request; // first; one at a time
    const char *output;
    const struct es_name *name;
    struct http_client *client;
    void (*on_done)(void *ctx, const struct es_outcome *outcome);
    void *ctx;
    bool opensearch;
    struct buf path;          // of the template
    struct buf template_name; // zero-terminated
    struct buf body;
    unsigned failures; // runs in a row in which the cluster answered, and no better than 500
    const char *told;  // the last line of the log, so that the same is not told after each outage
};

static void finish(struct es_setup *setup, const struct es_outcome *outcome)
{
    http_request_fini(&setup->request);
    buf_fini(&setup->body);
    setup->on_done(setup->ctx, outcome);
}

// The rest is not needed or not possible; events can go.
static void finish_well(struct es_setup *setup)
{
    const struct es_outcome outcome = {.result = SINK_OK};
    finish(setup, &outcome);
}

static void tell(struct es_setup *setup, enum log_level level, const char *message)
{
    if (setup->told != NULL && strcmp(setup->told, message) == 0)
        return;
    setup->told = message;
    unsigned status = setup->request.status;
    struct text type = status >= 300 ? es_reply_error_type(&setup->request.reply) : TEXT("");
    LOG(level, message, LOG_STR("template", setup->template_name.data),
        status >= 300 ? LOG_INT("status", status) : LOG_NONE, type.len > 0 ? LOG_TEXT("error", type) : LOG_NONE);
}

// Whether this run ends here, which is reported then: where the cluster can't be used, nothing of what follows would work
// either. But one that answers, and fails on these requests again and again, may yet take events. So may one of which a proxy
// says 502 or 504 to these only; if events get the same, the next try begins here again.
static bool ended(struct es_setup *setup)
{
    unsigned status = setup->request.status;
    if (setup->request.failure == HTTP_ANSWERED && status >= 200 && status < 500 && status != 401 && status != 429)
        return false;
    struct es_outcome outcome;
    es_outcome_of(setup->output, &setup->request, &outcome);
    if (outcome.result == SINK_TOO_LARGE || outcome.result == SINK_FAILED) {
        outcome.result = SINK_DOWN; // no event is the reason
        if (setup->request.failure != HTTP_LOST && ++setup->failures >= FAILURES_MAX) {
            tell(setup, LOG_WARN, "index template not looked at, the cluster fails on it");
            finish_well(setup);
            return true;
        }
    }
    finish(setup, &outcome);
    return true;
}

static void ask(struct es_setup *setup, const char *method, const char *path,
                void (*on_done)(struct http_request *request))
{
    http_request_fini(&setup->request);
    setup->request = (struct http_request){.method = method, .path = path, .on_done = on_done};
    if (setup->body.len > 0) {
        setup->request.content_type = "application/json";
        setup->request.body = (struct text){setup->body.data, setup->body.len};
    }
    http_client_start(setup->client, &setup->request);
}

static void on_written(struct http_request *request)
{
    struct es_setup *setup = (struct es_setup *)request;
    if (ended(setup))
        return;
    setup->failures = 0;
    if (request->status < 300)
        tell(setup, LOG_INFO, "index template written");
    else if (request->status == 403)
        tell(setup, LOG_WARN, "index template not written, the cluster does not allow it");
    else
        tell(setup, LOG_WARN, "index template not written, the cluster refuses it");
    finish_well(setup);
}

static void write_template(struct es_setup *setup)
{
    es_template_print(setup->name, setup->opensearch, &setup->body);
    ask(setup, "PUT", setup->path.data, on_written);
}

static void on_template(struct http_request *request)
{
    struct es_setup *setup = (struct es_setup *)request;
    if (ended(setup))
        return;
    if (request->status == 404) {
        write_template(setup);
        return;
    }
    setup->failures = 0;
    if (request->status >= 300) {
        tell(setup, LOG_WARN,
             request->status == 403 ? "index template not looked at, the cluster does not allow it"
                                    : "index template not looked at, the cluster refuses it");
        finish_well(setup);
        return;
    }
    switch (
        es_template_compare(setup->name, setup->opensearch, (struct text){request->reply.data, request->reply.len})) {
    case ES_TEMPLATE_OLDER:
        write_template(setup);
        return;
    case ES_TEMPLATE_CHANGED:
        tell(setup, LOG_INFO, "index template left alone, somebody has changed it");
        break;
    case ES_TEMPLATE_NEWER:
        tell(setup, LOG_INFO, "index template left alone, a newer Loom has written it");
        break;
    case ES_TEMPLATE_UNREADABLE:
        tell(setup, LOG_WARN, "index template not looked at, the answer makes no sense");
        break;
    case ES_TEMPLATE_OURS:
        break;
    }
    finish_well(setup);
}

static void on_root(struct http_request *request)
{
    struct es_setup *setup = (struct es_setup *)request;
    if (ended(setup))
        return;
    // Who may only write events may not ask this; then it is what the operator calls it.
    setup->opensearch = request->status < 300
                            ? es_template_is_opensearch((struct text){request->reply.data, request->reply.len})
                            : strcmp(setup->output, "opensearch") == 0;
    ask(setup, "GET", setup->path.data, on_template);
}

struct es_setup *es_setup_new(const char *output, const struct es_name *name, struct http_client *client,
                              void (*on_done)(void *ctx, const struct es_outcome *outcome), void *ctx)
{
    struct es_setup *setup = mem_zalloc(sizeof *setup);
    setup->output = output;
    setup->name = name;
    setup->client = client;
    setup->on_done = on_done;
    setup->ctx = ctx;
    es_template_name(name, &setup->template_name);
    buf_str(&setup->path, "/_index_template/");
    es_name_escape((struct text){setup->template_name.data, setup->template_name.len}, &setup->path);
    buf_char(&setup->path, '\0');
    buf_char(&setup->template_name, '\0');
    return setup;
}

void es_setup_start(struct es_setup *setup)
{
    ask(setup, "GET", "/?filter_path=version.distribution,version.number", on_root);
}

void es_setup_free(struct es_setup *setup)
{
    if (setup == NULL)
        return;
    http_request_fini(&setup->request);
    buf_fini(&setup->path);
    buf_fini(&setup->template_name);
    buf_fini(&setup->body);
    mem_free(setup);
}
