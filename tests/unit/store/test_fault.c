// SPDX-License-Identifier: Apache-2.0
//
// A disk that is full or fails: nothing is promised then, the reason is told, and all is well again without a restart.

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "disk.h"
#include "store/database.h"
#include "yard.h"

static uint64_t errors_of(struct yard *yard)
{
    return yard_stats(yard).errors;
}

static void wait_for_errors(struct yard *yard, uint64_t count)
{
    for (int i = 0; i < 60000 && errors_of(yard) < count; i++)
        usleep(1000);
    assert_true(errors_of(yard) >= count);
}

// Takes what is there; what was not promised may be among it. How many of the `count` first batches.
static void take_all(struct yard *yard, unsigned count)
{
    bool found[YARD_BATCHES] = {false};
    for (unsigned last = 0; last != count - 1;) {
        struct batch *batch = yard_take_one(yard);
        last = yard_number(batch);
        assert_false(found[last]);
        found[last] = true;
        yard->store->ops->settle(yard->store, batch, 0, batch->count, VERDICT_DELIVERED);
    }
    for (unsigned i = 0; i < count; i++)
        assert_true(found[i] || yard->status[i] != 0);
    yard_assert_empty(yard);
}

static void fails_and_gets_well(struct yard *yard, int *which, int error, const char *reason)
{
    yard_open(yard);
    yard_append(yard, 0, 20);
    struct batch *batch = yard_take_one(yard);
    yard_assert_batch(batch, 0, 20);
    disk_set(which, error);
    yard_append(yard, 1, 20);
    assert_int_equal(yard->status[1], -error);
    yard_assert_refuses(yard, reason);
    // The pump goes on meanwhile.
    yard->store->ops->settle(yard->store, batch, 0, 5, VERDICT_DELIVERED);
    wait_for_errors(yard, errors_of(yard) + 1); // a try in vain
    yard_assert_refuses(yard, reason);
    struct store_stats stats;
    yard->store->ops->stats(yard->store, &stats);
    assert_int_equal(stats.commits, 1);
    yard->store->ops->settle(yard->store, batch, 5, 5, VERDICT_DELIVERED);
    disk_set(which, 0);
    yard_wait_well(yard);
    yard_append(yard, 2, 20);
    assert_int_equal(yard->status[2], 0);
    yard->store->ops->give_back(yard->store, batch);
    yard_close(yard);

    // What was settled is known, what was promised is there.
    uint32_t first;
    yard_open(yard);
    batch = yard_take_one(yard);
    yard_assert_batch(batch, 0, 20);
    assert_int_equal(yard->store->ops->next_open(yard->store, batch, 0, &first), 10);
    assert_int_equal(first, 10);
    yard->store->ops->settle(yard->store, batch, 10, 10, VERDICT_DELIVERED);
    batch = yard_take_one(yard);
    if (yard_number(batch) == 1) { // written, only not promised
        yard->store->ops->settle(yard->store, batch, 0, 20, VERDICT_DELIVERED);
        batch = yard_take_one(yard);
    }
    yard_assert_batch(batch, 2, 20);
    yard->store->ops->settle(yard->store, batch, 0, 20, VERDICT_DELIVERED);
    yard_assert_empty(yard);
    yard_wait_bytes(yard, 0);
    yard->store->ops->stats(yard->store, &stats);
    assert_int_equal(stats.events, 0);
    assert_int_equal(stats.batches, 0);
    yard_close(yard);
}

static void sync_fails(void **state)
{
    fails_and_gets_well(*state, &disk.sync_error, EIO, "outbox: Input/output error");
    assert_true(disk.syncs > 0); // else the calls above are not those that SQLite makes
}

static void sync_finds_the_disk_full(void **state)
{
    fails_and_gets_well(*state, &disk.sync_error, ENOSPC, "outbox: No space left on device");
}

static void write_fails(void **state)
{
    fails_and_gets_well(*state, &disk.write_error, EIO, "outbox: Input/output error");
}

static void disk_is_full(void **state)
{
    fails_and_gets_well(*state, &disk.write_error, ENOSPC, "outbox: No space left on device");
}

