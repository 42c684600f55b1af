// SPDX-License-Identifier: Apache-2.0
//
// LD_PRELOAD library for the tests of power cuts: it writes down, in order, what a process does to the files of one
// directory, so that crash/disk.py can say what a disk may hold after a power cut at any moment of that run; and it makes
// writes and syncs fail. It has to be told apart what a process wrote and what it synced, which kill -9 alone can't: the
// page cache outlives the process.
//
//   LOOM_SHIM_DIR      the directory; files in it, not in folders below
//   LOOM_SHIM_JOURNAL  file to append to: struct entry, then its data
//   LOOM_SHIM_FAULTS   file of rules, read anew before each call; see next_fault
//
// A call and its entry are made under one mutex, so the journal has the order in which things happened. A sync is not
// passed on to the kernel: for the test only the journal counts, and it runs as fast on a slow disk. What goes past these
// functions is not seen: stdio, and mappings (SQLite's -shm, which is worth nothing after a power cut anyway).

// Or the functions below are renamed to those with 64 in their names.
#undef _FILE_OFFSET_BITS

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum kind { CREATE = 1, WRITE, TRUNCATE, SYNC, SYNC_FAILED, RENAME, UNLINK, SYNC_DIR, FAULT };

struct entry { // in the byte order of the machine
    uint32_t kind;
    uint32_t len;  // of the data behind
    uint64_t file; // inode
    uint64_t at;   // offset, or the new size
};

#define FDS 4096
static struct watched {
    bool file, dir, append;
    uint64_t inode;
    char name[256];
} watched[FDS];

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static char directory[4096];
static size_t directory_len; // 0: nothing is watched
static const char *faults_path;
static int journal = -1;

static void give_up(const char *what)
{
    dprintf(2, "shim: %s: %s\n", what, strerror(errno));
    _exit(98);
}

__attribute__((constructor)) static void begin(void)
{
    const char *dir = getenv("LOOM_SHIM_DIR"), *path = getenv("LOOM_SHIM_JOURNAL");
    faults_path = getenv("LOOM_SHIM_FAULTS");
    if (dir == NULL || path == NULL)
        return;
    if (realpath(dir, directory) == NULL)
        give_up(dir);
    journal = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (journal < 0)
        give_up(path);
    directory_len = strlen(directory);
}

static void note(enum kind kind, uint64_t file, uint64_t at, const void *data, size_t len)
{
    struct entry entry = {.kind = kind, .len = (uint32_t)len, .file = file, .at = at};
    struct iovec parts[] = {{&entry, sizeof entry}, {(void *)data, len}};
    if (syscall(SYS_writev, journal, parts, 2) != (long)(sizeof entry + len))
        give_up("journal");
}

// The name within the directory; "." for itself; NULL when the path is another one.
static const char *name_in(const char *path)
{
    char whole[8192];
    if (directory_len == 0 || path == NULL)
        return NULL;
    if (path[0] != '/') {
        char here[4096];
        if (getcwd(here, sizeof here) == NULL)
            return NULL;
        snprintf(whole, sizeof whole, "%s/%s", here, path);
        if (strncmp(whole, directory, directory_len) != 0)
            return NULL;
        path += strlen(path) - (strlen(whole) - directory_len);
    } else {
        if (strncmp(path, directory, directory_len) != 0)
            return NULL;
        path += directory_len;
    }
    while (*path == '/')
        path++;
    if (*path == '\0')
        return ".";
    return strchr(path, '/') == NULL ? path : NULL;
}

// ---- Faults

// The rules as they stand in the file now: "op pattern action skip count" a line. op: write, sync; pattern: of the file's
// name, "." is the directory; action: the number of an error, or -N: wait N ms first; skip: so many matches pass; count:
// so many are hit then, 0: all. The numbers begin anew when the file is replaced. 0, or the error.
static int next_fault(const char *op, const char *name, uint64_t inode)
{
    static struct stat seen;
    static char text[4096];
    static unsigned long matches[64];
    struct stat now;
    if (faults_path == NULL || stat(faults_path, &now) != 0)
        return 0;
    if (now.st_ino != seen.st_ino || now.st_mtim.tv_nsec != seen.st_mtim.tv_nsec || now.st_size != seen.st_size) {
        int fd = (int)syscall(SYS_openat, AT_FDCWD, faults_path, O_RDONLY | O_CLOEXEC);
        ssize_t got = fd >= 0 ? pread(fd, text, sizeof text - 1, 0) : -1;
        text[got > 0 ? got : 0] = '\0';
        if (fd >= 0)
            syscall(SYS_close, fd);
        seen = now;
        memset(matches, 0, sizeof matches);
    }
    size_t i = 0;
    for (const char *line = text; line != NULL && *line != '\0' && i < 64; i++) {
        char wanted_op[16], pattern[128];
        int action;
        unsigned long skip, count;
        if (sscanf(line, "%15s %127s %d %lu %lu", wanted_op, pattern, &action, &skip, &count) == 5 &&
            strcmp(wanted_op, op) == 0 && fnmatch(pattern, name, 0) == 0) {
            unsigned long nth = matches[i]++;
            if (nth >= skip && (count == 0 || nth - skip < count)) {
                if (action > 0) {
                    note(FAULT, inode, (uint64_t)action, name, strlen(name));
                    return action;
                }
                struct timespec pause = {-action / 1000, -action % 1000 * 1000000L};
                nanosleep(&pause, NULL);
            }
        }
        line = strchr(line, '\n');
        line = line != NULL ? line + 1 : NULL;
    }
    return 0;
}

