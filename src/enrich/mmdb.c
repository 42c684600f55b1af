// SPDX-License-Identifier: Apache-2.0

#include "enrich/mmdb.h"

#include <errno.h>
#include <fcntl.h>
#include <maxminddb.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "enrich/metadata.h"

#ifndef MFD_NOEXEC_SEAL // Linux 6.3; some systems allow memfds with it only
#define MFD_NOEXEC_SEAL 0x0008U
#endif

#define COPY_BYTES ((size_t)256 * 1024)

// Of an IPv4 address, of whose 24 usual steps down the tree the table saves so many. One bit more is twice the memory.
#define FLAT_BITS   16
#define FLAT_PLACES ((size_t)1 << FLAT_BITS)

struct mmdb {
    MMDB_s lib;
    struct mmdb_metadata metadata;
    uint32_t *flat; // FLAT_PLACES: the record that the first bits of an IPv4 address lead to
    struct mmdb_info info;
};

static int new_memfd(struct err *err)
{
    unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
    int fd = memfd_create("loom-mmdb", flags | MFD_NOEXEC_SEAL);
    if (fd < 0 && errno == EINVAL)
        fd = memfd_create("loom-mmdb", flags);
    return fd >= 0 ? fd : err_set(err, -errno, "no private memory: %s", err_text(-errno));
}

static int write_all(int fd, const char *at, size_t len, struct err *err)
{
    while (len > 0) {
        ssize_t n = write(fd, at, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set(err, -errno, "no private memory: %s", err_text(-errno));
        at += n;
        len -= (size_t)n;
    }
    return 0;
}

static int copy_file(int from, int to, size_t size, struct err *err)
{
    char *chunk = mem_alloc(COPY_BYTES);
    int code = 0;
    while (size > 0 && code == 0) {
        ssize_t n = read(from, chunk, size < COPY_BYTES ? size : COPY_BYTES);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            code = err_set(err, -errno, "%s", err_text(-errno));
        } else if (n == 0) {
            code = err_set(err, ERR_DATABASE, "became shorter while it was read");
        } else {
            code = write_all(to, chunk, (size_t)n, err);
            size -= (size_t)n;
        }
    }
    mem_free(chunk);
    return code;
}

static int check_file(int fd, struct stat *st, struct err *err)
{
    if (fstat(fd, st) != 0)
        return err_set(err, -errno, "%s", err_text(-errno));
    if (S_ISDIR(st->st_mode))
        return err_set(err, -EISDIR, "%s", err_text(-EISDIR));
    if (!S_ISREG(st->st_mode))
        return err_set(err, ERR_DATABASE, "is not a regular file");
    if (st->st_size == 0)
        return err_set(err, ERR_DATABASE, "is empty");
    if ((uint64_t)st->st_size > MMDB_FILE_MAX)
        return err_set(err, -EFBIG, "is larger than 4 GiB");
    return 0;
}

static bool same_version(const struct stat *a, const struct stat *b)
{
    return a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
           a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

// The file's bytes in a new memfd, or a negative code.
static int load(const char *path, size_t *size, struct err *err)
{
    // O_NONBLOCK: a FIFO by mistake is refused rather than waited for.
    int memory = -1;
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file < 0)
        return err_set(err, -errno, "%s", err_text(-errno));

    struct stat before, after;
    int code = check_file(file, &before, err);
    if (code != 0)
        goto out;
    memory = new_memfd(err);
    if (memory < 0) {
        code = memory;
        goto out;
    }
    code = copy_file(file, memory, (size_t)before.st_size, err);
    if (code == 0 && (fstat(file, &after) != 0 || !same_version(&before, &after)))
        code = err_set(err, ERR_DATABASE, "was changed while it was read; a new version belongs in place by rename");
    *size = (size_t)before.st_size;
out:
    close(file);
    if (code != 0 && memory >= 0)
        close(memory);
    return code != 0 ? code : memory;
}

static int open_library(MMDB_s *lib, int memory, struct err *err)
{
    char path[64]; // the library opens by name only
    snprintf(path, sizeof path, "/proc/self/fd/%d", memory);
    int status = MMDB_open(path, MMDB_MODE_MMAP, lib);
    if (status == MMDB_SUCCESS)
        return 0;
    if (status == MMDB_FILE_OPEN_ERROR)
        return err_set(err, -errno, "%s: %s (is /proc mounted?)", path, err_text(-errno));
    return err_set(err, ERR_DATABASE, "%s", MMDB_strerror(status));
}

// For log lines and messages: what is no printable ASCII becomes '?'.
static char *printable(struct text text)
{
    char *copy = mem_alloc(text.len + 1); // not strndup: a zero byte may stand in it
    for (size_t i = 0; i < text.len; i++)
        copy[i] = text.at[i] >= ' ' && text.at[i] <= '~' ? text.at[i] : '?';
    copy[text.len] = '\0';
    return copy;
}

// Takes over the memfd. On failure `db` has nothing to release.
static int open_memory(struct mmdb *db, int memory, size_t size, struct err *err)
{
    int code;
    void *bytes = MAP_FAILED;
    if (fcntl(memory, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) != 0) {
        code = err_set(err, -errno, "private memory can't be sealed: %s", err_text(-errno));
        goto out;
    }
    bytes = mmap(NULL, size, PROT_READ, MAP_SHARED, memory, 0);
    if (bytes == MAP_FAILED) {
        code = err_set(err, -errno, "%s", err_text(-errno));
        goto out;
    }
    code = mmdb_metadata_read(bytes, size, &db->metadata, err);
    if (code == 0)
        code = open_library(&db->lib, memory, err);
    if (code == 0)
        db->info.type = printable(db->metadata.type);
    db->metadata.type = (struct text){0}; // pointed into this mapping
out:
    if (bytes != MAP_FAILED)
        munmap(bytes, size);
    close(memory); // the library's mapping keeps the memory
    return code;
}

