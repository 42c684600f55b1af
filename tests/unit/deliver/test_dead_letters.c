// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "deliver/dead_letters.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/mem.h"
#include "json/scan.h"

// The file is in a directory of the test's own. Syncs are counted, and fail when the test says so.

static unsigned syncs, syncs_of_dir;
static int sync_error;

int fdatasync(int fd)
{
    syncs++;
    if (sync_error == 0)
        return (int)syscall(SYS_fdatasync, fd);
    errno = sync_error;
    return -1;
}

int fsync(int fd)
{
    syncs_of_dir++;
    return (int)syscall(SYS_fsync, fd);
}

static struct {
    char root[32], dir[48], path[80], before[88];
    struct conf_outbox conf;
    struct dead_letters *dead;
    struct letters letters;
    struct batch batch;
    uint32_t ends[1];
} f;

static int set_up(void **state)
{
    (void)state;
    memset(&f, 0, sizeof f);
    syncs = syncs_of_dir = 0;
    sync_error = 0;
    snprintf(f.root, sizeof f.root, "/tmp/loom-test-XXXXXX");
    if (mkdtemp(f.root) == NULL)
        return -1;
    snprintf(f.dir, sizeof f.dir, "%s/outbox", f.root);
    snprintf(f.path, sizeof f.path, "%s/dead-letters.ndjson", f.dir);
    snprintf(f.before, sizeof f.before, "%s.1", f.path);
    f.conf = (struct conf_outbox){.dir = f.dir, .dead_letter_max_bytes = 1 << 20};
    f.dead = dead_letters_new(&f.conf);
    return 0;
}

static void open_again(void)
{
    dead_letters_free(f.dead);
    f.dead = dead_letters_new(&f.conf);
}

static int tear_down(void **state)
{
    (void)state;
    dead_letters_free(f.dead);
    letters_fini(&f.letters);
    buf_fini(&f.batch.lines);
    unlink(f.before);
    unlink(f.path);
    rmdir(f.path);
    rmdir(f.dir);
    rmdir(f.root);
    return 0;
}

static void add_as(const char *event, unsigned status, struct text kind, struct text reason)
{
    f.batch.lines.len = 0;
    buf_printf(&f.batch.lines, "%s\n", event);
    f.ends[0] = (uint32_t)f.batch.lines.len;
    f.batch.ends = f.ends;
    f.batch.count = 1;
    f.batch.sensor = "vps \"1\"";
    f.batch.id = (struct batch_id){1, 2};
    assert_int_equal(letters_add(&f.letters, "elasticsearch", &f.batch, 0, status, kind, reason), 0);
}

static void add(const char *event)
{
    add_as(event, 400, TEXT("kind"), TEXT("reason"));
}

static size_t write_all(void)
{
    struct err err = {0};
    size_t written = dead_letters_write(f.dead, &f.letters, &err);
    assert_int_equal(written == f.letters.count, err.code == 0);
    letters_clear(&f.letters);
    return written;
}

static const char *content(const char *path)
{
    static char text[1 << 16];
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    return text;
}

