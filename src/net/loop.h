// SPDX-License-Identifier: Apache-2.0
#pragma once

// An event loop of one thread (libuv behind it). All calls on the loop's own thread, but for loop_mailbox's mailbox
// (mailbox_send from anywhere) and loop_stop.

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/err.h"
#include "base/mailbox.h"

struct loop;

struct loop *loop_new(void);       // NULL when the system has no descriptor or memory left
void loop_free(struct loop *loop); // closes what is still open on it; after loop_run has returned
void loop_run(struct loop *loop);  // until loop_stop
void loop_stop(struct loop *loop); // any thread
struct mailbox *loop_mailbox(struct loop *loop);
int64_t loop_now_ns(struct loop *loop); // monotonic time at which this turn of the loop began: for deadlines

// One-shot timer, embedded in its owner; not running while zeroed.
struct loop_timer {
    void *handle; // NULL until first armed
    void (*on_due)(struct loop_timer *timer);
};
void loop_timer_start(struct loop *loop, struct loop_timer *timer, int64_t in_ms,
                      void (*on_due)(struct loop_timer *timer));
void loop_timer_stop(struct loop_timer *timer);  // keeps the handle for the next start
void loop_timer_close(struct loop_timer *timer); // the struct may be released right after

// Called at the end of each turn of the loop, before it waits: for what should be done once for all that a turn brought.
// When many descriptors are ready it is called, and mail delivered, after every few of them.
struct loop_turn {
    LIST_ENTRY(loop_turn) link;
    void (*on_end)(struct loop_turn *turn);
};
void loop_turn_start(struct loop *loop, struct loop_turn *turn, void (*on_end)(struct loop_turn *turn));
void loop_turn_close(struct loop_turn *turn); // the struct may be released right after

// A signal on this loop.
struct loop_signal {
    void *handle;
    void (*on_signal)(struct loop_signal *signal, int number);
};
int loop_signal_start(struct loop *loop, struct loop_signal *signal, int number,
                      void (*on_signal)(struct loop_signal *, int));
void loop_signal_close(struct loop_signal *signal);

// Readiness of a descriptor (uv_poll_t). The descriptor stays the caller's and is closed after loop_poll_close.
enum { LOOP_READABLE = 1, LOOP_WRITABLE = 2 };
struct loop_poll {
    void *handle;
    int events; // what is being waited for
    // What is ready of what is waited for; again and again while it stays so. An error or a hang-up is reported as
    // all of it.
    void (*on_ready)(struct loop_poll *poll, int events);
};
int loop_poll_open(struct loop *loop, struct loop_poll *poll, int fd, void (*on_ready)(struct loop_poll *, int));
int loop_poll_set(struct loop_poll *poll, int events); // 0 waits for nothing; no system call when nothing changes
void loop_poll_close(struct loop_poll *poll);          // the struct may be released right after
