// SPDX-License-Identifier: Apache-2.0
//
// A downgrade: rows that a later version has written are not delivered and not lost, and hinder no other; a file that it has
// written is left to it.

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "store/database.h"
#include "store/record.h"
#include "yard.h"

enum { AT_LENGTH = 4, AT_VERSION = 24 };

// Of record `index` of the row, in the file of a closed store.
static void set_version(const struct yard *yard, uint64_t seq, unsigned index, uint8_t version)
{
    char path[256];
    struct database db;
    struct database_row row;
    struct buf data = BUF_EMPTY, bits = BUF_EMPTY;
    yard_path(yard, "outbox.db", path);
    assert_int_equal(database_open(&db, path, DATABASE_WRITE), 0);
    assert_int_equal(database_read(&db, seq, &row, &data, &bits), 0);
    assert_int_equal(row.seq, seq);
    uint8_t *at = (uint8_t *)data.data;
    uint32_t length;
    for (;; at += length, index--) {
        assert_true(at + RECORD_HEAD_BYTES <= (uint8_t *)data.data + data.len);
        memcpy(&length, at + AT_LENGTH, sizeof length);
        length = le32toh(length);
        if (index == 0)
            break;
    }
    at[AT_VERSION] = version;
    record_seal(at, length);
    assert_int_equal(database_begin(&db), 0);
    assert_int_equal(database_delete(&db, seq), 0);
    assert_int_equal(database_insert(&db, &row, data.data), 0);
    if (bits.len > 0)
        assert_int_equal(database_set_settled(&db, &row, bits.data, bits.len), 0);
    assert_int_equal(database_commit(&db), 0);
    assert_int_equal(database_checkpoint(&db, DATABASE_EMPTY), 0);
    database_close(&db);
    buf_fini(&data);
    buf_fini(&bits);
}

// Rows 1, 2, ... with the batches 0, 1, ...
static void make_rows(struct yard *yard, unsigned count, uint32_t events)
{
    yard_open(yard);
    for (unsigned i = 0; i < count; i++)
        yard_append(yard, i, events);
    yard_close(yard);
}

static void stays_until_the_later_version_is_back(void **state)
{
    struct yard *yard = *state;
    make_rows(yard, 4, 20);
    yard_open(yard);
    uint64_t bytes = yard_stats(yard).bytes / 4;
    yard_take_and_settle(yard, 0, 20);
    struct batch *batch = yard_take_one(yard); // five of row 2 are settled
    yard->store->ops->settle(yard->store, batch, 0, 5, VERDICT_DELIVERED);
    yard->store->ops->give_back(yard->store, batch);
    yard_close(yard);
    set_version(yard, 2, 0, RECORD_VERSION + 1);

    for (unsigned start = 0; start < 3; start++) {
        yard_open(yard);
        for (unsigned i = 2; start == 0 && i < 4; i++)
            yard_take_and_settle(yard, i, 20);
        yard_append(yard, 10 + start, 20);
        yard_take_and_settle(yard, 10 + start, 20);
        yard_assert_empty(yard);
        yard_wait_bytes_at_most(yard, bytes + bytes / 2);
        struct store_stats stats = yard_stats(yard);
        assert_int_equal(stats.later_events, 15);
        assert_int_equal(stats.events, 15);
        assert_int_equal(stats.batches, 1);
        assert_int_equal(stats.damaged_records, 0);
        assert_int_equal(stats.oldest_real_ns, 1000001);
        yard_close(yard);
    }

    set_version(yard, 2, 0, RECORD_VERSION);
    uint32_t first;
    yard_open(yard);
    batch = yard_take_one(yard);
    yard_assert_batch(batch, 1, 20);
    assert_int_equal(yard->store->ops->next_open(yard->store, batch, 0, &first), 15);
    assert_int_equal(first, 5); // nothing of what was known of it is lost
    yard_settle_open(yard, batch);
    yard_assert_empty(yard);
    yard_wait_bytes(yard, 0);
    assert_int_equal(yard_stats(yard).later_events, 0);
    yard_close(yard);
}

