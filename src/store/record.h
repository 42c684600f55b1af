// SPDX-License-Identifier: Apache-2.0
#pragma once

// One batch as bytes on disk. Numbers are little-endian. Several records stand one after the other in a row of the
// durable store.
//
//      0  u32  magic
//      4  u32  length of the record, all of it
//      8  u32  first: number of its first event within the row       (set when the record is given its place in a row)
//     12  u32  hash of bytes 0..11, seeded with the next field
//     16  u64  hash of all that follows                              (XXH3)
//     24  u8   version of what follows, 1     25  u8  flags (1: lz4)      26  u16  length of the sensor
//     28  u32  events      32  u32  length of the lines      36  u32  length of the events' lengths
//     40  i64  arrival, nanoseconds since the epoch          48  u64  id.low      56  u64  id.high
//     64       sensor; the length of each event as LEB128; the lines, as one lz4 block when that is shorter
//
// The first 24 bytes stay what they are in every later version, so that an older Loom can tell a record that it does
// not know from one that is damaged. Nothing of a record is believed before both hashes are right; and as a hash proves
// no good will, every length is checked all the same. Any thread.

#include <stdbool.h>

#include "store/batch.h"

#define RECORD_VERSION    1
#define RECORD_HEAD_BYTES 64
#define RECORD_BYTES_MAX  ((size_t)900 << 20) // SQLite takes a gigabyte
#define RECORD_LINES_MAX  ((size_t)1 << 30)

// A record that was found good: views into its bytes.
struct record {
    size_t length;
    uint32_t first, count;
    bool compressed;
    int64_t arrived_real_ns;
    struct batch_id id;
    struct text sensor;
    struct text lengths;
    struct text lines; // as they stand in the record
    uint32_t lines_len;
};

// What to have ready for the record of a batch; 0: too large for one.
size_t record_bound(const struct batch *batch);
// The length of the record. `out` has record_bound bytes.
size_t record_encode(const struct batch *batch, uint8_t *out);
// Gives it its place in a row: the number of its first event there.
void record_place(uint8_t *data, uint32_t first);

// The record at the start of data. 0; -EBADMSG: damaged, or none; -ENOTSUP: whole, but of a later version (only
// out->length is set then).
int record_check(const uint8_t *data, size_t len, struct record *out);
// Of a checked record: `ends` has room for record->count, `lines` for record->lines_len. 0 or -EBADMSG.
int record_decode(const struct record *record, uint32_t *ends, char *lines);

// Makes the hashes of a record right, whatever stands in it: for tests and fuzzing, which look behind them.
void record_seal(uint8_t *data, size_t len);
