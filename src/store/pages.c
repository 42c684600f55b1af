// SPDX-License-Identifier: Apache-2.0
#include "store/pages.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "store/files.h"
#include "store/record.h"

// Every file of the durable store has this size, so the header need not be believed.
enum { PAGE = DATABASE_PAGE_BYTES, LOG_HEAD = 32, FRAME_HEAD = 24, TABLE_LEAF = 0x0d, COLUMNS = 5 };

struct pages {
    int fd, log_fd;      // log_fd -1: none
    uint32_t count;      // pages 1 to count
    uint64_t *log_at;    // by page: where the log has it; 0: it has not
    bool *unused;        // by page: in the list of free pages
    uint8_t page[PAGE];  // the leaf that is being searched
    uint8_t other[PAGE]; // a page of its rows
    struct buf data;
};

static uint32_t be32(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static uint32_t be16(const uint8_t *at)
{
    return (uint32_t)at[0] << 8 | at[1];
}

static bool read_at(int fd, uint64_t at, void *out, size_t len)
{
    return pread(fd, out, len, (off_t)at) == (ssize_t)len;
}

static bool read_page(const struct pages *pages, uint32_t number, uint8_t out[PAGE])
{
    if (number == 0 || number > pages->count)
        return false;
    uint64_t log_at = pages->log_at[number];
    if (log_at != 0)
        return read_at(pages->log_fd, log_at, out, PAGE);
    return read_at(pages->fd, (uint64_t)(number - 1) * PAGE, out, PAGE);
}

// ---- The log

// Frames belong to this log while they have its salt; those of a transaction count when its last one is there, which tells
// the size of the file.
static void read_log(struct pages *pages, uint64_t log_bytes)
{
    uint8_t head[LOG_HEAD], frame[FRAME_HEAD];
    if (!read_at(pages->log_fd, 0, head, sizeof head) || be32(head + 8) != PAGE)
        return;
    uint64_t at = LOG_HEAD, begin = LOG_HEAD;
    for (; at + FRAME_HEAD + PAGE <= log_bytes; at += FRAME_HEAD + PAGE) {
        if (!read_at(pages->log_fd, at, frame, sizeof frame) || memcmp(frame + 8, head + 16, 8) != 0)
            return;
        if (be32(frame + 4) == 0)
            continue;
        for (; begin <= at; begin += FRAME_HEAD + PAGE) {
            uint32_t number;
            if (!read_at(pages->log_fd, begin, frame, sizeof frame))
                return;
            number = be32(frame);
            if (number > 0 && number <= pages->count)
                pages->log_at[number] = begin + FRAME_HEAD;
        }
    }
}

// The pages that are free, as far as the list can be read: what stands in them was deleted.
static void read_free_list(struct pages *pages)
{
    uint8_t *page = pages->other;
    uint32_t trunk = read_page(pages, 1, page) ? be32(page + 32) : 0;
    for (uint32_t steps = 0; steps < pages->count && read_page(pages, trunk, page); steps++) {
        uint32_t leaves = be32(page + 4);
        pages->unused[trunk] = true;
        for (uint32_t i = 0; i < leaves && i < PAGE / 4 - 2; i++) {
            uint32_t number = be32(page + 8 + 4 * (size_t)i);
            if (number > 0 && number <= pages->count)
                pages->unused[number] = true;
        }
        trunk = be32(page);
    }
}

// ---- A row

// SQLite's own: seven bits a byte, most significant first, the ninth byte whole. 0: does not fit before `end`.
static size_t get_varint(const uint8_t *at, const uint8_t *end, uint64_t *out)
{
    uint64_t value = 0;
    for (size_t i = 0; i < 9 && at + i < end; i++) {
        if (i == 8) {
            *out = value << 8 | at[i];
            return 9;
        }
        value = value << 7 | (at[i] & 0x7f);
        if (at[i] < 0x80) {
            *out = value;
            return i + 1;
        }
    }
    return 0;
}

// How many bytes a value of this type takes; those of a row are whole numbers and a blob.
static bool type_bytes(uint64_t type, uint64_t *out)
{
    static const uint8_t bytes[] = {0, 1, 2, 3, 4, 6, 8};
    if (type >= 12 && type % 2 == 0)
        *out = (type - 12) / 2;
    else if (type < sizeof bytes)
        *out = bytes[type];
    else if (type == 8 || type == 9)
        *out = 0;
    else
        return false;
    return true;
}

static int64_t get_integer(const uint8_t *at, uint64_t type, uint64_t bytes)
{
    if (type == 8 || type == 9)
        return type == 9;
    uint64_t value = bytes > 0 && at[0] >= 0x80 ? UINT64_MAX : 0;
    for (uint64_t i = 0; i < bytes; i++)
        value = value << 8 | at[i];
    return (int64_t)value;
}

static uint32_t small(int64_t value)
{
    return value > 0 && value <= UINT32_MAX ? (uint32_t)value : 0;
}

// The head of a row of `rows`: NULL (seq is the row's number), arrived, events, batches, data. Where data begins; 0: it is no
// such row. `len` bytes of it stand in the leaf.
static size_t get_head(const uint8_t *payload, size_t len, uint64_t payload_bytes, struct database_row *row)
{
    const uint8_t *end = payload + len;
    uint64_t head, types[COLUMNS], bytes[COLUMNS], sum = 0;
    size_t at = get_varint(payload, end, &head);
    for (int i = 0; i < COLUMNS; i++) {
        size_t used = at > 0 ? get_varint(payload + at, end, &types[i]) : 0;
        if (used == 0 || !type_bytes(types[i], &bytes[i]))
            return 0;
        at += used;
        sum += bytes[i];
    }
    if (at != head || types[0] != 0 || types[4] < 12 || types[1] >= 12 || types[2] >= 12 || types[3] >= 12 ||
        bytes[4] > RECORD_BYTES_MAX || head + sum != payload_bytes || head + sum - bytes[4] > len)
        return 0;
    row->arrived_real_ns = get_integer(payload + at, types[1], bytes[1]);
    at += bytes[1];
    row->events = small(get_integer(payload + at, types[2], bytes[2]));
    at += bytes[2];
    row->batches = small(get_integer(payload + at, types[3], bytes[3]));
    at += bytes[3];
    row->bytes = bytes[4];
    return at;
}

static size_t local_bytes(uint64_t payload)
{
    enum { MOST = PAGE - 35, LEAST = (PAGE - 12) * 32 / 255 - 23 };
    if (payload <= MOST)
        return payload;
    size_t some = LEAST + (payload - LEAST) % (PAGE - 4);
    return some <= MOST ? some : LEAST;
}

// What of the data stands in pages of its own, one after the other, up to the first that can't be.
static int read_rest(struct pages *pages, uint32_t number, uint64_t bytes)
{
    while (pages->data.len < bytes && read_page(pages, number, pages->other)) {
        uint64_t piece = bytes - pages->data.len < PAGE - 4 ? bytes - pages->data.len : PAGE - 4;
        if (buf_try_append(&pages->data, pages->other + 4, piece) != 0)
            return -ENOMEM;
        number = be32(pages->other);
    }
    return 0;
}

// The cell at `at` of the leaf, whatever its number. 0, also when there is no row; -ENOMEM.
static int get_row(struct pages *pages, size_t at, struct database_row *row, bool *found)
{
    const uint8_t *end = pages->page + PAGE, *cell = pages->page + at;
    uint64_t payload, seq;
    *found = false;
    size_t used = get_varint(cell, end, &payload);
    size_t more = used > 0 ? get_varint(cell + used, end, &seq) : 0;
    if (more == 0 || payload > RECORD_BYTES_MAX)
        return 0;
    cell += used + more;
    size_t local = local_bytes(payload), room = (size_t)(end - cell);
    bool all = local == payload;
    if (local + (all ? 0 : 4) > room)
        return 0;
    *row = (struct database_row){.seq = seq};
    size_t begin = get_head(cell, local, payload, row);
    if (begin == 0)
        return 0;
    pages->data.len = 0;
    if (buf_try_append(&pages->data, cell + begin, local - begin) != 0)
        return -ENOMEM;
    *found = true;
    return all ? 0 : read_rest(pages, be32(cell + local), row->bytes);
}

static int search_leaf(struct pages *pages, pages_on_row *on_row, void *ctx, bool *go_on)
{
    uint32_t cells = be16(pages->page + 3);
    for (uint32_t i = 0; *go_on && i < cells && 8 + 2 * (size_t)i + 2 <= PAGE; i++) {
        size_t at = be16(pages->page + 8 + 2 * (size_t)i);
        struct database_row row;
        bool found;
        int rc = at < PAGE ? get_row(pages, at, &row, &found) : 0;
        if (rc != 0)
            return rc;
        if (at < PAGE && found)
            *go_on = on_row(ctx, &row, &pages->data);
    }
    return 0;
}

static int search(struct pages *pages, pages_on_row *on_row, void *ctx)
{
    bool go_on = true;
    int rc = 0;
    for (uint32_t number = 2; rc == 0 && go_on && number <= pages->count; number++)
        if (!pages->unused[number] && read_page(pages, number, pages->page) && pages->page[0] == TABLE_LEAF)
            rc = search_leaf(pages, on_row, ctx, &go_on);
    return rc;
}

int pages_search(const char *path, pages_on_row *on_row, void *ctx)
{
    char log[4300];
    if (snprintf(log, sizeof log, "%s-wal", path) >= (int)sizeof log)
        return -ENAMETOOLONG;
    struct pages *pages = mem_zalloc(sizeof *pages);
    uint64_t bytes = files_size(path), log_bytes = files_size(log);
    int rc = 0;
    pages->fd = open(path, O_RDONLY | O_CLOEXEC);
    pages->log_fd = open(log, O_RDONLY | O_CLOEXEC);
    if (pages->fd < 0 && files_size(path) > 0) {
        rc = -errno;
    } else { // the file may be gone and the log still be there
        // A page that is in the log only may have any number up to as many as both hold together.
        pages->count = (uint32_t)((bytes + log_bytes) / PAGE);
        pages->log_at = mem_array((size_t)pages->count + 1, sizeof *pages->log_at);
        pages->unused = mem_array((size_t)pages->count + 1, sizeof *pages->unused);
        if (pages->log_fd >= 0)
            read_log(pages, log_bytes);
        read_free_list(pages);
        rc = search(pages, on_row, ctx);
    }
    if (pages->fd >= 0)
        close(pages->fd);
    if (pages->log_fd >= 0)
        close(pages->log_fd);
    mem_free(pages->log_at);
    mem_free(pages->unused);
    buf_fini(&pages->data);
    mem_free(pages);
    return rc;
}
