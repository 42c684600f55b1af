// SPDX-License-Identifier: Apache-2.0
#pragma once

// `loom template`: the index template that the configured output keeps in its cluster.

// Prints it as JSON on standard output, and every problem on standard error. The exit status.
int template_run(const char *config);