static void put(const char *text)
{
    mkdir(f.dir, 0700);
    FILE *file = fopen(f.path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

// How many lines there are; each is a JSON object.
static unsigned lines(const char *path)
{
    struct text rest = text_of(content(path)), line;
    struct json_events events = {0};
    struct json_error error;
    unsigned count = 0;
    assert_true(rest.len == 0 || rest.at[rest.len - 1] == '\n');
    while (text_line(&rest, &line)) {
        struct buf array = BUF_EMPTY;
        buf_char(&array, '[');
        buf_text(&array, line);
        buf_char(&array, ']');
        assert_int_equal(json_scan(array.data, array.len, &events, &error), 0);
        assert_int_equal(events.count, 1);
        buf_fini(&array);
        count++;
    }
    json_events_fini(&events);
    return count;
}

static void a_line_byte_by_byte(void **state)
{
    (void)state;
    static const char event[] = "{\"n\": 1.0, \"big\":12345678901234567890,\"t\":\"\\u0000\xc3\xa9<\\/>\" }";
    add_as(event, 400, TEXT("mapper\x01"), TEXT("failed \"x\"\n\xff"));
    assert_int_equal(write_all(), 1);
    const char *text = content(f.path);
    assert_memory_equal(text, "{\"time\":\"20", 11);
    char id[EVENT_ID_LEN], expected[512];
    batch_event_id(&f.batch, 0, id);
    snprintf(expected, sizeof expected,
             "\",\"output\":\"elasticsearch\",\"id\":\"%.*s\",\"sensor\":\"vps \\\"1\\\"\",\"status\":400,"
             "\"kind\":\"mapper\\u0001\",\"reason\":\"failed \\\"x\\\"\\n\xef\xbf\xbd\",\"event\":%s}\n",
             EVENT_ID_LEN, id, event);
    assert_string_equal(strstr(text, "\",\"output\""), expected);
    assert_int_equal(lines(f.path), 1);
    struct stat status;
    assert_int_equal(stat(f.path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    add_as("{}", 0, TEXT("k"), TEXT(""));
    assert_int_equal(write_all(), 1);
    assert_null(strstr(strchr(content(f.path), '\n'), "status"));
}

static void long_reasons_are_cut_at_a_character(void **state)
{
    (void)state;
    struct buf reason = BUF_EMPTY;
    for (unsigned i = 0; i < 10000; i++)
        buf_str(&reason, "\xe2\x82\xac");
    add_as("{}", 400, TEXT("k"), (struct text){reason.data, reason.len});
    assert_int_equal(write_all(), 1);
    const char *text = content(f.path);
    assert_in_range(strlen(text), 4000, 4500);
    assert_null(strstr(text, "\xef\xbf\xbd"));
    assert_int_equal(lines(f.path), 1);
    buf_fini(&reason);
}

static void one_sync_for_many(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 100; i++)
        add("{\"a\":1}");
    assert_int_equal(write_all(), 100);
    assert_int_equal(syncs, 1);
    assert_int_equal(syncs_of_dir, 2); // the new directory's parent, and the directory for the new file
    assert_int_equal(lines(f.path), 100);
    add("{}");
    assert_int_equal(write_all(), 1);
    assert_int_equal(syncs, 2);
    assert_int_equal(syncs_of_dir, 2);
}

static void a_failed_sync_is_no_success(void **state)
{
    (void)state;
    struct err err = {0};
    add("{\"a\":1}");
    write_all();
    sync_error = EIO;
    add("{\"a\":2}");
    assert_int_equal(dead_letters_write(f.dead, &f.letters, &err), 0);
    assert_non_null(strstr(err.text, "dead-letters.ndjson: Input/output error, events wait"));
    assert_int_equal(lines(f.path), 1); // taken back: it comes again
    sync_error = 0;
    assert_int_equal(write_all(), 1);
    assert_int_equal(lines(f.path), 2);
}

static void what_was_cut_off_is_taken_away(void **state)
{
    (void)state;
    static const struct {
        const char *before;
        unsigned lines;
    } cases[] = {
        {"", 1},
        {"{\"a\":1}\n", 2},
        {"{\"a\":1}\n{\"time\":\"20", 2},
        {"{\"a\":1}\n{\"a\":{\"b\":1}", 2}, // ends with a brace, and is no whole line
        {"{\"time", 1},
        {"{\"a\":1}\n{\"a\":2}", 3}, // whole: somebody's editor has left the end of the line out
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        put(cases[i].before);
        open_again();
        add("{\"new\":true}");
        assert_int_equal(write_all(), 1);
        assert_int_equal(lines(f.path), cases[i].lines);
    }
    struct buf large = BUF_EMPTY; // more than is looked at at once
    buf_str(&large, "{\"a\":1}\n{\"b\":\"");
    for (unsigned i = 0; i < 50000; i++)
        buf_char(&large, 'x');
    buf_char(&large, '\0');
    put(large.data);
    open_again();
    add("{\"new\":true}");
    assert_int_equal(write_all(), 1);
    assert_int_equal(lines(f.path), 2);
    buf_fini(&large);
}

static void the_cap(void **state)
{
    (void)state;
    struct err err = {0};
    f.conf.dead_letter_max_bytes = 600;
    open_again();
    for (unsigned i = 0; i < 10; i++)
        add("{\"a\":1}");
    size_t written = dead_letters_write(f.dead, &f.letters, &err); // as many as fit
    assert_in_range(written, 2, 5);
    assert_int_equal(err.code, -EFBIG);
    struct stat status;
    assert_int_equal(stat(f.path, &status), 0);
    assert_true(status.st_size <= 600);
    char expected[80];
    snprintf(expected, sizeof expected, "dead letters: full (%lld bytes), events wait", (long long)status.st_size);
    assert_string_equal(err.text, expected);
    assert_int_equal(lines(f.path), written);
    assert_int_equal(dead_letters_write(f.dead, &f.letters, &err), 0);
    assert_int_equal(access(f.before, F_OK), -1);
    assert_int_equal(truncate(f.path, 0), 0); // somebody has taken care of them
    assert_int_equal(dead_letters_write(f.dead, &f.letters, &err), written);
}

static void overwrite_begins_anew(void **state)
{
    (void)state;
    f.conf.dead_letter_max_bytes = 600;
    f.conf.dead_letter_overwrite = true;
    open_again();
    for (unsigned i = 0; i < 9; i++)
        add("{\"a\":1}");
    assert_int_equal(write_all(), 9);
    assert_in_range(lines(f.before), 2, 5);
    assert_in_range(lines(f.path), 1, 5);
    struct stat status;
    assert_int_equal(stat(f.before, &status), 0);
    assert_true(status.st_size <= 600);
}

static void one_line_larger_than_the_cap(void **state)
{
    (void)state;
    f.conf.dead_letter_max_bytes = 10;
    open_again();
    add("{\"a\":1}");
    assert_int_equal(write_all(), 1); // it would fit nowhere
    add("{\"a\":1}");
    assert_int_equal(write_all(), 0);
}

static void moved_away_and_deleted(void **state)
{
    (void)state;
    add("{\"a\":1}");
    write_all();
    assert_int_equal(rename(f.path, f.before), 0);
    add("{\"a\":2}");
    assert_int_equal(write_all(), 1);
    assert_int_equal(lines(f.path), 1);
    assert_int_equal(lines(f.before), 1);
    unlink(f.path);
    unlink(f.before);
    rmdir(f.dir);
    add("{\"a\":3}");
    assert_int_equal(write_all(), 1);
    assert_int_equal(lines(f.path), 1);
}

// A limit on the size of a file breaks a write at any byte, as a full disk does.
static void a_broken_write_leaves_no_trace(void **state)
{
    (void)state;
    struct rlimit before;
    struct err err = {0};
    getrlimit(RLIMIT_FSIZE, &before);
    signal(SIGXFSZ, SIG_IGN);
    add("{\"a\":1}");
    write_all();
    struct stat status;
    assert_int_equal(stat(f.path, &status), 0);
    size_t size = (size_t)status.st_size;
    add("{\"a\":2}");
    for (size_t limit = size; limit < size + f.letters.lines.len; limit++) {
        setrlimit(RLIMIT_FSIZE, &(struct rlimit){limit, before.rlim_max});
        size_t written = dead_letters_write(f.dead, &f.letters, &err);
        setrlimit(RLIMIT_FSIZE, &before);
        assert_int_equal(written, 0);
        assert_non_null(strstr(err.text, "File too large, events wait"));
        assert_int_equal(lines(f.path), 1);
    }
    assert_int_equal(write_all(), 1);
    assert_int_equal(lines(f.path), 2);
}

static void full_disk(void **state)
{
    (void)state;
    struct err err = {0};
    mkdir(f.dir, 0700);
    if (mount("none", f.dir, "tmpfs", 0, "size=16k") < 0)
        skip(); // not root
    size_t written = 0;
    for (unsigned i = 0; i < 500; i++)
        add("{\"a\":1}");
    while (err.code == 0) {
        written += dead_letters_write(f.dead, &f.letters, &err) / 500;
        assert_in_range(written, 0, 10);
    }
    assert_int_equal(err.code, -ENOSPC);
    assert_non_null(strstr(err.text, "No space left on device, events wait"));
    assert_int_equal(lines(f.path), written * 500);
    assert_int_equal(dead_letters_check(&f.conf, &err), 0); // a full disk does not keep Loom from starting
    unlink(f.path);
    letters_clear(&f.letters);
    add("{\"a\":1}");
    assert_int_equal(write_all(), 1);
    dead_letters_free(f.dead);
    f.dead = NULL;
    assert_int_equal(umount(f.dir), 0);
}

static void check_says_what_to_do(void **state)
{
    (void)state;
    struct err err = {0};
    assert_int_equal(dead_letters_check(&f.conf, &err), 0);
    assert_int_equal(access(f.dir, F_OK), 0); // made
    assert_int_equal(access(f.path, F_OK), -1);
    assert_int_equal(mkdir(f.path, 0700), 0);
    assert_int_equal(dead_letters_check(&f.conf, &err), -EINVAL);
    assert_non_null(strstr(err.text, "dead-letters.ndjson is no file"));
    assert_non_null(strstr(err.text, f.dir));
    add("{}");
    assert_int_equal(write_all(), 0);
    rmdir(f.path);
    assert_int_equal(symlink("/etc/passwd", f.path), 0);
    assert_int_equal(dead_letters_check(&f.conf, &err), -EINVAL);
    add("{}");
    assert_int_equal(write_all(), 0); // not through a link
    unlink(f.path);
    assert_int_equal(mkfifo(f.path, 0600), 0);
    add("{}");
    assert_int_equal(write_all(), 0); // and it does not hang
    f.conf.dir = (char *)"/nonexistent/loom";
    assert_int_equal(dead_letters_check(&f.conf, &err), -ENOENT);
    assert_non_null(strstr(err.text, "output.outbox.dir: dead letters can't be written to /nonexistent/loom"));
    f.conf.dir = f.dir;
}

int main(void)
{
#define LETTERS_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        LETTERS_TEST(a_line_byte_by_byte),
        LETTERS_TEST(long_reasons_are_cut_at_a_character),
        LETTERS_TEST(one_sync_for_many),
        LETTERS_TEST(a_failed_sync_is_no_success),
        LETTERS_TEST(what_was_cut_off_is_taken_away),
        LETTERS_TEST(the_cap),
        LETTERS_TEST(overwrite_begins_anew),
        LETTERS_TEST(one_line_larger_than_the_cap),
        LETTERS_TEST(moved_away_and_deleted),
        LETTERS_TEST(a_broken_write_leaves_no_trace),
        LETTERS_TEST(full_disk),
        LETTERS_TEST(check_says_what_to_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
