// SPDX-License-Identifier: Apache-2.0
#include "store/durable.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "store/files.h"
#include "store/outbox.h"

// The workers' side, and the two ends. A record is made, with compression and checksum, on the thread that appends, so
// that this scales over the workers; the committer (store/committer.c) only puts records together.

#define DIR_BYTES_MAX 3900 // so that all names in it can be opened

static struct durable *durable_of(struct store *store)
{
    return (struct durable *)store;
}

static void durable_attach(struct store *store, const struct store_reader *reader)
{
    struct durable *d = durable_of(store);
    d->pump = *reader;
    __atomic_store_n(&d->attached, true, __ATOMIC_RELEASE);
    durable_wake_pump(d); // for what an earlier run has left
}

// ---- Accepting

// Full is the store for whom it had no room the last time, too: small batches do not fill again and again what a
// large one waits for.
bool durable_is_full(struct durable *d)
{
    uint64_t used =
        __atomic_load_n(&d->disk_bytes, __ATOMIC_RELAXED) + __atomic_load_n(&d->waiting_bytes, __ATOMIC_RELAXED);
    return !d->drop_oldest &&
           (used >= d->max_bytes || used + __atomic_load_n(&d->refused_bytes, __ATOMIC_RELAXED) > d->max_bytes);
}

static int durable_why_not(struct durable *d)
{
    if (__atomic_load_n(&d->draining, __ATOMIC_ACQUIRE))
        return -ESHUTDOWN;
    if (__atomic_load_n(&d->failing, __ATOMIC_ACQUIRE) != 0 || durable_is_full(d))
        return -EAGAIN;
    return 0;
}

static bool durable_accepts(struct store *store)
{
    return durable_why_not(durable_of(store)) == 0;
}

static void durable_health(struct store *store, struct store_health *out)
{
    struct durable *d = durable_of(store);
    *out = (struct store_health){.accepts = true};
    pthread_mutex_lock(&d->mutex);
    if (__atomic_load_n(&d->failing, __ATOMIC_RELAXED) != 0) {
        out->accepts = false;
        snprintf(out->reason, sizeof out->reason, "%s", d->reason);
    } else if (durable_is_full(d)) {
        out->accepts = false;
        snprintf(out->reason, sizeof out->reason, "outbox: full (%llu bytes)", (unsigned long long)d->max_bytes);
    }
    pthread_mutex_unlock(&d->mutex);
}

static int too_large(struct durable *d, uint64_t bytes)
{
    static struct log_limit limit;
    if (log_limit_pass(&limit, 1, 1, NULL))
        LOG(LOG_ERROR, "outbox: a batch is larger than the outbox may become", LOG_INT("bytes", bytes),
            LOG_INT("max_bytes", d->max_bytes));
    return -EFBIG;
}

static int reserve_bytes(struct durable *d, uint64_t bytes)
{
    if (bytes > d->max_bytes)
        return too_large(d, bytes);
    uint64_t waiting = __atomic_add_fetch(&d->waiting_bytes, bytes, __ATOMIC_RELAXED);
    if (d->drop_oldest || waiting + __atomic_load_n(&d->disk_bytes, __ATOMIC_RELAXED) <= d->max_bytes) {
        // There was room for what had been refused, or this would not have come here: it is waited for no longer.
        if (__atomic_load_n(&d->refused_bytes, __ATOMIC_RELAXED) != 0)
            __atomic_store_n(&d->refused_bytes, 0, __ATOMIC_RELAXED);
        return 0;
    }
    __atomic_fetch_sub(&d->waiting_bytes, bytes, __ATOMIC_RELAXED);
    __atomic_store_n(&d->refused_bytes, bytes, __ATOMIC_RELAXED);
    return -EAGAIN;
}

