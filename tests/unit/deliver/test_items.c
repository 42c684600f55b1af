// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "deliver/held.h"
#include "deliver/items.h"
#include "deliver/parcel.h"

#include <stdlib.h>

#include "base/mem.h"

// Lists, the queue, parcels and the table of held batches against plain models.

#define EVENT_BYTES 10

static struct batch *batch_new(uint32_t count)
{
    struct batch *batch = mem_zalloc(sizeof *batch);
    batch->count = count;
    batch->ends = mem_array(count, sizeof *batch->ends);
    for (uint32_t i = 0; i < count; i++)
        batch->ends[i] = (i + 1) * EVENT_BYTES;
    batch->lines.len = (size_t)count * EVENT_BYTES; // nothing here reads them
    return batch;
}

static void batch_free(struct batch *batch)
{
    mem_free(batch->ends);
    mem_free(batch);
}

static void assert_items(const struct items *items, const struct sink_item *expected, size_t count)
{
    uint64_t events = 0;
    assert_int_equal(items->count, count);
    for (size_t i = 0; i < count; i++) {
        assert_ptr_equal(items->at[i].batch, expected[i].batch);
        assert_int_equal(items->at[i].first, expected[i].first);
        assert_int_equal(items->at[i].count, expected[i].count);
        events += expected[i].count;
    }
    assert_int_equal(items->events, events);
    assert_int_equal(items->bytes, events * EVENT_BYTES);
}

static void runs_are_joined(void **state)
{
    (void)state;
    struct batch *a = batch_new(10), *b = batch_new(10);
    struct items items = {0};
    items_add(&items, (struct sink_item){a, 0, 2});
    items_add(&items, (struct sink_item){a, 2, 1});
    items_add(&items, (struct sink_item){a, 4, 1});
    items_add(&items, (struct sink_item){b, 5, 1});
    items_add(&items, (struct sink_item){b, 6, 4});
    const struct sink_item expected[] = {{a, 0, 3}, {a, 4, 1}, {b, 5, 5}};
    assert_items(&items, expected, 3);
    items_clear(&items);
    assert_items(&items, NULL, 0);
    items_fini(&items);
    batch_free(a);
    batch_free(b);
}

static void items_are_split_anywhere(void **state)
{
    (void)state;
    struct batch *a = batch_new(10), *b = batch_new(10);
    struct items items = {0};
    items_add(&items, (struct sink_item){a, 1, 3});
    items_add(&items, (struct sink_item){b, 0, 2});
    for (uint64_t at = 0; at <= 5; at++) {
        struct items first = {0}, rest = {0};
        items_split(&items, at, &first, &rest);
        assert_int_equal(first.events, at);
        assert_int_equal(rest.events, 5 - at);
        if (at == 2) {
            const struct sink_item left[] = {{a, 1, 2}}, right[] = {{a, 3, 1}, {b, 0, 2}};
            assert_items(&first, left, 1);
            assert_items(&rest, right, 2);
        }
        items_fini(&first);
        items_fini(&rest);
    }
    items_fini(&items);
    batch_free(a);
    batch_free(b);
}

static void cut_by_bytes_and_events(void **state)
{
    (void)state;
    static const struct {
        uint64_t bytes, events, expected;
    } cases[] = {{1000, 1000, 30}, {100, 1000, 10},     {99, 1000, 9}, {109, 1000, 10}, {5, 1000, 1},
                 {1000, 7, 7},     {10, UINT64_MAX, 1}, {1000, 1, 1},  {150, 15, 15},   {250, 1000, 25}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct batch *batches[3] = {batch_new(10), batch_new(10), batch_new(10)};
        struct queue queue = {0};
        uint64_t total = 0;
        for (unsigned b = 0; b < 3; b++)
            queue_push(&queue, (struct sink_item){batches[b], 0, 10}, b);
        while (queue.count > 0) {
            struct items items = {0};
            queue_cut(&queue, cases[i].bytes, cases[i].events, &items);
            uint64_t left = 30 - total;
            assert_int_equal(items.events, cases[i].expected < left ? cases[i].expected : left);
            assert_ptr_equal(items.at[0].batch, batches[total / 10]); // in order, nothing left out
            assert_int_equal(items.at[0].first, total % 10);
            total += items.events;
            assert_int_equal(queue.events, 30 - total);
            assert_int_equal(queue.bytes, (30 - total) * EVENT_BYTES);
            if (queue.count > 0)
                assert_int_equal(queue_since_ns(&queue), total / 10);
            items_fini(&items);
        }
        assert_int_equal(total, 30);
        queue_fini(&queue);
        for (unsigned b = 0; b < 3; b++)
            batch_free(batches[b]);
    }
}

