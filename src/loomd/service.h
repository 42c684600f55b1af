// SPDX-License-Identifier: Apache-2.0
#pragma once

// The running Loom: starts everything in order, waits for a signal, ends everything in the other order.

#include "base/err.h"
#include "cli/prepare.h"

// Blocks until Loom has ended. 0 after a signal; negative with *err when it could not start. Main thread.
int service_run(const struct prepared *prepared, const char *version, struct err *err);
