// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sink/sink.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/mem.h"

// Standard output is redirected while a test runs, and the sink driven as the pump does it: what comes back as RETRY is
// handed over again, in that order, before anything else.

#define RETRIES_MAX 64

struct fixture {
    int real_stdout;
    struct sink *sink;
    struct sink_stats stats;
    struct sink_limits limits;
    struct handover *handover; // under way
    struct sink_item retry[RETRIES_MAX];
    size_t retries;
    uint64_t delivered;
    unsigned done;
    char error[256];
};

static struct fixture fixture;

static void on_settle(void *ctx, struct handover *handover, struct batch *batch, uint32_t first, uint32_t count,
                      enum verdict verdict)
{
    struct fixture *f = ctx;
    assert_ptr_equal(handover, f->handover);
    if (verdict == VERDICT_RETRY) {
        assert_true(f->retries < RETRIES_MAX);
        f->retry[f->retries++] = (struct sink_item){batch, first, count};
        return;
    }
    assert_int_equal(verdict, VERDICT_DELIVERED);
    assert_int_equal(f->retries, 0);         // nothing is delivered after something that is not
    assert_int_equal(batch->settled, first); // each event once, in order
    batch->settled += count;
    f->delivered += count;
    if (batch->settled == batch->count) { // as its worker might do at once
        mem_free(batch->ends);
        buf_fini(&batch->lines);
        mem_free(batch);
    }
}

static void on_done(void *ctx, struct handover *handover, const struct sink_outcome *outcome)
{
    struct fixture *f = ctx;
    assert_ptr_equal(handover, f->handover);
    f->done++;
    assert_int_equal(outcome->result, outcome->error[0] != '\0' ? SINK_DOWN : SINK_OK);
    snprintf(f->error, sizeof f->error, "%s", outcome->error);
}

static void setup_sink(struct fixture *f)
{
    struct sink_report report = {.settle = on_settle, .done = on_done, .ctx = f, .stats = &f->stats};
    struct err err = {0};
    assert_int_equal(sink_stdout.open(&(struct conf_output){0}, &report, &f->limits, &f->sink, &err), 0);
    assert_true(f->limits.ordered);
    assert_int_equal(f->limits.in_flight, 1);
}

static int set_up(void **state)
{
    memset(&fixture, 0, sizeof fixture);
    fflush(stdout);
    fixture.real_stdout = dup(STDOUT_FILENO);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    *state = &fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    if (f->sink != NULL)
        f->sink->ops->close(f->sink);
    for (size_t i = 0; i < f->retries; i++) {
        if (i > 0 && f->retry[i].batch == f->retry[i - 1].batch)
            continue;
        mem_free(f->retry[i].batch->ends);
        buf_fini(&f->retry[i].batch->lines);
        mem_free(f->retry[i].batch);
    }
    dup2(f->real_stdout, STDOUT_FILENO);
    close(f->real_stdout);
    return 0;
}

// Makes fd standard output and closes it.
static void redirect_to(int fd)
{
    assert_true(fd >= 0);
    assert_int_equal(dup2(fd, STDOUT_FILENO), STDOUT_FILENO);
    close(fd);
}

// Standard output becomes a pipe; the reading end.
static int redirect_to_pipe(void)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    redirect_to(ends[1]);
    return ends[0];
}

// A batch of `count` lines of `size` bytes, each begins with its number. Appends them to expected, too.
static struct batch *batch_new(unsigned number, uint32_t count, size_t size, struct buf *expected)
{
    struct batch *batch = mem_zalloc(sizeof *batch);
    batch->ends = mem_array(count, sizeof *batch->ends);
    batch->count = count;
    for (uint32_t i = 0; i < count; i++) {
        size_t begin = batch->lines.len;
        buf_printf(&batch->lines, "%u.%u ", number, i);
        while (batch->lines.len + 1 < begin + size)
            buf_char(&batch->lines, (char)('a' + (number + i + batch->lines.len) % 26));
        buf_char(&batch->lines, '\n');
        batch->ends[i] = (uint32_t)batch->lines.len;
    }
    buf_text(expected, (struct text){batch->lines.data, batch->lines.len});
    return batch;
}

static void deliver(struct fixture *f, struct sink_item *items, size_t count)
{
    unsigned before = f->done;
    f->handover = &(struct handover){.items = items, .count = count};
    f->sink->ops->deliver(f->sink, f->handover);
    assert_int_equal(f->done, before + 1);
    assert_int_equal(f->error[0] != '\0', f->retries > 0);
}

static void deliver_new(struct fixture *f, struct batch *batch)
{
    deliver(f, &(struct sink_item){batch, 0, batch->count}, 1);
}

