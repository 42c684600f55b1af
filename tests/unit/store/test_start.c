// SPDX-License-Identifier: Apache-2.0
//
// What a start finds: the files of a process that was killed, a log that is damaged, a salvage that was cut short, spool
// files of the Go implementation.

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "store/files.h"
#include "yard.h"

// In the place of the C library's.
static bool renames_fail;
int rename(const char *from, const char *to)
{
    if (renames_fail) {
        errno = EACCES;
        return -1;
    }
    return renameat(AT_FDCWD, from, AT_FDCWD, to);
}

static void copy_file(const char *from, const char *to)
{
    char data[65536];
    ssize_t len;
    int in = open(from, O_RDONLY | O_CLOEXEC), out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(in >= 0 && out >= 0);
    while ((len = read(in, data, sizeof data)) > 0)
        assert_int_equal(write(out, data, (size_t)len), len);
    close(in);
    close(out);
}

static void write_text(const struct yard *yard, const char *name, const char *text)
{
    char path[256];
    yard_path(yard, name, path);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
}

static bool exists(const struct yard *yard, const char *name)
{
    char path[256];
    yard_path(yard, name, path);
    return access(path, F_OK) == 0;
}

// What a kill would leave: the files as they are while the store is open, aside, and then in the place of those of the closed.
static void keep_files(struct yard *yard)
{
    char from[256], to[256];
    static const char *const names[] = {"outbox.db", "outbox.db-wal"};
    for (size_t i = 0; i < 2; i++) {
        yard_path(yard, names[i], from);
        yard_path(yard, i == 0 ? "kept" : "kept-wal", to);
        copy_file(from, to);
    }
}

static void put_files(struct yard *yard)
{
    char from[256], to[256];
    static const char *const names[] = {"outbox.db", "outbox.db-wal"};
    for (size_t i = 0; i < 2; i++) {
        yard_path(yard, names[i], to);
        yard_path(yard, i == 0 ? "kept" : "kept-wal", from);
        copy_file(from, to);
    }
}

enum { KILLED_BATCHES = 30 };

static void make_killed(struct yard *yard)
{
    yard_open(yard);
    for (unsigned i = 0; i < KILLED_BATCHES; i++)
        yard_append(yard, i, 1 + i * 40);
    keep_files(yard);
    yard_close(yard);
    put_files(yard);
}

static void what_was_promised_is_there_after_a_kill(void **state)
{
    struct yard *yard = *state;
    make_killed(yard);
    yard_open(yard);
    struct store_stats stats;
    yard->store->ops->stats(yard->store, &stats);
    assert_int_equal(stats.batches, KILLED_BATCHES);
    for (unsigned i = 0; i < KILLED_BATCHES; i++) {
        struct batch *batch = yard_take_one(yard);
        yard_assert_batch(batch, i, 1 + i * 40);
        yard->store->ops->settle(yard->store, batch, 0, batch->count, VERDICT_DELIVERED);
    }
    yard_assert_empty(yard);
    yard_close(yard);
    assert_int_equal(yard_count_files(yard, "outbox.db.damaged"), 0);
}

// Opens and takes until the batch that is appended comes. How many others came.
static unsigned open_and_count(struct yard *yard, unsigned number)
{
    unsigned count = 0;
    yard_open(yard);
    yard_append(yard, number, 1);
    assert_int_equal(yard->status[number], 0);
    for (;;) {
        struct batch *batch = yard_take_one(yard);
        unsigned found = yard_number(batch);
        yard->store->ops->give_back(yard->store, batch);
        if (found == number)
            break;
        count++;
    }
    yard_close(yard);
    return count;
}

// Behind a frame whose checksum is wrong SQLite sees no log any more: what came later is lost, and nothing else.
static void damaged_log(void **state)
{
    struct yard *yard = *state;
    char path[256];
    make_killed(yard);
    yard_path(yard, "outbox.db-wal", path);
    uint64_t len = files_size(path);
    assert_true(len > 100000);
    unsigned most = 0;
    for (unsigned i = 0; i < 40; i++) {
        put_files(yard);
        uint64_t at = i < 8 ? i * 4 : len * i / 40 + i;
        int fd = open(path, O_RDWR | O_CLOEXEC);
        char byte = 0;
        assert_true(fd >= 0 && pread(fd, &byte, 1, (off_t)at) == 1);
        byte ^= 0x10;
        assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
        close(fd);
        unsigned count = open_and_count(yard, 100 + i);
        assert_true(count <= KILLED_BATCHES);
        most = count > most ? count : most;
    }
    assert_true(most > KILLED_BATCHES / 2);
}

