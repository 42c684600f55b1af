// SPDX-License-Identifier: Apache-2.0
#include "net/listener.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "net/stats.h"
#include "support.h"

static struct loop *loop;
static struct listener *listener;
static char dir[] = "/tmp/loom-listener-XXXXXX";

static int awaited; // on_accept stops the loop when so many have come
static int accepted;
static int accepted_fd; // the last one, open
static struct address accepted_peer;

static void on_accept(void *ctx, int fd, const struct address *peer)
{
    assert_ptr_equal(ctx, &accepted);
    if (accepted_fd >= 0)
        close(accepted_fd);
    accepted_fd = fd;
    accepted_peer = *peer;
    if (++accepted == awaited)
        loop_stop(loop);
}

static int set_up(void **state)
{
    (void)state;
    loop = loop_new();
    listener = NULL;
    awaited = 1;
    accepted = 0;
    accepted_fd = -1;
    return loop == NULL;
}

static int tear_down(void **state)
{
    (void)state;
    listener_close(listener);
    loop_free(loop);
    if (accepted_fd >= 0)
        close(accepted_fd);
    return 0;
}

static void listen_on(const char *text)
{
    struct err err = {0};
    if (listener_open(loop, text, on_accept, &accepted, &listener, &err) != 0)
        fail_msg("%s", err.text);
    listener_start(listener);
}

static void refuse(const char *text, int code, const char *says)
{
    struct err err = {0};
    struct listener *none = NULL;
    assert_int_equal(listener_open(loop, text, on_accept, &accepted, &none, &err), code);
    assert_null(none);
    if (strstr(err.text, text) == NULL || strstr(err.text, says) == NULL)
        fail_msg("\"%s\" does not say \"%s\" and \"%s\"", err.text, text, says);
}

