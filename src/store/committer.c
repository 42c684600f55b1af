// SPDX-License-Identifier: Apache-2.0
//
// The thread that writes. All that waits goes into one row and one commit, and what the pump has settled rides along;
// while that commit is under way the next batches gather, so the load itself makes commits larger. Only what SQLite has
// synced is answered.
//
// When a commit fails, its batches are answered with the reason and nothing is accepted until the store is well again.
// How it gets well depends on what failed:
//
// - Full, busy, no memory: SQLite has rolled back and the file is as it was. A small commit is tried each second.
// - An I/O error, a failed sync above all. The kernel may have dropped the pages that it could not write and will
//   report the next sync as a success, so what SQLite reads back from its log may be in memory only, and no later
//   success says otherwise. So both connections are closed and opened anew, the log is copied into the file and that is synced
//   (which writes every page of it once more), the file is checked, and the sums are read from what is there.
// - A damaged file: it is salvaged (store/salvage.c).

#include <errno.h>
#include <stdio.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "store/outbox.h"

#define SETTLE_DELAY_NS      (200 * NS_PER_MS)
#define SETTLE_DELAY_FULL_NS (2 * NS_PER_MS) // appends wait for the room
#define AGAIN_NS             NS_PER_S
#define AGAIN_DAMAGED_NS     (10 * NS_PER_S)
#define TELL_AGAIN_NS        (60 * NS_PER_S)
#define IDLE_NS              (5 * NS_PER_S)
#define SHRINK_STEP_NS       (50 * NS_PER_MS)
#define SHRINK_STEP_PAGES    256
#define SHRINK_KEPT_PAGES    512
#define SHRINK_FULL_STEP     8
#define SMALL_BYTES          (64 * 1024)
#define CHECKPOINT_PAGES     (4 * 1024 * 1024 / DATABASE_PAGE_BYTES)

// ---- Waking

void durable_wake_pump(struct durable *d)
{
    if (__atomic_load_n(&d->attached, __ATOMIC_ACQUIRE))
        d->pump.wake(d->pump.ctx);
}

void durable_mark_dirty(struct durable *d)
{
    if (d->dirty_since_ns != 0)
        return;
    d->dirty_since_ns = clock_mono_ns();
    if (d->asleep)
        pthread_cond_signal(&d->changed);
}

// ---- Failing and getting well

// What comes and goes (a sensor that sends a batch again and again for which the disk is too small) is told once a minute.
static void tell_failing(struct durable *d, int code)
{
    int64_t now_ns = clock_mono_ns();
    if (d->told || (code == d->told_code && now_ns < d->told_ns + TELL_AGAIN_NS))
        return;
    d->told = true;
    d->told_code = code;
    d->told_ns = now_ns;
    LOG(LOG_ERROR, "outbox: nothing is accepted", LOG_STR("error", d->reason), LOG_STR("dir", d->dir));
}

static void tell_well(struct durable *d)
{
    if (d->told)
        LOG(LOG_INFO, "outbox: well again");
    d->told = false;
}

void durable_fail(struct durable *d, int code, enum database_fault fault)
{
    bool was_well = __atomic_load_n(&d->failing, __ATOMIC_RELAXED) == 0;
    counter_add(&d->errors, 1);
    pthread_mutex_lock(&d->mutex);
    if (fault != DATABASE_DAMAGED)
        snprintf(d->reason, sizeof d->reason, "outbox: %s", err_text(code));
    else if (code == -EBADMSG)
        snprintf(d->reason, sizeof d->reason, "outbox: the file is damaged");
    else
        snprintf(d->reason, sizeof d->reason, "outbox: the file is damaged, and cannot be salvaged: %s",
                 err_text(code));
    __atomic_store_n(&d->failing, code, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&d->mutex);
    d->fault = fault;
    if (was_well || fault != d->tried_for)
        d->tries = 0;
    d->tried_for = fault;
    // What is damaged is looked at at once; only when that did not help is there a pause.
    int64_t pause_ns = fault != DATABASE_DAMAGED ? AGAIN_NS : d->tries == 0 ? 0 : AGAIN_DAMAGED_NS;
    d->again_ns = clock_mono_ns() + pause_ns;
    d->tries++;
    tell_failing(d, code);
}

// What is settled goes first: when nobody else makes room, the output does. So that it is room on the disk, the file
// gives back what it does not use, in steps that need little of what they are to make.
static int make_room(struct durable *d)
{
    int rc = 1;
    for (int64_t until_ns = clock_mono_ns() + NS_PER_S; rc == 1 && clock_mono_ns() < until_ns;) {
        rc = database_checkpoint(&d->writer, DATABASE_EMPTY_NOW);
        if (rc == 0)
            rc = database_shrink(&d->writer, 0, SHRINK_FULL_STEP);
    }
    if (rc >= 0)
        rc = database_checkpoint(&d->writer, DATABASE_EMPTY_NOW);
    return rc;
}

static int try_writing(struct durable *d)
{
    int rc = durable_commit(d, NULL);
    if (rc != 0)
        return rc; // and has failed anew
    uint64_t wanted = d->failed_bytes;
    if (wanted > durable_disk_room(d))
        rc = make_room(d);
    if (rc != 0 && d->writer.fault != DATABASE_RETRY) {
        durable_fail(d, rc, d->writer.fault);
        return rc;
    }
    if (wanted > SMALL_BYTES && d->disk_bytes == 0)
        wanted = SMALL_BYTES; // the outbox can make no more room, so others need not wait for a batch that is too large
    enum database_fault fault = DATABASE_RETRY;
    rc = wanted <= durable_disk_room(d) ? 0 : -ENOSPC;
    if (rc == 0) {
        rc = durable_finish_recovery(d);
        if (rc == 0)
            rc = database_probe(&d->writer);
        fault = d->writer.fault;
    }
    if (rc != 0)
        durable_fail(d, rc, fault);
    return rc;
}

