// SPDX-License-Identifier: Apache-2.0
#include "store/record.h"

#include <endian.h>
#include <errno.h>

#include <lz4.h>

#include "base/hash.h"
#include "base/mem.h"

enum { FLAG_LZ4 = 1, LENGTH_BYTES_MAX = 5, LZ4_RATIO_MAX = 255 };

// The bytes a7 4c 72 1c: no text, and not the beginning of one.
#define MAGIC UINT32_C(0x1c724ca7)

struct head {
    uint32_t magic, length, first, place_hash;
    uint64_t hash;
    uint8_t version, flags;
    uint16_t sensor_len;
    uint32_t count, lines_len, lengths_len;
    int64_t arrived_real_ns;
    uint64_t id_low, id_high;
};
_Static_assert(sizeof(struct head) == RECORD_HEAD_BYTES, "no padding");
enum { HASHED_FROM = offsetof(struct head, version), PLACE_BYTES = offsetof(struct head, place_hash) };

// Records may stand at any address, so they are copied in and out.
static struct head head_read(const uint8_t *data)
{
    struct head head;
    memcpy(&head, data, sizeof head);
    head.magic = le32toh(head.magic);
    head.length = le32toh(head.length);
    head.first = le32toh(head.first);
    head.place_hash = le32toh(head.place_hash);
    head.hash = le64toh(head.hash);
    head.sensor_len = le16toh(head.sensor_len);
    head.count = le32toh(head.count);
    head.lines_len = le32toh(head.lines_len);
    head.lengths_len = le32toh(head.lengths_len);
    head.arrived_real_ns = (int64_t)le64toh((uint64_t)head.arrived_real_ns);
    head.id_low = le64toh(head.id_low);
    head.id_high = le64toh(head.id_high);
    return head;
}

static void put32(uint8_t *at, uint32_t value)
{
    value = htole32(value);
    memcpy(at, &value, sizeof value);
}

static void put64(uint8_t *at, uint64_t value)
{
    value = htole64(value);
    memcpy(at, &value, sizeof value);
}

static void head_write(const struct head *host, uint8_t *data)
{
    struct head head = *host;
    head.magic = htole32(head.magic);
    head.length = htole32(head.length);
    head.sensor_len = htole16(head.sensor_len);
    head.count = htole32(head.count);
    head.lines_len = htole32(head.lines_len);
    head.lengths_len = htole32(head.lengths_len);
    head.arrived_real_ns = (int64_t)htole64((uint64_t)head.arrived_real_ns);
    head.id_low = htole64(head.id_low);
    head.id_high = htole64(head.id_high);
    memcpy(data, &head, sizeof head);
}

static uint32_t place_hash(const uint8_t *data, uint64_t hash)
{
    return (uint32_t)hash64(data, PLACE_BYTES, hash);
}

void record_seal(uint8_t *data, size_t len)
{
    if (len < RECORD_HEAD_BYTES)
        return;
    uint64_t hash = hash64(data + HASHED_FROM, len - HASHED_FROM, 0);
    put32(data, MAGIC);
    put32(data + offsetof(struct head, length), (uint32_t)len);
    put64(data + offsetof(struct head, hash), hash);
    put32(data + PLACE_BYTES, place_hash(data, hash));
}

void record_place(uint8_t *data, uint32_t first)
{
    struct head head = head_read(data);
    put32(data + offsetof(struct head, first), first);
    put32(data + PLACE_BYTES, place_hash(data, head.hash));
}

// ---- Writing

size_t record_bound(const struct batch *batch)
{
    size_t sensor_len = strlen(batch->sensor);
    size_t bound = RECORD_HEAD_BYTES + sensor_len + (size_t)batch->count * LENGTH_BYTES_MAX + batch->lines.len;
    return batch->lines.len > RECORD_LINES_MAX || sensor_len > UINT16_MAX || bound > RECORD_BYTES_MAX ? 0 : bound;
}

static size_t put_lengths(const struct batch *batch, uint8_t *out)
{
    size_t at = 0;
    for (uint32_t i = 0; i < batch->count; i++) {
        uint32_t value = batch->ends[i] - batch_begin(batch, i);
        for (; value >= 0x80; value >>= 7)
            out[at++] = (uint8_t)(value | 0x80);
        out[at++] = (uint8_t)value;
    }
    return at;
}

