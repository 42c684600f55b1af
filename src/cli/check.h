// SPDX-License-Identifier: Apache-2.0
#pragma once

// `loom check`: what a start would do, short of starting.

// Prints what was found on standard output and every problem on standard error. The exit status.
int check_run(const char *config);
