// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "sink/sink.h"

// Lines to standard output. The descriptor may be shared with other processes, so its flags stay as they are: writes
// block, and O_NONBLOCK, when somebody else has set it, is lived with by poll(2).
//
// Each write ends at the end of a line, so lines of others get between ours but not into them, as far as the system
// keeps a write together. An event is DELIVERED when its line is out whole. When a write fails in the middle of a line,
// that event and all after it are RETRY, and `sent` says how much of its line is out. It is the first one of the next
// hand-over (the contract says so), and then only the rest of it is written: nothing twice, nothing in between.
//
// A stop may leave half a line, an event that nobody was promised, at the end of a file. It is cut off then; and where
// that was not possible, the next Loom that appends to the file ends that line before it writes its own.
//
// A blocked write is ended by a signal to the thread. The signal alone would be lost if it came just before the write,
// so `interrupted` is set first and the pump interrupts again and again.

#define WRITE_MAX_BYTES  (128 * 1024) // sensors are answered after each write, so not too much in one
#define HAND_OVER_BYTES  (1024 * 1024)
#define INTERRUPT_SIGNAL SIGURG // ignored by default, and by all who see it come without asking for it

struct sink_stdout {
    struct sink sink;
    struct sink_report report;
    pthread_t thread; // of the pump
    bool interrupted; // atomic
    size_t sent;      // bytes of the next hand-over's first line that are out
    bool owes_end;    // the file ends within a line of somebody else: that is ended before the first event
};

// Where a hand-over stands: what is before is out and settled.
struct progress {
    struct handover *handover;
    const struct sink_item *items;
    size_t count;
    size_t item;   // the first one that is not all out
    uint32_t done; // its events that are out
};

static struct sink_stdout *stdout_of(struct sink *sink)
{
    return (struct sink_stdout *)sink;
}

static void on_interrupt_signal(int number)
{
    (void)number; // it has done its work by coming: the system call ended with EINTR
}

// ---- half a line at the end of a file ----

// Where the next byte will stand; -1 when standard output is no regular file.
static off_t write_position(void)
{
    struct stat file;
    if (fstat(STDOUT_FILENO, &file) != 0 || !S_ISREG(file.st_mode))
        return -1;
    return (fcntl(STDOUT_FILENO, F_GETFL) & O_APPEND) != 0 ? file.st_size : lseek(STDOUT_FILENO, 0, SEEK_CUR);
}

// A description of its own, as ours is often for writing only. -1 when the file can't be read.
static int open_for_reading(void)
{
    return open("/proc/self/fd/1", O_RDONLY | O_CLOEXEC);
}

static bool ends_line(int fd, off_t end)
{
    char last;
    return end == 0 || (pread(fd, &last, 1, end - 1) == 1 && last == '\n');
}

static bool starts_within_line(void)
{
    off_t end = write_position();
    if (end <= 0)
        return false;
    int fd = open_for_reading();
    if (fd < 0) {
        LOG(LOG_WARN, "standard output can't be read, so half a line at its end would go unseen",
            LOG_STR("error", err_text(-errno)));
        return false;
    }
    bool within = !ends_line(fd, end);
    close(fd);
    if (within)
        LOG(LOG_WARN, "standard output ends within a line: it is ended before the first event");
    return within;
}

static bool has_line_break(int fd, off_t begin, off_t end)
{
    char piece[4096];
    while (begin < end) {
        size_t len = end - begin < (off_t)sizeof piece ? (size_t)(end - begin) : sizeof piece;
        ssize_t got = pread(fd, piece, len, begin);
        if (got <= 0 || memchr(piece, '\n', (size_t)got) != NULL)
            return true;
        begin += got;
    }
    return false;
}

// Cuts off the `sent` bytes of an unfinished line, if what stands at the end of the file can be nothing else. NULL, or
// why not.
static const char *cut_off(size_t sent)
{
    struct stat file;
    off_t end = lseek(STDOUT_FILENO, 0, SEEK_CUR); // behind our last write, with O_APPEND too
    off_t begin = end - (off_t)sent;
    if (end < 0 || begin < 0 || fstat(STDOUT_FILENO, &file) != 0 || file.st_size != end)
        return "others have written since";
    int fd = open_for_reading();
    if (fd < 0)
        return "it can't be read";
    bool ours = ends_line(fd, begin) && !has_line_break(fd, begin, end);
    close(fd);
    if (!ours)
        return "others have written since";
    if (ftruncate(STDOUT_FILENO, begin) != 0)
        return err_text(-errno);
    lseek(STDOUT_FILENO, begin, SEEK_SET); // for others that share the description
    return NULL;
}

// ---- the contract ----

static int stdout_open(const struct conf_output *conf, const struct sink_report *report, struct sink_limits *limits,
                       struct sink **out, struct err *err)
{
    (void)conf; // nothing to configure
    int flags = fcntl(STDOUT_FILENO, F_GETFL);
    if (flags < 0)
        return err_set(err, -errno, "stdout: %s", err_text(-errno));
    if ((flags & O_ACCMODE) == O_RDONLY)
        return err_set(err, -EBADF, "stdout: not open for writing");
    // No SA_RESTART: the interrupted write has to come back.
    struct sigaction action = {.sa_handler = on_interrupt_signal};
    sigaction(INTERRUPT_SIGNAL, &action, NULL);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, INTERRUPT_SIGNAL);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);

    struct sink_stdout *self = mem_zalloc(sizeof *self);
    self->sink.ops = &sink_stdout;
    self->report = *report;
    self->thread = pthread_self();
    self->owes_end = starts_within_line();
    *limits =
        (struct sink_limits){.max_bytes = HAND_OVER_BYTES, .max_events = UINT32_MAX, .in_flight = 1, .ordered = true};
    *out = &self->sink;
    return 0;
}

