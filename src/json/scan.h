// SPDX-License-Identifier: Apache-2.0
#pragma once

// The one pass over a request body: is it a JSON array of objects (RFC 8259, strict UTF-8, depth at most
// JSON_DEPTH_MAX), where does each object begin and end, and where is the address to look up? The body is never
// changed and never copied; every result is an offset into it.
//
// The scan finds the common form (a "source" object with an "ip" string, each once, spelt plainly) by itself. An event
// that is spelt in any other way that may still mean `source.ip` (escapes in a key, dotted keys, keys that repeat, `as`
// or `geo` already there) is marked JSON_EVENT_UNUSUAL; json/splice.h walks such an event again.

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JSON_DEPTH_MAX 128

enum json_event_flags {
    JSON_EVENT_NEWLINE = 1, // has raw line breaks between tokens: they go when the event is written
    JSON_EVENT_UNUSUAL = 2, // ip_begin, ip_end and source_end are 0; walk the event
};

// One element of the array. Offsets are from the start of the body. 0 means "not there" (0 is the array's bracket).
struct json_event {
    uint32_t begin;      // its {
    uint32_t end;        // one past its }
    uint32_t ip_begin;   // first byte of the string value of source.ip, after the quote
    uint32_t ip_end;     // its closing quote; the bytes between hold no escape
    uint32_t source_end; // the } of the source object: where additions go
    uint32_t flags;      // enum json_event_flags
};

// Results of one scan; reused from batch to batch (what a giant batch needed is given back by the next scan). Owned by
// one worker. Zeroed to begin with.
struct json_events {
    struct json_event *at;
    size_t count;    // elements of the array
    size_t cap;      // of `at`
    size_t keep_max; // set by the owner: later elements are checked and counted but not kept; 0: all are kept
};
void json_events_fini(struct json_events *events);

// Where and why a body was refused; `reason` is a fixed text without content.
struct json_error {
    const char *reason;
    size_t offset; // bytes from the start of the body
    int64_t index; // of the array element, -1 outside of any
};

// Scans body[0..len). 0; -EINVAL: not a JSON array of objects, *error tells; -ENOMEM; -EFBIG: len is over 1 GiB.
// The caller compares the count and each end - begin with its limits afterwards: a body that is no JSON at all is
// invalid_request, however large its parts are.
int json_scan(const char *body, size_t len, struct json_events *events, struct json_error *error);

// Which vector form runs. Chosen once, from what the processor has; tests force each in turn.
enum json_simd {
    JSON_SIMD_PORTABLE,
    JSON_SIMD_SSE2,
    JSON_SIMD_AVX2,
    JSON_SIMD_NEON,
    JSON_SIMD_AVX512,
    JSON_SIMD_COUNT
};
bool json_simd_available(enum json_simd simd);
void json_simd_force(enum json_simd simd); // for tests and benches, before other threads start
enum json_simd json_simd_current(void);
const char *json_simd_name(enum json_simd simd);
