// SPDX-License-Identifier: Apache-2.0
#include "store/spool.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/crash.h"
#include "base/err.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "store/files.h"
#include "store/record.h"
#include "json/splice.h"

// The Go implementation wrote a batch a file, of at most 2 MiB a line; who has put files together has longer ones.
enum { CHUNK_BYTES = 1 << 20, PATH_BYTES = 4200 };

struct import {
    struct database *db;
    const char *name;
    uint64_t seq;
    int64_t arrived_real_ns;
    struct json_events scanned;
    struct buf body;  // of one line, as an array
    struct buf lines; // of the chunk
    uint32_t *ends;
    size_t ends_cap;
    uint32_t count;
    unsigned chunks;
    uint64_t events, bad;
};

static int add_event(struct import *import, struct text line)
{
    struct json_error error;
    import->body.len = 0;
    int rc = buf_try_append(&import->body, "[", 1);
    if (rc == 0)
        rc = buf_try_append(&import->body, line.at, line.len);
    if (rc == 0)
        rc = buf_try_append(&import->body, "]", 1);
    if (rc == 0)
        rc = json_scan(import->body.data, import->body.len, &import->scanned, &error);
    if (rc == -EINVAL || rc == -EFBIG || (rc == 0 && import->scanned.count != 1)) {
        import->bad++;
        return 0;
    }
    if (rc != 0)
        return rc;
    if (import->count == import->ends_cap) {
        size_t cap = import->ends_cap > 0 ? 2 * import->ends_cap : 512;
        uint32_t *ends = mem_try_realloc(import->ends, cap * sizeof *ends);
        if (ends == NULL)
            return -ENOMEM;
        import->ends = ends;
        import->ends_cap = cap;
    }
    rc = json_copy(import->body.data, &import->scanned.at[0], &import->lines);
    if (rc == 0)
        import->ends[import->count++] = (uint32_t)import->lines.len;
    return rc;
}

// A batch and a row of its own.
static int write_chunk(struct import *import)
{
    if (import->count == 0)
        return 0;
    char whence[PATH_BYTES];
    int len = snprintf(whence, sizeof whence, "%s:%u", import->name, import->chunks++);
    struct hash128 hash =
        hash128_pair((struct text){whence, (size_t)len}, (struct text){import->lines.data, import->lines.len});
    struct batch batch = {.sensor = "outbox-import",
                          .arrived_real_ns = import->arrived_real_ns,
                          .id = {.low = hash.low, .high = hash.high},
                          .lines = import->lines,
                          .ends = import->ends,
                          .count = import->count};
    size_t bound = record_bound(&batch);
    uint8_t *record = bound > 0 ? mem_try_alloc(bound) : NULL;
    if (record == NULL)
        return bound == 0 ? -EFBIG : -ENOMEM;
    struct database_row row = {.seq = ++import->seq,
                               .arrived_real_ns = batch.arrived_real_ns,
                               .events = batch.count,
                               .batches = 1,
                               .bytes = record_encode(&batch, record)};
    int rc = database_insert(import->db, &row, record);
    mem_free(record);
    import->events += import->count;
    import->count = 0;
    import->lines.len = 0;
    return rc;
}

static bool is_blank(struct text line)
{
    return text_trim(line).len == 0;
}

static int read_lines(struct import *import, FILE *file)
{
    char *line = NULL;
    size_t cap = 0;
    ssize_t len;
    int rc = 0;
    while (rc == 0 && (errno = 0, len = getline(&line, &cap, file)) >= 0) {
        while (len > 0 && (line[len - 1] == '\n' || line[len - 1] == '\r'))
            len--;
        struct text text = {line, (size_t)len};
        if (is_blank(text))
            continue;
        rc = add_event(import, text);
        if (rc == 0 && import->lines.len >= CHUNK_BYTES)
            rc = write_chunk(import);
    }
    if (rc == 0 && (ferror(file) || errno == ENOMEM))
        rc = errno != 0 ? -errno : -EIO;
    free(line); // getline's
    return rc == 0 ? write_chunk(import) : rc;
}

// Where the file goes when it is taken in. One that was there before is not overwritten.
static int rename_imported(const char *path)
{
    char done[PATH_BYTES + 16];
    for (int i = 1;; i++) {
        int len = i == 1 ? snprintf(done, sizeof done, "%s.imported", path)
                         : snprintf(done, sizeof done, "%s.imported-%d", path, i);
        if (len >= (int)sizeof done)
            return -ENAMETOOLONG;
        if (access(done, F_OK) != 0)
            return rename(path, done) == 0 ? 0 : -errno;
    }
}

static int import_open_file(struct import *import, const char *path, int fd)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return -errno;
    if (!S_ISREG(st.st_mode))
        return -EINVAL;
    FILE *file = fdopen(dup(fd), "re");
    if (file == NULL)
        return -errno;
    import->arrived_real_ns = st.st_mtim.tv_sec * NS_PER_S + st.st_mtim.tv_nsec;
    int rc = database_begin(import->db);
    if (rc == 0)
        rc = read_lines(import, file);
    if (rc == 0)
        rc = database_commit(import->db);
    if (rc != 0)
        database_rollback(import->db);
    fclose(file);
    CRASH_POINT("import-before-rename");
    if (rc == 0)
        rc = rename_imported(path);
    return rc;
}

static bool import_file(struct database *db, const char *dir, const char *name, uint64_t *seq)
{
    char path[PATH_BYTES];
    struct import import = {.db = db, .name = name, .seq = *seq};
    snprintf(path, sizeof path, "%s/%s", dir, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    int rc = fd >= 0 ? import_open_file(&import, path, fd) : -errno;
    if (fd >= 0)
        close(fd);
    if (rc != 0)
        LOG(LOG_ERROR, "outbox: a spool file could not be taken in; it is tried again at the next start",
            LOG_STR("file", path), LOG_STR("error", err_text(rc)));
    else
        LOG(import.bad > 0 ? LOG_WARN : LOG_INFO, "outbox: a spool file was taken in", LOG_STR("file", path),
            LOG_INT("events", import.events), LOG_INT("bad_lines", import.bad));
    *seq = import.seq;
    json_events_fini(&import.scanned);
    buf_fini(&import.body);
    buf_fini(&import.lines);
    mem_free(import.ends);
    return rc == 0;
}

static int is_spool(const struct dirent *entry)
{
    static const char suffix[] = ".ndjson";
    size_t len = strlen(entry->d_name), suffix_len = sizeof suffix - 1;
    return len > suffix_len && strcmp(entry->d_name + len - suffix_len, suffix) == 0 &&
           strncmp(entry->d_name, "dead-letters.ndjson", sizeof "dead-letters.ndjson" - 1) != 0;
}

void spool_import(struct database *db, const char *dir, uint64_t *seq)
{
    struct dirent **names = NULL;
    int count = scandir(dir, &names, is_spool, alphasort); // the names begin with the time
    unsigned imported = 0;
    for (int i = 0; i < count; i++) {
        imported += import_file(db, dir, names[i]->d_name, seq);
        free(names[i]);
    }
    free(names);
    if (imported > 0) {
        int rc = files_sync_dir(dir);
        CRASH_POINT("import-after-rename");
        if (rc != 0)
            LOG(LOG_WARN, "outbox: cannot sync the directory", LOG_STR("error", err_text(rc)));
    }
}
