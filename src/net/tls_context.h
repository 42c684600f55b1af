// SPDX-License-Identifier: Apache-2.0
#pragma once

// What net itself sees of a tls_server; keeps OpenSSL's headers out of tls.h.

#include "net/tls.h"

struct ssl_ctx_st;
struct ssl_ctx_st *tls_server_context(const struct tls_server *server);
