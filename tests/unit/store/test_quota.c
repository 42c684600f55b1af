// SPDX-License-Identifier: Apache-2.0
//
// output.outbox.max_bytes, in both modes of when_full; and who may use a directory.

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/mem.h"
#include "yard.h"

static struct store_health health_of(struct yard *yard)
{
    struct store_health health;
    yard->store->ops->health(yard->store, &health);
    return health;
}

static void full_refuses_until_there_is_room(void **state)
{
    struct yard *yard = *state;
    yard->conf.max_bytes = 20000;
    yard_open(yard);
    unsigned appended = 0;
    while (yard_try_push(yard, appended, 50) == 0) {
        store_kick(yard->store);
        yard_wait_answers(yard, ++appended);
        assert_true(appended < 1000);
    }
    assert_true(appended > 2);
    assert_int_equal(yard_try_push(yard, appended, 50), -EAGAIN);
    assert_false(store_accepts(yard->store));
    struct store_health health = health_of(yard);
    assert_false(health.accepts);
    assert_string_equal(health.reason, "outbox: full (20000 bytes)");
    struct store_stats stats = yard_stats(yard);
    assert_int_equal(stats.bytes_max, 20000);
    assert_in_range(stats.bytes, 15000, 20000);
    assert_int_equal(stats.batches, appended);
    assert_int_equal(stats.dropped_events, 0);

    // One goes out, one comes in.
    struct batch *batch = yard_take_one(yard);
    yard_assert_batch(batch, 0, 50);
    uint64_t bytes = stats.bytes;
    yard->store->ops->settle(yard->store, batch, 0, 50, VERDICT_DELIVERED);
    yard_wait_bytes_at_most(yard, bytes - 1);
    assert_true(store_accepts(yard->store));
    assert_true(health_of(yard).accepts);
    assert_string_equal(health_of(yard).reason, "");
    yard_append(yard, appended, 50);
    assert_int_equal(yard->refused, 0);
    yard_close(yard);

    // What is on disk counts after a start, too.
    yard_open(yard);
    assert_int_equal(yard_stats(yard).batches, appended);
    assert_int_equal(yard_try_push(yard, appended + 1, 50), -EAGAIN);
    for (unsigned i = 1; i <= appended; i++) {
        batch = yard_take_one(yard);
        yard_assert_batch(batch, i, 50);
        yard->store->ops->give_back(yard->store, batch);
    }
}

static void larger_than_the_outbox(void **state)
{
    struct yard *yard = *state;
    yard->conf.max_bytes = 1000;
    yard_open(yard);
    assert_int_equal(yard_try_push(yard, 0, 500), -EFBIG);
    assert_true(store_accepts(yard->store)); // for others there is room
    yard_append(yard, 1, 1);
    assert_int_equal(yard->status[1], 0);
    yard_close(yard);
}

static void oldest_are_dropped(void **state)
{
    struct yard *yard = *state;
    yard->conf.max_bytes = 20000;
    yard->conf.when_full = (char *)"drop_oldest";
    yard_open(yard);
    yard_append(yard, 0, 50);
    yard_append(yard, 1, 50);
    struct batch *first = yard_take_one(yard), *second = yard_take_one(yard);
    yard->store->ops->settle(yard->store, first, 0, 10, VERDICT_DELIVERED);
    for (unsigned i = 2; i < 100; i++) {
        yard_append(yard, i, 50);
        assert_true(yard_stats(yard).bytes <= 20000);
        assert_true(store_accepts(yard->store));
    }
    assert_int_equal(yard->refused, 0);
    struct store_stats stats = yard_stats(yard);
    assert_int_equal(stats.events, 100 * 50 - 10 - stats.dropped_events);
    assert_int_equal(stats.events, stats.batches * 50);

    // What was dropped at the pump's is memory of the pump, and settling it changes nothing any more.
    yard_assert_batch(first, 0, 50);
    yard_assert_batch(second, 1, 50);
    yard->store->ops->settle(yard->store, first, 10, 40, VERDICT_DELIVERED);
    yard->store->ops->settle(yard->store, second, 0, 50, VERDICT_REJECTED);
    assert_int_equal(yard_stats(yard).events, stats.events);
    assert_int_equal(yard_stats(yard).batches, stats.batches);

    // The newest are there, in order.
    for (unsigned i = 100 - (unsigned)stats.batches; i < 100; i++) {
        struct batch *batch = yard_take_one(yard);
        yard_assert_batch(batch, i, 50);
        yard->store->ops->settle(yard->store, batch, 0, 50, VERDICT_DELIVERED);
    }
    yard_assert_empty(yard);
    yard_wait_bytes(yard, 0);
    stats = yard_stats(yard);
    assert_int_equal(stats.events, 0);
    assert_int_equal(stats.batches, 0);
    yard_close(yard);
}

