// SPDX-License-Identifier: Apache-2.0
//
// The loop over libuv. A uv handle must stay in memory until its close callback, which comes a turn later; so each of
// the small structs of loop.h points at a heap block that holds the uv handle, and the struct itself may go at once.
//
// Two things are lazy, because every request would otherwise pay for them:
// - A timer whose deadline moves later, or which is stopped, only stores a number. When the uv timer fires early it
//   is armed again for the rest. A busy connection thus arms its uv timer once in some seconds, not once a request.
// - A descriptor for which less is wanted than epoll watches stays as it is until an event comes that nobody wants.
//   Only then does the watch shrink. Between two requests of a kept-alive connection nothing changes, so nothing is
//   called.
//
// libuv handles up to 1024 ready descriptors at a stretch. What they hand to other threads, and what those have done
// with it, would all be held until the last of them: with 1,000 connections tens of MiB. So a turn is cut in pieces.

#include "net/loop.h"

#include <stddef.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <uv.h>

#include "base/clock.h"
#include "base/mem.h"

enum { PIECE_POLLS = 16 }; // ready descriptors in a piece of a turn

// Owned by one loop, but for `stop` and the mailbox.
struct loop {
    uv_loop_t uv; // first: a handle knows it
    struct mailbox mailbox;
    // Wakes the loop for mail and for loop_stop. Not uv_async_t: uv_async_send reads its "already pending" mark with no
    // barrier, so on a weakly ordered machine the last of several wake-ups could be lost, and it would save nothing:
    // the mailbox wakes only when it was empty.
    int wake_fd;
    struct loop_poll wake;
    void *prepare; // a struct handle: ends a turn
    LIST_HEAD(loop_turns, loop_turn) turns;
    unsigned polls; // of this piece
    bool running;
    bool stop; // atomic
};

#define NEVER UINT64_MAX

// What a struct of loop.h points at. The uv handle stands first: libuv hands its address back.
struct handle {
    union {
        uv_handle_t any;
        uv_timer_t timer;
        uv_poll_t poll;
        uv_signal_t signal;
        uv_prepare_t prepare;
    } uv;
    void **owner;      // the owner's `handle` member, which is its first; NULL once closed
    uint64_t due_ms;   // timer: when the owner wants it; NEVER: not at all
    uint64_t armed_ms; // timer: when libuv will fire; NEVER: not armed
    int watched;       // poll: what epoll watches, at least what the owner waits for
};

_Static_assert(offsetof(struct loop, uv) == 0, "uv_handle_t.loop points at the loop itself");
_Static_assert(offsetof(struct loop_timer, handle) == 0, "struct handle.owner points at the owner itself");
_Static_assert(offsetof(struct loop_signal, handle) == 0, "struct handle.owner points at the owner itself");
_Static_assert(offsetof(struct loop_poll, handle) == 0, "struct handle.owner points at the owner itself");

static void on_closed(uv_handle_t *uv)
{
    mem_free(uv);
}

static void handle_close(struct handle *handle)
{
    *handle->owner = NULL;
    handle->owner = NULL;
    uv_close(&handle->uv.any, on_closed);
}

static void on_wake(struct loop_poll *poll, int events)
{
    (void)events;
    struct loop *loop = (struct loop *)((char *)poll - offsetof(struct loop, wake));
    uint64_t count;
    (void)!read(loop->wake_fd, &count, sizeof count);

    // The order matters: mail that was sent before loop_stop, by the same thread, is still delivered.
    bool stop = __atomic_load_n(&loop->stop, __ATOMIC_ACQUIRE);
    mailbox_run(&loop->mailbox);
    if (stop)
        uv_stop(&loop->uv);
}

static void loop_wake(void *ctx)
{
    struct loop *loop = ctx;
    const uint64_t one = 1;
    (void)!write(loop->wake_fd, &one, sizeof one); // EAGAIN: the counter is full, so the loop is about to wake anyway
}

static void end_turn(struct loop *loop)
{
    struct loop_turn *next;
    for (struct loop_turn *turn = LIST_FIRST(&loop->turns); turn != NULL; turn = next) {
        next = LIST_NEXT(turn, link); // it may close itself
        turn->on_end(turn);
    }
}

