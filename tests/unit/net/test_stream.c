// SPDX-License-Identifier: Apache-2.0
//
// Plain streams. test_tls_session.c asks the same and more of TLS.
#include "net/stream.h"

#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "net/stats.h"
#include "owner.h"
#include "support.h"

static void write_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, data, len);
        CHECK(n > 0);
        data += n;
        len -= (size_t)n;
    }
}

static void read_all(int fd, char *out, size_t len)
{
    while (len > 0) {
        ssize_t n = read(fd, out, len);
        CHECK(n > 0);
        out += n;
        len -= (size_t)n;
    }
}

static void fill(char *data, size_t len)
{
    for (size_t i = 0; i < len; i++)
        data[i] = owner_pattern(i);
}

// ---- Echo

static void client_echo(int fd, void *ctx)
{
    size_t len = *(size_t *)ctx;
    char sent[50000], got[sizeof sent];
    fill(sent, len);
    for (int i = 0; i < 3; i++) {
        write_all(fd, sent, len);
        read_all(fd, got, len);
        CHECK(memcmp(sent, got, len) == 0);
    }
    CHECK(shutdown(fd, SHUT_WR) == 0);
    CHECK(read(fd, got, 1) == 0);
    close(fd);
}

static void test_echo(void **state)
{
    static const size_t lens[] = {1, 2, 4096, 50000};
    static const size_t read_sizes[] = {7, 4096, 65536};
    (void)state;
    for (size_t i = 0; i < sizeof lens / sizeof *lens; i++)
        for (size_t j = 0; j < sizeof read_sizes / sizeof *read_sizes; j++)
            for (int way = 0; way < 4; way++) {
                size_t len = lens[i];
                uint64_t received = counter_get(&net_stats.bytes_received), sent = counter_get(&net_stats.bytes_sent);
                struct owner owner = {.read_size = read_sizes[j],
                                      .style = way < 2 ? OWNER_DRAINS : OWNER_READS_ONE,
                                      .echo = true,
                                      .message_len = way % 2 == 0 ? 0 : len,
                                      .family = AF_INET};
                owner_run(&owner, client_echo, &len);
                assert_int_equal(owner.end, STREAM_EOF);
                assert_int_equal(owner.received, 3 * len);
                assert_true(owner.handshake_done);
                assert_null(owner.reason);
                assert_int_equal(counter_get(&net_stats.bytes_received) - received, 3 * len);
                assert_int_equal(counter_get(&net_stats.bytes_sent) - sent, 3 * len);
                assert_int_equal(net_stats.connections, 0);
            }
}

static void client_sends_much(int fd, void *ctx)
{
    char data[20000];
    (void)ctx;
    fill(data, sizeof data);
    write_all(fd, data, sizeof data);
    close(fd);
}

static void test_back_pressure(void **state)
{
    (void)state;
    char expected[20000];
    fill(expected, sizeof expected);
    struct owner owner = {.read_size = 999, .style = OWNER_PAUSES, .family = AF_INET};
    owner_run(&owner, client_sends_much, NULL);
    assert_int_equal(owner.end, STREAM_EOF);
    assert_int_equal(owner.received, sizeof expected);
    assert_true(owner.hash == owner_hash(OWNER_HASH, expected, sizeof expected));
    assert_true(owner.wakes >= sizeof expected / 999);
}

// ---- A long answer and a slow reader

#define LONG_ANSWER ((size_t)3 << 20)

static void client_reads_slowly(int fd, void *ctx)
{
    (void)ctx;
    char got[3000];
    size_t at = 0;
    write_all(fd, "x", 1);
    usleep(20000); // until the answer fills the sockets; nothing depends on it
    for (ssize_t n; (n = read(fd, got, sizeof got)) > 0; at += (size_t)n)
        for (ssize_t i = 0; i < n; i++)
            CHECK(got[i] == owner_pattern(at + (size_t)i));
    CHECK(at == LONG_ANSWER);
    close(fd);
}

