// SPDX-License-Identifier: Apache-2.0
#pragma once

// Reads typed values from a data section of an MMDB file (MaxMind DB format 2.0, "Data Field Format").
//
// Why not libmaxminddb's own: in Debian 12's version, MMDB_aget_value recurses as deep as the file says and
// MMDB_get_entry_data_list follows pointers into lists of any length, so a hostile file ends the process by stack or
// by time. This reader never recurses, never leaves the section, and gives up after a fixed number of steps.

#include <stdbool.h>
#include <stdint.h>

#include "base/text.h"

enum mmdb_type { // numbers of the format
    VALUE_POINTER = 1,
    VALUE_TEXT = 2,
    VALUE_DOUBLE = 3,
    VALUE_BYTES = 4,
    VALUE_UINT16 = 5,
    VALUE_UINT32 = 6,
    VALUE_MAP = 7,
    VALUE_INT32 = 8,
    VALUE_UINT64 = 9,
    VALUE_UINT128 = 10,
    VALUE_ARRAY = 11,
    VALUE_BOOLEAN = 14,
    VALUE_FLOAT = 15,
};

// A section and what may still be spent on it. Copied freely; the bytes are borrowed.
struct mmdb_reader {
    const uint8_t *at;
    uint32_t size;
    uint32_t steps; // values that may still be read before the file counts as broken
};

// Real records have at most a few hundred values, all languages included.
#define MMDB_RECORD_STEPS 8192

struct mmdb_value {
    enum mmdb_type type;
    bool followed;    // a pointer led to it: `next` is what follows the pointer
    uint32_t size;    // bytes of a payload; members of a map; elements of an array; 0 or 1 of a boolean
    uint32_t payload; // where its bytes, or its first member or element, begin
    uint32_t next;    // where what follows it begins; for a map or array that stands in place, its first member
};

// The value at an offset, a pointer followed. 0, or -EBADMSG: it leaves the section, has no known type, is a pointer to
// a pointer, or the steps are used up.
int mmdb_read(struct mmdb_reader *reader, uint32_t offset, struct mmdb_value *value);

// Moves *offset past the `count` values that stand there, whatever is in them.
int mmdb_skip(struct mmdb_reader *reader, uint32_t *offset, uint64_t count);

// What a value holds; the type was checked by the caller for text, and is checked here for numbers. A float comes as
// the double whose shortest decimal is the float's, so that it is written with no more digits than it has.
struct text mmdb_text(const struct mmdb_reader *reader, const struct mmdb_value *value);
int mmdb_uint(const struct mmdb_reader *reader, const struct mmdb_value *value, uint64_t *out); // -EINVAL: no integer
int mmdb_real(const struct mmdb_reader *reader, const struct mmdb_value *value, double *out);   // -EINVAL: no real
