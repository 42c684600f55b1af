// SPDX-License-Identifier: Apache-2.0
#include "base/crash.h"

#ifdef LOOM_CRASH_POINTS

#include <signal.h>
#include <stdlib.h>
#include <string.h>

void crash_point(const char *name)
{
    static unsigned long passed; // of the one point that is named; atomic
    const char *at = getenv("LOOM_CRASH_AT");
    size_t len = strlen(name);
    if (at == NULL || strncmp(at, name, len) != 0 || (at[len] != '\0' && at[len] != ':'))
        return;
    unsigned long due = at[len] == ':' ? strtoul(at + len + 1, NULL, 10) : 1;
    if (__atomic_add_fetch(&passed, 1, __ATOMIC_RELAXED) == due)
        raise(SIGKILL);
}

#else

typedef int crash_no_points; // a translation unit has to declare something

#endif