// ---- Descriptors

static struct watched *watched_fd(int fd)
{
    return fd >= 0 && fd < FDS && directory_len > 0 && (watched[fd].file || watched[fd].dir) ? &watched[fd] : NULL;
}

static int open_watched(int at, const char *path, int flags, mode_t mode, const char *name)
{
    struct stat before, now;
    pthread_mutex_lock(&mutex);
    bool was_there = fstatat(at, path, &before, 0) == 0;
    int fd = (int)syscall(SYS_openat, at, path, flags, mode);
    int error = errno;
    if (fd >= 0 && fstat(fd, &now) == 0) {
        if (fd >= FDS) {
            errno = EMFILE;
            give_up("descriptor");
        }
        struct watched *w = &watched[fd];
        *w = (struct watched){.file = S_ISREG(now.st_mode), .dir = S_ISDIR(now.st_mode), .inode = now.st_ino};
        w->append = (flags & O_APPEND) != 0;
        snprintf(w->name, sizeof w->name, "%s", name);
        if (w->file && !was_there)
            note(CREATE, now.st_ino, 0, name, strlen(name));
        if (w->file && was_there && (flags & O_TRUNC) != 0 && before.st_size > 0)
            note(TRUNCATE, now.st_ino, 0, NULL, 0);
    }
    pthread_mutex_unlock(&mutex);
    errno = error;
    return fd;
}

static int open_any(int at, const char *path, int flags, mode_t mode)
{
    const char *name = at == AT_FDCWD || path[0] == '/' ? name_in(path) : NULL;
    if (name != NULL)
        return open_watched(at, path, flags, mode, name);
    return (int)syscall(SYS_openat, at, path, flags, mode);
}

