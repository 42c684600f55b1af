// SPDX-License-Identifier: Apache-2.0
#pragma once

// Points at which a test ends the process as a power cut would: at once. Only in builds with -Dcrash_points=true;
// in all others CRASH_POINT is nothing. LOOM_CRASH_AT="name" kills the process with SIGKILL when it passes the point of
// that name, "name:N" at the N-th time. Any thread.

#ifdef LOOM_CRASH_POINTS
void crash_point(const char *name);
#define CRASH_POINT(name) crash_point(name)
#else
#define CRASH_POINT(name) ((void)0)
#endif