static void on_uv_prepare(uv_prepare_t *uv)
{
    end_turn((struct loop *)uv->loop);
}

static void prepare_open(struct loop *loop)
{
    struct handle *handle = mem_zalloc(sizeof *handle);
    INVARIANT(uv_prepare_init(&loop->uv, &handle->uv.prepare) == 0);
    handle->owner = &loop->prepare;
    loop->prepare = handle;
    INVARIANT(uv_prepare_start(&handle->uv.prepare, on_uv_prepare) == 0);
}

struct loop *loop_new(void)
{
    struct loop *loop = mem_zalloc(sizeof *loop);
    if (uv_loop_init(&loop->uv) != 0)
        goto out_free;
    loop->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (loop->wake_fd < 0)
        goto out_loop;
    if (loop_poll_open(loop, &loop->wake, loop->wake_fd, on_wake) != 0)
        goto out_fd;
    loop_poll_set(&loop->wake, LOOP_READABLE);
    prepare_open(loop);
    mailbox_init(&loop->mailbox, loop_wake, loop);
    return loop;

out_fd:
    close(loop->wake_fd);
out_loop:
    uv_loop_close(&loop->uv);
out_free:
    mem_free(loop);
    return NULL;
}

static void close_left_open(uv_handle_t *uv, void *ctx)
{
    (void)ctx;
    if (!uv_is_closing(uv))
        handle_close((struct handle *)uv);
}

void loop_free(struct loop *loop)
{
    if (loop == NULL)
        return;
    while (!LIST_EMPTY(&loop->turns))
        loop_turn_close(LIST_FIRST(&loop->turns));
    uv_walk(&loop->uv, close_left_open, NULL);
    while (uv_run(&loop->uv, UV_RUN_DEFAULT) != 0) // runs the close callbacks
        ;
    INVARIANT(uv_loop_close(&loop->uv) == 0);
    close(loop->wake_fd);
    mem_free(loop);
}

void loop_run(struct loop *loop)
{
    loop->running = true;
    uv_run(&loop->uv, UV_RUN_DEFAULT); // the watch on wake_fd keeps it going
    loop->running = false;
    __atomic_store_n(&loop->stop, false, __ATOMIC_RELEASE);
}

void loop_stop(struct loop *loop)
{
    __atomic_store_n(&loop->stop, true, __ATOMIC_RELEASE);
    loop_wake(loop);
}

struct mailbox *loop_mailbox(struct loop *loop)
{
    return &loop->mailbox;
}

int64_t loop_now_ns(struct loop *loop)
{
    if (!loop->running)
        uv_update_time(&loop->uv);
    return (int64_t)uv_now(&loop->uv) * NS_PER_MS;
}

// ---- Timers

static void on_uv_timer(uv_timer_t *uv);

static void timer_arm(struct handle *handle, uint64_t now_ms)
{
    handle->armed_ms = handle->due_ms;
    uv_timer_start(&handle->uv.timer, on_uv_timer, handle->due_ms - now_ms, 0);
}

static void on_uv_timer(uv_timer_t *uv)
{
    struct handle *handle = (struct handle *)uv;
    struct loop_timer *timer = (struct loop_timer *)handle->owner;
    uint64_t now_ms = uv_now(uv->loop);

    handle->armed_ms = NEVER;
    if (handle->due_ms == NEVER)
        return;
    if (handle->due_ms > now_ms) {
        timer_arm(handle, now_ms);
        return;
    }
    handle->due_ms = NEVER;
    timer->on_due(timer);
}

void loop_timer_start(struct loop *loop, struct loop_timer *timer, int64_t in_ms,
                      void (*on_due)(struct loop_timer *timer))
{
    struct handle *handle = timer->handle;
    if (handle == NULL) {
        handle = mem_zalloc(sizeof *handle);
        uv_timer_init(&loop->uv, &handle->uv.timer);
        handle->owner = &timer->handle;
        handle->armed_ms = NEVER;
        timer->handle = handle;
    }
    if (!loop->running) // the loop's clock stands still between two runs
        uv_update_time(&loop->uv);
    uint64_t now_ms = uv_now(&loop->uv);

    timer->on_due = on_due;
    handle->due_ms = now_ms + (in_ms > 0 ? (uint64_t)in_ms : 0);
    if (handle->due_ms < handle->armed_ms)
        timer_arm(handle, now_ms);
}

