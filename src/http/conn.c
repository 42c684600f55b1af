// SPDX-License-Identifier: Apache-2.0
//
// A connection works in turns: `work` writes what waits, reads, feeds HTTP/1, and stops where nothing more can be
// done; then `settle` says what to wait for and until when. A turn begins when the stream is ready, and after an answer
// that came from outside of one. Nothing is released in mid-turn: what goes wrong sets `lost`.

#include "http/conn.h"

#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

enum {
    TURN_READS = 16,         // then the other connections of the loop have their turn
    TURN_REQUESTS = 16,      // of small pipelined requests one read may bring a thousand
    SKIP_BYTES = 64 * 1024,  // so much of a refused body is read over rather than the connection given up
    LINGER_BYTES = 32 << 20, // dropped at most after an answer that closes
    KEEP_OUTPUT = 16 * 1024, // a larger buffer is released after use
    AHEAD_BYTES = 4 * 1024,  // read at most while a request waits for its answer, to notice a hang-up: it is kept
};

static struct http_conn *conn_of(struct http_request *request)
{
    return (struct http_conn *)request;
}

static void set_phase(struct http_conn *conn, enum http_phase phase)
{
    conn->phase = phase;
    conn->renew = true;
}

// Takes the request from its handler, which has not answered.
static void abort_request(struct http_conn *conn, int reason)
{
    if (!conn->with_handler)
        return;
    conn->with_handler = false;
    conn->request.handler->on_abort(conn->request.handler_ctx, &conn->request, reason);
}

// ---- output ----

// Nothing may wait in conn->out.
static void write_now(struct http_conn *conn, struct text bytes)
{
    const struct iovec part = {(void *)bytes.at, bytes.len};
    ssize_t n = stream_writev(conn->stream, &part, 1);

    if (n == STREAM_AGAIN)
        n = 0;
    if (n < 0 || buf_try_append(&conn->out, bytes.at + n, bytes.len - (size_t)n) != 0)
        conn->lost = true;
}

static void write_rest(struct http_conn *conn)
{
    const struct iovec part = {conn->out.data, conn->out.len};
    ssize_t n = stream_writev(conn->stream, &part, 1);

    if (n > 0)
        buf_consume(&conn->out, (size_t)n);
    else if (n != STREAM_AGAIN)
        conn->lost = true;
    if (conn->out.len == 0)
        buf_fini(&conn->out);
}

// RFC 9112, 9.6: a close while the client still sends would make the system send a reset, which can destroy the answer
// before the client has read it. So only our side is closed, and what comes is dropped for a while.
static void start_linger(struct http_conn *conn)
{
    stream_shutdown(conn->stream);
    buf_fini(&conn->pending);
    conn->pending_at = 0;
    set_phase(conn, PHASE_LINGER);
    // A client that asked for the close, and whose request was read whole, sends nothing more.
    if (conn->eof || (conn->h1.state == H1_COMPLETE && !conn->h1.keep_alive))
        conn->lost = true;
}

// Whether the connection outlives this answer.
static bool can_keep(const struct http_conn *conn)
{
    const struct h1 *h1 = &conn->h1;

    if (!h1->keep_alive || conn->server->draining || conn->eof)
        return false;
    if (h1_left(h1) == 0)
        return true;
    // Who waits for 100 and gets a refusal may send the body or not: nobody can tell where the next request begins.
    return h1_left(h1) <= SKIP_BYTES && (h1->body_begun || !h1->expect_continue);
}

static void answer(struct http_conn *conn, const struct http_response *response, bool keep)
{
    struct http_server *server = conn->server;
    const struct response_form form = {
        .response = response,
        .http_1_0 = conn->h1.http_1_0,
        .keep = keep,
        .head = conn->request.method == HTTP_METHOD_HEAD,
    };

    set_phase(conn, !keep ? PHASE_CLOSE : conn->h1.state == H1_COMPLETE ? PHASE_IDLE : PHASE_SKIP);
    server->output.len = 0;
    response_render(&server->output, &form, &server->date);
    if (conn->out.len > 0) { // 100 Continue has not gone out yet
        if (buf_try_append(&conn->out, server->output.data, server->output.len) != 0)
            conn->lost = true;
    } else {
        write_now(conn, (struct text){server->output.data, server->output.len});
    }
    if (server->output.cap > KEEP_OUTPUT)
        buf_fini(&server->output);
    if (conn->phase == PHASE_CLOSE && conn->out.len == 0 && !conn->lost)
        start_linger(conn);
}