static void deliver_again(struct fixture *f)
{
    struct sink_item items[RETRIES_MAX];
    size_t count = f->retries;
    memcpy(items, f->retry, sizeof items);
    f->retries = 0;
    deliver(f, items, count);
}

// Reads what is in the pipe, without waiting for more.
static void drain(int fd, struct buf *into)
{
    int waiting = 0;
    while (ioctl(fd, FIONREAD, &waiting) == 0 && waiting > 0) {
        buf_reserve(into, (size_t)waiting);
        ssize_t got = read(fd, into->data + into->len, (size_t)waiting);
        assert_true(got > 0);
        into->len += (size_t)got;
    }
}

static void assert_same(const struct buf *got, const struct buf *expected)
{
    assert_int_equal(got->len, expected->len);
    assert_memory_equal(got->data, expected->data, expected->len);
}

struct drainer {
    pthread_t thread;
    int fd;
    size_t until;
    struct buf got;
};

// A reader of odd pieces until it has all, so that writes are blocked and continued in the middle of lines.
static void *drain_slowly(void *arg)
{
    struct drainer *drainer = arg;
    char piece[3001];
    while (drainer->got.len < drainer->until) {
        ssize_t got = read(drainer->fd, piece, sizeof piece);
        if (got <= 0)
            break;
        buf_append(&drainer->got, piece, (size_t)got);
    }
    return NULL;
}

static void drainer_start(struct drainer *drainer, int fd, size_t until)
{
    *drainer = (struct drainer){.fd = fd, .until = until};
    assert_int_equal(pthread_create(&drainer->thread, NULL, drain_slowly, drainer), 0);
}

static void many_batches_in_few_writes(void **state)
{
    struct fixture *f = *state;
    int fd = redirect_to_pipe();
    struct buf expected = BUF_EMPTY, got = BUF_EMPTY;
    struct sink_item items[200];
    setup_sink(f);
    for (unsigned i = 0; i < 200; i++)
        items[i] = (struct sink_item){batch_new(i, 3, 50, &expected), 0, 3};
    deliver(f, items, 200);
    drain(fd, &got);
    assert_same(&got, &expected);
    assert_int_equal(f->delivered, 600);
    assert_int_equal(f->stats.bytes, expected.len);
    assert_true(f->stats.writes <= 4); // 64 batches a write
    assert_string_equal(f->error, "");
    buf_fini(&expected);
    buf_fini(&got);
    close(fd);
}

static void parts_of_batches(void **state)
{
    struct fixture *f = *state;
    int fd = redirect_to_pipe();
    struct buf all = BUF_EMPTY, expected = BUF_EMPTY, got = BUF_EMPTY;
    setup_sink(f);
    struct batch *batch = batch_new(1, 10, 40, &all);
    batch->settled = 3; // the first three are settled already
    struct sink_item items[] = {{batch, 3, 2}, {batch, 5, 4}};
    deliver(f, items, 2);
    drain(fd, &got);
    buf_append(&expected, all.data + 3 * 40, 6 * 40);
    assert_same(&got, &expected);
    assert_int_equal(batch->settled, 9);
    deliver(f, &(struct sink_item){batch, 9, 1}, 1);
    buf_fini(&all);
    buf_fini(&expected);
    buf_fini(&got);
    close(fd);
}

static void lines_larger_than_a_write(void **state)
{
    struct fixture *f = *state;
    struct buf expected = BUF_EMPTY;
    struct drainer drainer;
    int fd = redirect_to_pipe();
    setup_sink(f);
    struct batch *large = batch_new(1, 3, 300000, &expected);
    struct batch *mixed = batch_new(2, 1, 7, &expected);
    struct batch *last = batch_new(3, 1, 200000, &expected);
    struct sink_item items[] = {{large, 0, 3}, {mixed, 0, 1}, {last, 0, 1}};
    drainer_start(&drainer, fd, expected.len);
    deliver(f, items, 3);
    pthread_join(drainer.thread, NULL);
    assert_same(&drainer.got, &expected);
    assert_int_equal(f->delivered, 5);
    buf_fini(&expected);
    buf_fini(&drainer.got);
    close(fd);
}

static void slow_pipe_blocks_and_goes_on(void **state)
{
    struct fixture *f = *state;
    struct buf expected = BUF_EMPTY;
    struct drainer drainer;
    int fd = redirect_to_pipe();
    int flags = fcntl(STDOUT_FILENO, F_GETFL);
    setup_sink(f);
    struct batch *batch = batch_new(1, 1000, 681, &expected);
    drainer_start(&drainer, fd, expected.len);
    deliver_new(f, batch);
    pthread_join(drainer.thread, NULL);
    assert_same(&drainer.got, &expected);
    assert_int_equal(fcntl(STDOUT_FILENO, F_GETFL), flags); // not made non-blocking: others share it
    buf_fini(&expected);
    buf_fini(&drainer.got);
    close(fd);
}

