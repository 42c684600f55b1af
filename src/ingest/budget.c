// SPDX-License-Identifier: Apache-2.0

#include "ingest/budget.h"

#include "base/mem.h"

void budget_init(struct budget *budget, int64_t limit)
{
    *budget = (struct budget){.limit = limit};
}

bool budget_has_room(const struct budget *budget, uint64_t bytes)
{
    int64_t used = budget_used(budget);
    return used <= budget->limit && bytes <= (uint64_t)(budget->limit - used);
}

bool budget_admit(struct budget *budget, uint64_t bytes)
{
    if (bytes > (uint64_t)budget->limit)
        return false;

    // Add first and look afterwards: of two requests that race for the last bytes both may be refused, never both admitted.
    int64_t used = __atomic_add_fetch(&budget->used, (int64_t)bytes, __ATOMIC_RELAXED);
    if (used <= budget->limit)
        return true;
    __atomic_sub_fetch(&budget->used, (int64_t)bytes, __ATOMIC_RELAXED);
    return false;
}

void budget_charge(struct budget *budget, uint64_t bytes)
{
    __atomic_add_fetch(&budget->used, (int64_t)bytes, __ATOMIC_RELAXED);
}

void budget_release(struct budget *budget, uint64_t bytes)
{
    int64_t used = __atomic_sub_fetch(&budget->used, (int64_t)bytes, __ATOMIC_RELAXED);
    INVARIANT(used >= 0);
}

int64_t budget_used(const struct budget *budget)
{
    return __atomic_load_n(&budget->used, __ATOMIC_RELAXED);
}
