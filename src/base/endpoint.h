// SPDX-License-Identifier: Apache-2.0
#pragma once

// The form of a listen address (":8443", "host:8443", "[::1]:8443", "unix:/run/loom.sock"), without asking anybody what a
// name stands for. No state, any thread.

#include <stdbool.h>

#include "base/err.h"

// The longest name of the DNS, and its zero.
#define ENDPOINT_HOST_MAX 256

struct endpoint {
    const char *path;             // of a unix socket, in the text; NULL: host and port
    char host[ENDPOINT_HOST_MAX]; // without brackets; "": all addresses
    bool numeric;                 // host stood in brackets
    const char *port;             // digits, in the text
};

// 0, or ERR_CONFIG with a text that names what is wrong.
int endpoint_parse(const char *text, struct endpoint *out, struct err *err);
