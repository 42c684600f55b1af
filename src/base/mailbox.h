// SPDX-License-Identifier: Apache-2.0
#pragma once

// Messages between threads: many senders, one receiver. A message is a struct mail inside the sender's own object, so
// sending allocates nothing. The receiver's loop (net/loop.h) gives `wake`; it is called only when the box was empty,
// so a busy receiver costs its senders no system call. Messages arrive in the order in which they were sent.

#include <stdbool.h>

struct mail {
    struct mail *next;
    void (*run)(struct mail *mail); // on the receiver's thread; owns the message from then on
};

struct mailbox {
    struct mail *head;       // atomic; last sent first
    void (*wake)(void *ctx); // any thread
    void *ctx;
};

void mailbox_init(struct mailbox *box, void (*wake)(void *ctx), void *ctx);
void mailbox_send(struct mailbox *box, struct mail *mail); // any thread; box must outlive the call
bool mailbox_run(struct mailbox *box);                     // receiver only: runs what waits; false: nothing did