// Pushes, cuts and what comes back in a random mix, against a plain array of events in order.
static void queue_like_an_array(void **state)
{
    (void)state;
    enum { BATCHES = 3000, EVENTS = 4 };
    struct batch **batches = mem_array(BATCHES, sizeof *batches);
    struct queue queue = {0};
    uint64_t next = 0, pushed = 0; // events; `next` is the first that is in the queue
    srand(1);
    while (next < (uint64_t)BATCHES * EVENTS) {
        if (rand() % 2 && pushed < BATCHES) {
            batches[pushed] = batch_new(EVENTS);
            queue_push(&queue, (struct sink_item){batches[pushed], 0, EVENTS}, 0);
            pushed++;
        } else if (queue.count > 0) {
            struct items items = {0};
            queue_cut(&queue, UINT64_MAX, 1 + (uint64_t)rand() % 40, &items);
            assert_ptr_equal(items.at[0].batch, batches[next / EVENTS]);
            assert_int_equal(items.at[0].first, next % EVENTS);
            if (rand() % 2)
                queue_unshift(&queue, &items);
            else
                next += items.events;
            items_fini(&items);
        }
        assert_int_equal(queue.events, pushed * EVENTS - next);
    }
    assert_int_equal(queue.count, 0);
    queue_fini(&queue);
    for (unsigned i = 0; i < BATCHES; i++)
        batch_free(batches[i]);
    mem_free(batches);
}

static void parcels_by_time(void **state)
{
    (void)state;
    struct parcels parcels, spare;
    static const int64_t due[] = {50, 10, 30, 10, 70};
    parcels_init(&parcels);
    parcels_init(&spare);
    assert_int_equal(parcels_next_due_ns(&parcels), INT64_MAX);
    for (unsigned i = 0; i < 5; i++) {
        struct parcel *parcel = parcel_get(&spare);
        parcel->due_ns = due[i];
        parcel->tries = i;
        parcels_push(&parcels, parcel);
    }
    assert_int_equal(parcels_next_due_ns(&parcels), 10);
    assert_null(parcels_take_due(&parcels, 9));
    static const unsigned order[] = {1, 2, 3}; // of those due at 30: as they were pushed
    for (unsigned i = 0; i < 3; i++) {
        struct parcel *parcel = parcels_take_due(&parcels, 30);
        assert_int_equal(parcel->tries, order[i]);
        parcel_put(&spare, parcel);
    }
    assert_null(parcels_take_due(&parcels, 49));
    struct parcel *last = parcels_take_due(&parcels, 70);
    assert_int_equal(last->tries, 0);
    parcel_put(&spare, last);
    last = parcels_take_due(&parcels, 70); // the last one in the list, which then ends where it begins
    assert_int_equal(last->tries, 4);
    parcels_push(&parcels, last);
    assert_int_equal(parcels.count, 1);
    assert_int_equal(spare.count, 4);
    last = parcel_get(&spare);
    assert_int_equal(last->tries, 0); // a spare one is as new
    parcel_put(&spare, last);
    parcels_fini(&parcels);
    parcels_fini(&spare);
}

static void halves(void **state)
{
    (void)state;
    struct parcels spare;
    parcels_init(&spare);
    struct batch *batch = batch_new(9);
    struct parcel *first = parcel_get(&spare);
    items_add(&first->retry, (struct sink_item){batch, 0, 9});
    parcel_turn_round(first);
    assert_int_equal(first->retry.events, 0);
    first->failures = 2;
    first->progress = 7;
    first->alone = true;
    first->prober = true;
    struct parcel *second = parcel_halve(first, &spare);
    const struct sink_item left[] = {{batch, 0, 4}}, right[] = {{batch, 4, 5}};
    assert_items(&first->items, left, 1);
    assert_items(&second->items, right, 1);
    assert_int_equal(second->failures, 2);
    assert_int_equal(second->progress, 7);
    assert_true(second->alone);
    assert_true(first->prober); // there is only one
    assert_false(second->prober);
    parcel_put(&spare, first);
    parcel_put(&spare, second);
    parcels_fini(&spare);
    batch_free(batch);
}

static void held_batches(void **state)
{
    (void)state;
    enum { COUNT = 2000 };
    struct batch **batches = mem_array(COUNT, sizeof *batches);
    uint32_t open[COUNT];
    struct held held = {0};
    srand(2);
    for (unsigned i = 0; i < COUNT; i++) {
        batches[i] = batch_new(5);
        open[i] = 1 + (uint32_t)rand() % 5;
        held_add(&held, batches[i], open[i], open[i] * EVENT_BYTES);
    }
    unsigned left = COUNT;
    assert_int_equal(held.total_bytes, COUNT * 5 * EVENT_BYTES);
    while (left > 0) {
        unsigned i = (unsigned)rand() % COUNT;
        if (open[i] == 0)
            continue;
        uint32_t count = 1 + (uint32_t)rand() % open[i];
        open[i] -= count;
        assert_int_equal(held_settle(&held, batches[i], count, count * EVENT_BYTES), open[i] == 0);
        left -= open[i] == 0;
        assert_int_equal(held.count, left);
    }
    assert_int_equal(held.open_bytes, 0);
    assert_int_equal(held.total_bytes, 0);
    assert_int_equal(held.open_events, 0);
    held_fini(&held);
    for (unsigned i = 0; i < COUNT; i++)
        batch_free(batches[i]);
    mem_free(batches);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runs_are_joined),
        cmocka_unit_test(items_are_split_anywhere),
        cmocka_unit_test(cut_by_bytes_and_events),
        cmocka_unit_test(queue_like_an_array),
        cmocka_unit_test(parcels_by_time),
        cmocka_unit_test(halves),
        cmocka_unit_test(held_batches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