static void test_long_answer(void **state)
{
    (void)state;
    for (int family = 0; family < 2; family++) {
        struct owner owner = {.read_size = 100, .answer_len = LONG_ANSWER, .shut_down = true};
        owner.family = family == 0 ? AF_INET : AF_UNIX;
        owner_run(&owner, client_reads_slowly, NULL);
        assert_int_equal(owner.answered, LONG_ANSWER);
        assert_int_equal(owner.end, STREAM_EOF);
        assert_true(owner.wakes > 2);
    }
}

// ---- Ends

static void client_resets(int fd, void *ctx)
{
    (void)ctx;
    const struct linger linger = {.l_onoff = 1};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    write_all(fd, "x", 1);
    close(fd);
}

static void test_reset(void **state)
{
    (void)state;
    struct owner owner = {.read_size = 100, .family = AF_INET};
    owner_run(&owner, client_resets, NULL);
    assert_int_equal(owner.end, -ECONNRESET);
}

static void test_no_sigpipe(void **state)
{
    (void)state;
    assert_true(signal(SIGPIPE, SIG_DFL) != SIG_ERR);
    struct owner owner = {.read_size = 100, .answer_len = LONG_ANSWER, .family = AF_UNIX};
    owner_run(&owner, client_resets, NULL);
    assert_true(owner.end == -EPIPE || owner.end == -ECONNRESET);
}

static void not_called(void *ctx, int events)
{
    (void)ctx;
    fail_msg("ready: %d", events);
}

static void test_a_bad_descriptor_opens_nothing(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    assert_null(stream_open(loop, 12345, NULL, not_called, NULL));
    assert_int_equal(net_stats.connections, 0);
    stream_close(NULL);
    loop_free(loop);
}

static bool becomes_readable(int fd, int wait_ms)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
    return poll(&poll_fd, 1, wait_ms) == 1;
}

static bool is_readable(int fd)
{
    return becomes_readable(fd, 0);
}

static void wait_until_there(int fd, int bytes)
{
    int there = -1;
    for (int i = 0; i < 60000 && there != bytes; i++) {
        assert_int_equal(ioctl(fd, FIONREAD, &there), 0);
        if (there != bytes)
            usleep(1000);
    }
    assert_int_equal(there, bytes);
}

// As the system itself says it: what is not enough is there, and makes nobody read it.
static void test_expected_bytes_come_together(void **state)
{
    static char bytes[40000];
    int pair[2];
    (void)state;
    owner_tcp_pair(pair);
    int fd = pair[0];
    struct loop *loop = loop_new();
    struct stream *stream = stream_open(loop, fd, NULL, not_called, NULL);

    stream_expect(stream, 10000);
    write_all(pair[1], bytes, 9999);
    wait_until_there(fd, 9999);
    assert_false(is_readable(fd));
    write_all(pair[1], bytes, 1);
    wait_until_there(fd, 10000);
    assert_true(is_readable(fd));

    stream_expect(stream, 1 << 20); // as much as fits is never waited for
    assert_false(is_readable(fd));
    write_all(pair[1], bytes, 32768 - 10000);
    wait_until_there(fd, 32768);
    assert_true(is_readable(fd));
    assert_int_equal(stream_read(stream, bytes, sizeof bytes), 32768);

    stream_expect(stream, 10000); // who no longer does gets what is there
    write_all(pair[1], bytes, 1);
    wait_until_there(fd, 1);
    assert_false(is_readable(fd));
    stream_expect(stream, 0);
    assert_true(is_readable(fd));

    stream_expect(stream, 10000); // nor is more waited for than can come
    assert_false(is_readable(fd));
    assert_int_equal(shutdown(pair[1], SHUT_WR), 0);
    assert_true(becomes_readable(fd, 60000));
    stream_close(stream);
    close(pair[1]);
    loop_free(loop);
}

int main(void)
{
    alarm(240); // a lost wake-up ends the test
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_echo),
        cmocka_unit_test(test_back_pressure),
        cmocka_unit_test(test_long_answer),
        cmocka_unit_test(test_reset),
        cmocka_unit_test(test_expected_bytes_come_together),
        cmocka_unit_test(test_no_sigpipe),
        cmocka_unit_test(test_a_bad_descriptor_opens_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
