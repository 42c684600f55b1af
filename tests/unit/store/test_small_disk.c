// SPDX-License-Identifier: Apache-2.0
//
// A real disk that has no more room, of 4 MiB; these tests need root, to mount it.

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"
#include "disk.h"
#include "store/files.h"
#include "yard.h"

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
    struct statvfs room;
    assert_int_equal(statvfs(dir, &room), 0);
    uint64_t unused = (uint64_t)room.f_bavail * room.f_frsize;
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
        yard_assert_refuses(yard, "outbox: No space left on device");
        // Nobody but the output makes room.
        for (unsigned i = begin; i < number - 1; i++)
            yard_take_and_settle(yard, i, 2000);
        yard_wait_well(yard);
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
    yard_wait_well(yard);
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
    disk_set(&disk.write_error, ENOSPC); // so that the log stays as it is
    yard_close(yard);
    disk_set(&disk.write_error, 0);
    snprintf(filler, sizeof filler, "%s/filler", dir);
    fill_but(filler, dir, 600 * 1024);

    yard_open(yard);
    yard_assert_refuses(yard, "outbox: No space left on device");
    for (unsigned i = 0; i < count; i++)
        yard_take_and_settle(yard, i, MUCH_EVENTS);
    yard_wait_well(yard);
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
    disk_hold_reads(true);
    yard_open(yard); // the first try is its, the next the committer's
    disk_wait_held_read();
    assert_int_equal(logged(needed), 1);
    yard_assert_refuses(yard, "outbox: the file is damaged, and cannot be salvaged: No space left on device");
    snprintf(path, sizeof path, "%s/outbox.db.new", dir);
    assert_int_not_equal(access(path, F_OK), 0);
    assert_null(yard_take_any(yard));

    assert_int_equal(unlink(filler), 0);
    disk_hold_reads(false);
    yard_wait_well(yard);
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
        yard_wait_well(yard);
        yard_append(yard, i + 1, 100);
        assert_int_equal(yard->status[i + 1], 0);
        yard_take_and_settle(yard, i + 1, 100);
        yard_wait_bytes(yard, 0);
    }
    assert_int_equal(logged("nothing is accepted"), 1);
    assert_int_equal(logged("well again"), 1);
    unmount_small(yard, dir);
}

static int restore(void **state)
{
    int rc = disk_teardown(state);
    end_log();
    return rc;
}

int main(void)
{
#define YARD_TEST(name) cmocka_unit_test_setup_teardown(name, disk_setup, restore)
    const struct CMUnitTest tests[] = {
        YARD_TEST(small_disk_fills_and_drains),
        YARD_TEST(more_at_once_than_fits),
        YARD_TEST(full_disk_at_a_start_is_emptied),
        YARD_TEST(salvage_on_a_full_disk),
        YARD_TEST(larger_than_the_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