static void try_again(struct durable *d)
{
    int rc;
    if (d->fault == DATABASE_RETRY && d->writer.handle != NULL) {
        rc = try_writing(d);
    } else {
        rc = durable_recover(d);
        if (rc != 0)
            durable_fail(d, rc, d->fault);
    }
    if (rc != 0)
        return;
    pthread_mutex_lock(&d->mutex);
    d->reason[0] = '\0';
    d->read_again_ns = 0; // what could not be read may be tried at once
    __atomic_store_n(&d->failing, 0, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&d->mutex);
    tell_well(d);
    durable_wake_pump(d);
}

// After the answers, so that only what is appended meanwhile waits for it.
static void tidy_up(struct durable *d)
{
    if (d->writer.handle == NULL || d->writer.wal_pages < CHECKPOINT_PAGES)
        return;
    int rc = database_checkpoint(&d->writer, DATABASE_SOME);
    if (rc != 0)
        durable_fail(d, rc, d->writer.fault);
}

// Nothing has happened for a while: unused pages go back to the disk, and then so does the log.
static void idle(struct durable *d)
{
    static struct log_limit limit;
    int rc = database_shrink(&d->writer, SHRINK_KEPT_PAGES, SHRINK_STEP_PAGES);
    if (rc == 1) {
        d->worked_ns = clock_mono_ns() - IDLE_NS + SHRINK_STEP_NS;
        tidy_up(d);
        return;
    }
    d->worked_ns = 0;
    if (rc == 0)
        rc = database_checkpoint(&d->writer, DATABASE_EMPTY_NOW);
    if (rc == 0)
        return;
    if (d->writer.fault != DATABASE_RETRY)
        durable_fail(d, rc, d->writer.fault);
    else if (log_limit_pass(&limit, 1, 1, NULL))
        LOG(LOG_WARN, "outbox: the file could not be tidied up", LOG_STR("error", err_text(rc)));
}

// ---- The thread

struct work {
    struct waiting *list;
    bool settle, again, wake_pump, idle, stop;
};

static void earlier(int64_t *due_ns, int64_t at_ns)
{
    if (*due_ns == 0 || at_ns < *due_ns)
        *due_ns = at_ns;
}

// Under the mutex. False: there is nothing to do before *due_ns (0: for as long as nobody wakes it).
static bool find_work(struct durable *d, struct work *work, int64_t *due_ns)
{
    int64_t now_ns = clock_mono_ns();
    *due_ns = 0;
    *work = (struct work){.list = d->waiting, .stop = d->stopping};
    bool failing = __atomic_load_n(&d->failing, __ATOMIC_RELAXED) != 0;
    if (failing)
        earlier(due_ns, d->again_ns);
    work->again = (failing && (now_ns >= d->again_ns || d->stopping)) || (!failing && d->wish > DATABASE_RETRY);
    if (d->dirty_since_ns != 0 && (!failing || d->stopping)) {
        int64_t at_ns = d->dirty_since_ns + (durable_is_full(d) ? SETTLE_DELAY_FULL_NS : SETTLE_DELAY_NS);
        work->settle = now_ns >= at_ns || d->stopping;
        earlier(due_ns, at_ns);
    }
    if (d->read_again_ns != 0) {
        work->wake_pump = now_ns >= d->read_again_ns;
        earlier(due_ns, d->read_again_ns);
    }
    if (d->worked_ns != 0 && !failing) {
        work->idle = now_ns >= d->worked_ns + IDLE_NS;
        earlier(due_ns, d->worked_ns + IDLE_NS);
    }
    return work->list != NULL || work->settle || work->again || work->wake_pump || work->idle || work->stop;
}

static void wait_for_work(struct durable *d, struct work *work)
{
    int64_t due_ns;
    pthread_mutex_lock(&d->mutex);
    while (!find_work(d, work, &due_ns)) {
        d->asleep = true;
        struct timespec due = {due_ns / NS_PER_S, due_ns % NS_PER_S};
        if (due_ns == 0)
            pthread_cond_wait(&d->changed, &d->mutex);
        else
            pthread_cond_timedwait(&d->changed, &d->mutex, &due);
        d->asleep = false;
    }
    d->waiting = NULL;
    d->waiting_last = &d->waiting;
    if (work->wake_pump)
        d->read_again_ns = 0;
    if (work->again && d->wish > DATABASE_RETRY) {
        d->fault = d->wish;
        d->wish = DATABASE_WELL;
    }
    pthread_mutex_unlock(&d->mutex);
}

static void do_work(struct durable *d, const struct work *work)
{
    if (work->again)
        try_again(d);
    int failing = __atomic_load_n(&d->failing, __ATOMIC_RELAXED);
    if (failing != 0)
        durable_answer(d, work->list, failing);
    else if (work->list != NULL || work->settle)
        (void)durable_commit(d, work->list);
    else if (work->idle)
        idle(d);
    if (work->wake_pump)
        durable_wake_pump(d);
    if (__atomic_load_n(&d->failing, __ATOMIC_RELAXED) == 0)
        tidy_up(d);
}

void *durable_commit_main(void *store)
{
    struct durable *d = store;
    struct work work;
    pthread_setname_np(pthread_self(), "committer");
    do {
        wait_for_work(d, &work);
        d->in_hand = work.list;
        do_work(d, &work);
        d->in_hand = NULL;
    } while (!work.stop);
    return NULL;
}
