// SPDX-License-Identifier: Apache-2.0

#include "http/deadline.h"

#include "base/clock.h"
#include "base/mem.h"

static void on_timer(struct loop_timer *timer);

static void arm(struct deadlines *deadlines, int64_t due_ns)
{
    int64_t in_ns = due_ns - loop_now_ns(deadlines->loop);

    deadlines->timer_ns = due_ns;
    // Rounded up: a timer that went off early would only be armed again.
    loop_timer_start(deadlines->loop, &deadlines->timer, in_ns > 0 ? (in_ns + NS_PER_MS - 1) / NS_PER_MS : 0, on_timer);
}

// The timer is not moved when the deadline it was armed for goes away: deadlines move with each request, and one
// that finds nothing due costs less than that.
static void on_timer(struct loop_timer *timer)
{
    struct deadlines *deadlines = (struct deadlines *)((char *)timer - offsetof(struct deadlines, timer));
    int64_t now_ns = loop_now_ns(deadlines->loop), next_ns = INT64_MAX;

    deadlines->timer_ns = INT64_MAX;
    for (int kind = 0; kind < DEADLINE_KINDS; kind++) {
        struct deadline *first;
        while ((first = deadlines->queues[kind].first) != NULL && first->due_ns <= now_ns) {
            deadline_clear(deadlines, first);
            deadlines->on_due(first);
        }
    }
    for (int kind = 0; kind < DEADLINE_KINDS; kind++) {
        struct deadline *first = deadlines->queues[kind].first;
        if (first != NULL && first->due_ns < next_ns)
            next_ns = first->due_ns;
    }
    if (next_ns < deadlines->timer_ns)
        arm(deadlines, next_ns);
}

void deadlines_init(struct deadlines *deadlines, struct loop *loop, void (*on_due)(struct deadline *deadline))
{
    *deadlines = (struct deadlines){.loop = loop, .timer_ns = INT64_MAX, .on_due = on_due};
}

void deadlines_fini(struct deadlines *deadlines)
{
    for (int kind = 0; kind < DEADLINE_KINDS; kind++)
        INVARIANT(deadlines->queues[kind].first == NULL);
    loop_timer_close(&deadlines->timer);
}

void deadline_clear(struct deadlines *deadlines, struct deadline *deadline)
{
    if (deadline->kind == DEADLINE_NONE)
        return;
    if (deadline->prev != NULL)
        deadline->prev->next = deadline->next;
    else
        deadlines->queues[deadline->kind].first = deadline->next;
    if (deadline->next != NULL)
        deadline->next->prev = deadline->prev;
    else
        deadlines->queues[deadline->kind].last = deadline->prev;
    deadline->prev = deadline->next = NULL;
    deadline->kind = DEADLINE_NONE;
}

void deadline_set(struct deadlines *deadlines, struct deadline *deadline, enum deadline_kind kind)
{
    deadline_clear(deadlines, deadline);

    struct deadline *last = deadlines->queues[kind].last;
    deadline->kind = kind;
    deadline->due_ns = loop_now_ns(deadlines->loop) + deadlines->queues[kind].ms * NS_PER_MS;
    deadline->prev = last;
    if (last != NULL)
        last->next = deadline;
    else
        deadlines->queues[kind].first = deadline;
    deadlines->queues[kind].last = deadline;
    if (deadline->due_ns < deadlines->timer_ns)
        arm(deadlines, deadline->due_ns);
}