// The bytes of events [first, end) of a batch: as many whole lines as fit into `room`, or one when `always` is set.
static size_t lines_within(const struct batch *batch, uint32_t first, uint32_t end, size_t room, bool always)
{
    uint32_t begin = batch_begin(batch, first);
    if (batch->ends[end - 1] - begin <= room)
        return batch->ends[end - 1] - begin;
    uint32_t event = first + (always ? 1 : 0);
    while (event < end && batch->ends[event] - begin <= room)
        event++;
    return batch_begin(batch, event) - begin;
}

// What the next write takes: one vector a batch, as lines of a batch lie one after the other.
static int gather(const struct sink_stdout *self, const struct progress *at, struct iovec *vectors, int max)
{
    size_t room = WRITE_MAX_BYTES;
    int count = 0;
    if (self->owes_end)
        vectors[count++] = (struct iovec){.iov_base = (void *)"\n", .iov_len = 1};
    for (size_t i = at->item; i < at->count && count < max; i++) {
        const struct sink_item *item = &at->items[i];
        uint32_t first = item->first + (i == at->item ? at->done : 0);
        size_t len = lines_within(item->batch, first, item->first + item->count, room, i == at->item);
        if (len == 0)
            break;
        char *line = item->batch->lines.data + batch_begin(item->batch, first);
        size_t skip = i == at->item ? self->sent : 0;
        vectors[count++] = (struct iovec){.iov_base = line + skip, .iov_len = len - skip};
        room -= len < room ? len : room;
    }
    return count;
}

// Settles what `written` more bytes have brought out whole; `sent` is what is out of the line after that.
static void advance(struct sink_stdout *self, struct progress *at, size_t written)
{
    if (self->owes_end && written > 0) {
        self->owes_end = false;
        written--;
    }
    self->sent += written;
    while (at->item < at->count) {
        const struct sink_item *item = &at->items[at->item];
        uint32_t first = item->first + at->done;
        uint32_t end = item->first + item->count;
        uint32_t event = first;
        for (; event < end; event++) {
            size_t len = item->batch->ends[event] - batch_begin(item->batch, event);
            if (self->sent < len)
                break;
            self->sent -= len;
        }
        at->done += event - first;
        if (event == end) { // the batch may be gone after its settling
            at->item++;
            at->done = 0;
        }
        if (event > first)
            self->report.settle(self->report.ctx, at->handover, item->batch, first, event - first, VERDICT_DELIVERED);
        if (event < end)
            return;
    }
}

// Waits for a description that somebody has made non-blocking. What poll says is found out by the write that follows.
static void wait_writable(void)
{
    struct pollfd ready = {.fd = STDOUT_FILENO, .events = POLLOUT};
    poll(&ready, 1, -1);
}

// Writes until all is out. 0, or why not.
static int write_out(struct sink_stdout *self, struct progress *at)
{
    struct iovec vectors[64];
    _Static_assert(sizeof vectors / sizeof *vectors <= IOV_MAX, "writev takes no more");
    while (at->item < at->count) {
        if (__atomic_load_n(&self->interrupted, __ATOMIC_ACQUIRE))
            return -EINTR;
        int count = gather(self, at, vectors, sizeof vectors / sizeof *vectors);
        ssize_t written = writev(STDOUT_FILENO, vectors, count);
        if (written >= 0) {
            counter_bump(&self->report.stats->writes, 1);
            counter_bump(&self->report.stats->bytes, (uint64_t)written);
            advance(self, at, (size_t)written);
        } else if (errno == EAGAIN) {
            wait_writable();
        } else if (errno != EINTR) {
            return -errno;
        }
    }
    return 0;
}

static void stdout_deliver(struct sink *sink, struct handover *handover)
{
    struct sink_stdout *self = stdout_of(sink);
    struct progress at = {.handover = handover, .items = handover->items, .count = handover->count};
    char error[ERR_TEXT_MAX] = "";
    int rc = write_out(self, &at);
    if (rc < 0)
        snprintf(error, sizeof error, "stdout: %s", rc == -EINTR ? "interrupted" : err_text(rc));
    for (; at.item < at.count; at.item++, at.done = 0) {
        const struct sink_item *item = &at.items[at.item];
        self->report.settle(self->report.ctx, handover, item->batch, item->first + at.done, item->count - at.done,
                            VERDICT_RETRY);
    }
    const struct sink_outcome outcome = {.result = rc < 0 ? SINK_DOWN : SINK_OK, .error = error};
    self->report.done(self->report.ctx, handover, &outcome);
}

static void stdout_interrupt(struct sink *sink)
{
    struct sink_stdout *self = stdout_of(sink);
    __atomic_store_n(&self->interrupted, true, __ATOMIC_RELEASE);
    pthread_kill(self->thread, INTERRUPT_SIGNAL);
}

static void stdout_close(struct sink *sink)
{
    struct sink_stdout *self = stdout_of(sink);
    if (self->sent > 0 && write_position() >= 0) {
        const char *reason = cut_off(self->sent);
        if (reason != NULL)
            LOG(LOG_WARN, "half a line is left at the end of standard output", LOG_STR("reason", reason));
    }
    mem_free(sink);
}

const struct sink_ops sink_stdout = {
    .name = "stdout",
    .open = stdout_open,
    .deliver = stdout_deliver,
    .interrupt = stdout_interrupt,
    .close = stdout_close,
};
