// SPDX-License-Identifier: Apache-2.0
#include "deliver/dead_letters.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/crash.h"
#include "base/log.h"
#include "base/mem.h"
#include "json/scan.h"
#include "json/write.h"

#define FILE_NAME   "dead-letters.ndjson"
#define KIND_MAX    256
#define REASON_MAX  4096
#define LETTER_MORE 1024 // of a line, beyond event, kind and reason

struct dead_letters {
    const char *dir;
    char path[PATH_MAX];
    char path_before[PATH_MAX]; // of the file before this one
    int64_t max_bytes;
    bool overwrite;
    int fd; // -1: not open
};

// ---- A line

// At most max bytes, and not in the middle of a character.
static struct text cut(struct text text, size_t max)
{
    if (text.len <= max)
        return text;
    while (max > 0 && ((unsigned char)text.at[max] & 0xc0) == 0x80)
        max--;
    return (struct text){text.at, max};
}

static void write_member(struct buf *out, const char *key, struct text value)
{
    buf_printf(out, ",\"%s\":", key);
    json_write_string(out, value);
}

int letters_add(struct letters *letters, const char *output, const struct batch *batch, uint32_t event, unsigned status,
                struct text kind, struct text reason)
{
    struct buf *out = &letters->lines;
    struct text line = batch_event(batch, event);
    struct text sensor = text_of(batch->sensor != NULL ? batch->sensor : "");
    char time[CLOCK_RFC3339_MAX], id[EVENT_ID_LEN];

    kind = cut(kind, KIND_MAX);
    reason = cut(reason, REASON_MAX);
    // An escaped character takes six bytes at most. The event is from the network, so this allocation may fail.
    if (buf_try_reserve(out, line.len + 6 * (kind.len + reason.len + sensor.len) + LETTER_MORE) < 0)
        return -ENOMEM;
    if (letters->count == letters->cap) {
        letters->cap = letters->cap > 0 ? letters->cap * 2 : 16;
        letters->ends = mem_realloc(letters->ends, letters->cap * sizeof *letters->ends);
    }
    clock_rfc3339(clock_real_ns(), time);
    batch_event_id(batch, event, id);
    buf_printf(out, "{\"time\":\"%s\"", time);
    write_member(out, "output", text_of(output));
    write_member(out, "id", (struct text){id, EVENT_ID_LEN});
    write_member(out, "sensor", sensor);
    if (status > 0)
        buf_printf(out, ",\"status\":%u", status);
    write_member(out, "kind", kind);
    write_member(out, "reason", reason);
    buf_str(out, ",\"event\":");
    buf_text(out, (struct text){line.at, line.len - 1}); // its '\n' comes after the brace
    buf_str(out, "}\n");
    letters->ends[letters->count++] = out->len;
    return 0;
}

void letters_clear(struct letters *letters)
{
    letters->lines.len = 0;
    letters->count = 0;
}

void letters_fini(struct letters *letters)
{
    buf_fini(&letters->lines);
    mem_free(letters->ends);
    *letters = (struct letters){0};
}

// ---- The directory

static int sync_dir(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int rc = fsync(fd) < 0 ? -errno : 0;
    close(fd);
    return rc;
}

static int make_dir(const char *dir)
{
    char parent[PATH_MAX];

    if (mkdir(dir, 0700) < 0)
        return errno == EEXIST ? 0 : -errno;
    snprintf(parent, sizeof parent, "%s/..", dir);
    return sync_dir(parent);
}

static int set_paths(struct dead_letters *dead, const char *dir)
{
    int len = snprintf(dead->path, sizeof dead->path, "%s/" FILE_NAME, dir);
    int len_before = snprintf(dead->path_before, sizeof dead->path_before, "%s/" FILE_NAME ".1", dir);
    return len < 0 || len_before < 0 || len_before >= (int)sizeof dead->path_before ? -ENAMETOOLONG : 0;
}

