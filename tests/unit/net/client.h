// SPDX-License-Identifier: Apache-2.0
#pragma once

// OpenSSL's client on a blocking socket, and the server that it meets, for the tests of streams over TLS. The
// functions end the program where something goes wrong: they run on threads from which cmocka can't jump out.

#include <openssl/ssl.h>

#include "owner.h"

extern struct tls_server *client_server;
extern const int client_versions[2]; // TLS 1.2 and 1.3

// Around all tests of a program: a server with a chain of three, and clients that know its root.
int client_set_up(void **state);
int client_tear_down(void **state);
struct owner client_owner(size_t read_size, enum owner_style style); // of a stream on that server

SSL *client_ssl(int fd, int version);     // not connected yet; version 0: any
SSL *client_connect(int fd, int version); // handshake done
void client_write(SSL *ssl, const char *data, size_t len);
void client_read(SSL *ssl, char *out, size_t len); // exactly len
void client_close(SSL *ssl, int fd);               // both sides end with close_notify
void client_fill(char *data, size_t len);          // with owner_pattern
