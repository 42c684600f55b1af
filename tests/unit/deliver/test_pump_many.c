// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "rig.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "store/memory.h"

// Several hand-overs at once, retries of single events, dead letters, the end.

// ---- Hand-overs

static void several_at_once_end_in_any_order(void **state)
{
    (void)state;
    script.limits.max_events = 10;
    script.backwards = true;
    rig_start(1, 1);
    for (unsigned i = 0; i < 40; i++)
        rig_append_padded(3, 0);
    store_kick(worker.store); // all at once, so that there is always a next hand-over
    rig_wait_answers(40);
    rig_stop_clean();
    assert_int_equal(script.most_in_flight, 4);
    assert_true(script.done_out_of_order > 0);
    const struct sink_stats *stats = pump_sink_stats(worker.pump);
    assert_int_equal(counter_get(&stats->events), 120);
    assert_int_equal(counter_get(&stats->retried), 0);
    assert_int_equal(counter_get(&stats->errors), 0);
    uint64_t hand_overs = 0;
    for (unsigned i = 0; i <= HISTOGRAM_BUCKETS; i++)
        hand_overs += counter_get(&stats->handover_ns.buckets[i]);
    assert_int_equal(hand_overs, rig_calls());
    struct pump_state now;
    pump_state(worker.pump, &now);
    assert_string_equal(now.last_error, "");
}

static void hand_overs_are_cut_by_bytes_and_events(void **state)
{
    (void)state;
    script.delay_ms = -1;
    script.limits.in_flight = 1;
    rig_start(1, 1);
    script.limits.max_bytes = 100000; // as before: fake_deliver looks at both
    rig_append_padded(300, 1000);
    rig_append_padded(1, 200000); // larger than a hand-over, and it has to go
    rig_append(2500);
    rig_wait_answers(3);
    rig_stop_clean();
    unsigned large = 0;
    for (unsigned i = 0; i < rig_calls(); i++)
        large += script.call[i].bytes > 100000;
    assert_int_equal(large, 1);
    assert_in_range(rig_calls(), 4 + 1 + 3, 9);
}

static void what_was_settled_before_the_start_stays_out(void **state)
{
    (void)state;
    script.durable = true;
    static const unsigned before[] = {0, 3, 4, 9, 10, 12};
    for (size_t i = 0; i < sizeof before / sizeof *before; i++)
        script.settled_before[before[i]] = true;
    rig_start(1, 1);
    rig_append(10);
    rig_append(3);
    rig_wait_answers(2);
    rig_stop_clean();
    for (unsigned i = 0; i < 13; i++)
        assert_int_equal(script.seen[i], script.settled_before[i] ? 0 : 1);
}

static void held_memory_is_bounded(void **state)
{
    (void)state;
    script.durable = true;
    script.held = true;
    rig_start(1, 1);
    for (unsigned i = 0; i < 60; i++)
        rig_append_padded(1, 1000000);
    store_kick(worker.store);
    rig_wait_calls(4);
    poll(NULL, 0, 20);
    assert_in_range(__atomic_load_n(&script.taken_bytes, __ATOMIC_ACQUIRE), 4000000, 34 * 1000000);
    __atomic_store_n(&script.held, false, __ATOMIC_RELEASE);
    rig_wait_answers(60);
    rig_stop_clean();
}

// ---- Linger

static void durable_events_wait_for_more(void **state)
{
    (void)state;
    script.durable = true;
    script.limits.max_events = 10;
    script.limits.linger_ms = 300000;
    rig_start(1, 1);
    rig_append(4);
    rig_append(5);
    poll(NULL, 0, 50);
    assert_int_equal(rig_calls(), 0);
    rig_append(3); // full
    rig_wait_answers(2);
    assert_int_equal(script.call[0].events, 10);
    assert_int_equal(worker.answered, 2);
    rig_stop_clean(); // and at the end nothing waits
    assert_int_equal(rig_calls(), 2);
}

static void durable_events_wait_no_longer_than_told(void **state)
{
    (void)state;
    script.durable = true;
    script.limits.linger_ms = 100;
    rig_start(1, 1);
    int64_t begin_ns = clock_mono_ns();
    rig_append_padded(4, 0);
    rig_append(4);
    rig_wait_answers(2);
    assert_int_equal(rig_calls(), 1);
    assert_in_range(script.call[0].at_ns - begin_ns, 100 * NS_PER_MS, SOON_NS);
    rig_stop_clean();
}

static void memory_never_waits(void **state)
{
    (void)state;
    script.limits.linger_ms = 300000;
    rig_start(1, 1);
    rig_append(4);
    rig_wait_answers(1);
    rig_stop_clean();
}

// ---- Single events

