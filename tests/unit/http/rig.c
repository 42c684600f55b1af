// SPDX-License-Identifier: Apache-2.0

#include "rig.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <netinet/in.h>

#include "base/mem.h"

enum { LATER_MS = 5, PATIENCE_S = 60 };

// What the handler keeps of a request.
struct visit {
    struct rig *rig;
    struct http_request *request;
    char path[16];
    struct buf body;
    struct loop_timer later;
    struct visit *next; // of rig->waiting
};

static void visit_free(struct visit *visit)
{
    loop_timer_close(&visit->later);
    buf_fini(&visit->body);
    mem_free(visit);
}

static void visit_answer(struct visit *visit, unsigned status, struct text body)
{
    http_respond(visit->request,
                 &(struct http_response){
                     .status = status, .content_type = "text/plain", .headers = "X-Rig: 1\r\n", .body = body});
    visit_free(visit);
}

static void on_later(struct loop_timer *timer)
{
    struct visit *visit = (struct visit *)((char *)timer - offsetof(struct visit, later));

    visit_answer(visit, 200, (struct text){visit->body.data, visit->body.len});
}

static void on_headers(void *ctx, struct http_request *request)
{
    struct rig *rig = ctx;
    struct visit *visit = mem_zalloc(sizeof *visit);

    atomic_fetch_add(&rig->headers, 1);
    visit->rig = rig;
    visit->request = request;
    request->handler_data = visit;
    if (request->path.len < sizeof visit->path)
        memcpy(visit->path, request->path.at, request->path.len);
    if (strcmp(visit->path, "/early") == 0)
        visit_answer(visit, 413, TEXT("early"));
}

static void on_body(void *ctx, struct http_request *request, const char *data, size_t len)
{
    struct visit *visit = request->handler_data;

    (void)ctx;
    assert_ptr_equal(visit->request, request);
    assert_true(len > 0);
    buf_append(&visit->body, data, len);
    if (strcmp(visit->path, "/half") == 0)
        visit_answer(visit, 413, TEXT("half"));
}

static void on_complete(void *ctx, struct http_request *request)
{
    struct rig *rig = ctx;
    struct visit *visit = request->handler_data;

    atomic_fetch_add(&rig->completes, 1);
    if (strcmp(visit->path, "/echo") == 0) {
        visit_answer(visit, 200, (struct text){visit->body.data, visit->body.len});
    } else if (strcmp(visit->path, "/later") == 0) {
        loop_timer_start(rig->loop, &visit->later, LATER_MS, on_later);
    } else if (strcmp(visit->path, "/large") == 0) {
        char *large = mem_alloc(RIG_LARGE);
        memset(large, 'x', RIG_LARGE);
        visit_answer(visit, 200, (struct text){large, RIG_LARGE});
        mem_free(large);
    } else if (strcmp(visit->path, "/wait") == 0) {
        struct visit **last = &rig->waiting;
        while (*last != NULL)
            last = &(*last)->next;
        *last = visit;
    } else {
        visit_answer(visit, 404, TEXT("none"));
    }
}

static void on_abort(void *ctx, struct http_request *request, int reason)
{
    struct rig *rig = ctx;
    struct visit *visit = request->handler_data;

    for (struct visit **at = &rig->waiting; *at != NULL; at = &(*at)->next) {
        if (*at == visit) {
            *at = visit->next;
            break;
        }
    }
    visit_free(visit);
    atomic_fetch_add(&rig->aborts[reason], 1);
}

static const struct http_handler rig_handler = {on_headers, on_body, on_complete, on_abort};

static void on_protocol_error(void *ctx, const struct http_request *request, const struct address *peer,
                              unsigned status, const char *reason)
{
    (void)request;
    struct rig *rig = ctx;

    assert_non_null(peer);
    assert_true(strlen(reason) > 0);
    atomic_store(&rig->refused_status, status);
    atomic_fetch_add(&rig->refusals, 1);
}

// ---- the loop thread ----

struct errand {
    struct mail mail;
    struct rig *rig;
    void (*run)(struct rig *rig, int fd);
    int fd;
    atomic_uint done;
};

static void on_errand(struct mail *mail)
{
    struct errand *errand = (struct errand *)mail;

    errand->run(errand->rig, errand->fd);
    atomic_store(&errand->done, 1);
}

static void run_on_loop(struct rig *rig, void (*run)(struct rig *rig, int fd), int fd)
{
    struct errand errand = {.mail.run = on_errand, .rig = rig, .run = run, .fd = fd};

    mailbox_send(loop_mailbox(rig->loop), &errand.mail);
    rig_until(&errand.done, 1);
}

static void *run_loop(void *arg)
{
    struct rig *rig = arg;

    loop_run(rig->loop);
    return NULL;
}

void rig_until(atomic_uint *value, unsigned at_least)
{
    const struct timespec pause = {.tv_nsec = 200000};

    for (unsigned i = 0; atomic_load(value) < at_least; i++) {
        assert_true(i < PATIENCE_S * 5000);
        nanosleep(&pause, NULL);
    }
}