static int durable_append(struct store *store, struct batch *batch)
{
    struct durable *d = durable_of(store);
    INVARIANT(batch->count > 0);
    int rc = durable_why_not(d);
    if (rc != 0)
        return rc;
    size_t bound = record_bound(batch);
    if (bound == 0)
        return too_large(d, batch->lines.len);
    struct waiting *waiting = mem_try_alloc(sizeof *waiting + bound);
    if (waiting == NULL)
        return -ENOMEM;
    *waiting = (struct waiting){.batch = batch};
    waiting->len = record_encode(batch, waiting->record);
    rc = reserve_bytes(d, waiting->len);
    if (rc != 0) {
        mem_free(waiting);
        return rc;
    }
    struct waiting *smaller = mem_try_realloc(waiting, sizeof *waiting + waiting->len);
    waiting = smaller != NULL ? smaller : waiting;

    pthread_mutex_lock(&d->mutex);
    *d->waiting_last = waiting;
    d->waiting_last = &waiting->next;
    __atomic_fetch_add(&d->batches, 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&d->events, batch->count, __ATOMIC_RELAXED);
    pthread_mutex_unlock(&d->mutex);
    return 0;
}

static void durable_kick(struct store *store)
{
    struct durable *d = durable_of(store);
    pthread_mutex_lock(&d->mutex);
    if (d->asleep && d->waiting != NULL)
        pthread_cond_signal(&d->changed);
    pthread_mutex_unlock(&d->mutex);
}

static void durable_stats(struct store *store, struct store_stats *out)
{
    struct durable *d = durable_of(store);
    *out = (struct store_stats){
        .batches = __atomic_load_n(&d->batches, __ATOMIC_RELAXED),
        .events = __atomic_load_n(&d->events, __ATOMIC_RELAXED),
        .bytes = __atomic_load_n(&d->disk_bytes, __ATOMIC_RELAXED),
        .bytes_max = d->max_bytes,
        .oldest_real_ns = __atomic_load_n(&d->oldest_real_ns, __ATOMIC_RELAXED),
        .commits = counter_get(&d->commits),
        .dropped_events = counter_get(&d->dropped_events),
        .damaged_records = counter_get(&d->damaged_records),
        .later_events = counter_get(&d->later_events),
        .errors = counter_get(&d->errors),
    };
    for (int i = 0; i <= HISTOGRAM_BUCKETS; i++) {
        out->commit_ns.buckets[i] = counter_get(&d->commit_ns.buckets[i]);
        out->commit_batches.buckets[i] = counter_get(&d->commit_batches.buckets[i]);
    }
    out->commit_ns.sum = counter_get(&d->commit_ns.sum);
    out->commit_batches.sum = counter_get(&d->commit_batches.sum);
}

static void durable_drain(struct store *store)
{
    __atomic_store_n(&durable_of(store)->draining, true, __ATOMIC_RELEASE);
}

// ---- The ends

static void durable_free(struct durable *d)
{
    durable_reading_fini(d);
    database_close(&d->reader);
    database_close(&d->writer);
    durable_recent_forget(d);
    durable_rows_free(&d->rows);
    struct damage **lists[] = {&d->damage, &d->damage_now};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        while (*lists[i] != NULL) {
            struct damage *next = (*lists[i])->next;
            mem_free(*lists[i]);
            *lists[i] = next;
        }
    }
    if (d->lock_fd >= 0)
        close(d->lock_fd);
    buf_fini(&d->row_buf);
    pthread_cond_destroy(&d->changed);
    pthread_mutex_destroy(&d->mutex);
    pthread_mutex_destroy(&d->read_mutex);
    mem_free(d->dir);
    mem_free(d->path);
    mem_free(d);
}

static void durable_close(struct store *store)
{
    struct durable *d = durable_of(store);
    durable_drain(store);
    pthread_mutex_lock(&d->mutex);
    d->stopping = true;
    pthread_cond_signal(&d->changed);
    pthread_mutex_unlock(&d->mutex);
    pthread_join(d->thread, NULL);
    // The log is brought home, so that the next start has little to do. It need not be: all of it is synced.
    database_close(&d->reader);
    if (d->writer.handle != NULL && __atomic_load_n(&d->failing, __ATOMIC_RELAXED) == 0)
        (void)database_checkpoint(&d->writer, DATABASE_EMPTY_NOW);
    durable_free(d);
}

static int not_usable(struct err *err, const char *dir, int code)
{
    const char *what_to_do =
        code == -ENOENT || code == -ENOTDIR
            ? "make its parent directory, or set output.outbox.dir"
            : "give it to the user that Loom runs as (chown -R USER DIR; in a systemd unit StateDirectory=loom makes "
              "/var/lib/loom), or set output.outbox.dir";
    return err_set(err, code, "output.outbox.dir: cannot write in %s: %s; %s", dir, err_text(code), what_to_do);
}

