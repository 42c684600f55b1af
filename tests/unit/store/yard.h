// SPDX-License-Identifier: Apache-2.0
#pragma once

// A durable store in a directory of its own, and somebody who appends to it and takes from it. Batch n has events that
// tell its number, so that what comes out can be compared.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "store/durable.h"

#define YARD_BATCHES 2000

struct yard_batch {
    struct batch batch; // first
    unsigned number;
};

struct yard {
    char dir[64];
    struct conf_outbox conf;
    struct store *store;
    struct mailbox home;
    unsigned wakes, answered, refused; // wakes: atomic
    int status[YARD_BATCHES];          // of each batch; 1: no answer yet
};

int yard_setup(void **state);
int yard_teardown(void **state);
void yard_open(struct yard *yard);
int yard_try_open(struct yard *yard, struct err *err);
void yard_close(struct yard *yard);

void yard_on_answer(struct mail *mail); // of a struct yard_batch whose parts are on the heap
struct batch_id yard_id(unsigned number);
void yard_push(struct yard *yard, unsigned number, uint32_t events); // without a kick
int yard_try_push(struct yard *yard, unsigned number, uint32_t events);
void yard_append(struct yard *yard, unsigned number, uint32_t events); // and waits for the answer
void yard_wait_answers(struct yard *yard, unsigned count);             // in all

struct batch *yard_take_one(struct yard *yard);                // waits for it
struct batch *yard_take_any(struct yard *yard);                // NULL: there is none
void yard_settle_open(struct yard *yard, struct batch *batch); // all that is not settled of it; there is some
void yard_assert_empty(struct yard *yard);                     // nothing is left to take
unsigned yard_number(const struct batch *batch);               // and checks all of its bytes
void yard_assert_batch(const struct batch *batch, unsigned number, uint32_t events);
void yard_take_and_settle(struct yard *yard, unsigned number, uint32_t events); // the next one, which is this one
struct store_stats yard_stats(struct yard *yard);
void yard_wait_bytes(struct yard *yard, uint64_t bytes); // until the store's records take so much
void yard_wait_bytes_at_most(struct yard *yard, uint64_t bytes);
void yard_assert_refuses(struct yard *yard, const char *reason);
void yard_wait_well(struct yard *yard); // until it accepts; it has no reason not to then

void yard_path(const struct yard *yard, const char *name, char out[256]);
// How many names in the directory begin so.
unsigned yard_count_files(const struct yard *yard, const char *prefix);
