// SPDX-License-Identifier: Apache-2.0
//
// always-starts: whatever a byte of the file becomes and wherever the file ends, the store opens, takes new batches, and
// delivers every row that is still whole.

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "store/database.h"
#include "yard.h"

enum { PAGE = DATABASE_PAGE_BYTES, SMALL = 150, LARGE = 8, LARGE_EVENTS = 4000, FRESH = 1900 };

// A file as a closed store left it, and where its batches are.
struct image {
    struct yard *yard;
    struct buf file, log; // the log: of a store that was not closed
    uint32_t head_page
        [YARD_BATCHES]; // of the batches that are open: where their record begins, in pages from 1; 0: not open
    bool large[YARD_BATCHES];
};
static struct image image;

static struct buf read_file(const char *path)
{
    struct buf buf = BUF_EMPTY;
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0 && fstat(fd, &st) == 0);
    buf_reserve(&buf, (size_t)st.st_size + 1);
    assert_int_equal(read(fd, buf.data, (size_t)st.st_size), st.st_size);
    buf.len = (size_t)st.st_size;
    close(fd);
    return buf;
}

static void write_file(const char *path, const void *data, size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0 && write(fd, data, len) == (ssize_t)len);
    close(fd);
}

static void remove_all(const struct yard *yard)
{
    char command[128]; // names with a time in them
    snprintf(command, sizeof command, "rm -f %s/outbox.db*", yard->dir);
    assert_int_equal(system(command), 0);
}

static unsigned be16(const unsigned char *at)
{
    return (unsigned)at[0] << 8 | at[1];
}

// What is deleted or moved stays in the pages as it was: a row is where a cell of a leaf of a table begins.
static bool is_live(size_t at)
{
    enum { BEFORE_ID = 48, CELL_HEAD_MAX = 40, POINTERS = 8 };
    const unsigned char *page = (const unsigned char *)image.file.data + at / PAGE * PAGE;
    if (page[0] != 0x0d)
        return false;
    for (unsigned i = 0; i < be16(page + 3); i++) {
        size_t cell = be16(page + POINTERS + 2 * (size_t)i) + BEFORE_ID;
        if (cell < at % PAGE && at % PAGE - cell < CELL_HEAD_MAX)
            return true;
    }
    return false;
}

// Where the id of a batch stands.
static size_t find_id(unsigned number)
{
    uint64_t id[2] = {yard_id(number).low, yard_id(number).high};
    const char *at = image.file.data, *end = image.file.data + image.file.len;
    while ((at = memmem(at, (size_t)(end - at), id, sizeof id)) != NULL && !is_live((size_t)(at - image.file.data)))
        at++;
    assert_non_null(at);
    return (size_t)(at - image.file.data);
}

static void locate(unsigned number, bool large)
{
    image.head_page[number] = (uint32_t)(find_id(number) / PAGE) + 1;
    image.large[number] = large;
}

// Rows in leaves and in pages of their own, inner pages (more rows than a leaf has), free pages, and rows that are partly
// settled; one record that is set aside, for the third table.
static int make_image(void **state)
{
    void *yard_state;
    char path[256];
    if (access("/dev/shm", W_OK) == 0) // a thousand opens are a thousand times some syncs
        setenv("TMPDIR", "/dev/shm", 1);
    yard_setup(&yard_state);
    struct yard *yard = yard_state;
    image.yard = yard;
    yard_open(yard);
    unsigned number = 0;
    for (; number < SMALL; number++)
        yard_append(yard, number, 3 + number % 20);
    for (unsigned i = 0; i < LARGE; i++)
        yard_append(yard, number++, LARGE_EVENTS);
    for (unsigned i = 0; i < SMALL + LARGE; i++) {
        struct batch *batch = yard_take_one(yard);
        if (i % 10 == 3) // all
            yard->store->ops->settle(yard->store, batch, 0, batch->count, VERDICT_DELIVERED);
        else if (i % 10 == 4) // some
            yard->store->ops->settle(yard->store, batch, 1, 2, VERDICT_DELIVERED);
        if (i % 10 != 3)
            yard->store->ops->give_back(yard->store, batch);
    }
    yard_close(yard);
    yard_path(yard, "outbox.db", path);
    image.file = read_file(path);
    for (unsigned i = 0; i < SMALL + LARGE; i++)
        if (i % 10 != 3)
            locate(i, i >= SMALL);
    *state = &image;
    return 0;
}

static int drop_image(void **state)
{
    void *yard = image.yard;
    (void)state;
    buf_fini(&image.file);
    buf_fini(&image.log);
    return yard_teardown(&yard);
}

