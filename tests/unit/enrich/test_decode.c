// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "enrich/decode.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "mmdb_build.h"

static struct mmdb_reader reader_of(const struct buf *data)
{
    return (struct mmdb_reader){(const uint8_t *)data->data, (uint32_t)data->len, MMDB_RECORD_STEPS};
}

static void sizes_of_every_form_are_read(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {0, 1, 28, 29, 284, 285, 65820, 65821, 100000};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct buf data = BUF_EMPTY;
        char *bytes = mem_zalloc(sizes[i] + 1);
        build_bytes(&data, VALUE_TEXT, bytes, sizes[i]);
        struct mmdb_reader reader = reader_of(&data);
        struct mmdb_value value;
        assert_int_equal(mmdb_read(&reader, 0, &value), 0);
        assert_int_equal(value.type, VALUE_TEXT);
        assert_int_equal(value.size, sizes[i]);
        assert_int_equal(value.next, data.len);

        // One byte less, and it leaves the section.
        struct mmdb_reader shorter = reader;
        shorter.size--;
        assert_int_equal(mmdb_read(&shorter, 0, &value), -EBADMSG);
        mem_free(bytes);
        buf_fini(&data);
    }
}

static void pointers_of_every_form_are_followed_once(void **state)
{
    (void)state;
    static const uint32_t targets[] = {0, 2047, 2048, 526335, 526336, 700000};
    struct buf data = BUF_EMPTY;
    buf_reserve(&data, 800000);
    memset(data.data, 0x41, 800000); // text of one byte, wherever one looks
    data.len = 800000;
    for (size_t i = 0; i < sizeof targets / sizeof *targets; i++) {
        data.len = 800000;
        build_pointer(&data, targets[i]);
        struct mmdb_reader reader = reader_of(&data);
        struct mmdb_value value;
        assert_int_equal(mmdb_read(&reader, 800000, &value), 0);
        assert_int_equal(value.type, VALUE_TEXT);
        assert_int_equal(value.payload, targets[i] + 1);
        assert_int_equal(value.next, data.len); // after the pointer
        assert_true(value.followed);
    }
    data.len = 800000;
    const uint8_t widest[] = {0x3f, 0, 1, 0, 0}; // the three low bits mean nothing in this form
    buf_append(&data, widest, sizeof widest);
    struct mmdb_reader reader = reader_of(&data);
    struct mmdb_value value;
    assert_int_equal(mmdb_read(&reader, 800000, &value), 0);
    assert_int_equal(value.payload, 65537);
    buf_fini(&data);
}

static void broken_values_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *what;
        uint8_t bytes[8];
        uint32_t size;
    } rows[] = {
        {"nothing", {0}, 0},
        {"pointer without its bytes", {0x20}, 1},
        {"pointer beyond the end", {0x20, 0x02}, 2},
        {"pointer to itself", {0x20, 0x00}, 2},
        {"pointer to a pointer", {0x20, 0x02, 0x20, 0x04, 0x41, 'x'}, 6},
        {"extended type without its byte", {0x00}, 1},
        {"container, which is for readers only", {0x00, 12 - 7}, 2},
        {"end marker, which is for readers only", {0x00, 13 - 7}, 2},
        {"type 16", {0x00, 16 - 7, 0, 0}, 4},
        {"type 262", {0x00, 255, 0, 0}, 4},
        {"uint16 of three bytes", {0xa3, 0, 0, 0}, 4},
        {"uint32 of five bytes", {0xc5, 0, 0, 0, 0, 0}, 6},
        {"double of seven bytes", {0x67, 0, 0, 0, 0, 0, 0, 0}, 8},
        {"float of three bytes", {0x03, 15 - 7, 0, 0, 0}, 5},
        {"text cut off", {0x44, 'a', 'b', 'c'}, 4},
        {"long size cut off", {0x5f, 0, 0}, 3},
        {"text of 16 MiB", {0x5f, 0xff, 0xff, 0xff, 'x'}, 5},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        print_message("%s\n", rows[i].what);
        // In a block of its exact size, so that reading on shows under AddressSanitizer.
        uint8_t *bytes = mem_alloc(rows[i].size + 1);
        memcpy(bytes + 1, rows[i].bytes, rows[i].size);
        struct mmdb_reader reader = {bytes + 1, rows[i].size, MMDB_RECORD_STEPS};
        struct mmdb_value value;
        assert_int_equal(mmdb_read(&reader, 0, &value), -EBADMSG);
        mem_free(bytes);
    }
    struct mmdb_reader reader = {(const uint8_t *)"\x41x", 2, MMDB_RECORD_STEPS};
    struct mmdb_value value;
    assert_int_equal(mmdb_read(&reader, UINT32_MAX, &value), -EBADMSG);
}

