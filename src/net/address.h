// SPDX-License-Identifier: Apache-2.0
#pragma once

// Listen addresses as the configuration writes them (":8443", "host:8443", "[::1]:8443", "unix:/run/loom.sock") and
// peers.

#include <sys/socket.h>
#include <sys/un.h>

#include "base/err.h"

struct address {
    struct sockaddr_storage sa;
    socklen_t len;
};

// ":p" is all addresses, IPv6 and IPv4 where the system has both. A host name is resolved; its first IPv4
// address is taken, or where it has none its first. Port 0 lets the system choose. 0, or a negative code with a text that names what is wrong.
int address_parse(const char *text, struct address *out, struct err *err);

#define ADDRESS_TEXT_MAX 128
// "203.0.113.7:51234", "[2001:db8::1]:443", "unix:/path", "unix". An IPv4-mapped address is written as IPv4.
const char *address_text(const struct address *address, char out[ADDRESS_TEXT_MAX]);