// The lock is the kernel's and ends with the process; what stands in the file is for people.
static int take_lock(struct durable *d, struct err *err)
{
    char path[DIR_BYTES_MAX + sizeof "/lock"];
    if (strlen(d->dir) > DIR_BYTES_MAX)
        return not_usable(err, d->dir, -ENAMETOOLONG);
    snprintf(path, sizeof path, "%s/lock", d->dir);
    if (mkdir(d->dir, 0700) == 0)
        (void)files_sync_parent(d->dir);
    else if (errno != EEXIST)
        return not_usable(err, d->dir, -errno);
    d->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (d->lock_fd < 0)
        return not_usable(err, d->dir, -errno);
    if (flock(d->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK)
            return not_usable(err, d->dir, -errno);
        char pid[24] = "";
        ssize_t len = pread(d->lock_fd, pid, sizeof pid - 1, 0);
        pid[len > 0 ? len : 0] = '\0';
        pid[strspn(pid, "0123456789")] = '\0';
        return err_set(err, -EBUSY,
                       "output.outbox.dir: another Loom uses %s (process %s); end it first, or set another directory",
                       d->dir, pid[0] != '\0' ? pid : "unknown");
    }
    char text[24];
    int len = snprintf(text, sizeof text, "%ld\n", (long)getpid());
    if (ftruncate(d->lock_fd, 0) != 0 || pwrite(d->lock_fd, text, (size_t)len, 0) != len)
        LOG(LOG_DEBUG, "outbox: the lock has no process number"); // a full disk: the lock itself holds
    return 0;
}

static struct durable *durable_new(const struct conf_outbox *conf)
{
    static const struct store_ops ops = {
        .name = "durable",
        .durable = true,
        .attach = durable_attach,
        .accepts = durable_accepts,
        .health = durable_health,
        .append = durable_append,
        .kick = durable_kick,
        .take = durable_take,
        .next_open = durable_next_open,
        .settle = durable_settle,
        .give_back = durable_give_back,
        .stats = durable_stats,
        .drain = durable_drain,
        .close = durable_close,
    };
    struct durable *d = mem_zalloc(sizeof *d);
    d->store.ops = &ops;
    d->dir = mem_strdup(conf->dir);
    size_t path_len = strlen(conf->dir) + sizeof "/outbox.db";
    d->path = mem_alloc(path_len);
    snprintf(d->path, path_len, "%s/outbox.db", conf->dir);
    d->max_bytes = (uint64_t)conf->max_bytes;
    d->drop_oldest = strcmp(conf->when_full, "drop_oldest") == 0;
    d->lock_fd = -1;
    d->waiting_last = &d->waiting;
    TAILQ_INIT(&d->rows);
    TAILQ_INIT(&d->recent);
    pthread_mutex_init(&d->mutex, NULL);
    pthread_mutex_init(&d->read_mutex, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&d->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    return d;
}

static int start_thread(struct durable *d)
{
    sigset_t all, before; // signals are the main thread's
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = -pthread_create(&d->thread, NULL, durable_commit_main, d);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}

int store_durable_open(const struct conf_outbox *conf, struct store **out, struct err *err)
{
    struct durable *d = durable_new(conf);
    int rc = take_lock(d, err);
    if (rc == 0) {
        // What a person has to repair before a start is of use is an error. All else the committer repairs, in time.
        rc = durable_recover(d);
        if (rc == -EACCES || rc == -EROFS || rc == -EPERM || rc == -EISDIR || rc == -ELOOP) {
            not_usable(err, d->path, rc);
        } else if (rc == ERR_LATER) {
            err_set(err, rc, "output.outbox.dir: cannot use %s: %s", d->path, err_text(rc));
        } else {
            if (rc != 0)
                durable_fail(d, rc, d->fault);
            rc = start_thread(d);
            if (rc != 0)
                err_set(err, rc, "outbox: cannot start a thread: %s", err_text(rc));
        }
    }
    if (rc != 0) {
        durable_free(d);
        return rc;
    }
    *out = &d->store;
    return 0;
}
