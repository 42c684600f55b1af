// SPDX-License-Identifier: Apache-2.0
//
// Which reads ask the system and which don't, and what comes back when the other side is slow or gone.

#include "net/socket.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

// A signal could only interrupt an `ours` that blocks; all other tests have one that does not.
struct pair {
    struct socket ours;
    int theirs;
};

static struct pair pair_open(int type)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, fds), 0);
    return (struct pair){.ours = {.fd = fds[0]}, .theirs = fds[1]};
}

static struct pair pair_new(void)
{
    return pair_open(SOCK_STREAM | SOCK_NONBLOCK);
}

static void pair_close(struct pair *pair)
{
    close(pair->ours.fd);
    if (pair->theirs >= 0)
        close(pair->theirs);
}

static void say(struct pair *pair, const char *text)
{
    assert_int_equal(send(pair->theirs, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static void test_a_short_read_has_emptied_the_socket(void **state)
{
    struct pair pair = pair_new();
    char out[8];
    (void)state;

    say(&pair, "hello");
    assert_int_equal(socket_recv(&pair.ours, out, sizeof out), 5);
    assert_memory_equal(out, "hello", 5);
    say(&pair, "you"); // is not asked for before the loop has said so
    assert_int_equal(socket_recv(&pair.ours, out, sizeof out), -EAGAIN);
    assert_int_equal(pair.ours.received, 5);
    socket_readable(&pair.ours);
    assert_int_equal(socket_recv(&pair.ours, out, sizeof out), 3);
    assert_memory_equal(out, "you", 3);
    assert_int_equal(pair.ours.received, 8);
    pair_close(&pair);
}

static void test_a_full_read_may_leave_more(void **state)
{
    struct pair pair = pair_new();
    char out[4];
    (void)state;

    say(&pair, "12345678");
    for (int i = 0; i < 2; i++) {
        assert_int_equal(socket_recv(&pair.ours, out, sizeof out), 4);
        assert_false(pair.ours.drained);
    }
    assert_int_equal(socket_recv(&pair.ours, out, sizeof out), -EAGAIN); // the system's word
    assert_true(pair.ours.drained);
    say(&pair, "9");
    assert_int_equal(socket_recv(&pair.ours, out, sizeof out), -EAGAIN);
    socket_readable(&pair.ours);
    assert_int_equal(socket_recv(&pair.ours, out, sizeof out), 1);
    assert_int_equal(pair.ours.received, 9);
    pair_close(&pair);
}

// The end is seen as often as it is asked for, and behind the last bytes.
static void test_the_end_stays(void **state)
{
    struct pair pair = pair_new();
    char out[8];
    (void)state;

    say(&pair, "bye");
    assert_int_equal(shutdown(pair.theirs, SHUT_WR), 0);
    assert_int_equal(socket_recv(&pair.ours, out, sizeof out), 3);
    assert_int_equal(socket_recv(&pair.ours, out, sizeof out), -EAGAIN); // short, so it waits for the loop
    socket_readable(&pair.ours);
    for (int i = 0; i < 3; i++)
        assert_int_equal(socket_recv(&pair.ours, out, sizeof out), 0);
    assert_int_equal(pair.ours.received, 3);
    pair_close(&pair);
}

// An error is told, and is no reason to wait for the loop.
static void test_errors_are_told(void **state)
{
    struct socket socket = {.fd = -1};
    char out[1];
    const struct iovec part = {out, 1};
    (void)state;

    for (int i = 0; i < 2; i++)
        assert_int_equal(socket_recv(&socket, out, 1), -EBADF);
    assert_false(socket.drained);
    assert_int_equal(socket_sendv(&socket, &part, 1), -EBADF);
    assert_int_equal(socket.received, 0);
}

static void test_parts_go_out_in_order(void **state)
{
    struct pair pair = pair_new();
    char one[] = "one ", two[] = "two ", three[] = "three", out[32];
    const struct iovec parts[] = {{one, 4}, {two, 4}, {NULL, 0}, {three, 5}};
    (void)state;

    assert_int_equal(socket_sendv(&pair.ours, parts, 4), 13);
    assert_int_equal(recv(pair.theirs, out, sizeof out, 0), 13);
    assert_memory_equal(out, "one two three", 13);
    pair_close(&pair);
}

// Who does not read makes it partial, then nothing; and what was reported as sent has been.
static void test_a_full_socket_takes_a_part(void **state)
{
    enum { MANY = 4 << 20 };
    struct pair pair = pair_new();
    char *data = calloc(2, MANY);
    const struct iovec parts[] = {{data, MANY}, {data + MANY, MANY}};
    size_t got = 0;
    (void)state;

    assert_non_null(data);
    ssize_t sent = socket_sendv(&pair.ours, parts, 2);
    assert_true(sent > 0 && sent < 2 * (ssize_t)MANY);
    ssize_t more;
    while ((more = socket_sendv(&pair.ours, parts, 2)) > 0)
        sent += more;
    assert_int_equal(more, -EAGAIN);
    assert_false(pair.ours.drained); // which is about reading
    close(pair.ours.fd);
    for (ssize_t n; (n = recv(pair.theirs, data, MANY, 0)) > 0;)
        got += (size_t)n;
    assert_int_equal(got, sent);
    close(pair.theirs);
    free(data);
}

// The test would not outlive a SIGPIPE.
static void test_who_is_gone_gets_nothing(void **state)
{
    struct pair pair = pair_new();
    char byte = 'x';
    const struct iovec part = {&byte, 1};
    (void)state;

    signal(SIGPIPE, SIG_DFL);
    close(pair.theirs);
    pair.theirs = -1;
    assert_int_equal(socket_sendv(&pair.ours, &part, 1), -EPIPE);
    assert_int_equal(socket_recv(&pair.ours, &byte, 1), 0);
    pair_close(&pair);
}

static void on_signal(int number)
{
    (void)number;
}

struct interrupter {
    pthread_t target;
    int fd;
};

static void *interrupt(void *arg)
{
    const struct interrupter *interrupter = arg;
    for (int i = 0; i < 20; i++) {
        usleep(1000);
        pthread_kill(interrupter->target, SIGUSR1);
    }
    (void)!write(interrupter->fd, "x", 1);
    return NULL;
}

// A signal is no answer: the read goes on. The socket blocks here, so that there is something to interrupt.
static void test_a_signal_is_no_answer(void **state)
{
    struct pair pair = pair_open(SOCK_STREAM);
    struct interrupter interrupter = {pthread_self(), pair.theirs};
    const struct sigaction action = {.sa_handler = on_signal}; // without SA_RESTART
    pthread_t thread;
    char byte;
    (void)state;

    assert_int_equal(sigaction(SIGUSR1, &action, NULL), 0);
    assert_int_equal(pthread_create(&thread, NULL, interrupt, &interrupter), 0);
    assert_int_equal(socket_recv(&pair.ours, &byte, 1), 1);
    assert_int_equal(byte, 'x');
    pthread_join(thread, NULL);
    pair_close(&pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_short_read_has_emptied_the_socket),
        cmocka_unit_test(test_a_full_read_may_leave_more),
        cmocka_unit_test(test_the_end_stays),
        cmocka_unit_test(test_errors_are_told),
        cmocka_unit_test(test_parts_go_out_in_order),
        cmocka_unit_test(test_a_full_socket_takes_a_part),
        cmocka_unit_test(test_who_is_gone_gets_nothing),
        cmocka_unit_test(test_a_signal_is_no_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
