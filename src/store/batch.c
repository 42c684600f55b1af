// SPDX-License-Identifier: Apache-2.0
#include "store/batch.h"

#include <endian.h>
#include <string.h>

#include "base/hash.h"

static void put_big_endian(uint64_t value, unsigned char *out)
{
    value = htobe64(value);
    memcpy(out, &value, sizeof value);
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
    for (size_t at = 0, from = 0; at < EVENT_ID_LEN; from += 3) {
        uint32_t bits = (uint32_t)bytes[from] << 16 | (uint32_t)bytes[from + 1] << 8 | bytes[from + 2];
        for (int shift = 18; shift >= 0 && at < EVENT_ID_LEN; shift -= 6)
            out[at++] = letters[bits >> shift & 63];
    }
}
