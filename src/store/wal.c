// SPDX-License-Identifier: Apache-2.0
#include "store/wal.h"

#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "store/database.h"

enum { HEAD = 32, FRAME_HEAD = 24, PAGE = DATABASE_PAGE_BYTES, FRAME = FRAME_HEAD + PAGE };

#define MAGIC 0x377f0682 // + 1: the checksums read their words big-endian

struct wal {
    int fd;
    bool big_endian;
    uint32_t sum[2];
    uint8_t head[HEAD], frame[FRAME];
};

static uint32_t be32(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static uint32_t le32(const uint8_t *at)
{
    return (uint32_t)at[3] << 24 | (uint32_t)at[2] << 16 | (uint32_t)at[1] << 8 | at[0];
}

static void add_to_sum(struct wal *wal, const uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len; i += 8) {
        wal->sum[0] += (wal->big_endian ? be32(data + i) : le32(data + i)) + wal->sum[1];
        wal->sum[1] += (wal->big_endian ? be32(data + i + 4) : le32(data + i + 4)) + wal->sum[0];
    }
}

static bool sum_is(const struct wal *wal, const uint8_t *at)
{
    return be32(at) == wal->sum[0] && be32(at + 4) == wal->sum[1];
}

static bool head_is_good(struct wal *wal)
{
    wal->big_endian = (be32(wal->head) & 1) != 0;
    add_to_sum(wal, wal->head, HEAD - 8);
    return (be32(wal->head) & ~1u) == MAGIC && be32(wal->head + 8) == PAGE && sum_is(wal, wal->head + HEAD - 8);
}

// A size that was written, and the bytes not yet.
static bool is_zero(const uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (data[i] != 0)
            return false;
    return true;
}

// How many transactions end behind the place where the chain breaks.
static unsigned ends_behind_break(struct wal *wal)
{
    bool broken = false;
    unsigned ends = 0;
    for (off_t at = HEAD; pread(wal->fd, wal->frame, FRAME, at) == FRAME; at += FRAME) {
        bool ours = memcmp(wal->frame + 8, wal->head + 16, 8) == 0; // else it is left from an earlier round of the log
        if (!broken) {
            add_to_sum(wal, wal->frame, 8);
            add_to_sum(wal, wal->frame + FRAME_HEAD, PAGE);
            broken = !ours || !sum_is(wal, wal->frame + 16);
        }
        ends += broken && ours && be32(wal->frame + 4) != 0;
    }
    return ends;
}

bool wal_is_damaged(const char *path)
{
    bool damaged = false;
    struct wal *wal = mem_zalloc(sizeof *wal);
    wal->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (wal->fd >= 0 && pread(wal->fd, wal->head, HEAD, 0) == HEAD && !is_zero(wal->head, HEAD))
        damaged = !head_is_good(wal) || ends_behind_break(wal) > 1;
    if (wal->fd >= 0)
        close(wal->fd);
    mem_free(wal);
    return damaged;
}
