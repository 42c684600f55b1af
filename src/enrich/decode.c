// SPDX-License-Identifier: Apache-2.0

#include "enrich/decode.h"

#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Big-endian, up to eight bytes; none is 0.
static uint64_t read_be(const uint8_t *at, uint32_t size)
{
    uint64_t value = 0;
    while (size-- > 0)
        value = value << 8 | *at++;
    return value;
}

// Is there as much, from an offset on?
static bool has(const struct mmdb_reader *reader, uint32_t offset, uint32_t bytes)
{
    return offset <= reader->size && bytes <= reader->size - offset;
}

static int read_pointer(const struct mmdb_reader *reader, uint8_t control, uint32_t *offset, uint32_t *target)
{
    uint32_t bytes = ((control >> 3) & 3) + 1;
    if (!has(reader, *offset, bytes))
        return -EBADMSG;
    const uint8_t *at = reader->at + *offset;
    uint32_t high = control & 7;
    switch (bytes) { // each form begins where the shorter one ends
    case 1:
        *target = high << 8 | at[0];
        break;
    case 2:
        *target = 2048 + (high << 16 | (uint32_t)at[0] << 8 | at[1]);
        break;
    case 3:
        *target = 526336 + (high << 24 | (uint32_t)at[0] << 16 | (uint32_t)at[1] << 8 | at[2]);
        break;
    default:
        *target = (uint32_t)read_be(at, 4);
        break;
    }
    *offset += bytes;
    return 0;
}

// Sizes up to 28 stand in the control byte, larger ones in one to three more bytes.
static int read_size(const struct mmdb_reader *reader, uint8_t control, uint32_t *offset, uint32_t *size)
{
    static const uint32_t bias[3] = {29, 29 + 256, 29 + 256 + 65536};
    *size = control & 31;
    if (*size < 29)
        return 0;
    uint32_t bytes = *size - 28;
    if (!has(reader, *offset, bytes))
        return -EBADMSG;
    *size = (uint32_t)read_be(reader->at + *offset, bytes) + bias[bytes - 1];
    *offset += bytes;
    return 0;
}

// By type: the bytes that a payload may have. Types that are not here are none, or have no payload.
static const struct {
    bool known;
    uint32_t least, most;
} payloads[] = {
    [VALUE_TEXT] = {true, 0, UINT32_MAX}, [VALUE_BYTES] = {true, 0, UINT32_MAX}, [VALUE_DOUBLE] = {true, 8, 8},
    [VALUE_FLOAT] = {true, 4, 4},         [VALUE_UINT16] = {true, 0, 2},         [VALUE_UINT32] = {true, 0, 4},
    [VALUE_UINT64] = {true, 0, 8},        [VALUE_UINT128] = {true, 0, 16},       [VALUE_INT32] = {true, 0, 4},
};

static bool payload_fits(const struct mmdb_reader *reader, const struct mmdb_value *value)
{
    size_t type = value->type;
    return type < sizeof payloads / sizeof *payloads && payloads[type].known && value->size >= payloads[type].least &&
           value->size <= payloads[type].most && has(reader, value->payload, value->size);
}

// One value as it stands there. Of a pointer, payload is the target.
static int read_in_place(struct mmdb_reader *reader, uint32_t offset, struct mmdb_value *value)
{
    if (reader->steps == 0 || !has(reader, offset, 1))
        return -EBADMSG;
    reader->steps--;

    uint8_t control = reader->at[offset++];
    unsigned type = control >> 5;
    if (type == VALUE_POINTER) {
        value->type = VALUE_POINTER;
        value->size = 0;
        int code = read_pointer(reader, control, &offset, &value->payload);
        value->next = offset;
        return code;
    }
    if (type == 0) {
        if (!has(reader, offset, 1))
            return -EBADMSG;
        type = 7 + (unsigned)reader->at[offset++];
    }
    value->type = (enum mmdb_type)type;
    if (read_size(reader, control, &offset, &value->size) != 0)
        return -EBADMSG;
    value->payload = offset;
    value->next = offset;
    if (type == VALUE_MAP || type == VALUE_ARRAY || type == VALUE_BOOLEAN)
        return 0;
    if (!payload_fits(reader, value))
        return -EBADMSG;
    value->next += value->size;
    return 0;
}

int mmdb_read(struct mmdb_reader *reader, uint32_t offset, struct mmdb_value *value)
{
    int code = read_in_place(reader, offset, value);
    value->followed = false;
    if (code != 0 || value->type != VALUE_POINTER)
        return code;
    uint32_t next = value->next;
    code = read_in_place(reader, value->payload, value);
    if (code == 0 && value->type == VALUE_POINTER)
        code = -EBADMSG; // the format forbids it, and it could be a ring
    value->next = next;
    value->followed = true;
    return code;
}

int mmdb_skip(struct mmdb_reader *reader, uint32_t *offset, uint64_t count)
{
    while (count > 0) {
        // Each takes a step at least, so a size that no file could hold ends here rather than after millions.
        if (count > reader->steps)
            return -EBADMSG;
        struct mmdb_value value;
        int code = read_in_place(reader, *offset, &value);
        if (code != 0)
            return code;
        *offset = value.next;
        count--;
        if (value.type == VALUE_MAP)
            count += UINT64_C(2) * value.size;
        else if (value.type == VALUE_ARRAY)
            count += value.size;
    }
    return 0;
}

struct text mmdb_text(const struct mmdb_reader *reader, const struct mmdb_value *value)
{
    return (struct text){(const char *)reader->at + value->payload, value->size};
}

int mmdb_uint(const struct mmdb_reader *reader, const struct mmdb_value *value, uint64_t *out)
{
    const uint8_t *bytes = reader->at + value->payload;
    switch (value->type) {
    case VALUE_UINT16:
    case VALUE_UINT32:
    case VALUE_UINT64:
        *out = read_be(bytes, value->size);
        return 0;
    case VALUE_INT32: // negative only when all four bytes are there
        *out = read_be(bytes, value->size);
        return *out <= INT32_MAX ? 0 : -EINVAL;
    default:
        return -EINVAL;
    }
}

// The double whose shortest text is that of the float: 45.1, where the float's own value is 45.09999847. Six digits
// always survive the way to a float and back, and nine always tell it from all others (C17, 5.2.4.2.2).
static double widen(float real)
{
    char text[32];
    for (int digits = fabsf(real) < FLT_MIN ? 1 : FLT_DIG; digits <= FLT_DECIMAL_DIG; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)real);
        if (strtof(text, NULL) == real)
            break;
    }
    return strtod(text, NULL);
}

int mmdb_real(const struct mmdb_reader *reader, const struct mmdb_value *value, double *out)
{
    if (value->type == VALUE_DOUBLE) {
        uint64_t bits = read_be(reader->at + value->payload, sizeof bits);
        memcpy(out, &bits, sizeof bits);
        return 0;
    }
    if (value->type == VALUE_FLOAT) {
        uint32_t bits = (uint32_t)read_be(reader->at + value->payload, sizeof bits);
        float real;
        memcpy(&real, &bits, sizeof bits);
        *out = widen(real);
        return 0;
    }
    return -EINVAL;
}
