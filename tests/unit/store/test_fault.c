// SPDX-License-Identifier: Apache-2.0
//
// A disk that is full or fails: nothing is promised then, the reason is told, and all is well again without a restart.
// The calls by which SQLite writes and syncs stand here once more; those of this program come first.

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "store/database.h"
#include "store/files.h"
#include "yard.h"

// Atomic; errno of the call, 0: it works.
static int sync_error, write_error;
static unsigned syncs;
static bool hold_reads; // they do not return, for HELD_S at most
static unsigned reads_held;
static pthread_t tester; // whose reads are not held

// The tester's, who is the pump: so many pages can be read, and then no more. < 0: all.
static int pages_left = -1;

enum { HELD_S = 20 };

static int failing_sync(int fd, long number)
{
    int error = __atomic_load_n(&sync_error, __ATOMIC_RELAXED);
    __atomic_fetch_add(&syncs, 1, __ATOMIC_RELAXED);
    if (error != 0) {
        errno = error;
        return -1;
    }
    return (int)syscall(number, fd);
}

int fdatasync(int fd)
{
    return failing_sync(fd, SYS_fdatasync);
}

int fsync(int fd)
{
    return failing_sync(fd, SYS_fsync);
}

// With 64-bit offsets this is pwrite64 by name, as it is for SQLite. A single byte is how it makes its -shm as long as it was.
ssize_t pwrite(int fd, const void *data, size_t len, off_t at)
{
    int error = __atomic_load_n(&write_error, __ATOMIC_RELAXED);
    if (error != 0 && len > 1) {
        errno = error;
        return -1;
    }
    return syscall(SYS_pwrite64, fd, data, len, at);
}

ssize_t pread(int fd, void *data, size_t len, off_t at)
{
    if (__atomic_load_n(&hold_reads, __ATOMIC_RELAXED) && !pthread_equal(pthread_self(), tester)) {
        __atomic_fetch_add(&reads_held, 1, __ATOMIC_RELAXED);
        for (int i = 0; i < HELD_S * 1000 && __atomic_load_n(&hold_reads, __ATOMIC_RELAXED); i++)
            usleep(1000);
        __atomic_fetch_sub(&reads_held, 1, __ATOMIC_RELAXED);
    }
    if (len == DATABASE_PAGE_BYTES && pthread_equal(pthread_self(), tester) && pages_left >= 0 && pages_left-- == 0) {
        pages_left = 0;
        errno = EIO;
        return -1;
    }
    return syscall(SYS_pread64, fd, data, len, at);
}

static void set(int *error, int value)
{
    __atomic_store_n(error, value, __ATOMIC_RELAXED);
}

static void assert_reason(struct yard *yard, const char *reason)
{
    struct store_health health;
    assert_false(store_accepts(yard->store));
    yard->store->ops->health(yard->store, &health);
    assert_false(health.accepts);
    assert_string_equal(health.reason, reason);
    assert_int_equal(yard_try_push(yard, YARD_BATCHES - 1, 1), -EAGAIN);
}

static void wait_until_well(struct yard *yard)
{
    struct store_health health;
    for (int i = 0; i < 60000 && !store_accepts(yard->store); i++)
        usleep(1000);
    yard->store->ops->health(yard->store, &health);
    assert_true(health.accepts);
    assert_string_equal(health.reason, "");
}

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
    set(which, error);
    yard_append(yard, 1, 20);
    assert_int_equal(yard->status[1], -error);
    assert_reason(yard, reason);
    // The pump goes on meanwhile.
    yard->store->ops->settle(yard->store, batch, 0, 5, VERDICT_DELIVERED);
    wait_for_errors(yard, errors_of(yard) + 1); // a try in vain
    assert_reason(yard, reason);
    struct store_stats stats;
    yard->store->ops->stats(yard->store, &stats);
    assert_int_equal(stats.commits, 1);
    yard->store->ops->settle(yard->store, batch, 5, 5, VERDICT_DELIVERED);
    set(which, 0);
    wait_until_well(yard);
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
    fails_and_gets_well(*state, &sync_error, EIO, "outbox: Input/output error");
    assert_true(syncs > 0); // else the calls above are not those that SQLite makes
}

static void sync_finds_the_disk_full(void **state)
{
    fails_and_gets_well(*state, &sync_error, ENOSPC, "outbox: No space left on device");
}

