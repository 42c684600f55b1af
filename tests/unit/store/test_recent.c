// SPDX-License-Identifier: Apache-2.0
//
// What the durable store keeps in memory for a pump that keeps up: it is the very lines that were appended, it is bounded,
// and nobody can tell from order, content or number whether a batch came from there or from the file.

#include "base/mem.h"
#include "store/outbox.h"
#include "yard.h"

#define KEPT_MAX ((uint64_t)4 << 20) // bytes, as recent.c promises

static uint64_t kept_bytes(struct yard *yard)
{
    struct durable *d = (struct durable *)yard->store;
    pthread_mutex_lock(&d->mutex);
    uint64_t bytes = d->recent_bytes;
    pthread_mutex_unlock(&d->mutex);
    return bytes;
}

static bool from_memory(const struct batch *batch)
{
    return ((const struct durable_batch *)batch)->is_recent;
}

// The next one, whole; and settles it.
static bool take_next(struct yard *yard, unsigned number, uint32_t events)
{
    struct batch *batch = yard_take_one(yard);
    bool kept = from_memory(batch);
    yard_assert_batch(batch, number, events);
    yard_settle_open(yard, batch);
    return kept;
}

struct own_batch {
    struct batch batch; // first
    bool answered;
};

static void on_answer(struct mail *mail)
{
    ((struct own_batch *)mail)->answered = true;
}

static void lines_are_handed_on(void **state)
{
    struct yard *yard = *state;
    char *lines = mem_strdup("{}\n[]\n");
    uint32_t *ends = mem_array(2, sizeof *ends);
    ends[0] = 3;
    ends[1] = 6;
    struct own_batch own = {.batch = {.mail.run = on_answer,
                                      .home = &yard->home,
                                      .sensor = "s1",
                                      .arrived_real_ns = 7,
                                      .id = {.low = 1, .high = 2},
                                      .lines = {lines, 6, 7},
                                      .ends = ends,
                                      .count = 2}};
    yard_open(yard);
    assert_int_equal(store_append(yard->store, &own.batch), 0);
    store_kick(yard->store);
    struct batch *batch = yard_take_one(yard);
    while (!own.answered)
        (void)mailbox_run(&yard->home);
    assert_ptr_equal(batch->lines.data, lines);
    assert_ptr_equal(batch->ends, ends);
    assert_null(own.batch.lines.data);
    assert_int_equal(own.batch.lines.cap, 0);
    assert_null(own.batch.ends);
    assert_int_equal(own.batch.count, 2);
    assert_int_equal(batch->count, 2);
    assert_int_equal(batch->lines.len, 6);
    assert_string_equal(batch->sensor, "s1");
    assert_int_equal(batch->arrived_real_ns, 7);
    assert_true(batch->id.low == 1 && batch->id.high == 2);
    assert_int_equal(kept_bytes(yard), 0);
    yard->store->ops->settle(yard->store, batch, 0, 2, VERDICT_DELIVERED);
    yard_wait_bytes(yard, 0);
    yard_close(yard);
}

// Several batches of one row, in part settled, and what the next start finds of them.
static void row_of_several(void **state)
{
    struct yard *yard = *state;
    struct batch *batch[3];
    yard_open(yard);
    for (unsigned i = 0; i < 3; i++)
        yard_push(yard, i, 5 + i);
    store_kick(yard->store);
    yard_wait_answers(yard, 3);
    for (unsigned i = 0; i < 3; i++) {
        batch[i] = yard_take_one(yard);
        assert_true(from_memory(batch[i]));
        yard_assert_batch(batch[i], i, 5 + i);
    }
    yard->store->ops->settle(yard->store, batch[1], 0, 6, VERDICT_DELIVERED);
    yard->store->ops->settle(yard->store, batch[2], 2, 3, VERDICT_REJECTED);
    yard->store->ops->give_back(yard->store, batch[2]);
    yard->store->ops->give_back(yard->store, batch[0]);
    yard_close(yard);

    yard_open(yard);
    assert_false(take_next(yard, 0, 5));
    struct batch *rest = yard_take_one(yard);
    uint32_t first;
    assert_int_equal(yard->store->ops->next_open(yard->store, rest, 0, &first), 2);
    assert_int_equal(first, 0);
    assert_int_equal(yard->store->ops->next_open(yard->store, rest, 2, &first), 2);
    assert_int_equal(first, 5);
    yard_settle_open(yard, rest);
    yard_wait_bytes(yard, 0);
    yard_close(yard);
}

