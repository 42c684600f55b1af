// SPDX-License-Identifier: Apache-2.0
#pragma once

// The property that every scanner test and fuzz_scan rest on: each vector form says the same about a body as the exact
// parser does, and finds the same events in it. The body is handed over in a block of its exact size, so that a read past
// its end shows under AddressSanitizer.

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json/kernel.h"
#include "json/lex.h"

static inline bool same_events(const struct json_events *a, const struct json_events *b)
{
    return a->count == b->count && (a->count == 0 || memcmp(a->at, b->at, a->count * sizeof *a->at) == 0);
}

static inline bool same_error(const struct json_error *a, const struct json_error *b)
{
    return a->reason == b->reason && a->offset == b->offset && a->index == b->index;
}

// One form: the kernel by itself (json_scan would hide a refused body that is valid), then json_scan.
static inline const char *form_disagrees(enum json_simd simd, const char *body, size_t len, int expected,
                                         const struct json_events *events, const struct json_error *error)
{
    const char *why = NULL;
    struct json_events found = {0};
    struct json_error found_error;
    size_t begin = 0, end = len;
    while (begin < len && lex_is_white((uint8_t)body[begin]))
        begin++;
    while (end > 0 && lex_is_white((uint8_t)body[end - 1]))
        end--;
    if (begin < end && body[begin] == '[' && body[end - 1] == ']') {
        int rc = json_simd_kernel(simd)((const uint8_t *)body, end, &found);
        if (rc != expected)
            why = rc == 0 ? "accepts what is invalid" : "refuses what is valid";
        else if (rc == 0 && !same_events(&found, events))
            why = "finds other events";
    } else if (expected == 0) {
        why = "is not even asked about a valid body";
    }

    enum json_simd before = json_simd_current();
    json_simd_force(simd);
    if (why == NULL) {
        int rc = json_scan(body, len, &found, &found_error);
        if (rc != expected)
            why = "json_scan gives another result";
        else if (rc == 0 && !same_events(&found, events))
            why = "json_scan finds other events";
        else if (rc != 0 && !same_error(&found_error, error))
            why = "json_scan gives another error";
    }
    json_simd_force(before);
    json_events_fini(&found);
    return why;
}

// True when all forms agree; else tells on stderr. *valid gets what they agree on.
static inline bool forms_agree(const void *data, size_t len, bool *valid)
{
    char *body = malloc(len > 0 ? len : 1);
    struct json_events events = {0};
    struct json_error error = {0};
    bool agree = true;
    if (body == NULL)
        abort();
    if (len > 0)
        memcpy(body, data, len);
    int expected = json_exact((const uint8_t *)body, len, &events, &error);
    *valid = expected == 0;
    for (int simd = 0; simd < JSON_SIMD_COUNT; simd++) {
        if (json_simd_kernel((enum json_simd)simd) == NULL)
            continue;
        const char *why = form_disagrees((enum json_simd)simd, body, len, expected, &events, &error);
        if (why != NULL) {
            fprintf(stderr, "%s %s (exact: %s at %zu): %.*s\n", json_simd_name((enum json_simd)simd), why,
                    expected == 0 ? "valid" : error.reason, error.offset, (int)len, body);
            agree = false;
        }
    }
    json_events_fini(&events);
    free(body);
    return agree;
}
