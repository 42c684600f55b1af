// SPDX-License-Identifier: Apache-2.0
#pragma once

// How long to wait before the next try: twice as long each time, within bounds, and never quite the same, so that many
// Looms do not come back to a recovering output all at once. Owned by one thread.

#include <stdint.h>

struct backoff {
    int64_t min_ms, max_ms;
    int64_t ceiling_ms; // the next wait lies between half of it and all of it
    uint64_t random;    // state of the jitter
};

void backoff_init(struct backoff *backoff, int64_t min_ms, int64_t max_ms);
void backoff_reset(struct backoff *backoff);      // after a success
int64_t backoff_next_ms(struct backoff *backoff); // within [min_ms, max_ms]
// The same for what counts its own tries, 0 before the first; changes the jitter only.
int64_t backoff_nth_ms(struct backoff *backoff, unsigned tries);