static void pipe_that_others_made_non_blocking(void **state)
{
    struct fixture *f = *state;
    struct buf expected = BUF_EMPTY;
    struct drainer drainer;
    int fd = redirect_to_pipe();
    fcntl(STDOUT_FILENO, F_SETFL, fcntl(STDOUT_FILENO, F_GETFL) | O_NONBLOCK);
    setup_sink(f);
    struct batch *batch = batch_new(1, 1000, 681, &expected);
    drainer_start(&drainer, fd, expected.len);
    deliver_new(f, batch);
    pthread_join(drainer.thread, NULL);
    assert_same(&drainer.got, &expected);
    assert_int_equal(f->delivered, 1000);
    assert_true(fcntl(STDOUT_FILENO, F_GETFL) & O_NONBLOCK);
    buf_fini(&expected);
    buf_fini(&drainer.got);
    close(fd);
}

static void full_device(void **state)
{
    struct fixture *f = *state;
    struct buf expected = BUF_EMPTY, got = BUF_EMPTY;
    redirect_to(open("/dev/full", O_WRONLY));
    setup_sink(f);
    deliver_new(f, batch_new(1, 2, 30, &expected));
    assert_string_equal(f->error, "stdout: No space left on device");
    assert_int_equal(f->delivered, 0);
    assert_int_equal(f->retries, 1);
    deliver_again(f);
    assert_string_equal(f->error, "stdout: No space left on device");
    int fd = redirect_to_pipe();
    deliver_again(f);
    drain(fd, &got);
    assert_same(&got, &expected);
    buf_fini(&expected);
    buf_fini(&got);
    close(fd);
}

static void closed_pipe(void **state)
{
    struct fixture *f = *state;
    struct buf expected = BUF_EMPTY;
    close(redirect_to_pipe());
    signal(SIGPIPE, SIG_IGN);
    setup_sink(f);
    deliver_new(f, batch_new(1, 2, 30, &expected));
    assert_string_equal(f->error, "stdout: Broken pipe");
    assert_int_equal(f->retries, 1);
    assert_int_equal(f->retry[0].first, 0);
    assert_int_equal(f->retry[0].count, 2);
    buf_fini(&expected);
}

// A limit on the size of a file breaks a write at any byte, as a full disk does. Every place of the break is tried: in
// the first line, at its end, in the middle batch, in the last byte.
static void rest_of_a_broken_line_goes_first(void **state)
{
    struct fixture *f = *state;
    struct rlimit before;
    getrlimit(RLIMIT_FSIZE, &before);
    for (size_t limit = 0; limit < 3 * 2 * 20; limit++) {
        char path[] = "/tmp/loom-test-XXXXXX";
        int file = mkstemp(path);
        struct buf expected = BUF_EMPTY;
        char got[256];
        redirect_to(dup(file));
        setup_sink(f);
        f->delivered = 0;
        struct sink_item items[3];
        for (unsigned i = 0; i < 3; i++)
            items[i] = (struct sink_item){batch_new(i, 2, 20, &expected), 0, 2};

        setrlimit(RLIMIT_FSIZE, &(struct rlimit){limit, before.rlim_max});
        deliver(f, items, 3);
        assert_string_equal(f->error, "stdout: File too large");
        assert_int_equal(f->delivered, limit / 20);          // lines that are out whole
        assert_int_equal(f->retry[0].first, limit / 20 % 2); // the broken one comes first
        // Room for less than the rest of the line: still the same event.
        setrlimit(RLIMIT_FSIZE, &(struct rlimit){limit - limit % 20 + 19, before.rlim_max});
        deliver_again(f);
        assert_int_equal(f->delivered, limit / 20);
        setrlimit(RLIMIT_FSIZE, &before);
        deliver_again(f);
        assert_int_equal(f->delivered, 6);
        assert_int_equal(f->retries, 0);

        ssize_t len = pread(file, got, sizeof got, 0);
        assert_int_equal(len, expected.len);
        assert_memory_equal(got, expected.data, expected.len); // nothing twice, nothing in between
        f->sink->ops->close(f->sink);
        f->sink = NULL;
        buf_fini(&expected);
        close(file);
        unlink(path);
    }
}

