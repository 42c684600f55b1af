// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sink/http_nodes.h"

#include "base/clock.h"

#define MS NS_PER_MS

static void goes_around(void **state)
{
    (void)state;
    struct http_nodes nodes;
    http_nodes_init(&nodes, 3, 100);
    for (size_t i = 0; i < 7; i++)
        assert_int_equal(http_nodes_choose(&nodes, 1000 * MS), i % 3);
    http_nodes_fini(&nodes);
}

static void failed_is_set_aside(void **state)
{
    (void)state;
    struct http_nodes nodes;
    int64_t now = 1000 * MS;
    http_nodes_init(&nodes, 3, 100);
    http_nodes_failed(&nodes, 1, now, now);
    for (int i = 0; i < 8; i++)
        assert_int_not_equal(http_nodes_choose(&nodes, now + 99 * MS), 1);

    // One asks it again, the others don't until that one knows.
    unsigned asked = 0;
    for (int i = 0; i < 8; i++)
        asked += http_nodes_choose(&nodes, now + 100 * MS) == 1;
    assert_int_equal(asked, 1);

    // Longer the second time.
    http_nodes_failed(&nodes, 1, now + 100 * MS, now + 110 * MS);
    for (int i = 0; i < 8; i++)
        assert_int_not_equal(http_nodes_choose(&nodes, now + 309 * MS), 1);
    http_nodes_worked(&nodes, 1);
    asked = 0;
    for (int i = 0; i < 9; i++)
        asked += http_nodes_choose(&nodes, now + 309 * MS) == 1;
    assert_int_equal(asked, 3);
    http_nodes_fini(&nodes);
}

static void all_set_aside(void **state)
{
    (void)state;
    struct http_nodes nodes;
    http_nodes_init(&nodes, 2, 100);
    assert_true(http_nodes_available(&nodes, 0));
    http_nodes_failed(&nodes, 1, 0, 10 * MS);
    assert_true(http_nodes_available(&nodes, 20 * MS));
    http_nodes_failed(&nodes, 0, 0, 20 * MS);
    assert_false(http_nodes_available(&nodes, 30 * MS));
    assert_int_equal(http_nodes_choose(&nodes, 30 * MS), 1); // whose time is up first; now the other one's is
    assert_int_equal(http_nodes_choose(&nodes, 30 * MS), 0);
    http_nodes_fini(&nodes);

    http_nodes_init(&nodes, 1, 100);
    http_nodes_failed(&nodes, 0, 0, 10 * MS);
    assert_int_equal(http_nodes_choose(&nodes, 11 * MS), 0);
    assert_false(http_nodes_available(&nodes, 11 * MS));
    http_nodes_fini(&nodes);
}

static void failures_at_once_are_one(void **state)
{
    (void)state;
    struct http_nodes nodes;
    http_nodes_init(&nodes, 2, 100);
    for (int i = 0; i < 4; i++)
        http_nodes_failed(&nodes, 0, 5 * MS, (10 + i) * MS);
    assert_int_equal(nodes.at[0].failures, 1);
    assert_int_equal(nodes.at[0].aside_until_ns, 110 * MS);
    // There is an end to doubling.
    for (int i = 0; i < 100; i++)
        http_nodes_failed(&nodes, 0, (1000 + i) * MS, (1000 + i) * MS);
    assert_true(nodes.at[0].aside_until_ns <= 1099 * MS + 64 * 100 * MS);
    http_nodes_fini(&nodes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(goes_around), cmocka_unit_test(failed_is_set_aside),
                                       cmocka_unit_test(all_set_aside), cmocka_unit_test(failures_at_once_are_one)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