void loop_timer_stop(struct loop_timer *timer)
{
    struct handle *handle = timer->handle;
    if (handle != NULL)
        handle->due_ms = NEVER;
}

void loop_timer_close(struct loop_timer *timer)
{
    if (timer->handle != NULL)
        handle_close(timer->handle);
}

// ---- Turns

void loop_turn_start(struct loop *loop, struct loop_turn *turn, void (*on_end)(struct loop_turn *turn))
{
    *turn = (struct loop_turn){.on_end = on_end};
    LIST_INSERT_HEAD(&loop->turns, turn, link);
}

void loop_turn_close(struct loop_turn *turn)
{
    if (turn->on_end != NULL)
        LIST_REMOVE(turn, link);
    turn->on_end = NULL;
}

// ---- Signals

static void on_uv_signal(uv_signal_t *uv, int number)
{
    struct loop_signal *signal = (struct loop_signal *)((struct handle *)uv)->owner;
    signal->on_signal(signal, number);
}

int loop_signal_start(struct loop *loop, struct loop_signal *signal, int number,
                      void (*on_signal)(struct loop_signal *, int))
{
    struct handle *handle = mem_zalloc(sizeof *handle);
    int rc = uv_signal_init(&loop->uv, &handle->uv.signal);
    if (rc != 0) {
        mem_free(handle);
        return rc;
    }
    handle->owner = &signal->handle;
    signal->handle = handle;
    signal->on_signal = on_signal;
    rc = uv_signal_start(&handle->uv.signal, on_uv_signal, number);
    if (rc != 0)
        handle_close(handle);
    return rc;
}

void loop_signal_close(struct loop_signal *signal)
{
    if (signal->handle != NULL)
        handle_close(signal->handle);
}

// ---- Readiness

static void on_uv_poll(uv_poll_t *uv, int status, int uv_events);

// Watches for exactly `events`. libuv takes two calls of epoll_ctl for it.
static int poll_watch(struct handle *handle, int events)
{
    handle->watched = events;
    if (events == 0)
        return uv_poll_stop(&handle->uv.poll);
    int uv_events = (events & LOOP_READABLE ? UV_READABLE : 0) | (events & LOOP_WRITABLE ? UV_WRITABLE : 0);
    return uv_poll_start(&handle->uv.poll, uv_events, on_uv_poll);
}

static void on_uv_poll(uv_poll_t *uv, int status, int uv_events)
{
    struct handle *handle = (struct handle *)uv;
    struct loop_poll *poll = (struct loop_poll *)handle->owner;
    int ready = (uv_events & UV_READABLE ? LOOP_READABLE : 0) | (uv_events & UV_WRITABLE ? LOOP_WRITABLE : 0);

    if (status < 0) // an error on the descriptor, after which libuv has ended its watch
        ready = LOOP_READABLE | LOOP_WRITABLE;
    if (status < 0 || (ready & ~poll->events) != 0)
        poll_watch(handle, poll->events);

    ready &= poll->events;
    if (ready != 0)
        poll->on_ready(poll, ready); // may close it

    struct loop *loop = (struct loop *)uv->loop;
    if (++loop->polls >= PIECE_POLLS) {
        loop->polls = 0;
        end_turn(loop);
        mailbox_run(&loop->mailbox);
    }
}

int loop_poll_open(struct loop *loop, struct loop_poll *poll, int fd, void (*on_ready)(struct loop_poll *, int))
{
    struct handle *handle = mem_zalloc(sizeof *handle);
    int rc = uv_poll_init(&loop->uv, &handle->uv.poll, fd);
    if (rc != 0) {
        mem_free(handle);
        return rc;
    }
    handle->owner = &poll->handle;
    *poll = (struct loop_poll){.handle = handle, .on_ready = on_ready};
    return 0;
}

int loop_poll_set(struct loop_poll *poll, int events)
{
    struct handle *handle = poll->handle;
    poll->events = events;
    return (events & ~handle->watched) == 0 ? 0 : poll_watch(handle, events);
}

void loop_poll_close(struct loop_poll *poll)
{
    if (poll->handle != NULL)
        handle_close(poll->handle);
}
