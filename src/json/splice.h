// SPDX-License-Identifier: Apache-2.0
#pragma once

// Puts what Loom knows into an event without touching a byte that it was not asked to touch.
//
// Two steps, because the look-up stands between them: json_locate finds the address, json_splice copies the event with
// the additions. Additions are the members to merge into `source`, as JSON text without braces and without blanks, made
// by enrich/render.c:  "as":{"number":64500,"organization":{"name":"Example"}},"geo":{"country_iso_code":"NL",...}
//
// Nested events ("source":{"ip":...}) get the additions inside `source`; dotted ones ("source.ip":...) get dotted keys
// ("source.as.number":64500) at the end of the event. Existing `as`, `geo` and `as.organization` objects are merged: their
// members stay where they are, those that Loom has a value for get the new value in place. `geo.location` is one value.
// Members that Loom does not know stay as they are, in whatever form they are written.

#include "base/buf.h"
#include "base/text.h"
#include "json/scan.h"

// Why an event passes unchanged. Each is a label of loom_enrich_unchanged_total.
enum json_pass {
    JSON_PASS_OK,            // an address was found
    JSON_PASS_NO_SOURCE,     // no source.ip and no source
    JSON_PASS_SOURCE_TYPE,   // source is no object
    JSON_PASS_NO_IP,         // source without ip
    JSON_PASS_IP_TYPE,       // ip is no string (whether it is an address, enrich tells)
    JSON_PASS_DUPLICATE_KEY, // a key that Loom reads or writes stands twice, or in another form than what is added
    JSON_PASS_TARGET_TYPE,   // as, geo or as.organization is there and no object
    JSON_PASS_COUNT,
};
const char *json_pass_name(enum json_pass pass); // "no_source", ...

#define JSON_IP_MAX 64
// What json_locate found, kept by the caller between the two steps.
struct json_place {
    const struct json_event *event;
    bool dotted;               // the form of the event
    bool merge;                // as or geo is there already, as an object
    struct text ip;            // into the body, or into decoded
    char decoded[JSON_IP_MAX]; // an address that was written with escapes
    uint32_t insert;           // where nested additions go when nothing has to be merged
};

// An escaped address longer than JSON_IP_MAX is none (JSON_PASS_OK with an ip that no look-up will know).
enum json_pass json_locate(const char *body, const struct json_event *event, struct json_place *place);

// Appends the event as one line (with its '\n') with the additions; additions.len 0 copies it as it is.
// 0 or -ENOMEM (out is then as it was).
int json_splice(const char *body, const struct json_place *place, struct text additions, struct buf *out);

// Appends the event unchanged, but for line breaks between tokens, and '\n'. 0 or -ENOMEM.
int json_copy(const char *body, const struct json_event *event, struct buf *out);