static void one_event_neither_blocks_nor_repeats_the_rest(void **state)
{
    (void)state;
    struct pump_state now;
    script.retries[5] = 3;
    script.retries[700] = 2;
    rig_start(20, 100);
    for (unsigned i = 0; i < 100; i++)
        rig_append(10);
    rig_wait_answers(98); // all but the two that have such an event
    rig_wait_last_error("retry", &now);
    assert_true(now.up);
    rig_wait_answers(100);
    rig_stop_clean();
    for (unsigned i = 0; i < 1000; i++)
        assert_int_equal(script.seen[i], i == 5 ? 4 : i == 700 ? 3 : 1);
    assert_int_equal(counter_get(&pump_sink_stats(worker.pump)->retried), 5);
    assert_int_equal(rig_logged("output down"), 0);
}

static void each_retry_waits_longer(void **state)
{
    (void)state;
    script.retries[0] = 3;
    script.delay_ms = -1;
    rig_start(40, 100000);
    rig_append(1);
    rig_wait_answers(1);
    rig_stop_clean();
    assert_int_equal(rig_calls(), 4);
    for (unsigned i = 0; i < 3; i++) // 40..80, 80..160, 160..320
        assert_in_range(script.call[i + 1].at_ns - script.call[i].done_ns, (40 << i) * NS_PER_MS, SOON_NS);
}

static void retries_that_are_due_go_together(void **state)
{
    (void)state;
    script.limits.max_events = 10;
    for (unsigned i = 0; i < 1000; i += 5)
        script.retries[i] = 1;
    rig_start(1000, 1000);
    rig_append(1000);
    rig_wait_events(800);
    // All hand-overs that may be under way stand still until every retry is due.
    __atomic_store_n(&script.held, true, __ATOMIC_RELEASE);
    rig_append(40);
    rig_wait_calls(104);
    poll(NULL, 0, 1200);
    __atomic_store_n(&script.held, false, __ATOMIC_RELEASE);
    rig_wait_answers(2);
    rig_stop_clean();
    assert_in_range(rig_calls(), 104 + 20, 104 + 60); // those 200 again in full ones
}

// The room for what is tried again is bounded: when it is full the output is down for all others, and that is said.
static void retries_that_take_all_the_room_are_named(void **state)
{
    (void)state;
    struct pump_state now;
    script.durable = true;
    for (unsigned i = 0; i < 40; i++)
        script.retries[i] = 1000000;
    rig_start(1, 5);
    for (unsigned i = 0; i < 50; i++)
        rig_append_padded(1, 1000000);
    store_kick(worker.store);
    rig_wait_up(false, &now);
    assert_non_null(strstr(now.reason, "events are tried again and again, and there is no room for more"));
    assert_int_equal(worker.answered, 0);
    assert_in_range(rig_stop(60000), 30, 40);
}

// One of them is taken now and then, and the next takes its room: the output does not come and go with each.
static void full_of_retries_is_one_state(void **state)
{
    (void)state;
    struct pump_state now;
    script.durable = true;
    for (unsigned i = 0; i < 40; i++)
        script.retries[i] = i < 34 ? 10 + i : 1000000;
    rig_start(1, 5);
    for (unsigned i = 0; i < 40; i++)
        rig_append_padded(1, 1000000);
    store_kick(worker.store);
    rig_wait_up(false, &now);
    rig_wait_events(34);
    rig_wait_up(true, &now);
    assert_int_equal(rig_stop(60000), 6);
    assert_in_range(rig_logged("\"output down\""), 1, 2);
}

static void rejected_events_are_dead_letters(void **state)
{
    (void)state;
    script.reject[1] = script.reject[2] = script.reject[7] = true;
    script.retries[2] = 1;
    rig_start(1, 1);
    rig_append(10);
    rig_wait_answers(1);
    rig_stop_clean();
    assert_int_equal(counter_get(&pump_sink_stats(worker.pump)->rejected), 3);
    static const unsigned expected[] = {1, 7, 2};
    const char *at = rig_dead_letters();
    for (unsigned i = 0; i < 3; i++) {
        char event[64], id[128];
        char raw[EVENT_ID_LEN];
        batch_event_id(worker.batches[0], expected[i], raw);
        snprintf(id, sizeof id, "\"output\":\"fake\",\"id\":\"%.*s\",\"sensor\":\"vps-1\",\"status\":400,",
                 EVENT_ID_LEN, raw);
        snprintf(event, sizeof event, ",\"event\":{\"n\":%u,\"p\":\"\"}}\n", expected[i]);
        const char *line_id = strstr(at, "\"output\"");
        assert_non_null(line_id);
        assert_memory_equal(line_id, id, strlen(id));
        at = strstr(at, event);
        assert_non_null(at);
        at += strlen(event);
    }
    assert_string_equal(at, "");
}