int dead_letters_check(const struct conf_outbox *conf, struct err *err)
{
    struct dead_letters dead;
    struct stat status;
    int rc = set_paths(&dead, conf->dir);

    if (rc == 0)
        rc = make_dir(conf->dir);
    if (rc == -ENOSPC || rc == -EDQUOT)
        return 0; // no letter can be written now, and that is said when there is one
    if (rc < 0)
        goto bad;
    if (access(conf->dir, W_OK | X_OK) < 0)
        rc = -errno;
    else if (lstat(dead.path, &status) == 0)
        rc = !S_ISREG(status.st_mode) ? -EINVAL : access(dead.path, R_OK | W_OK) < 0 ? -errno : 0;
    if (rc == 0)
        return 0;
bad:
    return err_set(err, rc,
                   "output.outbox.dir: dead letters can't be written to %s: %s. Make the directory and let Loom's user "
                   "write to it, or set output.outbox.dir to another",
                   conf->dir, rc == -EINVAL ? FILE_NAME " is no file" : err_text(rc));
}

// ---- The file

// Whether these bytes are a letter as a whole: then only the '\n' is missing, as some editors leave it.
static bool is_whole(const char *line, size_t len)
{
    struct buf array = BUF_EMPTY;
    struct json_events events = {0};
    struct json_error error;
    bool whole = false;

    if (len > 0 && buf_try_reserve(&array, len + 2) == 0) {
        buf_char(&array, '[');
        buf_append(&array, line, len);
        buf_char(&array, ']');
        whole = json_scan(array.data, array.len, &events, &error) == 0 && events.count == 1;
    }
    json_events_fini(&events);
    buf_fini(&array);
    return whole;
}

static int read_at(int fd, char *data, size_t len, off_t at)
{
    while (len > 0) {
        ssize_t got = pread(fd, data, len, at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got < 0 ? -errno : -EIO;
        data += got;
        len -= (size_t)got;
        at += got;
    }
    return 0;
}

// Where the last line begins that has no '\n'; the size when there is none.
static int find_tail(int fd, off_t size, off_t *tail)
{
    char block[16384];
    off_t end = size;

    while (end > 0) {
        size_t len = end < (off_t)sizeof block ? (size_t)end : sizeof block;
        int rc = read_at(fd, block, len, end - (off_t)len);
        if (rc < 0)
            return rc;
        const char *newline = memrchr(block, '\n', len);
        if (newline != NULL) {
            *tail = end - (off_t)len + (newline - block) + 1;
            return 0;
        }
        end -= (off_t)len;
    }
    *tail = 0;
    return 0;
}

static int write_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t written = write(fd, data, len);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return written < 0 ? -errno : -EIO;
        data += written;
        len -= (size_t)written;
    }
    return 0;
}

// Takes away what a crash or a full disk has left of a line. Its event is not settled, since nothing is before its sync:
// it comes again.
static int mend(struct dead_letters *dead, off_t size)
{
    off_t tail;
    int rc = find_tail(dead->fd, size, &tail);
    if (rc < 0 || tail == size)
        return rc;
    size_t len = (size_t)(size - tail);
    char *line = mem_try_alloc(len);
    bool whole = line != NULL && read_at(dead->fd, line, len, tail) == 0 && is_whole(line, len);
    mem_free(line);
    if (whole)
        return write_all(dead->fd, "\n", 1);
    if (ftruncate(dead->fd, tail) < 0)
        return -errno;
    LOG(LOG_WARN, "dead letters: a line that was not written whole is taken away", LOG_STR("file", dead->path),
        LOG_INT("bytes", len));
    return 0;
}

static void file_close(struct dead_letters *dead)
{
    if (dead->fd >= 0)
        close(dead->fd);
    dead->fd = -1;
}

static int file_open(struct dead_letters *dead)
{
    struct stat status;
    int rc = make_dir(dead->dir);
    if (rc < 0)
        return rc;
    // Not blocking, so that a pipe of that name is no trap.
    dead->fd = open(dead->path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0600);
    if (dead->fd < 0)
        return -errno;
    if (fstat(dead->fd, &status) < 0)
        rc = -errno;
    else if (!S_ISREG(status.st_mode))
        rc = -EINVAL;
    else
        rc = mend(dead, status.st_size);
    if (rc == 0)
        rc = sync_dir(dead->dir); // it may be new
    if (rc < 0)
        file_close(dead);
    return rc;
}