// The sums are what they would be without the trouble, whatever of the failed commit is on disk.
static void sums_stay_right(void **state)
{
    struct yard *yard = *state;
    struct store_stats stats;
    yard_open(yard);
    for (unsigned i = 0; i < 20; i++) {
        yard_append(yard, i, 10);
        struct batch *batch = yard_take_one(yard);
        yard->store->ops->settle(yard->store, batch, 0, 4, VERDICT_DELIVERED);
        yard->store->ops->give_back(yard->store, batch);
    }
    disk_set(&disk.sync_error, EIO);
    yard_append(yard, 20, 10);
    assert_int_equal(yard->status[20], -EIO);
    disk_set(&disk.sync_error, 0);
    yard_wait_well(yard);
    yard->store->ops->stats(yard->store, &stats);
    bool there = stats.batches == 21;
    assert_int_equal(stats.batches, 20 + there);
    assert_int_equal(stats.events, 20 * 6 + there * 10);
    uint64_t bytes = stats.bytes;
    yard_close(yard);
    yard_open(yard);
    yard->store->ops->stats(yard->store, &stats);
    assert_int_equal(stats.batches, 20 + there);
    assert_int_equal(stats.events, 20 * 6 + there * 10);
    assert_int_equal(stats.bytes, bytes);
    yard_close(yard);
}

// While the file is opened anew, and however long that takes, neither the pump nor a worker waits for it.
static void nobody_waits_for_a_recovery(void **state)
{
    struct yard *yard = *state;
    struct store_health health;
    yard_open(yard);
    yard_append(yard, 0, 20);
    disk_set(&disk.sync_error, EIO);
    yard_append(yard, 1, 20);
    disk_hold_reads(true);
    disk_set(&disk.sync_error, 0);
    disk_wait_held_read();
    assert_null(yard_take_any(yard));
    yard->store->ops->health(yard->store, &health);
    assert_false(health.accepts);
    assert_int_equal(__atomic_load_n(&disk.reads_held, __ATOMIC_RELAXED), 1);
    unsigned wakes = __atomic_load_n(&yard->wakes, __ATOMIC_RELAXED);
    disk_hold_reads(false);
    yard_wait_well(yard);
    for (int i = 0; i < 60000 && __atomic_load_n(&yard->wakes, __ATOMIC_RELAXED) == wakes; i++)
        usleep(1000); // the pump hears of it
    yard_append(yard, 2, 20);
    take_all(yard, 3);
    yard_close(yard);
}

static void starts_on_a_full_disk(void **state)
{
    struct yard *yard = *state;
    disk_set(&disk.write_error, ENOSPC);
    yard_open(yard); // there is no file yet
    yard_assert_refuses(yard, "outbox: No space left on device");
    assert_null(yard_take_any(yard));
    disk_set(&disk.write_error, 0);
    yard_wait_well(yard);
    for (unsigned i = 0; i < 3; i++)
        yard_append(yard, i, 10);
    disk_set(&disk.write_error, ENOSPC); // so that the log stays as it is
    yard_close(yard);

    // What can be read is delivered, whether or not that can be written down.
    yard_open(yard);
    yard_assert_refuses(yard, "outbox: No space left on device");
    yard_take_and_settle(yard, 0, 10);
    yard_take_and_settle(yard, 1, 10);
    wait_for_errors(yard, errors_of(yard) + 1);
    yard_take_and_settle(yard, 2, 10);
    yard_assert_refuses(yard, "outbox: No space left on device");
    disk_set(&disk.write_error, 0);
    yard_wait_well(yard);
    yard_wait_bytes(yard, 0);
    yard_append(yard, 3, 1);
    assert_int_equal(yard->status[3], 0);
    yard_close(yard);
    yard_open(yard);
    yard_take_and_settle(yard, 3, 1);
    yard_assert_empty(yard);
    yard_close(yard);
}

static void renumber(struct database *db, uint64_t from, uint64_t to)
{
    struct database_row row;
    struct buf data = BUF_EMPTY;
    assert_int_equal(database_find(db, from, &row), 0);
    assert_int_equal(row.seq, from);
    assert_int_equal(database_read_data(db, &row, &data), 0);
    row.seq = to;
    assert_int_equal(database_begin(db), 0);
    assert_int_equal(database_delete(db, from), 0);
    assert_int_equal(database_insert(db, &row, data.data), 0);
    assert_int_equal(database_commit(db), 0);
    assert_int_equal(database_checkpoint(db, DATABASE_EMPTY), 0);
    buf_fini(&data);
}

