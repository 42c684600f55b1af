// SPDX-License-Identifier: Apache-2.0
#pragma once

// The command line. Never a secret on it: other users of the machine can read it.

#include "base/err.h"

enum args_command {
    ARGS_RUN,
    ARGS_CHECK,
    ARGS_OUTBOX,
    ARGS_TEMPLATE,
    ARGS_VERSION,
    ARGS_HELP,
    ARGS_REFERENCE,
    ARGS_EXAMPLE,
};

struct args {
    enum args_command command;
    const char *config; // points into argv, or at the default "./loom.toml"
};

// loom [run|check|outbox|template|reference|example] [-config FILE] [-version] [-help]. Options with one dash or two, value after a space or
// '='. 0, or -EINVAL with a text that names the argument.
int args_parse(int argc, char **argv, struct args *out, struct err *err);

extern const char args_usage[];