// The file that a Loom leaves which was stopped after `limit` bytes of its second line.
static void leave_half_a_line(struct fixture *f, const char *path, int flags, struct buf *expected)
{
    struct rlimit before;
    struct buf lost = BUF_EMPTY;
    getrlimit(RLIMIT_FSIZE, &before);
    redirect_to(open(path, flags));
    setup_sink(f);
    deliver_new(f, batch_new(1, 1, 20, expected));
    struct batch *batch = batch_new(2, 1, 9000, &lost);
    setrlimit(RLIMIT_FSIZE, &(struct rlimit){expected->len + 5000, before.rlim_max});
    deliver_new(f, batch);
    setrlimit(RLIMIT_FSIZE, &before);
    assert_int_equal(f->retries, 1);
    buf_fini(&lost);
}

static void assert_file(const char *path, const struct buf *expected)
{
    char got[16384];
    int fd = open(path, O_RDONLY);
    ssize_t len = read(fd, got, sizeof got);
    assert_int_equal(len, expected->len);
    assert_memory_equal(got, expected->data, expected->len);
    close(fd);
}

static void half_a_line_is_cut_off_at_the_end(void **state)
{
    static const int flags[] = {O_WRONLY | O_APPEND, O_RDWR | O_APPEND, O_WRONLY, O_RDWR};
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        char path[] = "/tmp/loom-test-XXXXXX";
        struct buf expected = BUF_EMPTY;
        close(mkstemp(path));
        leave_half_a_line(f, path, flags[i], &expected);
        f->sink->ops->close(f->sink);
        f->sink = NULL;
        assert_file(path, &expected);
        assert_int_equal(lseek(STDOUT_FILENO, 0, SEEK_CUR), expected.len);
        assert_int_equal(tear_down(state), 0);
        assert_int_equal(set_up(state), 0);
        buf_fini(&expected);
        unlink(path);
    }
}

// What others have written behind the half line is theirs: through a description of their own, or through the same.
static void half_a_line_that_others_have_written_behind_stays(void **state)
{
    struct fixture *f = *state;
    for (int shared = 0; shared < 2; shared++) {
        char path[] = "/tmp/loom-test-XXXXXX";
        struct buf expected = BUF_EMPTY;
        close(mkstemp(path));
        leave_half_a_line(f, path, O_WRONLY | O_APPEND, &expected);
        int other = shared ? dup(STDOUT_FILENO) : open(path, O_WRONLY | O_APPEND);
        assert_int_equal(write(other, "other\n", 6), 6);
        close(other);
        f->sink->ops->close(f->sink);
        f->sink = NULL;
        int fd = open(path, O_RDONLY);
        assert_int_equal(lseek(fd, 0, SEEK_END), expected.len + 5000 + 6);
        close(fd);
        assert_int_equal(tear_down(state), 0);
        assert_int_equal(set_up(state), 0);
        buf_fini(&expected);
        unlink(path);
    }
}

static void half_a_line_that_is_there_is_ended_first(void **state)
{
    static const struct {
        const char *there;
        int flags;
        off_t offset;
        const char *kept; // of what is there, with what is put behind it
    } rows[] = {
        {"{}\n{\"half\":", O_WRONLY | O_APPEND, 0, "{}\n{\"half\":\n"},
        {"{}\n{\"half\":", O_RDWR | O_APPEND, 0, "{}\n{\"half\":\n"},
        {"{}\n{\"half\":", O_WRONLY, 6, "{}\n{\"h\n"},
        {"{}\n{\"half\":", O_WRONLY, 3, "{}\n"},
        {"{}\n", O_WRONLY | O_APPEND, 0, "{}\n"},
        {"", O_WRONLY | O_APPEND, 0, ""},
        {"{}", O_WRONLY, 0, ""},
    };
    struct fixture *f = *state;
    struct rlimit before;
    getrlimit(RLIMIT_FSIZE, &before);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char path[] = "/tmp/loom-test-XXXXXX";
        struct buf expected = BUF_EMPTY;
        int file = mkstemp(path);
        assert_int_equal(write(file, rows[i].there, strlen(rows[i].there)), strlen(rows[i].there));
        close(file);
        redirect_to(open(path, rows[i].flags));
        lseek(STDOUT_FILENO, rows[i].offset, SEEK_SET);
        setup_sink(f);
        buf_str(&expected, rows[i].kept);
        struct batch *batch = batch_new(1, 3, 50, &expected);
        // No room at first, not even for the end of the line; then for half an event.
        setrlimit(RLIMIT_FSIZE, &(struct rlimit){0, before.rlim_max});
        deliver_new(f, batch);
        setrlimit(RLIMIT_FSIZE, &(struct rlimit){strlen(rows[i].kept) + 25, before.rlim_max});
        deliver_again(f);
        setrlimit(RLIMIT_FSIZE, &before);
        assert_int_equal(f->retries, 1);
        deliver_again(f);
        assert_int_equal(f->retries, 0);
        assert_file(path, &expected);
        assert_int_equal(tear_down(state), 0);
        assert_int_equal(set_up(state), 0);
        buf_fini(&expected);
        unlink(path);
    }
}