// At the cap the event waits, is tried again, and the state tells. When there is room again it goes.
static void full_dead_letters(void **state)
{
    (void)state;
    char path[64];
    struct pump_state now;
    script.reject[0] = script.reject[3] = true;
    worker.output.outbox.dead_letter_max_bytes = 300;
    rig_start(1, 20);
    rig_append(2);
    rig_append(2);
    rig_append_padded(50, 0);
    int64_t deadline_ns = clock_mono_ns() + SOON_NS;
    do {
        pump_state(worker.pump, &now);
        assert_true(clock_mono_ns() < deadline_ns);
    } while (now.dead_letters[0] == '\0');
    assert_true(now.up);
    assert_non_null(strstr(now.dead_letters, "dead letters: full ("));
    assert_non_null(strstr(now.dead_letters, " bytes), events wait"));
    rig_append(3);
    rig_wait_answers(3);             // all but one of the first two
    rig_wait_calls(rig_calls() + 8); // again and again
    assert_int_equal(worker.answered, 3);
    snprintf(path, sizeof path, "%s/dead-letters.ndjson", worker.dir);
    assert_int_equal(truncate(path, 0), 0);
    rig_wait_answers(4);
    rig_stop_clean();
    pump_state(worker.pump, &now);
    assert_string_equal(now.dead_letters, "");
    assert_int_equal(rig_logged("rejected events wait"), 1);
}

// ---- Stop

static void stop_gives_back_all_that_is_under_way(void **state)
{
    (void)state;
    for (int durable = 0; durable < 2; durable++) {
        script.durable = durable;
        script.limits.max_events = 10;
        script.limits.linger_ms = 300000;
        script.retries[0] = script.retries[11] = 100000;
        script.poison[25] = durable; // with a memory store the output would be down when it is alone
        rig_start(1, 1);
        rig_append(40);
        rig_wait_calls(20);
        __atomic_store_n(&script.held, true, __ATOMIC_RELEASE);
        rig_append(100);
        rig_wait_in_flight();
        uint64_t events = worker.events;
        uint64_t given_back = rig_stop(50);
        uint64_t delivered = 0;
        for (unsigned i = 0; i < events; i++)
            delivered += script.delivered[i];
        assert_int_equal(given_back + delivered, events);
        assert_int_equal(worker.answered, 2);
        assert_int_equal(worker.answered_safe, 0);
        rig_tear_down(state);
        rig_set_up(state);
    }
}

// What is on disk goes after the next start, so there is nothing to wait for.
static void durable_stop_does_not_wait_for_what_fails(void **state)
{
    (void)state;
    static const int results[] = {SINK_DOWN, SINK_BUSY, SINK_FAILED};
    struct pump_state now;
    for (size_t i = 0; i < sizeof results / sizeof *results; i++) {
        script.durable = true;
        script.result = results[i];
        rig_start(600000, 600000);
        rig_append(10);
        rig_wait_up(false, &now); // the first try is over
        int64_t begin_ns = clock_mono_ns();
        assert_int_equal(rig_stop(300000), 10);
        assert_true(clock_mono_ns() - begin_ns < SOON_NS);
        assert_int_equal(rig_calls(), 2); // one more try
        rig_tear_down(state);
        rig_set_up(state);
    }
    script.durable = true;
    script.retries[3] = 100;
    rig_start(600000, 600000);
    rig_append(10);
    rig_wait_calls(1);
    assert_int_equal(rig_stop(300000), 1);
    rig_tear_down(state);
    rig_set_up(state);
    script.durable = true;
    script.retries[0] = 100;
    rig_start(600000, 600000);
    rig_append(1); // nothing is taken
    rig_wait_calls(1);
    assert_int_equal(rig_stop(300000), 1);
}

static void bad_directory_is_told_at_the_start(void **state)
{
    (void)state;
    struct err err = {0};
    worker.output = (struct conf_output){
        .type = (char *)"fake", .network = true, .outbox = {.dir = (char *)"/nonexistent/loom", .retry_backoff_ms = 1}};
    worker.store = store_memory_new();
    const struct pump_conf conf = {.output = &worker.output, .stuck_ms = 10000};
    assert_int_equal(pump_start(&conf, &rig_sink, worker.store, &worker.pump, &err), -ENOENT);
    assert_non_null(strstr(err.text, "output.outbox.dir: dead letters can't be written to /nonexistent/loom: "));
    assert_null(worker.pump);
}

int main(void)
{
#define PUMP_TEST(name) cmocka_unit_test_setup_teardown(name, rig_set_up, rig_tear_down)
    const struct CMUnitTest tests[] = {
        PUMP_TEST(several_at_once_end_in_any_order),
        PUMP_TEST(hand_overs_are_cut_by_bytes_and_events),
        PUMP_TEST(what_was_settled_before_the_start_stays_out),
        PUMP_TEST(held_memory_is_bounded),
        PUMP_TEST(durable_events_wait_for_more),
        PUMP_TEST(durable_events_wait_no_longer_than_told),
        PUMP_TEST(memory_never_waits),
        PUMP_TEST(one_event_neither_blocks_nor_repeats_the_rest),
        PUMP_TEST(each_retry_waits_longer),
        PUMP_TEST(retries_that_are_due_go_together),
        PUMP_TEST(retries_that_take_all_the_room_are_named),
        PUMP_TEST(full_of_retries_is_one_state),
        PUMP_TEST(rejected_events_are_dead_letters),
        PUMP_TEST(full_dead_letters),
        PUMP_TEST(stop_gives_back_all_that_is_under_way),
        PUMP_TEST(durable_stop_does_not_wait_for_what_fails),
        PUMP_TEST(bad_directory_is_told_at_the_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
