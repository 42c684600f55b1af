// SPDX-License-Identifier: Apache-2.0
//
// json_scan: looks at both ends of the body, lets the kernel of this processor decide, and asks the exact parser for
// the reason when the kernel says no.

#include "json/scan.h"

#include <errno.h>

#include "base/mem.h"
#include "json/kernel.h"
#include "json/lex.h"

// Room for so many events is kept from batch to batch; more is given back (a body of nothing but "{}," holds 700000).
#define EVENTS_KEPT 4096
#define EVENTS_MIN  64

static const struct {
    const char *name;
    json_kernel *kernel; // NULL: not in this build
} forms[JSON_SIMD_COUNT] = {
    [JSON_SIMD_PORTABLE] = {"portable", json_kernel_portable},
#ifdef __x86_64__
    [JSON_SIMD_SSE2] = {"sse2", json_kernel_sse2},
    [JSON_SIMD_AVX2] = {"avx2", json_kernel_avx2},
    [JSON_SIMD_AVX512] = {"avx512", json_kernel_avx512},
#else
    [JSON_SIMD_SSE2] = {"sse2", NULL},
    [JSON_SIMD_AVX2] = {"avx2", NULL},
    [JSON_SIMD_AVX512] = {"avx512", NULL},
#endif
#if defined(__aarch64__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    [JSON_SIMD_NEON] = {"neon", json_kernel_neon},
#else
    [JSON_SIMD_NEON] = {"neon", NULL},
#endif
};

// Atomic; JSON_SIMD_COUNT until the first scan. Threads that race to it all find the same.
static enum json_simd current = JSON_SIMD_COUNT;

bool json_simd_available(enum json_simd simd)
{
    if (simd >= JSON_SIMD_COUNT || forms[simd].kernel == NULL)
        return false;
#ifdef __x86_64__
    bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") &&
                __builtin_cpu_supports("popcnt") && __builtin_cpu_supports("pclmul");
    if (simd == JSON_SIMD_AVX2)
        return avx2;
    if (simd == JSON_SIMD_AVX512)
        return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512vbmi2");
#endif
    return true; // SSE2 and NEON belong to the base of their architectures
}

void json_simd_force(enum json_simd simd)
{
    INVARIANT(json_simd_available(simd));
    __atomic_store_n(&current, simd, __ATOMIC_RELAXED);
}

enum json_simd json_simd_current(void)
{
    enum json_simd simd = __atomic_load_n(&current, __ATOMIC_RELAXED);
    if (simd == JSON_SIMD_COUNT) {
        do
            simd--;
        while (!json_simd_available(simd)); // the portable form always is
        __atomic_store_n(&current, simd, __ATOMIC_RELAXED);
    }
    return simd;
}

const char *json_simd_name(enum json_simd simd)
{
    INVARIANT(simd < JSON_SIMD_COUNT);
    return forms[simd].name;
}

json_kernel *json_simd_kernel(enum json_simd simd)
{
    return json_simd_available(simd) ? forms[simd].kernel : NULL;
}

void json_events_fini(struct json_events *events)
{
    mem_free(events->at);
    *events = (struct json_events){0};
}

int json_events_grow(struct json_events *events)
{
    size_t cap = events->cap < EVENTS_MIN ? EVENTS_MIN : events->cap * 2;
    struct json_event *at = mem_try_realloc(events->at, cap * sizeof *at);
    if (at == NULL)
        return -ENOMEM;
    events->at = at;
    events->cap = cap;
    return 0;
}

static void events_reset(struct json_events *events)
{
    if (events->cap > EVENTS_KEPT) {
        mem_free(events->at);
        events->at = NULL;
        events->cap = 0;
    }
    events->count = 0;
}

int json_scan(const char *body, size_t len, struct json_events *events, struct json_error *error)
{
    const uint8_t *bytes = (const uint8_t *)body;
    size_t begin = 0, end = len; // of the tokens
    int rc = -EINVAL;

    events_reset(events);
    if (len > JSON_BODY_MAX)
        return -EFBIG;
    while (end > 0 && lex_is_white(bytes[end - 1]))
        end--;
    while (begin < end && lex_is_white(bytes[begin]))
        begin++;
    if (begin < end && bytes[begin] == '[' && bytes[end - 1] == ']')
        rc = forms[json_simd_current()].kernel(bytes, end, events);
    if (rc == -EINVAL) {
        events->count = 0;
        rc = json_exact(bytes, len, events, error);
    }
    return rc;
}
