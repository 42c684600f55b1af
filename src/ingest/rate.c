// SPDX-License-Identifier: Apache-2.0
#include "ingest/rate.h"

#include <stdbool.h>

#include "base/clock.h"

// Relaxed order is enough: the number guards nothing but itself.

static int64_t add_capped(int64_t a, int64_t b)
{
    int64_t sum;
    return __builtin_add_overflow(a, b, &sum) ? INT64_MAX : sum;
}

static int64_t multiply_capped(int64_t a, int64_t b)
{
    int64_t product;
    return __builtin_mul_overflow(a, b, &product) ? INT64_MAX : product;
}

static int64_t unit_ns(int64_t per_s)
{
    return per_s >= NS_PER_S ? 1 : (NS_PER_S + per_s - 1) / per_s;
}

// When the bucket would be full, had it the room to take what is due: now, for a bucket that was left alone.
static int64_t start_of(int64_t due_ns, int64_t now_ns)
{
    return due_ns > now_ns ? due_ns : now_ns;
}

int64_t rate_take(int64_t *due_ns, int64_t now_ns, int64_t per_s, int64_t cost)
{
    if (per_s < 1 || cost < 1)
        return 0;
    int64_t unit = unit_ns(per_s);
    // At the latest then the bucket must be full again, or there was not enough in it.
    int64_t limit = add_capped(now_ns, multiply_capped(unit, per_s));
    int64_t needed = multiply_capped(unit, cost < per_s ? cost : per_s);
    int64_t due = __atomic_load_n(due_ns, __ATOMIC_RELAXED);
    for (;;) {
        int64_t start = start_of(due, now_ns);
        int64_t full = add_capped(start, needed);
        if (full > limit)
            return full - limit;
        int64_t taken = add_capped(start, multiply_capped(unit, cost));
        if (__atomic_compare_exchange_n(due_ns, &due, taken, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
            return 0;
    }
}

void rate_charge(int64_t *due_ns, int64_t now_ns, int64_t per_s, int64_t cost)
{
    if (per_s < 1 || cost < 1)
        return;
    int64_t price = multiply_capped(unit_ns(per_s), cost);
    int64_t due = __atomic_load_n(due_ns, __ATOMIC_RELAXED);
    int64_t charged;
    do
        charged = add_capped(start_of(due, now_ns), price);
    while (!__atomic_compare_exchange_n(due_ns, &due, charged, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
}

int64_t rate_wait(const int64_t *due_ns, int64_t now_ns, int64_t per_s)
{
    if (per_s < 1)
        return 0;
    int64_t limit = add_capped(now_ns, multiply_capped(unit_ns(per_s), per_s));
    int64_t due = __atomic_load_n(due_ns, __ATOMIC_RELAXED);
    return due > limit ? due - limit : 0;
}