// The number of a row is damaged while the pump is past it. The new one is behind all that the pump has seen, so that the row
// comes now, and not after the next start.
static void salvage_numbers_for_the_pump(struct yard *yard, uint64_t number)
{
    char path[256];
    struct database db;
    struct stat st;
    yard_open(yard);
    for (unsigned i = 0; i < 6; i++)
        yard_append(yard, i, 20);
    for (unsigned i = 0; i < 5; i++)
        yard_take_and_settle(yard, i, 20);
    yard_close(yard);
    yard_path(yard, "outbox.db", path);
    assert_int_equal(database_open(&db, path, DATABASE_WRITE), 0);
    renumber(&db, 6, number);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0 && fstat(fd, &st) == 0);
    char *damaged = mem_alloc((size_t)st.st_size);
    assert_int_equal(read(fd, damaged, (size_t)st.st_size), st.st_size);
    renumber(&db, number, 6);
    database_close(&db);

    yard_open(yard);
    struct batch *batch = yard_take_one(yard);
    yard_assert_batch(batch, 5, 20);
    yard->store->ops->give_back(yard->store, batch);
    yard_assert_empty(yard);
    assert_int_equal(pwrite(fd, damaged, (size_t)st.st_size, 0), st.st_size);
    close(fd);
    mem_free(damaged);
    disk_set(&disk.write_error, EIO); // so that the file is opened anew
    yard_append(yard, 6, 20);
    assert_int_equal(yard->status[6], -EIO);
    disk_set(&disk.write_error, 0);
    yard_wait_well(yard);
    assert_int_equal(yard_count_files(yard, "outbox.db.damaged-"), 1);
    yard_take_and_settle(yard, 5, 20);
    yard_append(yard, 7, 20);
    yard_take_and_settle(yard, 7, 20);
    yard_assert_empty(yard);
    yard_wait_bytes(yard, 0);
    yard_close(yard);
}

static void number_that_is_too_high(void **state)
{
    salvage_numbers_for_the_pump(*state, DATABASE_SEQ_MAX + 1);
}

static void number_that_is_zero(void **state)
{
    salvage_numbers_for_the_pump(*state, 0);
}

// A row that the pump can't read though the file is in order stops it until the file was opened anew; that the log of that file
// can't be brought home is another matter. Else nothing would be delivered, and a disk that the outbox has filled stay full.
static void unreadable_row_on_a_full_disk(void **state)
{
    struct yard *yard = *state;
    enum { PAGES = 6 }; // more than a small row takes, and less than a large one
    yard_open(yard);
    yard_append(yard, 0, 80000);
    yard_append(yard, 1, 10);
    disk_set(&disk.write_error, ENOSPC); // so that the log stays as it is
    yard_close(yard);
    yard_open(yard);
    yard_assert_refuses(yard, "outbox: No space left on device");
    struct batch *batch = NULL;
    for (int i = 0; i < 20000 && batch == NULL; i++) {
        disk.pages_left = PAGES;
        batch = yard_take_any(yard);
        disk.pages_left = -1;
        usleep(1000);
    }
    assert_non_null(batch);
    yard_assert_batch(batch, 1, 10);
    yard->store->ops->settle(yard->store, batch, 0, 10, VERDICT_DELIVERED);
    yard_assert_refuses(yard, "outbox: No space left on device");
    disk_set(&disk.write_error, 0);
    yard_wait_well(yard);
    yard_wait_bytes(yard, 0);
    struct store_stats stats;
    yard->store->ops->stats(yard->store, &stats);
    assert_true(stats.damaged_records > 0);
    assert_int_equal(stats.events, 0);
    yard_close(yard);
}

int main(void)
{
#define YARD_TEST(name) cmocka_unit_test_setup_teardown(name, disk_setup, disk_teardown)
    const struct CMUnitTest tests[] = {
        YARD_TEST(sync_fails),
        YARD_TEST(sync_finds_the_disk_full),
        YARD_TEST(write_fails),
        YARD_TEST(disk_is_full),
        YARD_TEST(sums_stay_right),
        YARD_TEST(nobody_waits_for_a_recovery),
        YARD_TEST(starts_on_a_full_disk),
        YARD_TEST(number_that_is_too_high),
        YARD_TEST(number_that_is_zero),
        YARD_TEST(unreadable_row_on_a_full_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
