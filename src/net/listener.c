// SPDX-License-Identifier: Apache-2.0
//
// A listening socket. One turn of the loop accepts a bounded number of connections, so that a flood of new ones
// leaves time for those that are open. Accepting never spins on an error that stays, such as a process without free
// descriptors: it pauses, and the kernel's queue holds the clients meanwhile.

#include "net/listener.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/stats.h"

#define ACCEPTS_PER_TURN 32
#define PAUSE_MS         100
#define SAY_AGAIN_NS     (60 * NS_PER_S)
// Who may connect to a unix socket: the user and the group that Loom runs as (a proxy in front joins that group).
#define UNIX_MODE 0660

// Owned by one loop.
struct listener {
    struct loop_poll poll; // first: on_acceptable is handed its address
    struct loop_timer pause;
    struct loop *loop;
    int fd;
    struct address address;
    dev_t dev; // of a unix socket's file: only our own is unlinked
    ino_t ino;
    bool accepting;    // in on_acceptable
    bool closed;       // by on_accept, while accepting
    int64_t say_at_ns; // when a pause is worth another line
    listener_on_accept *on_accept;
    void *ctx;
};

static bool is_unix(const struct address *address)
{
    return address->sa.ss_family == AF_UNIX;
}

static const char *unix_path(const struct address *address)
{
    return ((const struct sockaddr_un *)&address->sa)->sun_path;
}

// ---- Accepting

static void on_pause_over(struct loop_timer *timer)
{
    struct listener *listener = (struct listener *)((char *)timer - offsetof(struct listener, pause));
    loop_poll_set(&listener->poll, LOOP_READABLE);
}

static void pause_accepting(struct listener *listener, int code)
{
    int64_t now_ns = loop_now_ns(listener->loop);
    loop_poll_set(&listener->poll, 0);
    loop_timer_start(listener->loop, &listener->pause, PAUSE_MS, on_pause_over);
    if (now_ns < listener->say_at_ns)
        return;
    char text[ADDRESS_TEXT_MAX];
    listener->say_at_ns = now_ns + SAY_AGAIN_NS;
    LOG(LOG_ERROR, "connections can't be accepted now; they wait",
        LOG_STR("address", address_text(&listener->address, text)), LOG_STR("reason", err_text(code)));
}

// A connection that ended before it was accepted; accept(2) passes its error on. The next one is not concerned.
static bool is_of_one_connection(int code)
{
    switch (-code) {
    case EINTR:
    case ECONNABORTED:
    case EPROTO:
    case EPERM: // a firewall's rule
    case ENETDOWN:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case EOPNOTSUPP:
    case ENETUNREACH:
        return true;
    default:
        return false;
    }
}

static void on_acceptable(struct loop_poll *poll, int events)
{
    struct listener *listener = (struct listener *)poll;
    (void)events;
    listener->accepting = true;
    for (int i = 0; i < ACCEPTS_PER_TURN && !listener->closed; i++) {
        struct address peer = {.len = sizeof peer.sa};
        int fd = accept4(listener->fd, (struct sockaddr *)&peer.sa, &peer.len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            counter_add(&net_stats.accepted, 1);
            listener->on_accept(listener->ctx, fd, &peer);
            continue;
        }
        int code = -errno;
        if (code == -EAGAIN)
            break;
        counter_add(&net_stats.accept_errors, 1);
        if (!is_of_one_connection(code)) { // EMFILE, ENFILE, ENOBUFS, ENOMEM, and what else would come back at once
            pause_accepting(listener, code);
            break;
        }
    }
    listener->accepting = false;
    if (listener->closed)
        mem_free(listener);
}

// ---- Opening

static int open_inet(struct listener *listener)
{
    const int one = 1, zero = 0;
    int type = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC;
    struct sockaddr_in6 *sin6 = (struct sockaddr_in6 *)&listener->address.sa;
    bool wildcard = sin6->sin6_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&sin6->sin6_addr);

    int fd = socket(listener->address.sa.ss_family, type, 0);
    if (fd < 0 && errno == EAFNOSUPPORT && wildcard) { // a kernel without IPv6: all addresses are those of IPv4
        const struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = sin6->sin6_port};
        memcpy(&listener->address.sa, &sin, sizeof sin);
        listener->address.len = sizeof sin;
        fd = socket(AF_INET, type, 0);
        wildcard = false;
    }
    if (fd < 0)
        return -errno;
    listener->fd = fd;
    // On Linux the accepted sockets inherit TCP_NODELAY: one call instead of one a connection.
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) != 0 ||
        (wildcard && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof zero) != 0))
        return -errno;
    return bind(fd, (struct sockaddr *)&listener->address.sa, listener->address.len) == 0 ? 0 : -errno;
}

