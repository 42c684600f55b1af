// SPDX-License-Identifier: Apache-2.0
#pragma once

// What the kernel says of this process, from /proc/self. Private to admin/.

#include <stdint.h>

struct process_usage {
    double cpu_seconds; // user and system
    uint64_t resident_bytes;
    uint64_t virtual_bytes;
    uint64_t open_fds;
    uint64_t max_fds; // 0: no limit
    uint64_t threads;
};
void process_usage(struct process_usage *out); // what can't be read stays 0
