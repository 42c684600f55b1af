// SPDX-License-Identifier: Apache-2.0
#pragma once

// A listening socket on a loop: accepts and hands over. Owned by one loop.

#include "base/err.h"
#include "net/address.h"
#include "net/loop.h"

struct listener;

// fd is the callee's: non-blocking, close-on-exec, TCP_NODELAY set.
typedef void listener_on_accept(void *ctx, int fd, const struct address *peer);

// Binds and listens (SO_REUSEADDR; an IPv6 wildcard takes IPv4 too; a stale unix socket that nobody answers on is
// replaced). The text of the error names the address and the reason. Accepting starts with listener_start: a start-up
// can bind first and serve last. A unix socket has mode 0660: the user and the group of the process may connect. When
// descriptors run out (EMFILE) it pauses for 100 ms, says so once a minute, and never spins.
int listener_open(struct loop *loop, const char *address, listener_on_accept *on_accept, void *ctx,
                  struct listener **out, struct err *err);
void listener_start(struct listener *listener);
const struct address *listener_address(const struct listener *listener); // with the port the system chose
void listener_close(struct listener *listener); // stops accepting at once; unlinks a unix socket. From on_accept too