// A blocking client; connects to `family`'s loopback address, or to the listener's own address when family is 0.
static int dial(int family)
{
    struct address to = *listener_address(listener);
    in_port_t port = ((struct sockaddr_in6 *)&to.sa)->sin6_port; // stands in the same place in both families
    if (family == AF_INET)
        *(struct sockaddr_in *)&to.sa = (struct sockaddr_in){AF_INET, port, {htonl(INADDR_LOOPBACK)}, {0}};
    else if (family == AF_INET6)
        *(struct sockaddr_in6 *)&to.sa =
            (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = port, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int fd = socket(to.sa.ss_family, SOCK_STREAM, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&to.sa, family == 0 ? to.len : sizeof to.sa) == 0)
        return fd;
    close(fd);
    return -1;
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

// ---- TCP

static void test_accepts(void **state)
{
    (void)state;
    char text[ADDRESS_TEXT_MAX];
    counter before = counter_get(&net_stats.accepted);
    listen_on("127.0.0.1:0");
    assert_true(strncmp(address_text(listener_address(listener), text), "127.0.0.1:", 10) == 0);
    assert_string_not_equal(text, "127.0.0.1:0");

    int client = dial(0);
    assert_true(client >= 0);
    loop_run(loop);
    assert_int_equal(accepted, 1);
    assert_int_equal(counter_get(&net_stats.accepted), before + 1);

    struct sockaddr_in own;
    socklen_t len = sizeof own;
    assert_int_equal(getsockname(client, (struct sockaddr *)&own, &len), 0);
    assert_int_equal(((struct sockaddr_in *)&accepted_peer.sa)->sin_port, own.sin_port);

    int no_delay = 0;
    len = sizeof no_delay;
    assert_int_equal(getsockopt(accepted_fd, IPPROTO_TCP, TCP_NODELAY, &no_delay, &len), 0);
    assert_int_equal(no_delay, 1);
    assert_true(fcntl(accepted_fd, F_GETFL) & O_NONBLOCK);
    assert_true(fcntl(accepted_fd, F_GETFD) & FD_CLOEXEC);
    close(client);
}

static void test_wildcard_takes_both_families(void **state)
{
    (void)state;
    char text[ADDRESS_TEXT_MAX];
    listen_on(":0");
    int client = dial(AF_INET);
    assert_true(client >= 0);
    loop_run(loop);
    assert_true(strncmp(address_text(&accepted_peer, text), "127.0.0.1:", 10) == 0);
    close(client);

    client = dial(AF_INET6);
    if (client < 0) // no IPv6 here
        return;
    awaited = 2;
    loop_run(loop);
    assert_true(strncmp(address_text(&accepted_peer, text), "[::1]:", 6) == 0);
    close(client);
}

// Stands before the C library's, for the listener's calls too.
static bool no_ipv6;

int socket(int domain, int type, int protocol)
{
    if (no_ipv6 && domain == AF_INET6) {
        errno = EAFNOSUPPORT;
        return -1;
    }
    return (int)syscall(SYS_socket, domain, type, protocol);
}

static void test_wildcard_without_ipv6(void **state)
{
    (void)state;
    char text[ADDRESS_TEXT_MAX];
    no_ipv6 = true;
    listen_on(":0");
    assert_true(strncmp(address_text(listener_address(listener), text), "0.0.0.0:", 8) == 0);
    refuse("[::1]:0", -EAFNOSUPPORT, "can't listen on");
    int client = dial(AF_INET);
    no_ipv6 = false;
    assert_true(client >= 0);
    loop_run(loop);
    assert_int_equal(accepted, 1);
    close(client);
}

static void test_waits_for_start(void **state)
{
    (void)state;
    struct err err;
    assert_int_equal(listener_open(loop, "127.0.0.1:0", on_accept, &accepted, &listener, &err), 0);
    int client = dial(0); // the kernel completes the connection
    assert_true(client >= 0);
    run_for(30);
    assert_int_equal(accepted, 0);
    listener_start(listener);
    loop_run(loop);
    assert_int_equal(accepted, 1);
    close(client);
}

static void test_accepts_more_than_one_turn_takes(void **state)
{
    (void)state;
    int clients[100];
    listen_on("127.0.0.1:0");
    for (int i = 0; i < 100; i++)
        assert_true((clients[i] = dial(0)) >= 0);
    awaited = 100;
    loop_run(loop);
    assert_int_equal(accepted, 100);
    for (int i = 0; i < 100; i++)
        close(clients[i]);
}

static void on_accept_close(void *ctx, int fd, const struct address *peer)
{
    (void)ctx;
    (void)peer;
    accepted++;
    close(fd);
    listener_close(listener);
    listener = NULL;
    loop_stop(loop);
}

static void test_closes_in_its_callback(void **state)
{
    (void)state;
    struct err err;
    assert_int_equal(listener_open(loop, "127.0.0.1:0", on_accept_close, NULL, &listener, &err), 0);
    int first = dial(0), second = dial(0);
    listener_start(listener);
    loop_run(loop);
    assert_int_equal(accepted, 1);
    close(first);
    close(second);
}

static void test_tcp_errors(void **state)
{
    (void)state;
    char text[ADDRESS_TEXT_MAX];
    listen_on("127.0.0.1:0");
    address_text(listener_address(listener), text);
    refuse(text, -EADDRINUSE, "another process listens on this port");
    refuse("192.0.2.1:0", -EADDRNOTAVAIL, "this machine does not have the address");
    refuse("nonsense", ERR_CONFIG, "port is missing");
}

// ---- Out of descriptors

static int64_t thread_cpu_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return now.tv_sec * NS_PER_S + now.tv_nsec;
}

