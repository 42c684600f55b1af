// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "yard.h"

static void appended_taken_settled(void **state)
{
    struct yard *yard = *state;
    yard_open(yard);
    assert_true(yard->store->ops->durable);
    assert_true(store_accepts(yard->store));
    yard_append(yard, 0, 3);
    assert_int_equal(yard->status[0], 0);

    struct batch *batch = yard_take_one(yard);
    yard_assert_batch(batch, 0, 3);
    uint32_t first;
    assert_int_equal(yard->store->ops->next_open(yard->store, batch, 0, &first), 3);
    assert_int_equal(first, 0);
    struct store_stats stats;
    yard->store->ops->stats(yard->store, &stats);
    assert_int_equal(stats.batches, 1);
    assert_int_equal(stats.events, 3);
    assert_true(stats.bytes > 0);
    assert_int_equal(stats.commits, 1);
    assert_int_equal(stats.commit_batches.sum, 1);
    assert_true(stats.oldest_real_ns == batch->arrived_real_ns);

    yard->store->ops->settle(yard->store, batch, 0, 3, VERDICT_DELIVERED);
    yard_wait_bytes(yard, 0); // the row is deleted without another append
    yard->store->ops->stats(yard->store, &stats);
    assert_int_equal(stats.batches, 0);
    assert_int_equal(stats.events, 0);
    assert_int_equal(stats.oldest_real_ns, 0);
    yard_close(yard);
}

static void order_is_kept(void **state)
{
    struct yard *yard = *state;
    yard_open(yard);
    for (unsigned i = 0; i < 200; i++)
        yard_push(yard, i, 1 + i % 5);
    store_kick(yard->store);
    yard_wait_answers(yard, 200);
    for (unsigned i = 0; i < 200; i++) {
        struct batch *batch = yard_take_one(yard);
        yard_assert_batch(batch, i, 1 + i % 5);
        yard->store->ops->settle(yard->store, batch, 0, batch->count, VERDICT_DELIVERED);
    }
    yard_assert_empty(yard);
    yard_close(yard);
    yard_open(yard);
    yard_assert_empty(yard);
    yard_close(yard);
}

static void partly_settled_over_restarts(void **state)
{
    struct yard *yard = *state;
    uint32_t first;
    yard_open(yard);
    for (unsigned i = 0; i < 3; i++)
        yard_push(yard, i, 20);
    store_kick(yard->store);
    yard_wait_answers(yard, 3);
    struct batch *batch[3];
    for (unsigned i = 0; i < 3; i++)
        batch[i] = yard_take_one(yard);
    // All of the one in the middle, some of the others.
    yard->store->ops->settle(yard->store, batch[1], 0, 20, VERDICT_DELIVERED);
    yard->store->ops->settle(yard->store, batch[0], 0, 5, VERDICT_DELIVERED);
    yard->store->ops->settle(yard->store, batch[0], 7, 13, VERDICT_REJECTED);
    yard->store->ops->settle(yard->store, batch[2], 19, 1, VERDICT_DELIVERED);
    yard->store->ops->give_back(yard->store, batch[0]);
    yard->store->ops->give_back(yard->store, batch[2]);
    yard_close(yard);

    yard_open(yard);
    struct store_stats stats;
    yard->store->ops->stats(yard->store, &stats);
    assert_int_equal(stats.events, 2 + 19);
    assert_int_equal(stats.batches, 2);
    batch[0] = yard_take_one(yard);
    yard_assert_batch(batch[0], 0, 20);
    assert_int_equal(yard->store->ops->next_open(yard->store, batch[0], 0, &first), 2);
    assert_int_equal(first, 5);
    assert_int_equal(yard->store->ops->next_open(yard->store, batch[0], 7, &first), 0);
    batch[2] = yard_take_one(yard);
    yard_assert_batch(batch[2], 2, 20);
    assert_int_equal(yard->store->ops->next_open(yard->store, batch[2], 0, &first), 19);
    assert_int_equal(first, 0);
    yard_assert_empty(yard);
    yard->store->ops->settle(yard->store, batch[0], 5, 2, VERDICT_DELIVERED);
    yard->store->ops->settle(yard->store, batch[2], 0, 19, VERDICT_DELIVERED);
    yard_close(yard);

    yard_open(yard);
    yard_assert_empty(yard);
    yard->store->ops->stats(yard->store, &stats);
    assert_int_equal(stats.bytes, 0);
    yard_close(yard);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(appended_taken_settled, yard_setup, yard_teardown),
        cmocka_unit_test_setup_teardown(order_is_kept, yard_setup, yard_teardown),
        cmocka_unit_test_setup_teardown(partly_settled_over_restarts, yard_setup, yard_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