// Opens the file that stands under its name now, and says how large it is.
static int file_current(struct dead_letters *dead, off_t *size)
{
    struct stat here, there;

    if (dead->fd >= 0 && (stat(dead->path, &there) < 0 || fstat(dead->fd, &here) < 0 || here.st_dev != there.st_dev ||
                          here.st_ino != there.st_ino))
        file_close(dead); // somebody has moved it away
    if (dead->fd < 0) {
        int rc = file_open(dead);
        if (rc < 0)
            return rc;
    }
    if (fstat(dead->fd, &here) < 0)
        return -errno;
    *size = here.st_size;
    return 0;
}

static int file_append(struct dead_letters *dead, const char *data, size_t len, off_t size)
{
    CRASH_POINT("deadletter-before-write");
    int rc = write_all(dead->fd, data, len);
    CRASH_POINT("deadletter-before-sync");
    if (rc == 0 && fdatasync(dead->fd) < 0)
        rc = -errno;
    CRASH_POINT("deadletter-after-sync");
    if (rc == 0)
        return 0;
    // What is in the file now is not known: away with it, and the next try begins with a look at what is there.
    if (ftruncate(dead->fd, size) < 0)
        LOG(LOG_WARN, "dead letters: can't take back what was not written whole", LOG_STR("file", dead->path),
            LOG_STR("error", err_text(-errno)));
    file_close(dead);
    return rc;
}

static int file_begin_anew(struct dead_letters *dead)
{
    file_close(dead);
    if (rename(dead->path, dead->path_before) < 0)
        return -errno;
    return sync_dir(dead->dir);
}

// How many lines from `first` on may be added to a file of this size. One that is larger than the cap by itself goes into
// an empty file, as it would never go anywhere else.
static size_t lines_within(const struct letters *letters, size_t first, off_t size, int64_t max_bytes)
{
    size_t begin = first > 0 ? letters->ends[first - 1] : 0;
    size_t line = first;
    while (line < letters->count && size + (int64_t)(letters->ends[line] - begin) <= max_bytes)
        line++;
    return line == first && size == 0 ? 1 : line - first;
}

static int refuse(struct dead_letters *dead, int rc, off_t size, struct err *err)
{
    if (rc == -EFBIG && size > 0)
        return err_set(err, rc, "dead letters: full (%lld bytes), events wait", (long long)size);
    return err_set(err, rc, "dead letters: %s: %s, events wait", dead->path, err_text(rc));
}

size_t dead_letters_write(struct dead_letters *dead, const struct letters *letters, struct err *err)
{
    size_t done = 0;

    while (done < letters->count) {
        off_t size = 0;
        size_t begin = done > 0 ? letters->ends[done - 1] : 0;
        int rc = file_current(dead, &size);
        if (rc < 0) {
            refuse(dead, rc, 0, err);
            break;
        }
        size_t fit = lines_within(letters, done, size, dead->max_bytes);
        if (fit > 0) {
            size_t len = letters->ends[done + fit - 1] - begin;
            rc = file_append(dead, letters->lines.data + begin, len, size);
            size = 0; // if it fails it is not the cap
        } else {
            rc = dead->overwrite ? file_begin_anew(dead) : -EFBIG;
        }
        if (rc < 0) {
            refuse(dead, rc, size, err);
            break;
        }
        done += fit;
    }
    return done;
}

struct dead_letters *dead_letters_new(const struct conf_outbox *conf)
{
    struct dead_letters *dead = mem_zalloc(sizeof *dead);
    dead->dir = conf->dir;
    dead->max_bytes = conf->dead_letter_max_bytes;
    dead->overwrite = conf->dead_letter_overwrite;
    dead->fd = -1;
    if (set_paths(dead, conf->dir) < 0)
        dead->path[0] = '\0'; // to be opened never, which is said when it is tried
    return dead;
}

void dead_letters_free(struct dead_letters *dead)
{
    if (dead == NULL)
        return;
    file_close(dead);
    mem_free(dead);
}
