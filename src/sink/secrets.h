// SPDX-License-Identifier: Apache-2.0
#pragma once

// Secrets of an output, from the environment: NAME holds it, or NAME_FILE the path of a file whose first line it is. They
// stand in no text that is logged or shown, and are wiped when they are let go. Main thread or the sink's.

#include "base/err.h"

#define SECRET_MAX 8192

// *out is the secret, or NULL when neither is set (an empty variable counts as not set). -EINVAL or a system's error with a text
// that names the variable: both are set, the file can't be read or is empty, a control character, too long.
int secret_read(const char *name, char **out, struct err *err);
void secret_free(char *secret); // wipes; NULL is fine

// The value of an Authorization header for a user and a password (RFC 7617), to be released with secret_free.
char *secret_basic(const char *user, const char *password);
