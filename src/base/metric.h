// SPDX-License-Identifier: Apache-2.0
#pragma once

// Counters and histograms that one thread writes and any thread reads (relaxed atomics: each value is right on its
// own, two values may be an instant apart). Layers keep them in a stats struct of their own; admin/ renders them.

#include <stdint.h>

typedef uint64_t counter; // written by counter_add, read by counter_get only

static inline void counter_add(counter *c, uint64_t n)
{
    __atomic_fetch_add(c, n, __ATOMIC_RELAXED);
}
static inline uint64_t counter_get(const counter *c)
{
    return __atomic_load_n(c, __ATOMIC_RELAXED);
}
// For a counter with exactly one writing thread: no locked instruction.
static inline void counter_bump(counter *c, uint64_t n)
{
    __atomic_store_n(c, __atomic_load_n(c, __ATOMIC_RELAXED) + n, __ATOMIC_RELAXED);
}

#define HISTOGRAM_BUCKETS 12
// A value counts in one bucket only: the first whose bound is not below it, or the last one, which has no bound.
struct histogram {
    counter buckets[HISTOGRAM_BUCKETS + 1];
    counter sum; // in the unit of the values
};
extern const uint64_t histogram_duration_ns[HISTOGRAM_BUCKETS]; // 100 us to 30 s
extern const uint64_t histogram_size_bytes[HISTOGRAM_BUCKETS];  // 256 B to 4 MiB
extern const uint64_t histogram_events[HISTOGRAM_BUCKETS];      // 1 to 500 events and beyond

void histogram_add(struct histogram *h, const uint64_t bounds[HISTOGRAM_BUCKETS], uint64_t value); // one writer
