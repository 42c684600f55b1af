// SPDX-License-Identifier: Apache-2.0
#pragma once

// What scan.c asks of the parsers behind json_scan. Private to this folder (and to its tests and fuzz targets).
//
// A kernel answers only yes or no, as fast as it can; the exact parser reads a refused body again from its beginning and
// says what is wrong and where. So every vector form reports the same error, and the exact parser is what the kernels are
// tested against: on a valid body it yields the same events, field by field.

#include <stddef.h>
#include <stdint.h>

#include "json/scan.h"

// An address that is further from its key, or longer, makes its event an unusual one: a kernel need not look beyond.
#define JSON_KEY_GAP_MAX     16
#define JSON_ADDRESS_LEN_MAX 63

// The first token of the body is a [, and its last byte a ] (json_scan sees to that). 0, -EINVAL (no reason), -ENOMEM.
typedef int json_kernel(const uint8_t *body, size_t len, struct json_events *events);
json_kernel json_kernel_portable;
json_kernel json_kernel_sse2;
json_kernel json_kernel_avx2;
json_kernel json_kernel_avx512;
json_kernel json_kernel_neon;

// The kernel of a form; NULL when this build or this processor has it not.
json_kernel *json_simd_kernel(enum json_simd simd);

// The plain parser. Any body of at most JSON_BODY_MAX bytes. 0, -EINVAL with *error, -ENOMEM.
int json_exact(const uint8_t *body, size_t len, struct json_events *events, struct json_error *error);

#define JSON_BODY_MAX ((size_t)1 << 30)

// Room for one more event; 0 or -ENOMEM.
int json_events_grow(struct json_events *events);

// Counts an event, and keeps it unless the caller wants no more of them.
static inline int json_events_add(struct json_events *events, const struct json_event *event)
{
    if (events->keep_max == 0 || events->count < events->keep_max) {
        if (events->count == events->cap) {
            int rc = json_events_grow(events);
            if (rc != 0)
                return rc;
        }
        events->at[events->count] = *event;
    }
    events->count++;
    return 0;
}
