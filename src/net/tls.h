// SPDX-License-Identifier: Apache-2.0
#pragma once

// The server side of TLS 1.2 and 1.3 (OpenSSL): certificate, key, ALPN http/1.1, session tickets, read-ahead.

#include "base/buf.h"
#include "base/err.h"

struct tls_server; // shared and frozen; any thread may open streams on it

// Loads the certificate chain and key (PEM). Errors name the file and say what is wrong, in one line: not readable,
// no PEM, the key is of another certificate. One that has expired is a line in *warnings (NULL: nobody wants it). OpenSSL's
// error queue is left empty.
int tls_server_open(const char *cert_file, const char *key_file, struct tls_server **out, struct buf *warnings,
                    struct err *err);
void tls_server_close(struct tls_server *server);