static mode_t mode_of(int flags, va_list list)
{
    return (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(list, mode_t) : 0;
}

int open(const char *path, int flags, ...)
{
    va_list list;
    va_start(list, flags);
    mode_t mode = mode_of(flags, list);
    va_end(list);
    return open_any(AT_FDCWD, path, flags, mode);
}

int openat(int at, const char *path, int flags, ...)
{
    va_list list;
    va_start(list, flags);
    mode_t mode = mode_of(flags, list);
    va_end(list);
    return open_any(at, path, flags, mode);
}

int creat(const char *path, mode_t mode)
{
    return open_any(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

int __open_2(const char *path, int flags);
int __open_2(const char *path, int flags)
{
    return open_any(AT_FDCWD, path, flags, 0);
}

int __openat_2(int at, const char *path, int flags);
int __openat_2(int at, const char *path, int flags)
{
    return open_any(at, path, flags, 0);
}

int close(int fd)
{
    struct watched *w = watched_fd(fd);
    if (w == NULL)
        return (int)syscall(SYS_close, fd);
    pthread_mutex_lock(&mutex);
    *w = (struct watched){0};
    int rc = (int)syscall(SYS_close, fd);
    pthread_mutex_unlock(&mutex);
    return rc;
}

// ---- Writing

static ssize_t write_watched(struct watched *w, int fd, const struct iovec *parts, int count, off_t at)
{
    struct stat status;
    ssize_t written = -1;
    pthread_mutex_lock(&mutex);
    int error = next_fault("write", w->name, w->inode);
    if (error == 0) {
        if (at < 0)
            at = w->append && fstat(fd, &status) == 0 ? status.st_size : lseek(fd, 0, SEEK_CUR);
        off_t start = at;
        written = 0;
        for (int i = 0; i < count; i++) {
            if (parts[i].iov_len == 0)
                continue;
            ssize_t part =
                syscall(SYS_pwrite64, fd, parts[i].iov_base, parts[i].iov_len, at); // appends where O_APPEND is set
            error = errno;
            if (part < 0 && written == 0)
                written = -1;
            if (part <= 0)
                break;
            note(WRITE, w->inode, (uint64_t)at, parts[i].iov_base, (size_t)part);
            written += part;
            at += part;
            if ((size_t)part < parts[i].iov_len)
                break;
        }
        if (written > 0)
            lseek(fd, start + written, SEEK_SET);
    }
    pthread_mutex_unlock(&mutex);
    errno = error;
    return written;
}

ssize_t write(int fd, const void *data, size_t len)
{
    struct watched *w = watched_fd(fd);
    struct iovec part = {(void *)data, len};
    return w == NULL ? syscall(SYS_write, fd, data, len) : write_watched(w, fd, &part, 1, -1);
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    struct watched *w = watched_fd(fd);
    return w == NULL ? syscall(SYS_writev, fd, parts, count) : write_watched(w, fd, parts, count, -1);
}

ssize_t pwrite(int fd, const void *data, size_t len, off_t at)
{
    struct watched *w = watched_fd(fd);
    struct iovec part = {(void *)data, len};
    return w == NULL ? syscall(SYS_pwrite64, fd, data, len, at) : write_watched(w, fd, &part, 1, at);
}

int ftruncate(int fd, off_t size)
{
    struct watched *w = watched_fd(fd);
    if (w == NULL)
        return (int)syscall(SYS_ftruncate, fd, size);
    pthread_mutex_lock(&mutex);
    int rc = (int)syscall(SYS_ftruncate, fd, size);
    int error = errno;
    if (rc == 0)
        note(TRUNCATE, w->inode, (uint64_t)size, NULL, 0);
    pthread_mutex_unlock(&mutex);
    errno = error;
    return rc;
}

// ---- Syncing

// After a sync that failed the kernel holds the pages for clean: a later one that succeeds says nothing about them.
static int sync_watched(struct watched *w)
{
    pthread_mutex_lock(&mutex);
    int error = next_fault("sync", w->dir ? "." : w->name, w->inode);
    if (error == 0)
        note(w->dir ? SYNC_DIR : SYNC, w->inode, 0, NULL, 0);
    else if (!w->dir)
        note(SYNC_FAILED, w->inode, 0, NULL, 0);
    pthread_mutex_unlock(&mutex);
    errno = error;
    return error == 0 ? 0 : -1;
}

int fsync(int fd)
{
    struct watched *w = watched_fd(fd);
    return w == NULL ? (int)syscall(SYS_fsync, fd) : sync_watched(w);
}

int fdatasync(int fd)
{
    struct watched *w = watched_fd(fd);
    return w == NULL ? (int)syscall(SYS_fdatasync, fd) : sync_watched(w);
}

// ---- Names

int rename(const char *from, const char *to)
{
    const char *a = name_in(from), *b = name_in(to);
    if (a == NULL && b == NULL)
        return (int)syscall(SYS_renameat, AT_FDCWD, from, AT_FDCWD, to);
    if (a == NULL || b == NULL) {
        errno = EXDEV; // into or out of the directory: nobody does that
        return -1;
    }
    char both[1024];
    pthread_mutex_lock(&mutex);
    int rc = (int)syscall(SYS_renameat, AT_FDCWD, from, AT_FDCWD, to);
    int error = errno;
    if (rc == 0)
        note(RENAME, 0, 0, both, (size_t)snprintf(both, sizeof both, "%s/%s", a, b));
    pthread_mutex_unlock(&mutex);
    errno = error;
    return rc;
}

int unlink(const char *path)
{
    const char *name = name_in(path);
    if (name == NULL)
        return (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
    pthread_mutex_lock(&mutex);
    int rc = (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
    int error = errno;
    if (rc == 0)
        note(UNLINK, 0, 0, name, strlen(name));
    pthread_mutex_unlock(&mutex);
    errno = error;
    return rc;
}

// ---- The same by their other names

_Static_assert(sizeof(off_t) == 8, "the functions with 64 in their names are the same");
int open64(const char *path, int flags, ...) __attribute__((alias("open")));
int openat64(int at, const char *path, int flags, ...) __attribute__((alias("openat")));
int creat64(const char *path, mode_t mode) __attribute__((alias("creat")));
int __open64_2(const char *path, int flags) __attribute__((alias("__open_2")));
int __openat64_2(int at, const char *path, int flags) __attribute__((alias("__openat_2")));
ssize_t pwrite64(int fd, const void *data, size_t len, off_t at) __attribute__((alias("pwrite")));
int ftruncate64(int fd, off_t size) __attribute__((alias("ftruncate")));
