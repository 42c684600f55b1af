// SPDX-License-Identifier: Apache-2.0
#include "net/socket.h"

#include <errno.h>
#include <sys/socket.h>

// EWOULDBLOCK is EAGAIN on Linux; callers compare with one code only.
_Static_assert(EAGAIN == EWOULDBLOCK, "one code for nothing now");

ssize_t socket_recv(struct socket *socket, void *out, size_t len)
{
    if (socket->drained)
        return -EAGAIN;
    ssize_t n;
    do {
        n = recv(socket->fd, out, len, 0);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        socket->drained = errno == EAGAIN;
        return -errno;
    }
    socket->received += (size_t)n;
    socket->drained = n > 0 && (size_t)n < len; // the end of the stream stays readable
    return n;
}

ssize_t socket_sendv(struct socket *socket, const struct iovec *parts, int count)
{
    const struct msghdr message = {.msg_iov = (struct iovec *)parts, .msg_iovlen = (size_t)count};
    ssize_t n;
    do {
        n = sendmsg(socket->fd, &message, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}