static void settle(struct http_conn *conn);

void http_respond(struct http_request *request, const struct http_response *response)
{
    struct http_conn *conn = conn_of(request);

    INVARIANT(conn->with_handler); // one answer a request, and none after on_abort
    conn->with_handler = false;
    answer(conn, response, can_keep(conn));
    if (!conn->running)
        settle(conn);
}

// What this layer says by itself, in the words of the ingest API.
static void refuse(struct http_conn *conn, unsigned status, const char *reason, int abort_reason)
{
    const struct http_server_conf *conf = &conn->server->conf;
    const char *word = status == 408   ? "request_timeout"
                       : status == 431 ? "headers_too_large"
                       : status == 503 ? "unavailable"
                                       : "invalid_request";
    char body[256];

    bool answered = conn->phase == PHASE_SKIP || conn->phase == PHASE_CLOSE || conn->phase == PHASE_LINGER;
    if (!answered && conf->on_protocol_error != NULL)
        conf->on_protocol_error(conf->ctx, conn->with_handler ? &conn->request : NULL, &conn->peer, status, reason);
    abort_request(conn, abort_reason);
    if (conn->phase == PHASE_SKIP) { // it has its answer; there can be no second one
        set_phase(conn, PHASE_CLOSE);
        if (conn->out.len == 0)
            start_linger(conn);
    }
    if (answered)
        return;
    int len = status == 400 ? snprintf(body, sizeof body, "{\"error\":\"%s\",\"detail\":\"%s\"}", word, reason)
                            : snprintf(body, sizeof body, "{\"error\":\"%s\"}", word);
    answer(conn,
           &(struct http_response){.status = status,
                                   .content_type = "application/json",
                                   .headers = status == 503 ? "Retry-After: 1\r\n" : NULL,
                                   .body = {body, (size_t)len}},
           false);
}

// ---- events of HTTP/1 ----

static void on_headers(void *ctx)
{
    struct http_conn *conn = ctx;

    set_phase(conn, PHASE_BODY);
    conn->with_handler = true;
    conn->request.handler->on_headers(conn->request.handler_ctx, &conn->request);
}

static void on_body(void *ctx, const char *data, size_t len)
{
    struct http_conn *conn = ctx;

    if (conn->with_handler)
        conn->request.handler->on_body(conn->request.handler_ctx, &conn->request, data, len);
}

static void on_complete(void *ctx)
{
    struct http_conn *conn = ctx;

    if (conn->with_handler) {
        set_phase(conn, PHASE_ANSWER);
        conn->request.handler->on_complete(conn->request.handler_ctx, &conn->request);
    } else if (conn->phase == PHASE_SKIP && conn->server->draining) {
        conn->lost = true; // read whole and answered
    } else if (conn->phase == PHASE_SKIP) {
        set_phase(conn, PHASE_IDLE);
    }
}

static const struct h1_events h1_events = {on_headers, on_body, on_complete};

// ---- input ----

static bool takes_input(const struct http_conn *conn)
{
    return !conn->lost && conn->out.len == 0 && (conn->phase <= PHASE_BODY || conn->phase == PHASE_SKIP);
}

// Whether the next request is left to the next turn, which comes at once (events_of): the rest is pending.
static bool turn_is_over(const struct http_conn *conn)
{
    return conn->begun >= TURN_REQUESTS && (conn->phase == PHASE_NEW || conn->phase == PHASE_IDLE);
}

// An empty line after a request, as some clients send one, is no beginning of the next (RFC 9112, 2.2): the connection
// stays idle. One only, or a client could go on like this.
static bool is_stray_line(const struct http_conn *conn, struct text input)
{
    return conn->phase == PHASE_IDLE && !conn->stray_line && input.len >= 2 && input.at[0] == '\r' &&
           input.at[1] == '\n';
}

static void begin_request(struct http_conn *conn)
{
    const struct http_server *server = conn->server;
    struct http_request *request = &conn->request;

    conn->begun++;
    conn->stray_line = false;
    // A new connection has had the time for its first headers since it was accepted.
    if (conn->phase == PHASE_IDLE) {
        h1_next(&conn->h1);
        conn->renew = true;
    }
    conn->phase = PHASE_HEAD;
    request->handler = server->conf.handler;
    request->handler_ctx = server->conf.ctx;
    request->handler_data = NULL;
    request->began_ns = loop_now_ns(request->loop);
    request->method = HTTP_METHOD_OTHER;
}