static void test_pauses_without_descriptors(void **state)
{
    (void)state;
    struct rlimit limit, none;
    listen_on("127.0.0.1:0");
    int client = dial(0);
    assert_true(client >= 0);
    run_for(0); // the loop has all its own descriptors
    assert_int_equal(accepted, 1);
    int second = dial(0);

    catch_log();
    int lowest_free = dup(0);
    close(lowest_free);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    none = limit;
    none.rlim_cur = (rlim_t)lowest_free;
    counter before = counter_get(&net_stats.accept_errors);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    int64_t start_ns = thread_cpu_ns();
    run_for(350);
    int64_t spent_ns = thread_cpu_ns() - start_ns;
    counter errors = counter_get(&net_stats.accept_errors) - before;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    const char *log = caught_log();
    const char *line = strstr(log, "connections can't be accepted now");
    assert_non_null(line);
    assert_null(strstr(line + 1, "connections can't be accepted now")); // said once

    assert_true(spent_ns < 150 * NS_PER_MS);
    assert_true(errors >= 1 && errors <= 5); // one each 100 ms
    assert_int_equal(accepted, 1);
    awaited = 2;
    loop_run(loop); // goes on by itself
    assert_int_equal(accepted, 2);
    close(client);
    close(second);
}

// ---- Unix sockets

static const char *path_in_dir(const char *name, char out[128])
{
    snprintf(out, 128, "unix:%s/%s", dir, name);
    return out;
}

static void test_unix(void **state)
{
    (void)state;
    char text[128], shown[ADDRESS_TEXT_MAX];
    struct stat st;
    mode_t mask = umask(0077);
    listen_on(path_in_dir("new.sock", text));
    umask(mask);
    assert_string_equal(address_text(listener_address(listener), shown), text);
    assert_int_equal(lstat(text + 5, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0660);
    int client = dial(0);
    assert_true(client >= 0);
    loop_run(loop);
    assert_string_equal(address_text(&accepted_peer, shown), "unix");

    // The living one stays as it is.
    refuse(text, -EADDRINUSE, "another process listens on it");
    close(client);
    client = dial(0);
    assert_true(client >= 0);
    close(client);

    listener_close(listener);
    listener = NULL;
    assert_int_equal(lstat(text + 5, &st), -1);
}

static void test_unix_replaces_a_stale_socket(void **state)
{
    (void)state;
    char text[128];
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    snprintf(sun.sun_path, sizeof sun.sun_path, "%s/stale.sock", dir);
    assert_int_equal(bind(fd, (struct sockaddr *)&sun, sizeof sun), 0);
    assert_int_equal(listen(fd, 1), 0);
    close(fd); // as a killed process leaves it

    listen_on(path_in_dir("stale.sock", text));
    int client = dial(0);
    assert_true(client >= 0);
    loop_run(loop);
    assert_int_equal(accepted, 1);
    close(client);
}

static void test_unix_touches_no_other_file(void **state)
{
    (void)state;
    char text[128];
    struct stat st;
    path_in_dir("file", text);
    close(open(text + 5, O_CREAT | O_WRONLY, 0600));
    refuse(text, -EEXIST, "no socket");
    assert_int_equal(lstat(text + 5, &st), 0);
    assert_int_equal(unlink(text + 5), 0);

    // Nor a link to a socket, nor one that another process has put in its place meanwhile.
    assert_int_equal(symlink("/nowhere", text + 5), 0);
    refuse(text, -EEXIST, "no socket");
    assert_int_equal(unlink(text + 5), 0);
    listen_on(text);
    assert_int_equal(unlink(text + 5), 0);
    close(open(text + 5, O_CREAT | O_WRONLY, 0600));
    listener_close(listener);
    listener = NULL;
    assert_int_equal(unlink(text + 5), 0);

    refuse(path_in_dir("no/such/folder.sock", text), -ENOENT, "can't listen on");
}

static int make_dir(void **state)
{
    (void)state;
    return mkdtemp(dir) == NULL;
}

static int remove_dir(void **state)
{
    (void)state;
    return rmdir(dir); // fails when a socket was left behind
}

int main(void)
{
    alarm(240);
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_accepts),
        TEST(test_wildcard_takes_both_families),
        TEST(test_wildcard_without_ipv6),
        TEST(test_waits_for_start),
        TEST(test_accepts_more_than_one_turn_takes),
        TEST(test_closes_in_its_callback),
        TEST(test_tcp_errors),
        TEST(test_pauses_without_descriptors),
        TEST(test_unix),
        TEST(test_unix_replaces_a_stale_socket),
        TEST(test_unix_touches_no_other_file),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
