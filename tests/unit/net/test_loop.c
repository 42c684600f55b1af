// SPDX-License-Identifier: Apache-2.0
#include "net/loop.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/mem.h"

static struct loop *loop;

static int set_up(void **state)
{
    (void)state;
    loop = loop_new();
    return loop == NULL;
}

static int tear_down(void **state)
{
    (void)state;
    loop_free(loop);
    return 0;
}

static void stop_on_due(struct loop_timer *timer)
{
    (void)timer;
    loop_stop(loop);
}

static void run_for(int64_t ms)
{
    struct loop_timer end = {0};
    loop_timer_start(loop, &end, ms, stop_on_due);
    loop_run(loop);
    loop_timer_close(&end);
}

// ---- Timers

struct probe {
    struct loop_timer timer; // first
    unsigned fired;
    int64_t fired_ns;
};

static void on_probe(struct loop_timer *timer)
{
    struct probe *probe = (struct probe *)timer;
    probe->fired++;
    probe->fired_ns = clock_mono_ns();
    loop_stop(loop);
}

// libuv counts whole milliseconds, and its clock may lag by a tick.
#define TICK_NS (10 * NS_PER_MS)

static void test_timer_fires_once(void **state)
{
    (void)state;
    struct probe probe = {0};
    int64_t start_ns = clock_mono_ns();
    loop_timer_start(loop, &probe.timer, 30, on_probe);
    loop_run(loop);
    assert_int_equal(probe.fired, 1);
    assert_true(probe.fired_ns - start_ns >= 30 * NS_PER_MS - TICK_NS);
    run_for(60);
    assert_int_equal(probe.fired, 1);
    loop_timer_close(&probe.timer);
    assert_null(probe.timer.handle);
}

static void test_timer_moves(void **state)
{
    (void)state;
    struct probe later = {0}, earlier = {0}, stopped = {0}, again = {0};
    int64_t start_ns = clock_mono_ns();
    loop_timer_start(loop, &later.timer, 20, on_probe);
    loop_timer_start(loop, &later.timer, 120, on_probe);
    loop_timer_start(loop, &earlier.timer, 3600 * 1000, on_probe);
    loop_timer_start(loop, &earlier.timer, 10, on_probe);
    loop_timer_start(loop, &stopped.timer, 10, on_probe);
    loop_timer_stop(&stopped.timer);
    loop_timer_start(loop, &again.timer, 10, on_probe);
    loop_timer_stop(&again.timer);
    loop_timer_start(loop, &again.timer, 40, on_probe);

    while (later.fired == 0)
        loop_run(loop); // one is due, or several after a while in which the machine had no time
    assert_int_equal(later.fired, 1);
    assert_true(earlier.fired_ns <= again.fired_ns && again.fired_ns <= later.fired_ns);
    assert_true(later.fired_ns - start_ns >= 120 * NS_PER_MS - TICK_NS);
    assert_int_equal(earlier.fired + again.fired, 2);
    assert_int_equal(stopped.fired, 0);
    loop_timer_close(&later.timer);
    loop_timer_close(&earlier.timer);
    loop_timer_close(&stopped.timer);
    loop_timer_close(&again.timer);
}

// Time that passed outside the loop is no part of the timer's.
static void test_timer_after_a_long_start_up(void **state)
{
    (void)state;
    struct probe probe = {0};
    struct timespec nap = {.tv_nsec = 60 * NS_PER_MS};
    nanosleep(&nap, NULL);
    int64_t start_ns = clock_mono_ns();
    assert_true(start_ns - loop_now_ns(loop) < 50 * NS_PER_MS);
    loop_timer_start(loop, &probe.timer, 50, on_probe);
    loop_run(loop);
    assert_true(probe.fired_ns - start_ns >= 50 * NS_PER_MS - TICK_NS);
    loop_timer_close(&probe.timer);
}

static void on_repeat(struct loop_timer *timer)
{
    struct probe *probe = (struct probe *)timer;
    if (++probe->fired == 3)
        loop_stop(loop);
    else
        loop_timer_start(loop, timer, 1, on_repeat);
}

static void on_last(struct loop_timer *timer)
{
    loop_timer_close(timer);
    mem_free(timer); // the first member: the whole probe
    loop_stop(loop);
}

static void test_timer_in_its_own_callback(void **state)
{
    (void)state;
    struct probe probe = {0};
    loop_timer_start(loop, &probe.timer, -5, on_repeat); // the past is now
    loop_run(loop);
    assert_int_equal(probe.fired, 3);
    loop_timer_close(&probe.timer);

    struct probe *owner = mem_zalloc(sizeof *owner);
    loop_timer_start(loop, &owner->timer, 0, on_last);
    loop_run(loop);
}