// Takes all that comes, and sees that the store is of use. *found: by number.
static void take_from_open(bool found[YARD_BATCHES])
{
    struct yard *yard = image.yard;
    memset(found, 0, YARD_BATCHES * sizeof *found);
    unsigned answered = yard->answered;
    yard_push(yard, FRESH, 2);
    store_kick(yard->store);
    yard_wait_answers(yard, answered + 1);
    assert_int_equal(yard->status[FRESH], 0);
    while (!found[FRESH]) {
        struct batch *batch = yard_take_one(yard);
        unsigned number = yard_number(batch); // with all of its bytes
        assert_true(number < SMALL + LARGE || number == FRESH);
        assert_false(found[number]);
        found[number] = true;
        yard_settle_open(yard, batch);
    }
    yard_close(yard);
}

static void open_and_take(bool found[YARD_BATCHES])
{
    yard_open(image.yard);
    take_from_open(found);
}

// What may be lost when this page is damaged.
static void assert_lost_only(const bool found[YARD_BATCHES], uint32_t page, const char *how, size_t at)
{
    const unsigned char *begin = (const unsigned char *)image.file.data + (size_t)(page - 1) * PAGE;
    bool structure = page <= 2 || begin[0] == 0x05 || begin[0] == 0x0a || begin[0] == 0x02;
    bool leaf = !structure && begin[0] == 0x0d;
    unsigned lost_elsewhere = 0;
    for (unsigned i = 0; i < SMALL + LARGE; i++) {
        if (image.head_page[i] == 0 || found[i] || (leaf && image.head_page[i] == page))
            continue;
        lost_elsewhere++;
        if (structure || leaf || !image.large[i] || lost_elsewhere > 1)
            fail_msg("page %u, %s at %zu: batch %u of page %u is lost", page, how, at, i, image.head_page[i]);
    }
}

static void with_page(uint32_t page, const char *how, size_t at, void (*change)(unsigned char *page, size_t at))
{
    char path[256];
    bool found[YARD_BATCHES];
    yard_path(image.yard, "outbox.db", path);
    remove_all(image.yard);
    struct buf file = BUF_EMPTY;
    buf_append(&file, image.file.data, image.file.len);
    change((unsigned char *)file.data + (size_t)(page - 1) * PAGE, at);
    write_file(path, file.data, file.len);
    buf_fini(&file);
    open_and_take(found);
    assert_lost_only(found, page, how, at);
}

static void flip_low(unsigned char *page, size_t at)
{
    page[at] ^= 1;
}

static void flip_high(unsigned char *page, size_t at)
{
    page[at] ^= 0x80;
}

static void zero(unsigned char *page, size_t at)
{
    memset(page + at, 0, PAGE - at);
}

static void fill(unsigned char *page, size_t at)
{
    memset(page + at, 0xff, PAGE - at);
}

static uint32_t page_count(void)
{
    return (uint32_t)(image.file.len / PAGE);
}

static void every_page_bit_by_bit(void **state)
{
    (void)state;
    // The fields of the file's header, of a page's header, and its first cells.
    static const size_t fields[] = {0,  1,  3,  4,  5,  7,   8,   9,   11,  16,  18,  20,  21,  24, 28,
                                    31, 32, 35, 36, 39, 44,  47,  52,  55,  56,  59,  60,  63,  64, 67,
                                    68, 71, 92, 96, 99, 100, 103, 105, 107, 108, 109, 110, 111, 112};
    unsigned seed = 1;
    for (uint32_t page = 1; page <= page_count(); page++) {
        for (size_t i = 0; i < sizeof fields / sizeof *fields; i += page == 1 ? 1 : 3)
            with_page(page, "a bit flipped", fields[i], i % 2 == 0 ? flip_low : flip_high);
        for (int i = 0; i < 4; i++)
            with_page(page, "a bit flipped", (size_t)rand_r(&seed) % PAGE, flip_low);
    }
}

static void every_page_gone(void **state)
{
    (void)state;
    for (uint32_t page = 1; page <= page_count(); page++) {
        with_page(page, "zeroes", 0, zero);
        with_page(page, "ones", 0, fill);
        with_page(page, "half of it zeroes", PAGE / 2, zero);
    }
}