static void bad_descriptors_are_refused(void **state)
{
    struct fixture *f = *state;
    struct sink_report report = {.settle = on_settle, .done = on_done, .ctx = f, .stats = &f->stats};
    struct err err = {0};
    redirect_to(open("/dev/null", O_RDONLY));
    assert_int_equal(sink_stdout.open(&(struct conf_output){0}, &report, &f->limits, &f->sink, &err), -EBADF);
    assert_string_equal(err.text, "stdout: not open for writing");
    close(STDOUT_FILENO);
    assert_int_equal(sink_stdout.open(&(struct conf_output){0}, &report, &f->limits, &f->sink, &err), -EBADF);
    assert_string_equal(err.text, "stdout: Bad file descriptor");
}

struct interrupter {
    pthread_t thread;
    struct sink *sink;
    int fd;
    bool stop; // atomic
};

// As pump_stop does: again and again until the delivery is over.
static void *interrupt_when_full(void *arg)
{
    struct interrupter *interrupter = arg;
    int waiting = 0;
    while (ioctl(interrupter->fd, FIONREAD, &waiting) == 0 && waiting < 65536)
        poll(NULL, 0, 1);
    while (!__atomic_load_n(&interrupter->stop, __ATOMIC_ACQUIRE)) {
        interrupter->sink->ops->interrupt(interrupter->sink);
        poll(NULL, 0, 1);
    }
    return NULL;
}

static void blocked_write_is_interrupted(void **state)
{
    struct fixture *f = *state;
    struct buf expected = BUF_EMPTY, got = BUF_EMPTY;
    for (int non_blocking = 0; non_blocking < 2; non_blocking++) {
        int fd = redirect_to_pipe();
        if (non_blocking)
            fcntl(STDOUT_FILENO, F_SETFL, fcntl(STDOUT_FILENO, F_GETFL) | O_NONBLOCK);
        f->delivered = 0;
        got.len = expected.len = 0;
        setup_sink(f);
        struct interrupter interrupter = {.sink = f->sink, .fd = fd};
        struct batch *batch = batch_new(1, 1000, 681, &expected);
        assert_int_equal(pthread_create(&interrupter.thread, NULL, interrupt_when_full, &interrupter), 0);
        deliver_new(f, batch);
        __atomic_store_n(&interrupter.stop, true, __ATOMIC_RELEASE);
        pthread_join(interrupter.thread, NULL);
        assert_string_equal(f->error, "stdout: interrupted");
        drain(fd, &got);
        assert_int_equal(got.len, 65536);
        assert_memory_equal(got.data, expected.data, got.len);
        assert_int_equal(f->delivered, 65536 / 681); // and the half line is not
        assert_int_equal(f->retry[0].first, 65536 / 681);
        deliver_again(f); // each one after it ends at once, too
        assert_string_equal(f->error, "stdout: interrupted");
        assert_int_equal(tear_down(state), 0);
        assert_int_equal(set_up(state), 0);
        close(fd);
    }
    buf_fini(&expected);
    buf_fini(&got);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(many_batches_in_few_writes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(parts_of_batches, set_up, tear_down),
        cmocka_unit_test_setup_teardown(lines_larger_than_a_write, set_up, tear_down),
        cmocka_unit_test_setup_teardown(slow_pipe_blocks_and_goes_on, set_up, tear_down),
        cmocka_unit_test_setup_teardown(pipe_that_others_made_non_blocking, set_up, tear_down),
        cmocka_unit_test_setup_teardown(full_device, set_up, tear_down),
        cmocka_unit_test_setup_teardown(closed_pipe, set_up, tear_down),
        cmocka_unit_test_setup_teardown(rest_of_a_broken_line_goes_first, set_up, tear_down),
        cmocka_unit_test_setup_teardown(half_a_line_is_cut_off_at_the_end, set_up, tear_down),
        cmocka_unit_test_setup_teardown(half_a_line_that_others_have_written_behind_stays, set_up, tear_down),
        cmocka_unit_test_setup_teardown(half_a_line_that_is_there_is_ended_first, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bad_descriptors_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(blocked_write_is_interrupted, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
