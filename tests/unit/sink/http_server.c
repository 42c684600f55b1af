// SPDX-License-Identifier: Apache-2.0
#include "http_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"

#define REQUESTS_MAX 64

struct http_server {
    const struct http_answer *answers;
    size_t count;
    int listener, stop_read, stop_write, port;
    pthread_t thread;
    pthread_mutex_t mutex;
    unsigned requests, connections;
    struct buf seen[REQUESTS_MAX];
};

// Readable, or told to stop: then false.
static bool wait_readable(struct http_server *server, int fd)
{
    struct pollfd fds[] = {{.fd = fd, .events = POLLIN}, {.fd = server->stop_read, .events = POLLIN}};
    poll(fds, 2, -1);
    return fds[1].revents == 0;
}

static size_t content_length(const char *head)
{
    const char *at = strcasestr(head, "\r\nContent-Length:");
    return at != NULL ? strtoul(at + strlen("\r\nContent-Length:"), NULL, 10) : 0;
}

// Until the head is there, and the body too unless `unread`. False when the client is gone or the test is over.
static bool read_request(struct http_server *server, int fd, struct buf *out, bool unread)
{
    for (;;) {
        buf_reserve(out, 1);
        out->data[out->len] = '\0';
        const char *end = out->len > 0 ? strstr(out->data, "\r\n\r\n") : NULL;
        if (end != NULL && (unread || out->len >= (size_t)(end + 4 - out->data) + content_length(out->data)))
            return true;
        char data[65536];
        if (!wait_readable(server, fd))
            return false;
        ssize_t n = recv(fd, data, sizeof data, 0);
        if (n <= 0)
            return false;
        buf_append(out, data, (size_t)n);
    }
}

static void send_all(int fd, const char *text)
{
    for (size_t len = strlen(text); len > 0;) {
        ssize_t n = send(fd, text, len, MSG_NOSIGNAL);
        if (n <= 0)
            return;
        text += n;
        len -= (size_t)n;
    }
}

static const struct http_answer *next_answer(struct http_server *server)
{
    return &server->answers[server->requests < server->count ? server->requests : server->count - 1];
}

static void note_request(struct http_server *server, struct buf *request)
{
    pthread_mutex_lock(&server->mutex);
    if (server->requests < REQUESTS_MAX) {
        server->seen[server->requests] = *request;
        *request = BUF_EMPTY;
    }
    server->requests++;
    pthread_mutex_unlock(&server->mutex);
    buf_fini(request);
}

// One connection at a time is enough for the tests. True: another one may come.
static bool serve(struct http_server *server, int fd)
{
    for (;;) {
        struct buf request = BUF_EMPTY;
        const struct http_answer *answer = next_answer(server);
        if (!read_request(server, fd, &request, answer->unread)) {
            buf_fini(&request);
            return true;
        }
        note_request(server, &request);
        if (answer->hang)
            return wait_readable(server, fd); // until the client gives up
        if (answer->text != NULL)
            send_all(fd, answer->text);
        if (answer->reset) {
            const struct linger now = {.l_onoff = 1};
            setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
            return true;
        }
        if (answer->close || answer->text == NULL)
            return true;
    }
}

static void *run(void *ctx)
{
    struct http_server *server = ctx;
    while (wait_readable(server, server->listener)) {
        int fd = accept(server->listener, NULL, NULL);
        if (fd < 0)
            continue;
        pthread_mutex_lock(&server->mutex);
        server->connections++;
        pthread_mutex_unlock(&server->mutex);
        serve(server, fd);
        close(fd);
    }
    return NULL;
}

struct http_server *http_server_start(const struct http_answer *answers, size_t count)
{
    struct http_server *server = mem_zalloc(sizeof *server);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    int pipe_fds[2];

    server->answers = answers;
    server->count = count;
    pthread_mutex_init(&server->mutex, NULL);
    server->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    INVARIANT(bind(server->listener, (struct sockaddr *)&address, len) == 0 && listen(server->listener, 16) == 0);
    INVARIANT(getsockname(server->listener, (struct sockaddr *)&address, &len) == 0 && pipe(pipe_fds) == 0);
    server->port = ntohs(address.sin_port);
    server->stop_read = pipe_fds[0];
    server->stop_write = pipe_fds[1];
    INVARIANT(pthread_create(&server->thread, NULL, run, server) == 0);
    return server;
}

int http_server_port(const struct http_server *server)
{
    return server->port;
}

unsigned http_server_requests(struct http_server *server)
{
    pthread_mutex_lock(&server->mutex);
    unsigned requests = server->requests;
    pthread_mutex_unlock(&server->mutex);
    return requests;
}

unsigned http_server_connections(struct http_server *server)
{
    pthread_mutex_lock(&server->mutex);
    unsigned connections = server->connections;
    pthread_mutex_unlock(&server->mutex);
    return connections;
}

const char *http_server_request(struct http_server *server, unsigned i)
{
    pthread_mutex_lock(&server->mutex);
    const char *request = i < server->requests && i < REQUESTS_MAX ? server->seen[i].data : "";
    pthread_mutex_unlock(&server->mutex);
    return request;
}

void http_server_stop(struct http_server *server)
{
    if (server == NULL)
        return;
    INVARIANT(write(server->stop_write, "x", 1) == 1);
    pthread_join(server->thread, NULL);
    close(server->listener);
    close(server->stop_read);
    close(server->stop_write);
    for (unsigned i = 0; i < REQUESTS_MAX; i++)
        buf_fini(&server->seen[i]);
    pthread_mutex_destroy(&server->mutex);
    mem_free(server);
}
