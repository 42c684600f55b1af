// SPDX-License-Identifier: Apache-2.0
#pragma once

// Memory admission: how many bytes of bodies and batches are in flight over all workers, against limits.max_inflight_bytes.
// Shared; any thread. Whoever took bytes gives back the same number.

#include <stdbool.h>
#include <stdint.h>

struct budget {
    int64_t limit;
    int64_t used; // atomic
};

void budget_init(struct budget *budget, int64_t limit);

// Whether so much would be admitted now. Nothing is taken: by the time it comes it may be gone.
bool budget_has_room(const struct budget *budget, uint64_t bytes);

// Admission of what a client announced or sent: false, and nothing taken, when it does not fit.
bool budget_admit(struct budget *budget, uint64_t bytes);

// What an admitted body grows to on its way can't be refused any more: it counts, and keeps the next body out.
void budget_charge(struct budget *budget, uint64_t bytes);
void budget_release(struct budget *budget, uint64_t bytes);

int64_t budget_used(const struct budget *budget);