static void test_timer_not_started(void **state)
{
    (void)state;
    struct loop_timer timer = {0};
    loop_timer_stop(&timer);
    loop_timer_close(&timer);
    assert_null(timer.handle);
}

// ---- Mail

struct letter {
    struct mail mail; // first
    int sender, number;
};

#define SENDERS 4
#define LETTERS 5000
static int next_number[SENDERS];
static int arrived;

static void on_letter(struct mail *mail)
{
    struct letter *letter = (struct letter *)mail;
    if (letter->number != next_number[letter->sender]++)
        abort(); // out of order
    mem_free(letter);
    if (++arrived == SENDERS * LETTERS)
        loop_stop(loop);
}

static void *send_letters(void *ctx)
{
    for (int i = 0; i < LETTERS; i++) {
        struct letter *letter = mem_zalloc(sizeof *letter);
        *letter = (struct letter){.mail.run = on_letter, .sender = (int)(intptr_t)ctx, .number = i};
        mailbox_send(loop_mailbox(loop), &letter->mail);
    }
    return NULL;
}

static void test_mail_from_threads(void **state)
{
    (void)state;
    pthread_t threads[SENDERS];
    for (int i = 0; i < SENDERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, send_letters, (void *)(intptr_t)i), 0);
    loop_run(loop);
    for (int i = 0; i < SENDERS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(arrived, SENDERS * LETTERS);
}

static int last_words;

static void on_last_words(struct mail *mail)
{
    (void)mail;
    last_words++;
}

static void *send_and_stop(void *ctx)
{
    mailbox_send(loop_mailbox(loop), ctx);
    loop_stop(loop);
    return NULL;
}

static void test_mail_before_stop_arrives(void **state)
{
    (void)state;
    struct mail mail = {.run = on_last_words};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, send_and_stop, &mail), 0);
    loop_run(loop);
    pthread_join(thread, NULL);
    assert_int_equal(last_words, 1);

    loop_stop(loop); // before the loop runs: it ends at once
    loop_run(loop);
}

// ---- Signals

static void on_signal(struct loop_signal *signal, int number)
{
    (void)signal;
    assert_int_equal(number, SIGUSR1);
    loop_stop(loop);
}

static void test_signal(void **state)
{
    (void)state;
    struct loop_signal usr1 = {0};
    assert_int_equal(loop_signal_start(loop, &usr1, SIGUSR1, on_signal), 0);
    kill(getpid(), SIGUSR1);
    loop_run(loop);
    loop_signal_close(&usr1);
    assert_int_equal(loop_signal_start(loop, &usr1, 9999, on_signal), -EINVAL);
    assert_null(usr1.handle);
}

// ---- Readiness

struct watcher {
    struct loop_poll poll; // first
    int fd, peer;
    unsigned calls;
    int seen;
};

static void on_ready(struct loop_poll *poll, int events)
{
    struct watcher *watcher = (struct watcher *)poll;
    watcher->calls++;
    watcher->seen = events;
    loop_stop(loop);
}

static void watch(struct watcher *watcher)
{
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    *watcher = (struct watcher){.fd = pair[0], .peer = pair[1]};
    assert_int_equal(loop_poll_open(loop, &watcher->poll, pair[0], on_ready), 0);
}

static void unwatch(struct watcher *watcher)
{
    loop_poll_close(&watcher->poll);
    assert_null(watcher->poll.handle);
    close(watcher->fd);
    if (watcher->peer >= 0)
        close(watcher->peer);
}

static void test_poll_reports_what_is_wanted(void **state)
{
    (void)state;
    struct watcher watcher;
    watch(&watcher);
    loop_poll_set(&watcher.poll, LOOP_READABLE | LOOP_WRITABLE);
    loop_run(loop);
    assert_int_equal(watcher.seen, LOOP_WRITABLE);

    assert_int_equal(write(watcher.peer, "x", 1), 1);
    loop_run(loop);
    assert_int_equal(watcher.seen, LOOP_READABLE | LOOP_WRITABLE);

    loop_poll_set(&watcher.poll, LOOP_READABLE);
    loop_run(loop);
    assert_int_equal(watcher.seen, LOOP_READABLE);
    unwatch(&watcher);
}

