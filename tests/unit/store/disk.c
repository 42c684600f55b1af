// SPDX-License-Identifier: Apache-2.0
#include "disk.h"

#include <errno.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "store/database.h"
#include "yard.h"

enum { HELD_S = 20 };

struct disk disk = {.pages_left = -1};
static bool hold_reads;  // atomic
static pthread_t tester; // whose reads are not held

static int failing_sync(int fd, long number)
{
    int error = __atomic_load_n(&disk.sync_error, __ATOMIC_RELAXED);
    __atomic_fetch_add(&disk.syncs, 1, __ATOMIC_RELAXED);
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
    int error = __atomic_load_n(&disk.write_error, __ATOMIC_RELAXED);
    if (error != 0 && len > 1) {
        errno = error;
        return -1;
    }
    return syscall(SYS_pwrite64, fd, data, len, at);
}

ssize_t pread(int fd, void *data, size_t len, off_t at)
{
    bool is_tester = pthread_equal(pthread_self(), tester);
    if (__atomic_load_n(&hold_reads, __ATOMIC_RELAXED) && !is_tester) {
        __atomic_fetch_add(&disk.reads_held, 1, __ATOMIC_RELAXED);
        for (int i = 0; i < HELD_S * 1000 && __atomic_load_n(&hold_reads, __ATOMIC_RELAXED); i++)
            usleep(1000);
        __atomic_fetch_sub(&disk.reads_held, 1, __ATOMIC_RELAXED);
    }
    if (len == DATABASE_PAGE_BYTES && is_tester && disk.pages_left >= 0 && disk.pages_left-- == 0) {
        disk.pages_left = 0;
        errno = EIO;
        return -1;
    }
    return syscall(SYS_pread64, fd, data, len, at);
}

void disk_set(int *error, int value)
{
    __atomic_store_n(error, value, __ATOMIC_RELAXED);
}

void disk_hold_reads(bool hold)
{
    __atomic_store_n(&hold_reads, hold, __ATOMIC_RELAXED);
}

void disk_wait_held_read(void)
{
    for (int i = 0; i < 60000 && __atomic_load_n(&disk.reads_held, __ATOMIC_RELAXED) == 0; i++)
        usleep(1000);
    assert_int_equal(__atomic_load_n(&disk.reads_held, __ATOMIC_RELAXED), 1);
}

int disk_setup(void **state)
{
    tester = pthread_self();
    return yard_setup(state);
}

int disk_teardown(void **state)
{
    disk_hold_reads(false);
    disk_set(&disk.sync_error, 0);
    disk_set(&disk.write_error, 0);
    disk.pages_left = -1;
    return yard_teardown(state);
}