static void second_process_is_refused(void **state)
{
    struct yard *yard = *state;
    struct err err = {0};
    struct store *other;
    yard_open(yard);
    assert_int_equal(store_durable_open(&yard->conf, &other, &err), -EBUSY);
    assert_non_null(strstr(err.text, yard->dir));
    assert_non_null(strstr(err.text, "another Loom"));
    char pid[32];
    snprintf(pid, sizeof pid, "process %d", (int)getpid());
    assert_non_null(strstr(err.text, pid));
    yard_append(yard, 0, 1); // the first is as well as before
    assert_int_equal(yard->status[0], 0);
    yard_close(yard);
    yard_open(yard);
    yard_close(yard);
}

static void directory_is_made_for_the_owner_alone(void **state)
{
    struct yard *yard = *state;
    struct stat st;
    char dir[128], path[256];
    snprintf(dir, sizeof dir, "%s/inner", yard->dir);
    yard->conf.dir = dir;
    yard_open(yard);
    yard_append(yard, 0, 1);
    assert_int_equal(stat(dir, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    static const char *const names[] = {"outbox.db", "outbox.db-wal", "outbox.db-shm", "lock"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0600);
    }
    yard_close(yard);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        unlink(path);
    }
    assert_int_equal(rmdir(dir), 0); // nothing else was left
}

static void assert_unusable(struct yard *yard, int code, const char *advice)
{
    struct err err = {0};
    assert_int_equal(yard_try_open(yard, &err), code);
    assert_non_null(strstr(err.text, "output.outbox.dir"));
    assert_non_null(strstr(err.text, yard->conf.dir));
    if (strstr(err.text, advice) == NULL)
        fail_msg("no \"%s\" in: %s", advice, err.text);
}

static void unusable_directories_say_what_to_do(void **state)
{
    struct yard *yard = *state;
    char path[256];
    yard_path(yard, "no/such", path);
    yard->conf.dir = path;
    assert_unusable(yard, -ENOENT, "make its parent directory");

    yard_path(yard, "file", path);
    close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    assert_unusable(yard, -ENOTDIR, "set output.outbox.dir");
    unlink(path);

    char long_name[5000];
    memset(long_name, 'x', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = '\0';
    yard->conf.dir = long_name;
    struct err err = {0};
    assert_int_equal(yard_try_open(yard, &err), -ENAMETOOLONG);
}

static void foreign_directory(void **state)
{
    struct yard *yard = *state;
    if (geteuid() == 0)
        skip(); // may write everywhere
    chmod(yard->dir, 0500);
    assert_unusable(yard, -EACCES, "chown");
    chmod(yard->dir, 0700);
}

int main(void)
{
#define YARD_TEST(name) cmocka_unit_test_setup_teardown(name, yard_setup, yard_teardown)
    const struct CMUnitTest tests[] = {
        YARD_TEST(full_refuses_until_there_is_room),
        YARD_TEST(larger_than_the_outbox),
        YARD_TEST(oldest_are_dropped),
        YARD_TEST(second_process_is_refused),
        YARD_TEST(directory_is_made_for_the_owner_alone),
        YARD_TEST(unusable_directories_say_what_to_do),
        YARD_TEST(foreign_directory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
