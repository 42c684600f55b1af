// SPDX-License-Identifier: Apache-2.0
#pragma once

// The ingest handler behind a real HTTP server, on a loop of its own thread, before a store whose behaviour each test
// chooses. Between bench_new and bench_start a test sets what it wants to be otherwise.

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "http/server.h"
#include "ingest/ingest.h"

enum store_mode { STORE_SAFE, STORE_FAILS, STORE_HOLDS, STORE_REFUSES };

struct fake_store {
    struct store store;
    enum store_mode mode; // atomic
    bool closed;          // accepts() says no
    unsigned kicks;       // atomic
    struct batch *held;   // STORE_HOLDS; atomic
    char lines[4096];     // of the last batch
};

struct bench {
    struct fake_store store;
    struct budget budget;
    struct ingest ingest;
    struct loop *loop;
    struct ingest_worker *worker;
    struct http_server *server;
    pthread_t thread;
};

// Sensors "s1" (token-one) and "s2" (second); small limits, no rates.
struct bench *bench_new(void);
int bench_connect(struct bench *b); // a client's end of a connection to the server
void bench_start(struct bench *b);
void bench_stop(struct bench *b);
void bench_free(struct bench *b); // checks that the budget has got back all that was taken
void bench_end(struct bench *b);  // both

void bench_post(int fd, const char *body);          // of s1
int bench_answer(int fd, char *text, size_t size);  // the status of the next answer; its body, if any, stays in `text`
void bench_settle(struct batch *batch, int status); // the store's word on a batch
