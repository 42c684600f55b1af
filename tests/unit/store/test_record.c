// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/mem.h"
#include "store/record.h"

static void add(struct batch *batch, const char *event)
{
    buf_str(&batch->lines, event);
    buf_char(&batch->lines, '\n');
    batch->ends = mem_realloc(batch->ends, (batch->count + 1) * sizeof *batch->ends);
    batch->ends[batch->count++] = (uint32_t)batch->lines.len;
}

static void batch_fini(struct batch *batch)
{
    buf_fini(&batch->lines);
    mem_free(batch->ends);
}

static struct batch new_batch(void)
{
    return (struct batch){.sensor = "s1", .arrived_real_ns = -5, .id = {.low = 1, .high = UINT64_MAX}};
}

// In a block of its exact size, so that a read past its end shows.
static uint8_t *encode(const struct batch *batch, size_t *len)
{
    size_t bound = record_bound(batch);
    assert_true(bound > 0);
    uint8_t *data = mem_alloc(bound);
    *len = record_encode(batch, data);
    assert_true(*len <= bound);
    return mem_realloc(data, *len);
}

static void assert_same(const struct record *record, const struct batch *batch)
{
    char *lines = mem_alloc(record->lines_len);
    uint32_t *ends = mem_array(record->count, sizeof *ends);
    assert_int_equal(record->count, batch->count);
    assert_int_equal(record->lines_len, batch->lines.len);
    assert_int_equal(record_decode(record, ends, lines), 0);
    assert_memory_equal(lines, batch->lines.data, batch->lines.len);
    assert_memory_equal(ends, batch->ends, batch->count * sizeof *ends);
    assert_true(text_eq(record->sensor, text_of(batch->sensor)));
    assert_true(record->arrived_real_ns == batch->arrived_real_ns);
    assert_true(record->id.low == batch->id.low && record->id.high == batch->id.high);
    mem_free(lines);
    mem_free(ends);
}

static void round_trip(const struct batch *batch, bool compressed)
{
    size_t len;
    struct record record;
    uint8_t *data = encode(batch, &len);
    record_place(data, 77);
    assert_int_equal(record_check(data, len, &record), 0);
    assert_int_equal(record.length, len);
    assert_int_equal(record.first, 77);
    assert_int_equal(record.compressed, compressed);
    assert_same(&record, batch);
    mem_free(data);
}

static void what_goes_in_comes_out(void **state)
{
    (void)state;
    struct batch small = new_batch(), repeated = new_batch(), random = new_batch(), lengths = new_batch();
    add(&small, "{}");
    round_trip(&small, false);
    small.sensor = "";
    round_trip(&small, false);
    for (int i = 0; i < 3000; i++)
        add(&repeated, "{\"source\":{\"ip\":\"192.0.2.1\"},\"event\":{\"id\":\"1\"}}");
    round_trip(&repeated, true);
    for (int i = 0; i < 100; i++) {
        char noise[200];
        for (size_t at = 0; at < sizeof noise - 1; at++)
            noise[at] = (char)(33 + rand() % 90);
        noise[sizeof noise - 1] = '\0';
        add(&random, noise);
    }
    round_trip(&random, false);                             // does not get shorter, so it stays as it is
    for (size_t len = 1; len < 300000; len = len * 2 + 1) { // one to three bytes of LEB128
        char *event = mem_alloc(len + 1);
        memset(event, 'x', len);
        event[len] = '\0';
        add(&lengths, event);
        mem_free(event);
    }
    round_trip(&lengths, true);
    batch_fini(&small);
    batch_fini(&repeated);
    batch_fini(&random);
    batch_fini(&lengths);
}

static struct batch two_events(void)
{
    struct batch batch = new_batch();
    add(&batch, "{\"a\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}");
    add(&batch, "{\"b\":1}");
    return batch;
}