static void cut_off(void **state)
{
    (void)state;
    static const int64_t beside[] = {0, 1, -1, 100, 512, PAGE / 2};
    char path[256];
    bool found[YARD_BATCHES];
    yard_path(image.yard, "outbox.db", path);
    for (uint32_t pages = 0; pages < page_count(); pages++) {
        for (size_t i = 0; i < sizeof beside / sizeof *beside; i++) {
            int64_t len = (int64_t)pages * PAGE + beside[i];
            if (len < 0)
                continue;
            remove_all(image.yard);
            write_file(path, image.file.data, (size_t)len);
            open_and_take(found);
            for (unsigned n = 0; n < SMALL + LARGE; n++)
                if (image.head_page[n] != 0 && !image.large[n] && (int64_t)image.head_page[n] * PAGE <= len &&
                    !found[n])
                    fail_msg("cut at %lld: batch %u of page %u is lost", (long long)len, n, image.head_page[n]);
        }
    }
}

static void what_is_damaged_is_kept(void **state)
{
    (void)state;
    struct yard *yard = image.yard;
    char path[256];
    bool found[YARD_BATCHES];
    yard_path(yard, "outbox.db", path);
    remove_all(yard);
    for (unsigned round = 1; round <= 3; round++) {
        write_file(path, "no database", 11);
        open_and_take(found);
        // Each under a name of its own, though no second has passed.
        assert_int_equal(yard_count_files(yard, "outbox.db.damaged-"), round);
    }
    assert_int_equal(yard_count_files(yard, "outbox.db.new"), 0);
    assert_int_equal(yard_count_files(yard, "outbox.db.salvaged"), 0);
    remove_all(yard);
}

// The same without a start in between: the pump finds a page damaged, and the committer salvages.
static void damaged_while_open(void **state)
{
    (void)state;
    struct yard *yard = image.yard;
    char path[256], zeroes[PAGE] = {0};
    bool found[YARD_BATCHES];
    unsigned salvages = 0;
    yard_path(yard, "outbox.db", path);
    for (uint32_t page = 1; page <= page_count(); page++) {
        remove_all(yard);
        write_file(path, image.file.data, image.file.len);
        yard_open(yard);
        int fd = open(path, O_WRONLY | O_CLOEXEC);
        assert_true(fd >= 0 && pwrite(fd, zeroes, PAGE, (off_t)(page - 1) * PAGE) == PAGE);
        close(fd);
        // The pump comes upon it first: the committer has all pages in its memory, and would write some of them once more.
        struct batch *batch = yard_take_one(yard);
        unsigned first = yard_number(batch);
        yard_settle_open(yard, batch);
        take_from_open(found);
        assert_false(found[first]);
        found[first] = true;
        assert_lost_only(found, page, "zeroes under way", 0);
        salvages += yard_count_files(yard, "outbox.db.damaged-") > 0;
    }
    assert_true(salvages > 5);
}

// One byte of a record: all other records come, and this one is set aside and counted; once, also over restarts.
static void one_bad_record(void **state)
{
    (void)state;
    struct yard *yard = image.yard;
    char path[256];
    unsigned victim = 7;
    yard_path(yard, "outbox.db", path);
    remove_all(yard);
    struct buf file = BUF_EMPTY;
    buf_append(&file, image.file.data, image.file.len);
    file.data[find_id(victim) + 20] ^= 4; // behind the id: sensor, lengths, lines
    write_file(path, file.data, file.len);
    buf_fini(&file);

    struct batch *batch;
    unsigned number = 0;
    yard_open(yard);
    while (number != SMALL + LARGE - 1) { // the last
        batch = yard_take_one(yard);
        number = yard_number(batch);
        assert_int_not_equal(number, victim);
        yard->store->ops->give_back(yard->store, batch);
    }
    for (int i = 0; i < 60000 && yard_stats(yard).damaged_records == 0; i++)
        usleep(1000);
    assert_int_equal(yard_stats(yard).damaged_records, 1);
    yard_close(yard);
    assert_int_equal(yard_count_files(yard, "outbox.db.damaged-"), 0); // the file itself is well

    struct durable_report report;
    struct err err;
    assert_int_equal(store_durable_inspect(yard->dir, &report, &err), 0);
    assert_int_equal(report.damaged, 1);
    yard_open(yard);
    batch = yard_take_one(yard);
    yard_assert_batch(batch, 0, 3);
    yard->store->ops->give_back(yard->store, batch);
    yard_close(yard);
    assert_int_equal(store_durable_inspect(yard->dir, &report, &err), 0);
    assert_int_equal(report.damaged, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_page_bit_by_bit),
        cmocka_unit_test(every_page_gone),
        cmocka_unit_test(cut_off),
        cmocka_unit_test(what_is_damaged_is_kept),
        cmocka_unit_test(damaged_while_open),
        cmocka_unit_test(one_bad_record),
    };
    return cmocka_run_group_tests(tests, make_image, drop_image);
}