static void test_poll_loses_no_wake_up(void **state)
{
    (void)state;
    struct watcher watcher;
    watch(&watcher);
    loop_poll_set(&watcher.poll, LOOP_READABLE);
    run_for(5); // epoll watches now
    loop_poll_set(&watcher.poll, 0);
    assert_int_equal(write(watcher.peer, "x", 1), 1);
    run_for(20); // the event comes while nobody wants it
    assert_int_equal(watcher.calls, 0);

    loop_poll_set(&watcher.poll, LOOP_READABLE);
    loop_run(loop);
    unsigned calls = watcher.calls;
    loop_run(loop); // it stays readable, so it is reported again
    assert_true(calls > 0 && watcher.calls > calls);
    unwatch(&watcher);
}

static int64_t thread_cpu_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return now.tv_sec * NS_PER_S + now.tv_nsec;
}

// A descriptor that nobody waits for costs no processor time, whatever has happened to it.
static void assert_quiet(struct watcher *watcher)
{
    unsigned calls = watcher->calls;
    int64_t start_ns = thread_cpu_ns();
    run_for(200);
    assert_true(thread_cpu_ns() - start_ns < 100 * NS_PER_MS);
    assert_int_equal(watcher->calls, calls);
}

static void test_poll_is_quiet_after_a_hang_up(void **state)
{
    (void)state;
    struct watcher watcher;
    watch(&watcher);
    loop_poll_set(&watcher.poll, LOOP_READABLE);
    run_for(5);
    loop_poll_set(&watcher.poll, 0);
    shutdown(watcher.peer, SHUT_WR);
    assert_quiet(&watcher); // half closed
    close(watcher.peer);
    watcher.peer = -1;
    assert_quiet(&watcher); // closed

    loop_poll_set(&watcher.poll, LOOP_WRITABLE);
    loop_run(loop);
    assert_int_equal(watcher.seen, LOOP_WRITABLE);
    loop_poll_set(&watcher.poll, 0);
    assert_quiet(&watcher);

    loop_poll_set(&watcher.poll, LOOP_READABLE);
    loop_run(loop);
    assert_int_equal(watcher.seen, LOOP_READABLE);
    unwatch(&watcher);
}

// A unix socket whose peer closes with unread bytes in it reports an error (ECONNRESET), as TCP does after a reset.
static void test_poll_reports_errors_as_wanted(void **state)
{
    (void)state;
    struct watcher watcher;
    char byte;
    watch(&watcher);
    loop_poll_set(&watcher.poll, LOOP_READABLE);
    run_for(5);
    loop_poll_set(&watcher.poll, 0);
    assert_int_equal(write(watcher.fd, "x", 1), 1);
    close(watcher.peer);
    watcher.peer = -1;
    assert_quiet(&watcher);

    loop_poll_set(&watcher.poll, LOOP_READABLE);
    loop_run(loop);
    assert_int_equal(watcher.seen, LOOP_READABLE);
    unsigned calls = watcher.calls;
    loop_run(loop); // until the owner has read it
    assert_true(watcher.calls > calls);
    assert_int_equal(read(watcher.fd, &byte, 1), -1);
    assert_int_equal(errno, ECONNRESET);
    unwatch(&watcher);
}

static int watchers_left;

static void on_ready_close(struct loop_poll *poll, int events)
{
    (void)events;
    struct watcher *watcher = (struct watcher *)poll;
    unwatch(watcher);
    mem_free(watcher);
    if (--watchers_left == 0)
        loop_stop(loop);
}

static void test_poll_closes_in_its_callback(void **state)
{
    (void)state;
    struct watcher *first = mem_alloc(sizeof *first);
    struct watcher *second = mem_alloc(sizeof *second);
    watch(first);
    watch(second);
    first->poll.on_ready = second->poll.on_ready = on_ready_close;
    loop_poll_set(&first->poll, LOOP_WRITABLE);
    loop_poll_set(&second->poll, LOOP_WRITABLE);
    watchers_left = 2;
    loop_run(loop);
    assert_int_equal(watchers_left, 0);
}

static void test_poll_refuses_a_bad_descriptor(void **state)
{
    (void)state;
    struct loop_poll poll = {0};
    assert_int_equal(loop_poll_open(loop, &poll, 12345, on_ready), -EBADF);
    assert_null(poll.handle);
    loop_poll_close(&poll);
}

// ---- Turns

struct turns {
    struct loop_turn turn; // first
    unsigned ended;
    unsigned mail_at_end; // what had come by the last end
    unsigned mail;
    unsigned ready, ready_at_end, most_ready; // descriptors: all, by the last end, between two ends
    unsigned ready_at_mail;
};