// As many requests as can be answered in this turn; returns how many bytes that took.
static size_t feed(struct http_conn *conn, const char *data, size_t len)
{
    struct h1 *h1 = &conn->h1;
    size_t used = 0;

    while (used < len && takes_input(conn) && !turn_is_over(conn)) {
        if (is_stray_line(conn, (struct text){data + used, len - used})) {
            conn->stray_line = true;
            used += 2;
            continue;
        }
        if (conn->phase == PHASE_NEW || conn->phase == PHASE_IDLE)
            begin_request(conn);
        used += h1_feed(h1, data + used, len - used);
        if (h1->state == H1_REFUSED) {
            refuse(conn, h1->refusal.status, h1->refusal.reason, HTTP_ABORT_PROTOCOL);
        } else if (conn->phase == PHASE_BODY && h1->expect_continue && !h1->body_begun) {
            h1->expect_continue = false;
            write_now(conn, RESPONSE_CONTINUE);
        }
    }
    return used;
}

static void take_pending(struct http_conn *conn)
{
    // start_linger may release the buffer while it is being fed.
    struct buf pending = conn->pending;
    size_t at = conn->pending_at;

    conn->pending = BUF_EMPTY;
    conn->pending_at = 0;
    at += feed(conn, pending.data + at, pending.len - at);
    if (at < pending.len && conn->phase != PHASE_LINGER) {
        conn->pending = pending;
        conn->pending_at = at;
    } else {
        buf_fini(&pending);
    }
}

static void take_input(struct http_conn *conn, const char *data, size_t len)
{
    if (conn->phase == PHASE_LINGER) {
        conn->lingered += len;
        conn->lost = conn->lingered > LINGER_BYTES;
        return;
    }
    size_t used = takes_input(conn) ? feed(conn, data, len) : 0;
    if (used < len && conn->phase != PHASE_LINGER && buf_try_append(&conn->pending, data + used, len - used) != 0)
        conn->lost = true;
}

static void log_handshake(const struct http_conn *conn)
{
    static struct log_limit limit;
    const char *reason = stream_reason(conn->stream);
    char peer[ADDRESS_TEXT_MAX];
    uint64_t held_back;

    if (stream_handshake_done(conn->stream) || reason == NULL || !log_limit_pass(&limit, 1, 5, &held_back))
        return;
    LOG(LOG_INFO, "TLS handshake failed", LOG_STR("address", address_text(&conn->peer, peer)),
        LOG_STR("reason", reason), LOG_INT("held_back", held_back));
}

// Reads once. false: nothing came.
static bool read_input(struct http_conn *conn)
{
    char *input = conn->server->input;
    ssize_t n = stream_read(conn->stream, input, conn->phase == PHASE_ANSWER ? AHEAD_BYTES : HTTP_INPUT_BYTES);

    if (n > 0) {
        take_input(conn, input, (size_t)n);
    } else if (n == STREAM_EOF) {
        conn->eof = true;
    } else if (n != STREAM_AGAIN) {
        log_handshake(conn);
        conn->lost = true;
    }
    return n != STREAM_AGAIN;
}

// ---- turns ----

static void work(struct http_conn *conn)
{
    unsigned reads = 0;

    while (!conn->lost) {
        if (conn->out.len > 0) {
            write_rest(conn);
            if (conn->out.len > 0)
                return;
            if (conn->phase == PHASE_CLOSE && !conn->lost)
                start_linger(conn);
        } else if (conn->pending.len > 0 && takes_input(conn)) {
            if (turn_is_over(conn))
                return;
            take_pending(conn);
        } else if (conn->eof) {
            // A client that has only closed its sending side still gets the answer to a whole request.
            conn->lost = conn->phase != PHASE_ANSWER;
            return;
        } else if (conn->pending.len > 0 || reads++ == TURN_READS || !read_input(conn)) {
            return;
        }
    }
}

static enum deadline_kind deadline_of(const struct http_conn *conn)
{
    if (conn->out.len > 0)
        return DEADLINE_WRITE;
    switch (conn->phase) {
    case PHASE_NEW:
    case PHASE_HEAD:
        return DEADLINE_HEADERS;
    case PHASE_IDLE:
        return DEADLINE_IDLE;
    case PHASE_BODY:
    case PHASE_SKIP:
        return DEADLINE_BODY;
    case PHASE_LINGER:
    case PHASE_CLOSE:
        return DEADLINE_LINGER;
    case PHASE_ANSWER:
        break;
    }
    return DEADLINE_NONE; // the handler's time
}