// Follows the tree from a record for `count` bits, the top ones of `bits`, or until the record is no node.
static uint32_t walk(const struct mmdb *db, uint32_t record, uint64_t bits, unsigned count)
{
    for (; count > 0 && record < db->metadata.node_count; count--) {
        record = mmdb_tree_record(db->lib.file_content, &db->metadata, record, (unsigned)(bits >> 63));
        bits <<= 1;
    }
    return record;
}

// Fills `count` places of the table, a power of two, with what the addresses below `record` lead to.
static void fill_flat(const struct mmdb *db, uint32_t *places, size_t count, uint32_t record)
{
    if (count > 1 && record < db->metadata.node_count) {
        fill_flat(db, places, count / 2, walk(db, record, 0, 1));
        fill_flat(db, places + count / 2, count / 2, walk(db, record, UINT64_MAX, 1));
        return;
    }
    for (size_t i = 0; i < count; i++)
        places[i] = record;
}

static int open_as(const char *name, int memory, size_t size, struct mmdb **out, struct err *err)
{
    struct mmdb *db = mem_zalloc(sizeof *db);
    int code = open_memory(db, memory, size, err);
    if (code != 0) {
        mem_free(db);
        return code;
    }
    db->flat = mem_array(FLAT_PLACES, sizeof *db->flat);
    fill_flat(db, db->flat, FLAT_PLACES, db->metadata.ip_version == 6 ? walk(db, 0, 0, 96) : 0); // IPv4 is ::/96
    db->info.path = mem_strdup(name);
    db->info.build_epoch = db->metadata.build_epoch;
    db->info.bytes = size;
    db->info.ip_version = db->metadata.ip_version;
    *out = db;
    return 0;
}

int mmdb_open(const char *path, struct mmdb **out, struct err *err)
{
    size_t size = 0;
    int memory = load(path, &size, err);
    int code = memory >= 0 ? open_as(path, memory, size, out, err) : memory;
    if (code != 0)
        err_prefix(err, "%s", path);
    return code;
}

int mmdb_open_bytes(const char *name, const void *bytes, size_t size, struct mmdb **out, struct err *err)
{
    if (size == 0)
        return err_set(err, ERR_DATABASE, "%s: is empty", name);
    if (size > MMDB_FILE_MAX)
        return err_set(err, -EFBIG, "%s: is larger than 4 GiB", name);
    int memory = new_memfd(err);
    int code = memory >= 0 ? write_all(memory, bytes, size, err) : memory;
    if (code == 0)
        code = open_as(name, memory, size, out, err);
    else if (memory >= 0)
        close(memory);
    if (code != 0)
        err_prefix(err, "%s", name);
    return code;
}

void mmdb_close(struct mmdb *db)
{
    if (db == NULL)
        return;
    MMDB_close(&db->lib);
    mem_free(db->flat);
    mem_free(db->info.path);
    mem_free(db->info.type);
    mem_free(db);
}

const struct mmdb_info *mmdb_info(const struct mmdb *db)
{
    return &db->info;
}

bool mmdb_lacks_language(const struct mmdb *db, struct text language)
{
    const char **names = db->lib.metadata.languages.names;
    size_t count = db->lib.metadata.languages.count;
    for (size_t i = 0; i < count; i++) {
        if (text_eq(text_of(names[i]), language))
            return false;
    }
    return count > 0;
}

// Of a record that is neither a node nor "nothing here". mmdb_metadata_read has seen that it leads into the data section.
static mmdb_entry entry_of(const struct mmdb *db, uint32_t record)
{
    return record - db->metadata.node_count - MMDB_SEPARATOR_BYTES + 1;
}

mmdb_entry mmdb_find(const struct mmdb *db, struct ip ip)
{
    uint32_t record;
    if (ip_is_v4(ip)) {
        record = db->flat[(uint32_t)ip.low >> (32 - FLAT_BITS)];
        record = walk(db, record, ip.low << (32 + FLAT_BITS), 32 - FLAT_BITS);
    } else {
        // In an IPv6 file ::a.b.c.d would lead to what is known of a.b.c.d, which is another address.
        if (db->info.ip_version == 4 || ip_is_v4_compatible(ip))
            return MMDB_ENTRY_NONE;
        record = walk(db, 0, ip.high, 64);
        record = walk(db, record, ip.low, 64);
    }
    if (record > db->metadata.node_count)
        return entry_of(db, record);
    return record == db->metadata.node_count ? MMDB_ENTRY_NONE : MMDB_ENTRY_BROKEN;
}

struct mmdb_reader mmdb_reader(const struct mmdb *db)
{
    return (struct mmdb_reader){db->lib.data_section, db->metadata.data_bytes, MMDB_RECORD_STEPS};
}

size_t mmdb_sample(const struct mmdb *db, mmdb_entry *entries, size_t max)
{
    const struct mmdb_metadata *metadata = &db->metadata;
    uint64_t records = (uint64_t)metadata->node_count * 2;
    uint64_t stride = records / max + 1;
    size_t count = 0;
    for (uint64_t from = 0; from < records && count < max; from += stride) {
        // The first of each stretch; a stretch may lead to other nodes or to nothing only.
        for (uint64_t i = from; i < from + stride && i < records; i++) {
            uint32_t record = mmdb_tree_record(db->lib.file_content, metadata, (uint32_t)(i / 2), i % 2);
            if (record > metadata->node_count) {
                entries[count++] = entry_of(db, record);
                break;
            }
        }
    }
    return count;
}