// Unlinks the socket file that a process left behind. 0 when the path is free now.
static int remove_stale(const struct address *address, const char **why)
{
    struct stat st;
    if (lstat(unix_path(address), &st) != 0)
        return errno == ENOENT ? 0 : -errno;
    if (!S_ISSOCK(st.st_mode)) {
        *why = "a file that is no socket has this name";
        return -EEXIST;
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    int code = connect(fd, (const struct sockaddr *)&address->sa, address->len) == 0 ? 0 : -errno;
    close(fd);
    if (code != -ECONNREFUSED) { // only a socket that nobody listens on refuses
        *why = "another process listens on it";
        return -EADDRINUSE;
    }
    return unlink(unix_path(address)) == 0 || errno == ENOENT ? 0 : -errno;
}

static int open_unix(struct listener *listener, const char **why)
{
    const struct address *address = &listener->address;
    struct stat st;
    listener->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (listener->fd < 0)
        return -errno;
    int code = bind(listener->fd, (const struct sockaddr *)&address->sa, address->len) == 0 ? 0 : -errno;
    if (code == -EADDRINUSE) {
        code = remove_stale(address, why);
        if (code != 0)
            return code;
        code = bind(listener->fd, (const struct sockaddr *)&address->sa, address->len) == 0 ? 0 : -errno;
    }
    if (code != 0)
        return code;
    // Nobody can connect before listen(2), so the mode is never too wide for a moment.
    if (chmod(unix_path(address), UNIX_MODE) != 0 || lstat(unix_path(address), &st) != 0)
        return -errno;
    listener->dev = st.st_dev;
    listener->ino = st.st_ino;
    return 0;
}

// What a person can do about it, for the codes that need more than the system's text.
static const char *advice(int code)
{
    switch (code) {
    case -EADDRINUSE:
        return "another process listens on this port";
    case -EADDRNOTAVAIL:
        return "this machine does not have the address";
    case -EACCES:
        return "a port below 1024 takes root or CAP_NET_BIND_SERVICE";
    default:
        return NULL;
    }
}

static int open_error(const struct listener *listener, const char *text, int code, const char *why, struct err *err)
{
    if (why == NULL && !is_unix(&listener->address))
        why = advice(code);
    return why != NULL ? err_set(err, code, "can't listen on %s: %s (%s)", text, err_text(code), why)
                       : err_set(err, code, "can't listen on %s: %s", text, err_text(code));
}

int listener_open(struct loop *loop, const char *address, listener_on_accept *on_accept, void *ctx,
                  struct listener **out, struct err *err)
{
    const char *why = NULL;
    struct listener *listener = mem_alloc(sizeof *listener);
    *listener = (struct listener){.loop = loop, .fd = -1, .on_accept = on_accept, .ctx = ctx};

    int rc = address_parse(address, &listener->address, err);
    if (rc != 0) {
        err_prefix(err, "can't listen");
        goto out;
    }
    rc = is_unix(&listener->address) ? open_unix(listener, &why) : open_inet(listener);
    if (rc == 0 && listen(listener->fd, SOMAXCONN) != 0)
        rc = -errno;
    if (rc == 0 && !is_unix(&listener->address)) {
        listener->address.len = sizeof listener->address.sa;
        rc = getsockname(listener->fd, (struct sockaddr *)&listener->address.sa, &listener->address.len) == 0 ? 0
                                                                                                              : -errno;
    }
    if (rc == 0)
        rc = loop_poll_open(loop, &listener->poll, listener->fd, on_acceptable);
    if (rc != 0) {
        open_error(listener, address, rc, why, err);
        goto out;
    }
    *out = listener;
    return 0;

out:
    listener_close(listener);
    return rc;
}

void listener_start(struct listener *listener)
{
    loop_poll_set(&listener->poll, LOOP_READABLE);
}

const struct address *listener_address(const struct listener *listener)
{
    return &listener->address;
}

static void unlink_own(const struct listener *listener)
{
    struct stat st;
    if (listener->ino != 0 && lstat(unix_path(&listener->address), &st) == 0 && st.st_dev == listener->dev &&
        st.st_ino == listener->ino)
        unlink(unix_path(&listener->address));
}

void listener_close(struct listener *listener)
{
    if (listener == NULL)
        return;
    loop_timer_close(&listener->pause);
    loop_poll_close(&listener->poll);
    unlink_own(listener);
    if (listener->fd >= 0)
        close(listener->fd);
    if (listener->accepting)
        listener->closed = true; // on_acceptable is using it, and releases it
    else
        mem_free(listener);
}
