// SPDX-License-Identifier: Apache-2.0
#include "base/metric.h"

#define US  UINT64_C(1000)
#define MS  (1000 * US)
#define S   (1000 * MS)
#define KIB UINT64_C(1024)
#define MIB (1024 * KIB)

const uint64_t histogram_duration_ns[HISTOGRAM_BUCKETS] = {100 * US, 500 * US, 1 * MS, 5 * MS, 10 * MS, 50 * MS,
                                                           100 * MS, 500 * MS, 1 * S,  5 * S,  10 * S,  30 * S};

const uint64_t histogram_size_bytes[HISTOGRAM_BUCKETS] = {256,      1 * KIB,   4 * KIB,   8 * KIB, 16 * KIB, 32 * KIB,
                                                          64 * KIB, 128 * KIB, 512 * KIB, 1 * MIB, 2 * MIB,  4 * MIB};

const uint64_t histogram_events[HISTOGRAM_BUCKETS] = {1, 2, 5, 10, 20, 50, 75, 100, 150, 200, 300, 500};

void histogram_add(struct histogram *h, const uint64_t bounds[HISTOGRAM_BUCKETS], uint64_t value)
{
    unsigned i = 0;
    while (i < HISTOGRAM_BUCKETS && value > bounds[i])
        i++;
    counter_bump(&h->buckets[i], 1);
    counter_bump(&h->sum, value);
}
