// SPDX-License-Identifier: Apache-2.0
#pragma once

// Token bucket in one atomic number (the generic cell rate algorithm): *due_ns is when the bucket will be full again.
// Holds one second's worth, refills steadily; shared by all workers without a lock. Zero is a full bucket.
//
// A unit costs 1/per_s seconds, rounded up to whole nanoseconds: never more than per_s a second, and at a million a
// second at most 0.1 % less. per_s below 1 is no limit.

#include <stdint.h>

// Takes `cost` units at `per_s` a second. 0, or the nanoseconds until it would pass (nothing taken). A cost of more
// than a second's worth passes when the bucket is full, and leaves it in debt.
int64_t rate_take(int64_t *due_ns, int64_t now_ns, int64_t per_s, int64_t cost);
// Takes even when that leaves the bucket in debt: for a cost that is known only afterwards (events of a batch).
void rate_charge(int64_t *due_ns, int64_t now_ns, int64_t per_s, int64_t cost);
// 0, or the nanoseconds until the bucket is out of debt. Takes nothing.
int64_t rate_wait(const int64_t *due_ns, int64_t now_ns, int64_t per_s);