size_t record_encode(const struct batch *batch, uint8_t *out)
{
    struct head head = {
        .version = RECORD_VERSION,
        .sensor_len = (uint16_t)strlen(batch->sensor),
        .count = batch->count,
        .lines_len = (uint32_t)batch->lines.len,
        .arrived_real_ns = batch->arrived_real_ns,
        .id_low = batch->id.low,
        .id_high = batch->id.high,
    };
    uint8_t *at = out + RECORD_HEAD_BYTES;
    memcpy(at, batch->sensor, head.sensor_len);
    at += head.sensor_len;
    head.lengths_len = (uint32_t)put_lengths(batch, at);
    at += head.lengths_len;

    // Room for less than the lines take: what does not shrink stays as it is.
    int room = (int)batch->lines.len - 1;
    int packed = room > 0 ? LZ4_compress_default(batch->lines.data, (char *)at, (int)batch->lines.len, room) : 0;
    if (packed > 0) {
        head.flags = FLAG_LZ4;
        at += packed;
    } else {
        memcpy(at, batch->lines.data, batch->lines.len);
        at += batch->lines.len;
    }
    head_write(&head, out);
    record_seal(out, (size_t)(at - out));
    return (size_t)(at - out);
}

// ---- Reading

// The lengths say what the record has, and nothing of them makes a reader allocate more than lz4 could have packed.
static bool sizes_fit(const struct head *head)
{
    uint64_t before_lines = (uint64_t)RECORD_HEAD_BYTES + head->sensor_len + head->lengths_len;
    if (before_lines > head->length)
        return false;
    uint64_t lines = head->length - before_lines;
    bool compressed = (head->flags & FLAG_LZ4) != 0;
    return (head->flags & ~FLAG_LZ4) == 0 && head->count > 0 && head->count <= head->lengths_len &&
           head->count <= head->lines_len && head->lines_len <= RECORD_LINES_MAX &&
           head->count - 1 <= UINT32_MAX - head->first &&
           (compressed ? head->lines_len <= lines * LZ4_RATIO_MAX : head->lines_len == lines);
}

int record_check(const uint8_t *data, size_t len, struct record *out)
{
    if (len < RECORD_HEAD_BYTES)
        return -EBADMSG;
    struct head head = head_read(data);
    if (head.magic != MAGIC || head.length < RECORD_HEAD_BYTES || head.length > len ||
        head.place_hash != place_hash(data, head.hash) ||
        head.hash != hash64(data + HASHED_FROM, head.length - HASHED_FROM, 0))
        return -EBADMSG;
    *out = (struct record){.length = head.length};
    if (head.version > RECORD_VERSION)
        return -ENOTSUP;
    if (head.version != RECORD_VERSION || !sizes_fit(&head))
        return -EBADMSG;

    const char *at = (const char *)data + RECORD_HEAD_BYTES;
    out->first = head.first;
    out->count = head.count;
    out->compressed = (head.flags & FLAG_LZ4) != 0;
    out->arrived_real_ns = head.arrived_real_ns;
    out->id = (struct batch_id){.low = head.id_low, .high = head.id_high};
    out->sensor = (struct text){at, head.sensor_len};
    out->lengths = (struct text){at + head.sensor_len, head.lengths_len};
    at = out->lengths.at + out->lengths.len;
    out->lines = (struct text){at, (size_t)((const char *)data + head.length - at)};
    out->lines_len = head.lines_len;
    return 0;
}

static bool get_length(struct text *rest, uint32_t *out)
{
    uint32_t value = 0;
    for (unsigned shift = 0; shift < 32 && rest->len > 0; shift += 7) {
        uint8_t byte = (uint8_t)*rest->at++;
        rest->len--;
        if (shift == 28 && (byte & 0x7f) > 0x0f)
            return false;
        value |= (uint32_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *out = value;
            return true;
        }
    }
    return false;
}

int record_decode(const struct record *record, uint32_t *ends, char *lines)
{
    if (!record->compressed) {
        memcpy(lines, record->lines.at, record->lines_len);
    } else if (LZ4_decompress_safe(record->lines.at, lines, (int)record->lines.len, (int)record->lines_len) !=
               (int)record->lines_len) {
        return -EBADMSG;
    }
    struct text rest = record->lengths;
    uint32_t end = 0, length = 0;
    for (uint32_t i = 0; i < record->count; i++) {
        if (!get_length(&rest, &length) || length == 0 || length > record->lines_len - end)
            return -EBADMSG;
        end += length;
        if (lines[end - 1] != '\n')
            return -EBADMSG;
        ends[i] = end;
    }
    return rest.len == 0 && end == record->lines_len ? 0 : -EBADMSG;
}