// Far more than is kept waits for the pump; when it has caught up, it is served from memory again.
static void pump_that_falls_behind(void **state)
{
    struct yard *yard = *state;
    enum { BATCHES = 60, EVENTS = 4000 };
    unsigned kept = 0, number = 0;
    yard_open(yard);
    for (; number < BATCHES; number++) {
        yard_append(yard, number, EVENTS);
        assert_true(kept_bytes(yard) <= KEPT_MAX);
    }
    assert_true(kept_bytes(yard) > 0);
    for (unsigned i = 0; i < BATCHES; i++) {
        kept += take_next(yard, i, EVENTS);
        if (i % 2 == 0) // and some come meanwhile
            yard_append(yard, number++, 10);
        assert_true(kept_bytes(yard) <= KEPT_MAX);
    }
    assert_in_range(kept, 1, BATCHES - 1);
    for (unsigned i = BATCHES; i < number; i++)
        (void)take_next(yard, i, 10);
    yard_assert_empty(yard);
    yard_append(yard, number, 10);
    assert_true(take_next(yard, number, 10));
    yard_wait_bytes(yard, 0);
    assert_int_equal(kept_bytes(yard), 0);
    yard_close(yard);
}

static void what_is_forgotten_is_read(void **state)
{
    struct yard *yard = *state;
    yard_open(yard);
    for (unsigned i = 0; i < 4; i++)
        yard_append(yard, i, 3);
    assert_true(take_next(yard, 0, 3));
    durable_recent_forget((struct durable *)yard->store);
    assert_int_equal(kept_bytes(yard), 0);
    yard_append(yard, 4, 3);
    for (unsigned i = 1; i < 4; i++)
        assert_false(take_next(yard, i, 3));
    assert_true(take_next(yard, 4, 3));
    yard_wait_bytes(yard, 0);
    yard_close(yard);
}

// A row that is dropped before the pump takes it does not come, though it is in memory still.
static void dropped_rows_do_not_come(void **state)
{
    struct yard *yard = *state;
    yard->conf.max_bytes = 20000;
    yard->conf.when_full = (char *)"drop_oldest";
    yard_open(yard);
    for (unsigned i = 0; i < 100; i++)
        yard_append(yard, i, 50);
    struct store_stats stats = yard_stats(yard);
    assert_true(stats.dropped_events >= 50);
    unsigned first = (unsigned)(stats.dropped_events / 50);
    for (unsigned i = first; i < 100; i++)
        assert_true(take_next(yard, i, 50));
    yard_assert_empty(yard);
    assert_int_equal(kept_bytes(yard), 0);
    yard_wait_bytes(yard, 0);
    yard_close(yard);
}

// At the end nothing is lost of what was kept, taken in part, or never asked for.
static void end_in_between(void **state)
{
    struct yard *yard = *state;
    yard_open(yard);
    for (unsigned i = 0; i < 3; i++)
        yard_push(yard, i, 4);
    store_kick(yard->store);
    yard_wait_answers(yard, 3);
    yard_append(yard, 3, 4);
    assert_true(take_next(yard, 0, 4));
    assert_true(kept_bytes(yard) > 0);
    yard_close(yard);
    yard_open(yard);
    for (unsigned i = 1; i < 4; i++)
        assert_false(take_next(yard, i, 4));
    yard_assert_empty(yard);
    yard_close(yard);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(lines_are_handed_on, yard_setup, yard_teardown),
        cmocka_unit_test_setup_teardown(row_of_several, yard_setup, yard_teardown),
        cmocka_unit_test_setup_teardown(pump_that_falls_behind, yard_setup, yard_teardown),
        cmocka_unit_test_setup_teardown(what_is_forgotten_is_read, yard_setup, yard_teardown),
        cmocka_unit_test_setup_teardown(dropped_rows_do_not_come, yard_setup, yard_teardown),
        cmocka_unit_test_setup_teardown(end_in_between, yard_setup, yard_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
