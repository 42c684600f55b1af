// SPDX-License-Identifier: Apache-2.0
//
// The input is the bytes of a record: as they are, which the hashes refuse, and with the hashes made right, as whoever
// writes into the file could. Holds for every one that is accepted: events end where lines end, encoding what was decoded
// and decoding it again gives the same, and a piece less is refused.

#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "base/mem.h"
#include "store/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// Decodes into a batch; its memory is of the sizes that the record claims, exactly.
static int decode(const struct record *record, struct batch *batch)
{
    *batch = (struct batch){.sensor = mem_strndup(record->sensor.at, record->sensor.len),
                            .arrived_real_ns = record->arrived_real_ns,
                            .id = record->id,
                            .lines = {mem_alloc(record->lines_len), record->lines_len, record->lines_len},
                            .ends = mem_array(record->count, sizeof *batch->ends),
                            .count = record->count};
    return record_decode(record, batch->ends, batch->lines.data);
}

static void release(struct batch *batch)
{
    mem_free((void *)(uintptr_t)batch->sensor);
    buf_fini(&batch->lines);
    mem_free(batch->ends);
}

static void check_batch(const struct batch *batch)
{
    for (uint32_t i = 0; i < batch->count; i++) {
        struct text event = batch_event(batch, i);
        INVARIANT(event.len > 0 && event.at[event.len - 1] == '\n');
    }
    INVARIANT(batch->ends[batch->count - 1] == batch->lines.len);

    size_t bound = record_bound(batch);
    INVARIANT(bound > 0);
    uint8_t *again = mem_alloc(bound);
    size_t len = record_encode(batch, again);
    struct record record;
    struct batch other;
    INVARIANT(record_check(again, len, &record) == 0);
    INVARIANT(record_check(again, len - 1, &(struct record){0}) == -EBADMSG);
    INVARIANT(decode(&record, &other) == 0);
    INVARIANT(other.lines.len == batch->lines.len && memcmp(other.lines.data, batch->lines.data, other.lines.len) == 0);
    INVARIANT(memcmp(other.ends, batch->ends, batch->count * sizeof *batch->ends) == 0);
    release(&other);
    mem_free(again);
}

static void check(const uint8_t *data, size_t size)
{
    struct record record;
    int rc = record_check(data, size, &record);
    INVARIANT(rc == 0 || rc == -EBADMSG || rc == -ENOTSUP);
    if (rc == -EBADMSG)
        return;
    INVARIANT(record.length >= RECORD_HEAD_BYTES && record.length <= size);
    if (rc != 0)
        return;
    INVARIANT(record.lines_len <= record.lines.len * 255);
    struct batch batch;
    if (decode(&record, &batch) == 0)
        check_batch(&batch);
    release(&batch);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    check(data, size);
    uint8_t *sealed = mem_alloc(size > 0 ? size : 1);
    memcpy(sealed, data, size);
    record_seal(sealed, size);
    check(sealed, size);
    mem_free(sealed);
    return 0;
}