// Row 2 becomes the second half of row 1.
static void join_rows(const struct yard *yard)
{
    char path[256];
    struct database db;
    struct database_row row, second;
    struct buf data = BUF_EMPTY, more = BUF_EMPTY, bits = BUF_EMPTY;
    yard_path(yard, "outbox.db", path);
    assert_int_equal(database_open(&db, path, DATABASE_WRITE), 0);
    assert_int_equal(database_read(&db, 1, &row, &data, &bits), 0);
    assert_int_equal(database_read(&db, 2, &second, &more, &bits), 0);
    record_place((uint8_t *)more.data, row.events);
    buf_append(&data, more.data, more.len);
    row.events += second.events;
    row.batches += second.batches;
    row.bytes = data.len;
    assert_int_equal(database_begin(&db), 0);
    for (uint64_t seq = 1; seq <= 2; seq++)
        assert_int_equal(database_delete(&db, seq), 0);
    assert_int_equal(database_insert(&db, &row, data.data), 0);
    assert_int_equal(database_commit(&db), 0);
    database_close(&db);
    buf_fini(&data);
    buf_fini(&more);
    buf_fini(&bits);
}

// Which no version writes. The row has one state, so it stays as a whole.
static void row_of_two_versions(void **state)
{
    struct yard *yard = *state;
    make_rows(yard, 2, 20);
    join_rows(yard);
    set_version(yard, 1, 1, RECORD_VERSION + 1);
    yard_open(yard);
    uint64_t bytes = yard_stats(yard).bytes;
    yard_append(yard, 3, 1);
    yard_take_and_settle(yard, 3, 1); // it was kept in memory, behind the row that was read and left
    yard_assert_empty(yard);
    yard_wait_bytes(yard, bytes);
    struct store_stats stats = yard_stats(yard);
    assert_int_equal(stats.later_events, 40);
    assert_int_equal(stats.damaged_records, 0);
    yard_close(yard);
    set_version(yard, 1, 1, RECORD_VERSION);
    yard_open(yard);
    for (unsigned i = 0; i < 2; i++)
        yard_take_and_settle(yard, i, 20);
    yard_close(yard);
}

// Two rows, the first of which is a later version's, and no room for a third. Their bytes.
static uint64_t open_full(struct yard *yard, const char *when_full)
{
    make_rows(yard, 2, 50);
    yard_open(yard);
    uint64_t bytes = yard_stats(yard).bytes;
    yard_close(yard);
    set_version(yard, 1, 0, RECORD_VERSION + 1);
    yard->conf.max_bytes = (int64_t)bytes + 10;
    yard->conf.when_full = (char *)when_full;
    yard_open(yard);
    return bytes;
}

// It takes its part of max_bytes for as long as it stays.
static void counts_for_the_bound(void **state)
{
    struct yard *yard = *state;
    (void)open_full(yard, "reject");
    assert_int_equal(yard_try_push(yard, 2, 50), -EAGAIN);
    yard_take_and_settle(yard, 1, 50);
    yard_assert_empty(yard);
    yard_wait_well(yard);
    yard_append(yard, 3, 50); // there is room for one
    assert_int_equal(yard->status[3], 0);
    assert_int_equal(yard_try_push(yard, 4, 50), -EAGAIN);
    yard_close(yard);
}

static void is_the_oldest_to_be_dropped(void **state)
{
    struct yard *yard = *state;
    uint64_t bytes = open_full(yard, "drop_oldest");
    yard_take_and_settle(yard, 1, 50);
    yard_wait_bytes_at_most(yard, bytes / 2 + 10);
    assert_int_equal(yard_stats(yard).dropped_events, 0);
    for (unsigned i = 2; i < 5; i++)
        yard_append(yard, i, 50);
    assert_int_equal(yard->refused, 0);
    struct store_stats stats = yard_stats(yard);
    assert_int_equal(stats.dropped_events, 100); // it, and then one of this version
    assert_int_equal(stats.events, 100);
    assert_int_equal(stats.batches, 2);
    yard_close(yard);
    yard_open(yard);
    yard_take_and_settle(yard, 3, 50);
    yard_take_and_settle(yard, 4, 50);
    yard_assert_empty(yard);
    yard_wait_bytes(yard, 0);
    assert_int_equal(yard_stats(yard).later_events, 0);
    yard_close(yard);
}