static void every_truncation_is_refused(void **state)
{
    (void)state;
    struct batch batch = two_events();
    size_t len;
    struct record record;
    uint8_t *data = encode(&batch, &len);
    for (size_t cut = 0; cut < len; cut++) {
        uint8_t *part = mem_alloc(cut > 0 ? cut : 1);
        memcpy(part, data, cut);
        assert_int_equal(record_check(part, cut, &record), -EBADMSG);
        mem_free(part);
    }
    assert_int_equal(record_check(data, len, &record), 0);
    mem_free(data);
    batch_fini(&batch);
}

static void every_flipped_bit_is_refused(void **state)
{
    (void)state;
    struct batch batch = two_events();
    size_t len;
    struct record record;
    uint8_t *data = encode(&batch, &len);
    record_place(data, 12345);
    for (size_t bit = 0; bit < len * 8; bit++) {
        data[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        assert_int_equal(record_check(data, len, &record), -EBADMSG);
        data[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
    assert_int_equal(record_check(data, len, &record), 0);
    mem_free(data);
    batch_fini(&batch);
}

// With the hashes made right again, as someone would who means harm: the bits that say nothing wrong may pass, none is
// read past its end.
static void sealed_nonsense_is_checked(void **state)
{
    (void)state;
    struct batch batch = two_events();
    size_t len;
    uint8_t *good = encode(&batch, &len), *data = mem_alloc(len);
    unsigned refused = 0;
    for (size_t bit = 0; bit < len * 8; bit++) {
        memcpy(data, good, len);
        data[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        record_seal(data, len);
        struct record record;
        int rc = record_check(data, len, &record);
        if (rc == 0) {
            char *lines = mem_alloc(record.lines_len);
            uint32_t *ends = mem_array(record.count, sizeof *ends);
            rc = record_decode(&record, ends, lines);
            mem_free(lines);
            mem_free(ends);
        }
        refused += rc != 0;
    }
    assert_true(refused > 8 * 20); // counts and lengths at least
    mem_free(data);
    mem_free(good);
    batch_fini(&batch);
}

static void later_versions_are_told_apart(void **state)
{
    (void)state;
    struct batch batch = two_events();
    size_t len;
    struct record record;
    uint8_t *data = encode(&batch, &len);
    data[24] = RECORD_VERSION + 1;
    assert_int_equal(record_check(data, len, &record), -EBADMSG); // not sealed
    record_seal(data, len);
    assert_int_equal(record_check(data, len, &record), -ENOTSUP);
    assert_int_equal(record.length, len);
    data[24] = 0;
    record_seal(data, len);
    assert_int_equal(record_check(data, len, &record), -EBADMSG);
    mem_free(data);
    batch_fini(&batch);
}

// A claim of a gigabyte in a record of a hundred bytes is refused before anything is allocated.
static void claims_are_bounded(void **state)
{
    (void)state;
    struct batch batch = new_batch();
    for (int i = 0; i < 10; i++)
        add(&batch, "{\"a\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}");
    size_t len;
    struct record record;
    uint8_t *data = encode(&batch, &len);
    assert_int_equal(record_check(data, len, &record), 0);
    assert_true(record.compressed);
    const uint32_t claim = 1 << 29;
    memcpy(data + 32, &claim, sizeof claim);
    record_seal(data, len);
    assert_int_equal(record_check(data, len, &record), -EBADMSG);
    mem_free(data);
    batch_fini(&batch);
}

static void what_is_too_large_has_no_record(void **state)
{
    (void)state;
    struct batch batch = new_batch();
    batch.count = 1;
    batch.lines.len = RECORD_LINES_MAX + 1;
    assert_int_equal(record_bound(&batch), 0);
    batch.lines.len = RECORD_BYTES_MAX;
    assert_int_equal(record_bound(&batch), 0);
    batch.lines.len = RECORD_BYTES_MAX - 1000;
    assert_true(record_bound(&batch) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_goes_in_comes_out),          cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(every_flipped_bit_is_refused),    cmocka_unit_test(sealed_nonsense_is_checked),
        cmocka_unit_test(later_versions_are_told_apart),   cmocka_unit_test(claims_are_bounded),
        cmocka_unit_test(what_is_too_large_has_no_record),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
