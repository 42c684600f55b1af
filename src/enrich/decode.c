// SPDX-License-Identifier: Apache-2.0

#include "enrich/decode.h"

#include <errno.h>
#include <string.h>

// Big-endian, up to eight bytes; none is 0.
static uint64_t read_be(const uint8_t *at, uint32_t size)
{
    uint64_t value = 0;
    while (size-- > 0)
        value = value << 8 | *at++;
    return value;
}

// Takes `size` bytes of a value's head.
static int take(const struct mmdb_reader *reader, uint32_t *offset, uint32_t size, uint64_t *value)
{
    if (*offset > reader->size || size > reader->size - *offset)
        return -EBADMSG;
    *value = read_be(reader->at + *offset, size);
    *offset += size;
    return 0;
}

static int read_pointer(const struct mmdb_reader *reader, uint8_t control, uint32_t *offset, uint32_t *target)
{
    static const uint32_t bias[4] = {0, 2048, 526336, 0}; // each size begins where the shorter one ends
    unsigned width = (control >> 3) & 3;
    uint64_t value;
    if (take(reader, offset, width + 1, &value) != 0)
        return -EBADMSG;
    if (width < 3)
        value |= (uint64_t)(control & 7) << (8 * (width + 1));
    value += bias[width];
    if (value >= reader->size)
        return -EBADMSG;
    *target = (uint32_t)value;
    return 0;
}

// Sizes up to 28 stand in the control byte, larger ones in one to three more bytes.
static int read_size(const struct mmdb_reader *reader, uint8_t control, uint32_t *offset, uint32_t *size)
{
    static const uint32_t bias[3] = {29, 29 + 256, 29 + 256 + 65536};
    *size = control & 31;
    if (*size < 29)
        return 0;
    unsigned more = *size - 29;
    uint64_t value;
    if (take(reader, offset, more + 1, &value) != 0)
        return -EBADMSG;
    *size = (uint32_t)value + bias[more];
    return 0;
}

static int check_payload(const struct mmdb_reader *reader, const struct mmdb_value *value)
{
    uint32_t most;
    switch (value->type) {
    case VALUE_TEXT:
    case VALUE_BYTES:
        most = UINT32_MAX;
        break;
    case VALUE_UINT16:
        most = 2;
        break;
    case VALUE_UINT32:
    case VALUE_INT32:
        most = 4;
        break;
    case VALUE_UINT64:
        most = 8;
        break;
    case VALUE_UINT128:
        most = 16;
        break;
    case VALUE_DOUBLE:
        if (value->size != 8)
            return -EBADMSG;
        most = 8;
        break;
    case VALUE_FLOAT:
        if (value->size != 4)
            return -EBADMSG;
        most = 4;
        break;
    default:
        return -EBADMSG;
    }
    if (value->size > most || value->payload > reader->size || value->size > reader->size - value->payload)
        return -EBADMSG;
    return 0;
}

// One value as it stands there. Of a pointer, payload is the target.
static int read_in_place(struct mmdb_reader *reader, uint32_t offset, struct mmdb_value *value)
{
    uint64_t control, extended;
    if (reader->steps == 0 || take(reader, &offset, 1, &control) != 0)
        return -EBADMSG;
    reader->steps--;

    unsigned type = (unsigned)control >> 5;
    if (type == 0) {
        if (take(reader, &offset, 1, &extended) != 0 || extended == 0)
            return -EBADMSG;
        type = 7 + (unsigned)extended;
    }
    value->type = (enum mmdb_type)type;
    if (type == VALUE_POINTER) {
        value->size = 0;
        int code = read_pointer(reader, (uint8_t)control, &offset, &value->payload);
        value->next = offset;
        return code;
    }
    if (read_size(reader, (uint8_t)control, &offset, &value->size) != 0)
        return -EBADMSG;
    value->payload = offset;
    value->next = offset;
    if (type == VALUE_MAP || type == VALUE_ARRAY || type == VALUE_BOOLEAN)
        return 0;
    if (check_payload(reader, value) != 0)
        return -EBADMSG;
    value->next += value->size;
    return 0;
}

int mmdb_read(struct mmdb_reader *reader, uint32_t offset, struct mmdb_value *value)
{
    int code = read_in_place(reader, offset, value);
    if (code != 0 || value->type != VALUE_POINTER)
        return code;
    uint32_t next = value->next;
    code = read_in_place(reader, value->payload, value);
    if (code == 0 && value->type == VALUE_POINTER)
        code = -EBADMSG; // the format forbids it, and it could be a ring
    value->next = next;
    return code;
}

int mmdb_skip(struct mmdb_reader *reader, uint32_t *offset)
{
    uint64_t pending = 1;
    while (pending > 0) {
        struct mmdb_value value;
        int code = read_in_place(reader, *offset, &value);
        if (code != 0)
            return code;
        *offset = value.next;
        pending--;
        if (value.type == VALUE_MAP)
            pending += UINT64_C(2) * value.size;
        else if (value.type == VALUE_ARRAY)
            pending += value.size;
        if (pending > reader->steps)
            return -EBADMSG;
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
        *out = (double)real;
        return 0;
    }
    return -EINVAL;
}
