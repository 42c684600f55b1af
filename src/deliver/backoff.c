// SPDX-License-Identifier: Apache-2.0
#include "deliver/backoff.h"

#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"

void backoff_init(struct backoff *backoff, int64_t min_ms, int64_t max_ms)
{
    INVARIANT(min_ms > 0);
    backoff->min_ms = min_ms;
    backoff->max_ms = max_ms > min_ms ? max_ms : min_ms;
    backoff->random = (uint64_t)clock_real_ns() ^ (uint64_t)getpid() << 48;
    backoff_reset(backoff);
}

static int64_t twice(const struct backoff *backoff, int64_t value)
{
    return value < backoff->max_ms / 2 ? value * 2 : backoff->max_ms;
}

void backoff_reset(struct backoff *backoff)
{
    backoff->ceiling_ms = twice(backoff, backoff->min_ms);
}

// Marsaglia's xorshift64*, good enough to tell two processes apart.
static uint64_t random_next(uint64_t *state)
{
    *state |= *state == 0; // zero would stay zero
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * UINT64_C(0x2545f4914f6cdd1d);
}

static int64_t below(struct backoff *backoff, int64_t ceiling_ms)
{
    int64_t floor_ms = ceiling_ms / 2 > backoff->min_ms ? ceiling_ms / 2 : backoff->min_ms;
    uint64_t span = (uint64_t)(ceiling_ms - floor_ms) + 1;
    return floor_ms + (int64_t)(random_next(&backoff->random) % span);
}

int64_t backoff_next_ms(struct backoff *backoff)
{
    int64_t ceiling_ms = backoff->ceiling_ms;
    backoff->ceiling_ms = twice(backoff, ceiling_ms);
    return below(backoff, ceiling_ms);
}

int64_t backoff_nth_ms(struct backoff *backoff, unsigned tries)
{
    int64_t ceiling_ms = twice(backoff, backoff->min_ms);
    for (; tries > 0 && ceiling_ms < backoff->max_ms; tries--)
        ceiling_ms = twice(backoff, ceiling_ms);
    return below(backoff, ceiling_ms);
}
