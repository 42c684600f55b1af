// SPDX-License-Identifier: Apache-2.0
#include "yard.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#define PATIENCE_S 60

void yard_on_answer(struct mail *mail)
{
    struct yard_batch *own = (struct yard_batch *)mail;
    struct yard *yard = (struct yard *)((char *)own->batch.home - offsetof(struct yard, home));
    yard->status[own->number] = own->batch.status;
    yard->answered++;
    yard->refused += own->batch.status != 0;
    buf_fini(&own->batch.lines);
    mem_free(own->batch.ends);
    mem_free(own);
}

static void count_wake(void *ctx)
{
    __atomic_fetch_add((unsigned *)ctx, 1, __ATOMIC_RELAXED);
}

static void no_wake(void *ctx)
{
    (void)ctx;
}

static bool is_delivering(void *ctx)
{
    (void)ctx;
    return true;
}

int yard_setup(void **state)
{
    log_setup(getenv("YARD_LOG") != NULL ? LOG_INFO : LOG_ERROR + 1, LOG_CONSOLE);
    struct yard *yard = mem_zalloc(sizeof *yard);
    const char *tmp = getenv("TMPDIR");
    snprintf(yard->dir, sizeof yard->dir, "%s/loom-yard-XXXXXX", tmp != NULL ? tmp : "/tmp");
    assert_non_null(mkdtemp(yard->dir));
    yard->conf =
        (struct conf_outbox){.enabled = true, .dir = yard->dir, .max_bytes = 1 << 30, .when_full = (char *)"reject"};
    mailbox_init(&yard->home, no_wake, yard);
    for (unsigned i = 0; i < YARD_BATCHES; i++)
        yard->status[i] = 1;
    *state = yard;
    return 0;
}

int yard_teardown(void **state)
{
    struct yard *yard = *state;
    if (yard->store != NULL)
        yard_close(yard);
    DIR *dir = opendir(yard->dir);
    for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
        char path[256];
        yard_path(yard, entry->d_name, path);
        if (entry->d_name[0] != '.')
            unlink(path);
    }
    if (dir != NULL)
        closedir(dir);
    rmdir(yard->dir);
    mem_free(yard);
    return 0;
}

int yard_try_open(struct yard *yard, struct err *err)
{
    int rc = store_durable_open(&yard->conf, &yard->store, err);
    if (rc != 0)
        return rc;
    yard->store->ops->attach(yard->store, &(struct store_reader){count_wake, is_delivering, &yard->wakes});
    return 0;
}

void yard_open(struct yard *yard)
{
    struct err err = {0};
    if (yard_try_open(yard, &err) != 0)
        fail_msg("open: %s", err.text);
}

void yard_close(struct yard *yard)
{
    yard->store->ops->close(yard->store);
    yard->store = NULL;
    (void)mailbox_run(&yard->home);
}

struct batch_id yard_id(unsigned number)
{
    return (struct batch_id){.low = number * 3 + 1, .high = ~(uint64_t)number};
}

static void write_event(struct buf *lines, unsigned number, uint32_t i)
{
    buf_printf(lines, "{\"batch\":%u,\"event\":%u,\"text\":\"%0*d\"}\n", number, i, (int)(i % 40) + 1, 7);
}

int yard_try_push(struct yard *yard, unsigned number, uint32_t events)
{
    assert_true(number < YARD_BATCHES);
    struct yard_batch *own = mem_zalloc(sizeof *own);
    struct batch *batch = &own->batch;
    own->number = number;
    batch->mail.run = yard_on_answer;
    batch->home = &yard->home;
    batch->sensor = "sensor-1";
    batch->arrived_real_ns = 1000000 + number;
    batch->id = yard_id(number);
    batch->count = events;
    batch->ends = mem_array(events, sizeof *batch->ends);
    for (uint32_t i = 0; i < events; i++) {
        write_event(&batch->lines, number, i);
        batch->ends[i] = (uint32_t)batch->lines.len;
    }
    int rc = store_append(yard->store, batch);
    if (rc != 0) {
        buf_fini(&batch->lines);
        mem_free(batch->ends);
        mem_free(own);
    }
    return rc;
}

void yard_push(struct yard *yard, unsigned number, uint32_t events)
{
    assert_int_equal(yard_try_push(yard, number, events), 0);
}

static bool wait_until(bool (*done)(struct yard *yard, uint64_t arg), struct yard *yard, uint64_t arg)
{
    int64_t until_ns = clock_mono_ns() + PATIENCE_S * NS_PER_S;
    while (!done(yard, arg)) {
        if (clock_mono_ns() > until_ns)
            return false;
        usleep(500);
    }
    return true;
}