static void cut_log(void **state)
{
    struct yard *yard = *state;
    char path[256];
    make_killed(yard);
    yard_path(yard, "outbox.db-wal", path);
    uint64_t len = files_size(path);
    unsigned before = 0;
    for (unsigned i = 0; i <= 20; i++) {
        put_files(yard);
        assert_int_equal(truncate(path, (off_t)(len * i / 20)), 0);
        unsigned count = open_and_count(yard, 100 + i);
        assert_true(count >= before); // the longer it is, the more it has
        before = count;
    }
    assert_int_equal(before, KILLED_BATCHES);
}

// The file is gone, and the log beside it has everything. SQLite would begin with nothing.
static void log_without_its_file(void **state)
{
    struct yard *yard = *state;
    char path[256];
    yard_open(yard); // of a new file everything is in the log
    for (unsigned i = 0; i < KILLED_BATCHES; i++)
        yard_append(yard, i, 10);
    keep_files(yard);
    yard_close(yard);
    for (unsigned round = 0; round < 2; round++) {
        put_files(yard);
        yard_path(yard, "outbox.db", path);
        if (round == 0)
            unlink(path);
        else
            assert_int_equal(truncate(path, 0), 0);
        assert_int_equal(open_and_count(yard, 100 + round), KILLED_BATCHES);
    }
}

// The salvaged file is whole, and the process ended at some point of the exchange.
static void salvage_is_brought_to_its_end(void **state)
{
    struct yard *yard = *state;
    char salvaged[256], path[256];
    yard_open(yard);
    for (unsigned i = 0; i < 3; i++)
        yard_append(yard, i, 10);
    yard_close(yard);
    yard_path(yard, "outbox.db", path);
    yard_path(yard, "outbox.db.salvaged", salvaged);
    for (unsigned round = 0; round < 3; round++) {
        copy_file(path, salvaged);
        write_text(yard, "outbox.db.new", "half of the next");
        write_text(yard, "outbox.db-wal", "of the damaged one");
        if (round == 1)
            unlink(path);
        else
            write_text(yard, "outbox.db", "damaged");
        if (round == 2)
            write_text(yard, "outbox.db-shm", "of the damaged one");
        assert_int_equal(open_and_count(yard, 100 + round), 3 + round);
        assert_false(exists(yard, "outbox.db.salvaged"));
        assert_false(exists(yard, "outbox.db.new"));
    }
    assert_true(yard_count_files(yard, "outbox.db.damaged-") >= 5); // two files and three logs
}

// ---- Spool files

static struct batch *take_import(struct yard *yard, const char *lines)
{
    struct batch *batch = yard_take_one(yard);
    assert_string_equal(batch->sensor, "outbox-import");
    assert_true(text_eq((struct text){batch->lines.data, batch->lines.len}, text_of(lines)));
    return batch;
}

static void spool_files_are_taken_in(void **state)
{
    struct yard *yard = *state;
    char ids[2][EVENT_ID_LEN];
    write_text(yard, "00000000001700000001-000002.ndjson", "{\"n\":3}\n");
    write_text(yard, "00000000001700000000-000001.ndjson", "{\"n\":1}\n\n  \n{\"n\" : 2, \"t\":\"\\u0000\"}\r\n");
    write_text(yard, "00000000001700000002-000003.ndjson.tmp", "{\"n\":4}");
    write_text(yard, "dead-letters.ndjson", "{\"event\":{}}\n");
    yard_open(yard);
    struct batch *first = take_import(yard, "{\"n\":1}\n{\"n\" : 2, \"t\":\"\\u0000\"}\n");
    assert_int_equal(first->count, 2);
    assert_int_equal(first->ends[0], 8);
    assert_true(first->arrived_real_ns > clock_real_ns() - 3600 * NS_PER_S);
    batch_event_id(first, 0, ids[0]);
    struct batch *second = take_import(yard, "{\"n\":3}\n");
    yard_assert_empty(yard);
    assert_false(exists(yard, "00000000001700000000-000001.ndjson"));
    assert_true(exists(yard, "00000000001700000000-000001.ndjson.imported"));
    assert_true(exists(yard, "00000000001700000001-000002.ndjson.imported"));
    assert_true(exists(yard, "00000000001700000002-000003.ndjson.tmp"));
    assert_true(exists(yard, "dead-letters.ndjson"));
    yard->store->ops->settle(yard->store, first, 0, 2, VERDICT_DELIVERED);
    yard->store->ops->settle(yard->store, second, 0, 1, VERDICT_DELIVERED);
    yard_close(yard);

    // As after a crash between the commit and the renaming: the same ids again. And no file is overwritten.
    write_text(yard, "00000000001700000000-000001.ndjson", "{\"n\":1}\n\n  \n{\"n\" : 2, \"t\":\"\\u0000\"}\r\n");
    yard_open(yard);
    first = take_import(yard, "{\"n\":1}\n{\"n\" : 2, \"t\":\"\\u0000\"}\n");
    batch_event_id(first, 0, ids[1]);
    assert_memory_equal(ids[0], ids[1], EVENT_ID_LEN);
    yard->store->ops->give_back(yard->store, first);
    yard_assert_empty(yard);
    assert_true(exists(yard, "00000000001700000000-000001.ndjson.imported"));
    assert_true(exists(yard, "00000000001700000000-000001.ndjson.imported-2"));
    yard_close(yard);
}