static void write_fails(void **state)
{
    fails_and_gets_well(*state, &write_error, EIO, "outbox: Input/output error");
}

static void disk_is_full(void **state)
{
    fails_and_gets_well(*state, &write_error, ENOSPC, "outbox: No space left on device");
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
    set(&sync_error, EIO);
    yard_append(yard, 20, 10);
    assert_int_equal(yard->status[20], -EIO);
    set(&sync_error, 0);
    wait_until_well(yard);
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

static void wait_for_held_read(void)
{
    for (int i = 0; i < 60000 && __atomic_load_n(&reads_held, __ATOMIC_RELAXED) == 0; i++)
        usleep(1000);
    assert_int_equal(__atomic_load_n(&reads_held, __ATOMIC_RELAXED), 1);
}

// While the file is opened anew, and however long that takes, neither the pump nor a worker waits for it.
static void nobody_waits_for_a_recovery(void **state)
{
    struct yard *yard = *state;
    struct store_health health;
    yard_open(yard);
    yard_append(yard, 0, 20);
    set(&sync_error, EIO);
    yard_append(yard, 1, 20);
    __atomic_store_n(&hold_reads, true, __ATOMIC_RELAXED);
    set(&sync_error, 0);
    wait_for_held_read();
    assert_null(yard_take_any(yard));
    yard->store->ops->health(yard->store, &health);
    assert_false(health.accepts);
    assert_int_equal(__atomic_load_n(&reads_held, __ATOMIC_RELAXED), 1);
    unsigned wakes = __atomic_load_n(&yard->wakes, __ATOMIC_RELAXED);
    __atomic_store_n(&hold_reads, false, __ATOMIC_RELAXED);
    wait_until_well(yard);
    for (int i = 0; i < 60000 && __atomic_load_n(&yard->wakes, __ATOMIC_RELAXED) == wakes; i++)
        usleep(1000); // the pump hears of it
    yard_append(yard, 2, 20);
    take_all(yard, 3);
    yard_close(yard);
}

static void starts_on_a_full_disk(void **state)
{
    struct yard *yard = *state;
    set(&write_error, ENOSPC);
    yard_open(yard); // there is no file yet
    assert_reason(yard, "outbox: No space left on device");
    assert_null(yard_take_any(yard));
    set(&write_error, 0);
    wait_until_well(yard);
    for (unsigned i = 0; i < 3; i++)
        yard_append(yard, i, 10);
    set(&write_error, ENOSPC); // so that the log stays as it is
    yard_close(yard);

    // What can be read is delivered, whether or not that can be written down.
    yard_open(yard);
    assert_reason(yard, "outbox: No space left on device");
    yard_take_and_settle(yard, 0, 10);
    yard_take_and_settle(yard, 1, 10);
    wait_for_errors(yard, errors_of(yard) + 1);
    yard_take_and_settle(yard, 2, 10);
    assert_reason(yard, "outbox: No space left on device");
    set(&write_error, 0);
    wait_until_well(yard);
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
    set(&write_error, EIO); // so that the file is opened anew
    yard_append(yard, 6, 20);
    assert_int_equal(yard->status[6], -EIO);
    set(&write_error, 0);
    wait_until_well(yard);
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
    set(&write_error, ENOSPC); // so that the log stays as it is
    yard_close(yard);
    yard_open(yard);
    assert_reason(yard, "outbox: No space left on device");
    struct batch *batch = NULL;
    for (int i = 0; i < 20000 && batch == NULL; i++) {
        pages_left = PAGES;
        batch = yard_take_any(yard);
        pages_left = -1;
        usleep(1000);
    }
    assert_non_null(batch);
    yard_assert_batch(batch, 1, 10);
    yard->store->ops->settle(yard->store, batch, 0, 10, VERDICT_DELIVERED);
    assert_reason(yard, "outbox: No space left on device");
    set(&write_error, 0);
    wait_until_well(yard);
    yard_wait_bytes(yard, 0);
    struct store_stats stats;
    yard->store->ops->stats(yard->store, &stats);
    assert_true(stats.damaged_records > 0);
    assert_int_equal(stats.events, 0);
    yard_close(yard);
}

// ---- A small disk

static bool mount_small(struct yard *yard, char dir[128])
{
    snprintf(dir, 128, "%s/small", yard->dir);
    assert_int_equal(mkdir(dir, 0700), 0);
    if (mount("tmpfs", dir, "tmpfs", 0, "size=4m") != 0) {
        rmdir(dir);
        return false; // not root
    }
    yard->conf.dir = dir;
    yard_open(yard);
    return true;
}

static void unmount_small(struct yard *yard, const char *dir)
{
    yard_close(yard);
    assert_int_equal(umount(dir), 0);
    rmdir(dir);
}

// Takes all of the disk but so much.
static void fill_but(const char *path, const char *dir, uint64_t left)
{
    struct statvfs disk;
    assert_int_equal(statvfs(dir, &disk), 0);
    uint64_t unused = (uint64_t)disk.f_bavail * disk.f_frsize;
    int fd = open(path, O_RDWR | O_CREAT, 0600);
    assert_true(fd >= 0 && unused > left);
    assert_int_equal(posix_fallocate(fd, 0, (off_t)(unused - left)), 0);
    close(fd);
}

static void small_disk_fills_and_drains(void **state)
{
    struct yard *yard = *state;
    char dir[128];
    if (!mount_small(yard, dir))
        skip();
    for (unsigned round = 0, number = 0; round < 3; round++) {
        unsigned begin = number;
        while (store_accepts(yard->store)) {
            yard_append(yard, number++, 2000);
            assert_true(number < YARD_BATCHES - 1);
        }
        assert_true(number > begin + 3);
        assert_int_equal(yard->status[number - 1], -ENOSPC);
        assert_reason(yard, "outbox: No space left on device");
        // Nobody but the output makes room.
        for (unsigned i = begin; i < number - 1; i++)
            yard_take_and_settle(yard, i, 2000);
        wait_until_well(yard);
        yard_assert_empty(yard);
        yard_wait_bytes(yard, 0);
    }
    unmount_small(yard, dir);
}

// Together more than the disk has: those that fit are safe, and the others do not ask for the room of all.
static void more_at_once_than_fits(void **state)
{
    enum { COUNT = 60, EVENTS = 8000 };
    struct yard *yard = *state;
    char dir[128];
    if (!mount_small(yard, dir))
        skip();
    for (unsigned i = 0; i < COUNT; i++)
        yard_push(yard, i, EVENTS);
    store_kick(yard->store);
    yard_wait_answers(yard, COUNT);
    assert_in_range(yard->refused, 1, COUNT - 1);
    unsigned taken = COUNT - yard->refused;
    for (unsigned i = 0; i < COUNT; i++)
        assert_int_equal(yard->status[i], i < taken ? 0 : -ENOSPC);
    for (unsigned i = 0; i < taken; i++)
        yard_take_and_settle(yard, i, EVENTS);
    wait_until_well(yard);
    yard_append(yard, COUNT, EVENTS);
    assert_int_equal(yard->status[COUNT], 0);
    unmount_small(yard, dir);
}

enum { MUCH_EVENTS = 4000 }; // in each batch

// About a seventh of the disk. How many batches.
static unsigned append_much(struct yard *yard)
{
    unsigned count = 0;
    while (yard_stats(yard).bytes < 600 * 1000)
        yard_append(yard, count++, MUCH_EVENTS);
    return count;
}

// The log of the last run does not fit into the file, since others have taken its room. What the output takes makes it.
static void full_disk_at_a_start_is_emptied(void **state)
{
    struct yard *yard = *state;
    char dir[128], filler[160];
    if (!mount_small(yard, dir))
        skip();
    unsigned count = append_much(yard);
    set(&write_error, ENOSPC); // so that the log stays as it is
    yard_close(yard);
    set(&write_error, 0);
    snprintf(filler, sizeof filler, "%s/filler", dir);
    fill_but(filler, dir, 600 * 1024);

    yard_open(yard);
    assert_reason(yard, "outbox: No space left on device");
    for (unsigned i = 0; i < count; i++)
        yard_take_and_settle(yard, i, MUCH_EVENTS);
    wait_until_well(yard);
    yard_wait_bytes(yard, 0);
    yard_append(yard, count, 10);
    assert_int_equal(yard->status[count], 0);
    assert_int_equal(unlink(filler), 0);
    unmount_small(yard, dir);
}

static int log_file = -1, real_stderr;

// Of the rest of the test; while no store is open.
static void begin_log(enum log_level level)
{
    char path[] = "/tmp/loom-test-XXXXXX";
    log_file = mkstemp(path);
    unlink(path);
    real_stderr = dup(STDERR_FILENO);
    log_setup(level, LOG_CONSOLE);
    dup2(log_file, STDERR_FILENO);
}

static unsigned logged(const char *what)
{
    static char text[16384];
    ssize_t len = syscall(SYS_pread64, log_file, text, sizeof text - 1, 0);
    unsigned count = 0;
    text[len > 0 ? len : 0] = '\0';
    for (const char *at = text; (at = strstr(at, what)) != NULL; at++)
        count++;
    return count;
}

static void end_log(void)
{
    if (log_file < 0)
        return;
    dup2(real_stderr, STDERR_FILENO);
    close(real_stderr);
    close(log_file);
    log_file = -1;
    log_setup(LOG_ERROR + 1, LOG_CONSOLE);
}

// The file is damaged, and the disk has no room for what is salvaged from it: that is said with the bytes it takes, and the try
// leaves nothing behind. When there is room the next one goes well.
static void salvage_on_a_full_disk(void **state)
{
    struct yard *yard = *state;
    char dir[128], filler[160], path[160], needed[64];
    if (!mount_small(yard, dir))
        skip();
    unsigned count = append_much(yard);
    yard_close(yard);
    snprintf(path, sizeof path, "%s/outbox.db", dir);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    assert_int_equal(pwrite(fd, "no database", 11, 0), 11);
    close(fd);
    snprintf(needed, sizeof needed, "bytes_needed=%llu", (unsigned long long)files_size(path));
    snprintf(filler, sizeof filler, "%s/filler", dir);
    fill_but(filler, dir, 300 * 1024);

    begin_log(LOG_ERROR);
    __atomic_store_n(&hold_reads, true, __ATOMIC_RELAXED);
    yard_open(yard); // the first try is its, the next the committer's
    wait_for_held_read();
    assert_int_equal(logged(needed), 1);
    assert_reason(yard, "outbox: the file is damaged, and cannot be salvaged: No space left on device");
    snprintf(path, sizeof path, "%s/outbox.db.new", dir);
    assert_int_not_equal(access(path, F_OK), 0);
    assert_null(yard_take_any(yard));

    assert_int_equal(unlink(filler), 0);
    __atomic_store_n(&hold_reads, false, __ATOMIC_RELAXED);
    wait_until_well(yard);
    for (unsigned i = 0; i < count; i++)
        yard_take_and_settle(yard, i, MUCH_EVENTS);
    yard_wait_bytes(yard, 0);
    unmount_small(yard, dir);
}

// One that no room that the outbox can make is enough for does not keep the others out.
static void larger_than_the_disk(void **state)
{
    struct yard *yard = *state;
    char dir[128];
    begin_log(LOG_INFO);
    if (!mount_small(yard, dir))
        skip();
    for (unsigned i = 0; i < 4; i += 2) { // its sensor sends it again; the log has it once
        yard_append(yard, i, 400000);
        assert_int_equal(yard->status[i], -ENOSPC);
        wait_until_well(yard);
        yard_append(yard, i + 1, 100);
        assert_int_equal(yard->status[i + 1], 0);
        yard_take_and_settle(yard, i + 1, 100);
        yard_wait_bytes(yard, 0);
    }
    assert_int_equal(logged("nothing is accepted"), 1);
    assert_int_equal(logged("well again"), 1);
    unmount_small(yard, dir);
}

static int disk_works(void **state)
{
    __atomic_store_n(&hold_reads, false, __ATOMIC_RELAXED);
    set(&sync_error, 0);
    set(&write_error, 0);
    pages_left = -1;
    int rc = yard_teardown(state);
    end_log();
    return rc;
}

int main(void)
{
    tester = pthread_self();
#define YARD_TEST(name) cmocka_unit_test_setup_teardown(name, yard_setup, disk_works)
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
        YARD_TEST(small_disk_fills_and_drains),
        YARD_TEST(more_at_once_than_fits),
        YARD_TEST(full_disk_at_a_start_is_emptied),
        YARD_TEST(salvage_on_a_full_disk),
        YARD_TEST(larger_than_the_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
