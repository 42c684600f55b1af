// SPDX-License-Identifier: Apache-2.0
#pragma once

// Deadlines of many connections on one loop timer. All deadlines of one kind last equally long, so each kind is a queue
// in order of time: setting and clearing one costs no system call and no search. Owned by one loop.

#include <stddef.h>
#include <stdint.h>

#include "net/loop.h"

enum deadline_kind {
    DEADLINE_HEADERS,
    DEADLINE_BODY,
    DEADLINE_WRITE,
    DEADLINE_IDLE,
    DEADLINE_LINGER,
    DEADLINE_KINDS,
    DEADLINE_NONE = DEADLINE_KINDS,
};

// Inside its owner; at first .kind = DEADLINE_NONE.
struct deadline {
    struct deadline *prev, *next;
    int64_t due_ns;
    enum deadline_kind kind;
};

struct deadlines {
    struct loop *loop;
    struct loop_timer timer;
    int64_t timer_ns; // when the timer goes off; INT64_MAX: it does not run
    struct {
        int64_t ms;
        struct deadline *first, *last;
    } queues[DEADLINE_KINDS];
    void (*on_due)(struct deadline *deadline); // it is cleared; its owner may be released
};

// The durations (queues[].ms) are the caller's to fill in.
void deadlines_init(struct deadlines *deadlines, struct loop *loop, void (*on_due)(struct deadline *deadline));
void deadlines_fini(struct deadlines *deadlines); // when none is set any more
void deadline_set(struct deadlines *deadlines, struct deadline *deadline, enum deadline_kind kind); // from now, anew
void deadline_clear(struct deadlines *deadlines, struct deadline *deadline);