static void set_schema(const struct yard *yard, uint8_t version)
{
    enum { AT_USER_VERSION = 60 };
    const uint8_t bytes[4] = {0, 0, 0, version};
    char path[256];
    yard_path(yard, "outbox.db", path);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    assert_int_equal(pwrite(fd, bytes, sizeof bytes, AT_USER_VERSION), sizeof bytes);
    close(fd);
}

static void read_file(const char *path, struct buf *out)
{
    char data[4096];
    out->len = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    for (ssize_t len; (len = read(fd, data, sizeof data)) > 0;)
        buf_append(out, data, (size_t)len);
    close(fd);
}

static void leave_bad_log(const struct yard *yard)
{
    char path[256], bytes[8192];
    memset(bytes, 'x', sizeof bytes);
    yard_path(yard, "outbox.db-wal", path);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, bytes, sizeof bytes), sizeof bytes);
    close(fd);
}

static void assert_says_later(const struct err *err, const char *path)
{
    assert_non_null(strstr(err->text, path));
    assert_non_null(strstr(err->text, "a later version of Loom"));
}

// Not the rows but the tables are a later version's: no start, and not a byte of the file is changed.
static void file_of_a_later_version(void **state)
{
    struct yard *yard = *state;
    struct buf before = BUF_EMPTY, after = BUF_EMPTY;
    char path[256];
    yard_path(yard, "outbox.db", path);
    make_rows(yard, 2, 20);
    for (uint8_t version = 2; version <= 16; version += 7) {
        struct durable_report report;
        struct err err = {0};
        set_schema(yard, version);
        read_file(path, &before);
        assert_int_equal(yard_try_open(yard, &err), ERR_LATER);
        assert_null(yard->store);
        assert_says_later(&err, path);
        assert_int_equal(store_durable_inspect(yard->dir, &report, &err), ERR_LATER);
        assert_says_later(&err, path);
        read_file(path, &after);
        assert_true(after.len == before.len && memcmp(after.data, before.data, after.len) == 0);
        assert_int_equal(yard_count_files(yard, "outbox.db.damaged-"), 0);
    }
    leave_bad_log(yard); // though this version would salvage the file of its own
    struct err err = {0};
    assert_int_equal(yard_try_open(yard, &err), ERR_LATER);
    assert_says_later(&err, path);
    read_file(path, &after);
    assert_true(after.len == before.len && memcmp(after.data, before.data, after.len) == 0);
    assert_int_equal(yard_count_files(yard, "outbox.db-wal"), 1);
    yard_path(yard, "outbox.db-wal", path);
    assert_int_equal(unlink(path), 0);

    set_schema(yard, 1);
    yard_open(yard);
    yard_take_and_settle(yard, 0, 20);
    yard_close(yard);
    set_schema(yard, 17); // damage
    yard_open(yard);
    assert_int_equal(yard_count_files(yard, "outbox.db.damaged-"), 1);
    yard_take_and_settle(yard, 1, 20);
    yard_close(yard);
    buf_fini(&before);
    buf_fini(&after);
}

int main(void)
{
#define YARD_TEST(name) cmocka_unit_test_setup_teardown(name, yard_setup, yard_teardown)
    const struct CMUnitTest tests[] = {
        YARD_TEST(stays_until_the_later_version_is_back),
        YARD_TEST(row_of_two_versions),
        YARD_TEST(counts_for_the_bound),
        YARD_TEST(is_the_oldest_to_be_dropped),
        YARD_TEST(file_of_a_later_version),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
