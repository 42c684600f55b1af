// SPDX-License-Identifier: Apache-2.0
#pragma once

// A server of one test: it answers each request with the next of its scripted answers, byte for byte. Plain HTTP/1.1 on an
// ephemeral port of loopback, in a thread of its own.

#include <stdbool.h>
#include <stddef.h>

struct http_answer {
    const char *text; // the bytes, head and all; NULL: closes without any
    bool close;       // the connection after it
    bool reset;       // rudely, with RST
    bool unread;      // without having read the request's body
    bool hang;        // never answers
};

struct http_server;
struct http_server *http_server_start(const struct http_answer *answers, size_t count);
int http_server_port(const struct http_server *server);
unsigned http_server_requests(struct http_server *server);               // how many heads have come
unsigned http_server_connections(struct http_server *server);            // how many were taken
const char *http_server_request(struct http_server *server, unsigned i); // head and body as they came, zero-terminated
void http_server_stop(struct http_server *server);