static int events_of(const struct http_conn *conn)
{
    if (conn->out.len > 0)
        return LOOP_WRITABLE;
    // The answer to a pipelined request came from outside of a turn, or the turn was over. The next one is taken up in a
    // turn of its own, so that http_respond enters no handler, and only when the client has room for its answer.
    if (conn->pending.len > 0 && takes_input(conn))
        return LOOP_WRITABLE;
    if (conn->phase == PHASE_ANSWER && (conn->pending.len > 0 || conn->eof))
        return 0;
    return LOOP_READABLE; // in PHASE_ANSWER too: a reset is noticed
}

// A body is of no use to its handler before it is whole.
static uint64_t expected(const struct http_conn *conn)
{
    return conn->phase == PHASE_BODY && conn->h1.state == H1_BODY_LENGTH ? conn->h1.left : 0;
}

static void settle(struct http_conn *conn)
{
    struct deadlines *deadlines = &conn->server->deadlines;

    if (conn->lost) {
        conn_free(conn, HTTP_ABORT_CLIENT_GONE);
        return;
    }
    enum deadline_kind kind = deadline_of(conn);
    if (kind == DEADLINE_NONE)
        deadline_clear(deadlines, &conn->deadline);
    else if (kind != conn->deadline.kind || conn->renew)
        deadline_set(deadlines, &conn->deadline, kind);
    conn->renew = false;
    stream_expect(conn->stream, expected(conn));
    stream_wait(conn->stream, events_of(conn));
}

static void on_ready(void *ctx, int events)
{
    struct http_conn *conn = ctx;

    (void)events; // a turn tries all that there is to do
    conn->running = true;
    conn->begun = 0;
    work(conn);
    conn->running = false;
    settle(conn);
}

void conn_on_deadline(struct deadline *deadline)
{
    struct http_conn *conn = (struct http_conn *)((char *)deadline - offsetof(struct http_conn, deadline));

    conn->running = true;
    if (conn->out.len == 0 && (conn->phase == PHASE_HEAD || conn->phase == PHASE_BODY)) {
        refuse(conn, 408, conn->phase == PHASE_HEAD ? "headers too slow" : "body too slow", HTTP_ABORT_TIMEOUT);
    } else {
        conn->lost = true;
    }
    conn->running = false;
    settle(conn);
}

void conn_drain(struct http_conn *conn)
{
    bool idle = conn->phase == PHASE_NEW || conn->phase == PHASE_IDLE;

    if (conn->phase == PHASE_LINGER) {
        set_phase(conn, PHASE_LINGER);      // again, for the shorter time
    } else if (conn->phase == PHASE_SKIP) { // answered, and the rest of the body may never come
        set_phase(conn, PHASE_CLOSE);
        if (conn->out.len == 0)
            start_linger(conn);
    } else if (!idle || conn->pending.len > 0) {
        return;
    } else if (conn->out.len > 0) {
        set_phase(conn, PHASE_CLOSE);
    } else {
        conn->lost = true;
    }
    if (!conn->running)
        settle(conn);
}

// ---- begin and end ----

void conn_open(struct http_server *server, int fd, const struct address *peer, struct tls_server *tls)
{
    struct http_conn *conn = mem_try_alloc(sizeof *conn);

    if (conn == NULL) {
        close(fd);
        return;
    }
    *conn = (struct http_conn){.server = server, .peer = *peer, .deadline = {.kind = DEADLINE_NONE}};
    conn->request.loop = server->conf.loop;
    conn->request.peer = &conn->peer;
    h1_init(&conn->h1, &h1_events, conn, &conn->request, server->conf.limits.max_header_bytes);
    conn->stream = stream_open(server->conf.loop, fd, tls, on_ready, conn);
    if (conn->stream == NULL) {
        mem_free(conn);
        return;
    }
    server_add(server, conn);
    settle(conn);
}

void conn_free(struct http_conn *conn, int reason)
{
    struct http_server *server = conn->server;

    abort_request(conn, reason);
    deadline_clear(&server->deadlines, &conn->deadline);
    if (conn->phase != PHASE_LINGER)
        stream_shutdown(conn->stream); // TLS: close_notify
    stream_close(conn->stream);
    h1_fini(&conn->h1);
    buf_fini(&conn->pending);
    buf_fini(&conn->out);
    server_remove(server, conn);
    mem_free(conn);
}
