// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/utf8.h"

static size_t encode(uint32_t code, uint8_t out[4])
{
    static const uint8_t lead[5] = {0, 0, 0xc0, 0xe0, 0xf0};
    size_t len = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (size_t i = len; i-- > 1; code >>= 6)
        out[i] = (uint8_t)(0x80 | (code & 0x3f));
    out[0] = (uint8_t)(lead[len] | code);
    return len;
}

static void every_code_point_but_surrogates_is_well_formed(void **state)
{
    (void)state;
    for (uint32_t code = 0x80; code < 0x120000; code++) {
        uint8_t bytes[4];
        size_t len = encode(code, bytes);
        bool lawful = (code & 0xfffff800) != 0xd800 && code <= 0x10ffff;
        assert_int_equal(utf8_len(bytes, bytes + len), lawful ? len : 0);
        assert_int_equal(utf8_len(bytes, bytes + len - 1), 0); // cut off
    }
}

// There are as many well-formed sequences as code points, so nothing overlong or stray is among them.
static void nothing_else_is(void **state)
{
    (void)state;
    unsigned counts[5] = {0};
    for (unsigned lead = 0x80; lead <= 0xff; lead++) {
        for (unsigned second = 0; second <= 0xff; second++) {
            for (unsigned third = 0; third <= 0xff; third++) {
                const uint8_t bytes[4] = {(uint8_t)lead, (uint8_t)second, (uint8_t)third, 0xbf};
                counts[utf8_len(bytes, bytes + 4)]++;
            }
        }
    }
    assert_int_equal(counts[1], 0);
    assert_int_equal(counts[2], (0x800 - 0x80) * 256);
    assert_int_equal(counts[3], 0x10000 - 0x800 - 0x800);
    assert_int_equal(counts[4], 0x100000 / 64);
}

static void every_byte_of_the_tail_counts(void **state)
{
    (void)state;
    for (unsigned tail = 0; tail <= 0xff; tail++) {
        const uint8_t bytes[4] = {0xf0, 0x9f, 0x98, (uint8_t)tail};
        assert_int_equal(utf8_len(bytes, bytes + 4), tail >= 0x80 && tail <= 0xbf ? 4 : 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_point_but_surrogates_is_well_formed),
        cmocka_unit_test(nothing_else_is),
        cmocka_unit_test(every_byte_of_the_tail_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
