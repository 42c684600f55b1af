// SPDX-License-Identifier: Apache-2.0
#include "store/batch.h"

#include "base/hash.h"

// Eight bits of a number at a time, most significant first.
static void put_big_endian(uint64_t value, unsigned char *out)
{
    for (int i = 0; i < 8; i++)
        out[i] = (unsigned char)(value >> (56 - 8 * i));
}

void batch_event_id(const struct batch *batch, uint32_t i, char out[EVENT_ID_LEN])
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    unsigned char bytes[18] = {0}; // 128 bits, and two bytes of nothing to complete the last group

    put_big_endian(batch->id.high, bytes);
    put_big_endian(batch->id.low, bytes + 8);
    struct hash128 hash = hash128(bytes, 16, i);
    put_big_endian(hash.high, bytes);
    put_big_endian(hash.low, bytes + 8);
    for (int at = 0; at < EVENT_ID_LEN; at++) {
        const unsigned char *group = bytes + at / 4 * 3;
        uint32_t bits = (uint32_t)group[0] << 16 | (uint32_t)group[1] << 8 | group[2];
        out[at] = letters[bits >> (18 - 6 * (at % 4)) & 63];
    }
}
