// SPDX-License-Identifier: Apache-2.0
#pragma once

// Time. Monotonic for deadlines and durations, real for what a person or a record reads. Any thread.

#include <stddef.h>
#include <stdint.h>

#define NS_PER_MS INT64_C(1000000)
#define NS_PER_S  INT64_C(1000000000)

int64_t clock_mono_ns(void);
int64_t clock_real_ns(void); // since the Unix epoch

#define CLOCK_RFC3339_MAX 32
// "2026-11-23T17:02:21.123456Z" (RFC 3339, 5.6; always UTC). Returns the length without the terminating zero.
size_t clock_rfc3339(int64_t real_ns, char out[CLOCK_RFC3339_MAX]);