// It is in the store all the same, and counts there; the next start takes it in again, with the same ids.
static void spool_file_that_cannot_be_renamed(void **state)
{
    struct yard *yard = *state;
    struct store_stats stats;
    write_text(yard, "1.ndjson", "{\"n\":1}\n");
    renames_fail = true;
    yard_open(yard);
    renames_fail = false;
    yard->store->ops->stats(yard->store, &stats);
    assert_true(stats.bytes > 0);
    assert_int_equal(stats.events, 1);
    yard_append(yard, 0, 1);
    struct batch *batch = take_import(yard, "{\"n\":1}\n");
    yard->store->ops->settle(yard->store, batch, 0, 1, VERDICT_DELIVERED);
    batch = yard_take_one(yard);
    yard_assert_batch(batch, 0, 1);
    yard->store->ops->settle(yard->store, batch, 0, 1, VERDICT_DELIVERED);
    yard_wait_bytes(yard, 0);
    assert_true(exists(yard, "1.ndjson"));
    yard_close(yard);
}

// The same content in two files is two deliveries: Spip repeats itself.
static void same_content_has_ids_of_its_own(void **state)
{
    struct yard *yard = *state;
    char ids[2][EVENT_ID_LEN];
    write_text(yard, "1-1.ndjson", "{}\n");
    write_text(yard, "1-2.ndjson", "{}\n");
    yard_open(yard);
    for (int i = 0; i < 2; i++) {
        struct batch *batch = take_import(yard, "{}\n");
        batch_event_id(batch, 0, ids[i]);
        yard->store->ops->give_back(yard->store, batch);
    }
    assert_memory_not_equal(ids[0], ids[1], EVENT_ID_LEN);
    yard_close(yard);
}

static void bad_lines_do_not_stop_the_good(void **state)
{
    struct yard *yard = *state;
    write_text(yard, "1.ndjson", "{\"a\":1}\nno json\n[1]\n{\"b\":2},{\"c\":3}\n{\"half\":\n{\"d\":4}");
    write_text(yard, "2.ndjson", "nothing good\n");
    write_text(yard, "3.ndjson", "");
    yard_open(yard);
    struct batch *batch = take_import(yard, "{\"a\":1}\n{\"d\":4}\n");
    yard->store->ops->give_back(yard->store, batch);
    yard_assert_empty(yard);
    assert_int_equal(yard_count_files(yard, "1.ndjson.imported"), 1); // with its bad lines
    assert_int_equal(yard_count_files(yard, "2.ndjson.imported"), 1);
    assert_int_equal(yard_count_files(yard, "3.ndjson.imported"), 1);
    yard_close(yard);
}

static void large_spool_file(void **state)
{
    struct yard *yard = *state;
    struct buf text = BUF_EMPTY;
    enum { LINES = 60000 };
    for (int i = 0; i < LINES; i++)
        buf_printf(&text, "{\"n\":%d,\"text\":\"%050d\"}\n", i, i);
    buf_char(&text, '\0');
    write_text(yard, "large.ndjson", text.data);
    yard_open(yard);
    size_t at = 0;
    while (at < text.len - 1) {
        struct batch *batch = yard_take_one(yard);
        assert_true(batch->lines.len < 2 << 20);
        assert_true(batch->lines.len <= text.len - 1 - at);
        assert_memory_equal(batch->lines.data, text.data + at, batch->lines.len);
        at += batch->lines.len;
        yard->store->ops->give_back(yard->store, batch);
    }
    yard_assert_empty(yard);
    buf_fini(&text);
    yard_close(yard);
}

int main(void)
{
#define YARD_TEST(name) cmocka_unit_test_setup_teardown(name, yard_setup, yard_teardown)
    const struct CMUnitTest tests[] = {
        YARD_TEST(what_was_promised_is_there_after_a_kill),
        YARD_TEST(damaged_log),
        YARD_TEST(cut_log),
        YARD_TEST(log_without_its_file),
        YARD_TEST(salvage_is_brought_to_its_end),
        YARD_TEST(spool_files_are_taken_in),
        YARD_TEST(spool_file_that_cannot_be_renamed),
        YARD_TEST(same_content_has_ids_of_its_own),
        YARD_TEST(bad_lines_do_not_stop_the_good),
        YARD_TEST(large_spool_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