static bool have_answers(struct yard *yard, uint64_t count)
{
    (void)mailbox_run(&yard->home);
    return yard->answered >= count;
}

void yard_wait_answers(struct yard *yard, unsigned count)
{
    assert_true(wait_until(have_answers, yard, count));
}

void yard_append(struct yard *yard, unsigned number, uint32_t events)
{
    unsigned before = yard->answered;
    yard_push(yard, number, events);
    store_kick(yard->store);
    yard_wait_answers(yard, before + 1);
}

struct batch *yard_take_any(struct yard *yard)
{
    struct batch *batch;
    return yard->store->ops->take(yard->store, &batch, 1) == 1 ? batch : NULL;
}

struct batch *yard_take_one(struct yard *yard)
{
    struct batch *batch = NULL;
    int64_t until_ns = clock_mono_ns() + PATIENCE_S * NS_PER_S;
    while ((batch = yard_take_any(yard)) == NULL) {
        assert_true(clock_mono_ns() < until_ns);
        usleep(500);
    }
    return batch;
}

void yard_settle_open(struct yard *yard, struct batch *batch)
{
    uint32_t left = batch->count - batch->settled, first = 0, at = 0;
    assert_true(left > 0);
    while (left > 0) { // with the last one the batch is gone
        uint32_t open = yard->store->ops->next_open(yard->store, batch, at, &first);
        assert_in_range(open, 1, left);
        left -= open;
        at = first + open;
        yard->store->ops->settle(yard->store, batch, first, open, VERDICT_DELIVERED);
    }
}

void yard_assert_empty(struct yard *yard)
{
    assert_null(yard_take_any(yard));
}

unsigned yard_number(const struct batch *batch)
{
    unsigned number = (unsigned)~batch->id.high;
    assert_true(batch->id.low == yard_id(number).low);
    assert_true(batch->arrived_real_ns == 1000000 + (int64_t)number);
    assert_string_equal(batch->sensor, "sensor-1");
    struct buf line = BUF_EMPTY;
    for (uint32_t i = 0; i < batch->count; i++) {
        line.len = 0;
        write_event(&line, number, i);
        assert_true(text_eq(batch_event(batch, i), (struct text){line.data, line.len}));
    }
    buf_fini(&line);
    return number;
}

void yard_assert_batch(const struct batch *batch, unsigned number, uint32_t events)
{
    assert_int_equal(yard_number(batch), number);
    assert_int_equal(batch->count, events);
}

void yard_take_and_settle(struct yard *yard, unsigned number, uint32_t events)
{
    struct batch *batch = yard_take_one(yard);
    yard_assert_batch(batch, number, events);
    yard_settle_open(yard, batch);
}

struct store_stats yard_stats(struct yard *yard)
{
    struct store_stats stats;
    yard->store->ops->stats(yard->store, &stats);
    return stats;
}

static bool has_bytes(struct yard *yard, uint64_t bytes)
{
    return yard_stats(yard).bytes == bytes;
}

void yard_wait_bytes(struct yard *yard, uint64_t bytes)
{
    assert_true(wait_until(has_bytes, yard, bytes));
}

static bool has_at_most(struct yard *yard, uint64_t bytes)
{
    return yard_stats(yard).bytes <= bytes;
}

void yard_wait_bytes_at_most(struct yard *yard, uint64_t bytes)
{
    assert_true(wait_until(has_at_most, yard, bytes));
}

void yard_assert_refuses(struct yard *yard, const char *reason)
{
    struct store_health health;
    assert_false(store_accepts(yard->store));
    yard->store->ops->health(yard->store, &health);
    assert_false(health.accepts);
    assert_string_equal(health.reason, reason);
    assert_int_equal(yard_try_push(yard, YARD_BATCHES - 1, 1), -EAGAIN);
}

static bool accepts(struct yard *yard, uint64_t arg)
{
    (void)arg;
    return store_accepts(yard->store);
}

void yard_wait_well(struct yard *yard)
{
    struct store_health health;
    assert_true(wait_until(accepts, yard, 0));
    yard->store->ops->health(yard->store, &health);
    assert_true(health.accepts);
    assert_string_equal(health.reason, "");
}

void yard_path(const struct yard *yard, const char *name, char out[256])
{
    snprintf(out, 256, "%s/%s", yard->dir, name);
}

unsigned yard_count_files(const struct yard *yard, const char *prefix)
{
    unsigned count = 0;
    DIR *dir = opendir(yard->dir);
    assert_non_null(dir);
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;)
        count += strncmp(entry->d_name, prefix, strlen(prefix)) == 0;
    closedir(dir);
    return count;
}
