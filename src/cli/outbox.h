// SPDX-License-Identifier: Apache-2.0
#pragma once

// `loom outbox`: what waits on disk for the output. Also while a Loom runs, which it does not disturb.

// Prints it on standard output, what is wrong on standard error. The exit status.
int outbox_run(const char *config);