static void numbers_are_read_by_type(void **state)
{
    (void)state;
    struct buf data = BUF_EMPTY;
    static const struct {
        enum mmdb_type type;
        uint64_t value;
        int code;
    } rows[] = {
        {VALUE_UINT16, 0, 0},          {VALUE_UINT16, 65535, 0},     {VALUE_UINT32, 4294967295, 0},
        {VALUE_UINT64, UINT64_MAX, 0}, {VALUE_INT32, 2147483647, 0}, {VALUE_INT32, 0xffffffff, -EINVAL}, // -1
        {VALUE_UINT128, 1, -EINVAL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        data.len = 0;
        build_uint(&data, rows[i].type, rows[i].value);
        struct mmdb_reader reader = reader_of(&data);
        struct mmdb_value value;
        uint64_t number = 0;
        assert_int_equal(mmdb_read(&reader, 0, &value), 0);
        assert_int_equal(mmdb_uint(&reader, &value, &number), rows[i].code);
        if (rows[i].code == 0)
            assert_int_equal(number, rows[i].value);
        double real;
        assert_int_equal(mmdb_real(&reader, &value, &real), -EINVAL);
    }
    data.len = 0;
    build_double(&data, -0.1419);
    build_float(&data, 0.5F);
    struct mmdb_reader reader = reader_of(&data);
    struct mmdb_value value;
    double real = 0;
    assert_int_equal(mmdb_read(&reader, 0, &value), 0);
    assert_int_equal(mmdb_real(&reader, &value, &real), 0);
    assert_true(real == -0.1419);
    assert_int_equal(mmdb_read(&reader, value.next, &value), 0);
    assert_int_equal(mmdb_real(&reader, &value, &real), 0);
    assert_true(real == 0.5);
    buf_fini(&data);
}

static double read_float(float value)
{
    struct buf data = BUF_EMPTY;
    build_float(&data, value);
    struct mmdb_reader reader = reader_of(&data);
    struct mmdb_value read;
    double real = 0;
    assert_int_equal(mmdb_read(&reader, 0, &read), 0);
    assert_int_equal(mmdb_real(&reader, &read, &real), 0);
    buf_fini(&data);
    return real;
}

static void a_float_is_its_shortest_decimal(void **state)
{
    (void)state;
    assert_true(read_float(45.1F) == 45.1);
    assert_true(read_float(-122.4194F) == -122.4194);
    assert_true(read_float(0.1F) == 0.1);
    assert_true(read_float(1e-45F) == 1e-45);
    assert_true(read_float(16777217.0F) == 16777216.0);
    assert_true(read_float(-0.0F) == 0 && signbit(read_float(-0.0F)));
    assert_true(isnan(read_float(NAN)));
    assert_true(read_float(-INFINITY) == (double)-INFINITY);

    uint32_t bits = 2463534242; // xorshift32, by its usual first state
    for (int i = 0; i < 100000; i++) {
        bits ^= bits << 13;
        bits ^= bits >> 17;
        bits ^= bits << 5;
        float value;
        memcpy(&value, &bits, sizeof value);
        char shorter[32];
        double real = read_float(value);
        if (isnan(value) || isinf(value))
            continue;
        assert_true((float)real == value);
        int digits = 1;
        while (snprintf(shorter, sizeof shorter, "%.*g", digits, (double)value) > 0 && strtof(shorter, NULL) != value)
            digits++;
        assert_true(strtod(shorter, NULL) == real);
    }
}

static void skipping_passes_whatever_is_nested(void **state)
{
    (void)state;
    struct buf data = BUF_EMPTY;
    build_head(&data, VALUE_MAP, 2);
    build_text(&data, "a");
    build_head(&data, VALUE_ARRAY, 2);
    build_pointer(&data, 0); // not followed: it would never end
    build_head(&data, VALUE_MAP, 1);
    build_key_text(&data, "b", "c");
    build_text(&data, "d");
    build_head(&data, VALUE_BOOLEAN, 1);
    uint32_t end = (uint32_t)data.len;
    build_text(&data, "after");

    struct mmdb_reader reader = reader_of(&data);
    uint32_t offset = 0;
    assert_int_equal(mmdb_skip(&reader, &offset, 1), 0);
    assert_int_equal(offset, end);
    offset = 0;
    assert_int_equal(mmdb_skip(&reader, &offset, 2), 0);
    assert_int_equal(offset, data.len);
    buf_fini(&data);
}

// What ends libmaxminddb 1.7 by its stack, and what would take it long.
static void depth_and_size_end_by_steps(void **state)
{
    (void)state;
    struct buf data = BUF_EMPTY;
    for (int i = 0; i < 1000000; i++)
        build_head(&data, VALUE_ARRAY, 1);
    build_text(&data, "bottom");
    struct mmdb_reader reader = reader_of(&data);
    uint32_t offset = 0;
    assert_int_equal(mmdb_skip(&reader, &offset, 1), -EBADMSG);
    assert_int_equal(reader.steps, 0);

    data.len = 0;
    build_head(&data, VALUE_MAP, 16000000);
    reader = reader_of(&data);
    offset = 0;
    assert_int_equal(mmdb_skip(&reader, &offset, 1), -EBADMSG);
    assert_in_range(reader.steps, MMDB_RECORD_STEPS - 2, MMDB_RECORD_STEPS); // seen at once
    buf_fini(&data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_of_every_form_are_read),    cmocka_unit_test(pointers_of_every_form_are_followed_once),
        cmocka_unit_test(broken_values_are_refused),       cmocka_unit_test(numbers_are_read_by_type),
        cmocka_unit_test(a_float_is_its_shortest_decimal), cmocka_unit_test(skipping_passes_whatever_is_nested),
        cmocka_unit_test(depth_and_size_end_by_steps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
