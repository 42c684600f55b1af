// SPDX-License-Identifier: Apache-2.0

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "http/deadline.h"

enum { COUNT = 5, FAST_MS = 20, SLOW_MS = 60 };

static struct loop *loop;
static struct deadlines deadlines;
static struct deadline all[COUNT];
static int64_t began_ns;
static unsigned due[COUNT * 2], due_count, wanted;

static void on_due(struct deadline *deadline)
{
    unsigned i = (unsigned)(deadline - all);

    assert_int_equal(deadline->kind, DEADLINE_NONE);
    // Deadlines count from the time at which the loop's turn began.
    assert_true(clock_mono_ns() >= deadline->due_ns);
    due[due_count++] = i;
    if (due_count == wanted)
        loop_stop(loop);
}

static int start(void **state)
{
    (void)state;
    loop = loop_new();
    deadlines_init(&deadlines, loop, on_due);
    deadlines.queues[DEADLINE_HEADERS].ms = FAST_MS;
    deadlines.queues[DEADLINE_IDLE].ms = SLOW_MS;
    for (unsigned i = 0; i < COUNT; i++)
        all[i] = (struct deadline){.kind = DEADLINE_NONE};
    due_count = 0;
    began_ns = loop_now_ns(loop);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    deadlines_fini(&deadlines);
    loop_free(loop);
    return 0;
}

static void run_until_due(unsigned count)
{
    wanted = count;
    loop_run(loop);
    assert_int_equal(due_count, count);
}

static void test_order(void **state)
{
    static const unsigned expected[] = {1, 3, 0, 2, 4};

    (void)state;
    deadline_set(&deadlines, &all[0], DEADLINE_IDLE);
    deadline_set(&deadlines, &all[1], DEADLINE_HEADERS); // sooner than what the timer runs for
    deadline_set(&deadlines, &all[2], DEADLINE_IDLE);
    deadline_set(&deadlines, &all[3], DEADLINE_HEADERS);
    deadline_set(&deadlines, &all[4], DEADLINE_IDLE);
    run_until_due(COUNT);
    assert_memory_equal(due, expected, sizeof expected);
    assert_true(clock_mono_ns() - began_ns >= SLOW_MS * NS_PER_MS);
}

static void test_clear_and_set_anew(void **state)
{
    static const unsigned expected[] = {4, 1, 0};

    (void)state;
    for (unsigned i = 0; i < COUNT; i++)
        deadline_set(&deadlines, &all[i], DEADLINE_HEADERS);
    deadline_clear(&deadlines, &all[0]); // the first, one within, and twice
    deadline_clear(&deadlines, &all[2]);
    deadline_clear(&deadlines, &all[2]);
    deadline_set(&deadlines, &all[1], DEADLINE_IDLE); // to another queue
    deadline_set(&deadlines, &all[3], DEADLINE_IDLE);
    deadline_clear(&deadlines, &all[3]); // the last
    deadline_set(&deadlines, &all[0], DEADLINE_IDLE);
    run_until_due(3);
    assert_memory_equal(due, expected, sizeof expected);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_order),
        TEST(test_clear_and_set_anew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
