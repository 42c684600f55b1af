// SPDX-License-Identifier: Apache-2.0
#include "base/clock.h"

#include <stdio.h>
#include <time.h>

static int64_t clock_ns(clockid_t id)
{
    struct timespec now;
    clock_gettime(id, &now); // can't fail for the two clocks below
    return (int64_t)now.tv_sec * NS_PER_S + now.tv_nsec;
}

int64_t clock_mono_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

int64_t clock_real_ns(void)
{
    return clock_ns(CLOCK_REALTIME);
}

size_t clock_rfc3339(int64_t real_ns, char out[CLOCK_RFC3339_MAX])
{
    int64_t within = real_ns % NS_PER_S;
    if (within < 0)
        within += NS_PER_S; // before 1970 the second still begins below
    time_t seconds = (time_t)((real_ns - within) / NS_PER_S);
    struct tm utc;
    gmtime_r(&seconds, &utc);
    size_t len = strftime(out, CLOCK_RFC3339_MAX, "%Y-%m-%dT%H:%M:%S", &utc);
    return len + (size_t)snprintf(out + len, CLOCK_RFC3339_MAX - len, ".%06dZ", (int)(within / 1000));
}