static struct turns turns;

static void on_turn_end(struct loop_turn *turn)
{
    struct turns *of = (struct turns *)turn;
    unsigned piece = of->ready - of->ready_at_end;
    of->ended++;
    of->mail_at_end = of->mail;
    of->ready_at_end = of->ready;
    of->most_ready = piece > of->most_ready ? piece : of->most_ready;
}

static void on_turn_mail(struct mail *mail)
{
    (void)mail;
    turns.mail++;
    turns.ready_at_mail = turns.ready;
}

// What a turn brought is all there at its end, and the end comes before the loop waits.
static void test_turn_ends_after_all_it_brought(void **state)
{
    (void)state;
    struct mail letters[3] = {{.run = on_turn_mail}, {.run = on_turn_mail}, {.run = on_turn_mail}};
    turns = (struct turns){0};
    loop_turn_start(loop, &turns.turn, on_turn_end);
    for (size_t i = 0; i < 3; i++)
        mailbox_send(loop_mailbox(loop), &letters[i]);
    run_for(20);
    assert_int_equal(turns.mail_at_end, 3);
    assert_in_range(turns.ended, 2, 10);
    loop_turn_close(&turns.turn);
    unsigned ended = turns.ended;
    run_for(1);
    assert_int_equal(turns.ended, ended);
}

static struct mail first_letter = {.run = on_turn_mail};

static void on_ready_in_turn(struct loop_poll *poll, int events)
{
    (void)events;
    loop_poll_set(poll, 0);
    if (turns.ready++ == 0)
        mailbox_send(loop_mailbox(loop), &first_letter);
}

// Neither the end nor mail waits until many descriptors that are ready at the same time have all had their turn.
static void test_turn_of_many_is_cut(void **state)
{
    enum { MANY = 200, PIECE_MOST = 32 };
    (void)state;
    static struct watcher watchers[MANY];
    turns = (struct turns){0};
    loop_turn_start(loop, &turns.turn, on_turn_end);
    for (size_t i = 0; i < MANY; i++) {
        watch(&watchers[i]);
        watchers[i].poll.on_ready = on_ready_in_turn;
        assert_int_equal(write(watchers[i].peer, "x", 1), 1);
        loop_poll_set(&watchers[i].poll, LOOP_READABLE);
    }
    run_for(20);
    assert_int_equal(turns.ready, MANY);
    assert_in_range(turns.most_ready, 1, PIECE_MOST);
    assert_int_equal(turns.mail, 1);
    assert_in_range(turns.ready_at_mail, 1, PIECE_MOST);
    loop_turn_close(&turns.turn);
    for (size_t i = 0; i < MANY; i++)
        unwatch(&watchers[i]);
}

static void test_free_closes_what_is_open(void **state)
{
    (void)state;
    turns = (struct turns){0};
    loop_turn_start(loop, &turns.turn, on_turn_end);
    struct loop_timer timer = {0};
    struct loop_signal usr1 = {0};
    struct watcher watcher;
    watch(&watcher);
    loop_poll_set(&watcher.poll, LOOP_READABLE);
    loop_timer_start(loop, &timer, 1000, stop_on_due);
    assert_int_equal(loop_signal_start(loop, &usr1, SIGUSR1, on_signal), 0);
    loop_free(loop);
    loop = loop_new();
    assert_null(timer.handle);
    assert_null(usr1.handle);
    unwatch(&watcher);
    loop_timer_close(&timer);
    loop_signal_close(&usr1);
    loop_turn_close(&turns.turn);
}

int main(void)
{
    alarm(240); // a lost wake-up ends the test
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_timer_fires_once),
        TEST(test_timer_moves),
        TEST(test_timer_after_a_long_start_up),
        TEST(test_timer_in_its_own_callback),
        TEST(test_timer_not_started),
        TEST(test_mail_from_threads),
        TEST(test_mail_before_stop_arrives),
        TEST(test_signal),
        TEST(test_poll_reports_what_is_wanted),
        TEST(test_poll_loses_no_wake_up),
        TEST(test_poll_is_quiet_after_a_hang_up),
        TEST(test_poll_reports_errors_as_wanted),
        TEST(test_poll_closes_in_its_callback),
        TEST(test_poll_refuses_a_bad_descriptor),
        TEST(test_turn_ends_after_all_it_brought),
        TEST(test_turn_of_many_is_cut),
        TEST(test_free_closes_what_is_open),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
