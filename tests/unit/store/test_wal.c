// SPDX-License-Identifier: Apache-2.0
// When a log counts as damaged, on logs that are made here, byte by byte.

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "store/database.h"
#include "store/wal.h"

enum { HEAD = 32, FRAME = 24 + DATABASE_PAGE_BYTES, FRAMES = 12, EACH = 3 };

static uint8_t image[HEAD + FRAMES * FRAME];
static char path[64];

static void put32(uint8_t *at, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        at[i] = (uint8_t)(value >> (24 - 8 * i));
}

static void sum(uint32_t sums[2], const uint8_t *data, size_t len, bool big_endian)
{
    for (size_t i = 0; i < len; i += 8) {
        uint32_t words[2];
        for (int k = 0; k < 2; k++) {
            const uint8_t *at = data + i + 4 * (size_t)k;
            words[k] = big_endian ? (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3]
                                  : (uint32_t)at[3] << 24 | (uint32_t)at[2] << 16 | (uint32_t)at[1] << 8 | at[0];
        }
        sums[0] += words[0] + sums[1];
        sums[1] += words[1] + sums[0];
    }
}

// Transactions of EACH frames.
static void make_log(bool big_endian)
{
    uint32_t sums[2] = {0, 0};
    memset(image, 0, sizeof image);
    put32(image, big_endian ? 0x377f0683 : 0x377f0682);
    put32(image + 4, 3007000);
    put32(image + 8, DATABASE_PAGE_BYTES);
    put32(image + 16, 0x12345678);
    put32(image + 20, 0x9abcdef0);
    sum(sums, image, 24, big_endian);
    put32(image + 24, sums[0]);
    put32(image + 28, sums[1]);
    for (uint32_t i = 0; i < FRAMES; i++) {
        uint8_t *frame = image + HEAD + i * FRAME;
        put32(frame, i + 1);
        put32(frame + 4, i % EACH == EACH - 1 ? FRAMES : 0);
        memcpy(frame + 8, image + 16, 8);
        memset(frame + 24, (int)i + 1, DATABASE_PAGE_BYTES);
        sum(sums, frame, 8, big_endian);
        sum(sums, frame + 24, DATABASE_PAGE_BYTES, big_endian);
        put32(frame + 16, sums[0]);
        put32(frame + 20, sums[1]);
    }
}

static bool is_damaged(size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, image, len), len);
    close(fd);
    return wal_is_damaged(path);
}

static void whole(void **state)
{
    (void)state;
    for (int big_endian = 0; big_endian < 2; big_endian++) {
        make_log(big_endian != 0);
        assert_false(is_damaged(sizeof image));
    }
    assert_false(wal_is_damaged("/nowhere/at/all"));
}

static void cut_anywhere(void **state)
{
    (void)state;
    make_log(false);
    for (size_t len = 0; len < sizeof image; len += 1000)
        assert_false(is_damaged(len));
}

// The last transaction may be torn in any way; a break before that is none that a power cut makes.
static void flipped(void **state)
{
    (void)state;
    static const size_t at[] = {0, 4, 9, 13, 17, 22, 24, 5000, FRAME - 1};
    for (size_t frame = 0; frame < FRAMES; frame++) {
        for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
            make_log(false);
            image[HEAD + frame * FRAME + at[i]] ^= 0x20;
            if (frame < FRAMES - 2 * EACH)
                assert_true(is_damaged(sizeof image));
            if (frame >= FRAMES - EACH && at[i] != 4) // there it says that it ends a transaction, and no tear does that
                assert_false(is_damaged(sizeof image));
        }
    }
}

static void flipped_head(void **state)
{
    (void)state;
    for (size_t at = 0; at < HEAD; at++) {
        make_log(false);
        image[at] ^= 0x01;
        assert_true(is_damaged(sizeof image));
    }
}

// A file that has its size and not its bytes, and what an earlier round has left behind the end.
static void not_damaged(void **state)
{
    (void)state;
    memset(image, 0, sizeof image);
    assert_false(is_damaged(sizeof image));
    make_log(false);
    for (size_t frame = EACH; frame < FRAMES; frame++)
        image[HEAD + frame * FRAME + 8] ^= 0xff;
    assert_false(is_damaged(sizeof image));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole),        cmocka_unit_test(cut_anywhere), cmocka_unit_test(flipped),
        cmocka_unit_test(flipped_head), cmocka_unit_test(not_damaged),
    };
    snprintf(path, sizeof path, "/tmp/loom-wal-%ld", (long)getpid());
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(path);
    return failed;
}