static void start(struct rig *rig, const struct http_handler *handler, void *ctx, struct http_limits limits)
{
    memset(rig, 0, sizeof *rig);
    rig->loop = loop_new();
    rig->server = http_server_new(&(struct http_server_conf){
        .loop = rig->loop,
        .handler = handler,
        .ctx = ctx,
        .limits = limits,
        .on_protocol_error = handler == &rig_handler ? on_protocol_error : NULL,
    });
    assert_int_equal(pthread_create(&rig->thread, NULL, run_loop, rig), 0);
}

void rig_start(struct rig *rig, struct http_limits limits)
{
    start(rig, &rig_handler, rig, limits);
}

void rig_start_with(struct rig *rig, const struct http_handler *handler, void *ctx)
{
    start(rig, handler, ctx, HTTP_LIMITS_DEFAULT);
}

static void free_server(struct rig *rig, int fd)
{
    (void)fd;
    http_server_free(rig->server);
    rig->server = NULL;
}

void rig_stop(struct rig *rig)
{
    run_on_loop(rig, free_server, -1);
    loop_stop(rig->loop);
    assert_int_equal(pthread_join(rig->thread, NULL), 0);
    loop_free(rig->loop);
}

// Frees the server where its owner is told that it may.
static void on_drained(void *ctx)
{
    struct rig *rig = ctx;

    http_server_free(rig->server);
    rig->server = NULL;
    atomic_fetch_add(&rig->drained, 1);
}

static void drain(struct rig *rig, int fd)
{
    (void)fd;
    http_server_drain(rig->server, on_drained, rig);
}

void rig_drain(struct rig *rig)
{
    run_on_loop(rig, drain, -1);
}

static void answer(struct rig *rig, int fd)
{
    struct visit *visit = rig->waiting;

    (void)fd;
    assert_non_null(visit);
    rig->waiting = visit->next;
    visit_answer(visit, 200, TEXT("waited"));
}

void rig_answer(struct rig *rig)
{
    run_on_loop(rig, answer, -1);
}

// ---- clients ----

static void adopt(struct rig *rig, int fd)
{
    struct address peer = {.sa.ss_family = AF_INET, .len = sizeof(struct sockaddr_in)};

    http_server_adopt(rig->server, fd, &peer, NULL);
}

static int be_patient(int fd)
{
    struct timeval patience = {.tv_sec = PATIENCE_S};

    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience), 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience), 0);
    return fd;
}

int rig_connect(struct rig *rig)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    int listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(bind(listening, (struct sockaddr *)&at, len), 0);
    assert_int_equal(listen(listening, 1), 0);
    assert_int_equal(getsockname(listening, (struct sockaddr *)&at, &len), 0);
    assert_int_equal(connect(client, (struct sockaddr *)&at, len), 0);
    int accepted = accept4(listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    assert_true(accepted >= 0);
    close(listening);
    rig->accepted = accepted;
    run_on_loop(rig, adopt, accepted);
    return be_patient(client);
}

int rig_connect_local(struct rig *rig)
{
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(fcntl(pair[0], F_SETFL, O_NONBLOCK), 0); // each end has flags of its own
    rig->accepted = pair[0];
    run_on_loop(rig, adopt, pair[0]);
    return be_patient(pair[1]);
}

void rig_send(int fd, const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, bytes, len, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        assert_true(n > 0);
        bytes += n;
        len -= (size_t)n;
    }
}

void rig_say(int fd, const char *text)
{
    rig_send(fd, text, strlen(text));
}

// A socket with a time-out is not restarted after an interruption by the system.
static ssize_t receive(int fd, void *out, size_t len)
{
    ssize_t n;

    do
        n = recv(fd, out, len, 0);
    while (n < 0 && errno == EINTR);
    return n;
}

void rig_read(int fd, struct buf *out, bool with_body)
{
    const char *end = NULL;

    out->len = 0;
    while (end == NULL) { // byte by byte: what follows the head stays in the socket
        buf_reserve(out, 2);
        ssize_t n = receive(fd, out->data + out->len, 1);
        if (n != 1)
            fail_msg("no answer: %zd after \"%.*s\"", n, (int)out->len, out->data);
        out->data[++out->len] = '\0';
        end = strstr(out->data, "\r\n\r\n");
    }
    const char *length = strstr(out->data, "\r\nContent-Length: ");
    size_t left = length != NULL && with_body ? strtoul(length + strlen("\r\nContent-Length: "), NULL, 10) : 0;
    buf_reserve(out, left + 1);
    while (left > 0) {
        ssize_t n = receive(fd, out->data + out->len, left);
        assert_true(n > 0);
        out->len += (size_t)n;
        left -= (size_t)n;
    }
    out->data[out->len] = '\0';
}

void rig_expect(int fd, const char *status_line, const char *body)
{
    struct buf got = BUF_EMPTY;

    rig_read(fd, &got, true);
    if (strncmp(got.data, status_line, strlen(status_line)) != 0)
        fail_msg("expected %s, got %s", status_line, got.data);
    assert_string_equal(strstr(got.data, "\r\n\r\n") + 4, body);
    buf_fini(&got);
}

void rig_expect_end(int fd)
{
    char byte;

    assert_int_equal(receive(fd, &byte, 1), 0);
    close(fd);
}
