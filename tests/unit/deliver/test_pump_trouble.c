// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "rig.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

#include "base/clock.h"

// An output in trouble as a whole, and events on which it fails; what becomes of them with either store.

// ---- The output as a whole

static void down_keeps_all_and_probes(void **state)
{
    (void)state;
    struct pump_state now;
    script.durable = true;
    script.limits.max_events = 10;
    script.result = SINK_DOWN; // from the start on
    rig_start(1, 5);
    for (unsigned i = 0; i < 30; i++)
        rig_append(10);
    rig_wait_up(false, &now);
    assert_string_equal(now.reason, "fake: not now");
    unsigned calls = rig_calls();
    rig_wait_calls(calls + 10);
    assert_int_equal(worker.answered, 0);
    __atomic_store_n(&script.result, SINK_OK, __ATOMIC_RELEASE);
    rig_wait_answers(30);
    rig_wait_up(true, &now);
    rig_stop_clean();
    assert_string_equal(now.last_error, "down");
    for (unsigned i = calls + 1; i < calls + 9; i++) // one after the other
        assert_true(script.call[i].at_ns >= script.call[i - 1].done_ns);
    for (unsigned i = 0; i < rig_calls(); i++)
        assert_int_equal(script.call[i].events, 10);
    assert_int_equal(rig_logged("\"output down\""), 1);
    assert_int_equal(rig_logged("output up again"), 1);
}

static void busy_output_gets_its_time(void **state)
{
    (void)state;
    struct pump_state now;
    script.limits.in_flight = 1;
    script.result = SINK_BUSY;
    script.retry_after_ms = 300;
    script.delay_ms = -1;
    rig_start(1, 1);
    rig_append(10);
    rig_wait_last_error("busy", &now);
    assert_true(now.up); // for 300 ms sensors can wait
    rig_wait_calls(2);
    __atomic_store_n(&script.result, SINK_OK, __ATOMIC_RELEASE);
    rig_wait_answers(1);
    rig_stop_clean();
    for (unsigned i = 1; i < rig_calls(); i++)
        assert_in_range(script.call[i].at_ns - script.call[i - 1].done_ns, 300 * NS_PER_MS, SOON_NS);
}

static void long_busy_is_down(void **state)
{
    (void)state;
    struct pump_state now;
    script.result = SINK_BUSY;
    script.retry_after_ms = 11000; // more than sensors wait
    rig_start(1, 1);
    rig_append(10);
    rig_wait_up(false, &now);
    assert_string_equal(now.reason, "fake: not now");
    __atomic_store_n(&script.result, SINK_OK, __ATOMIC_RELEASE);
    rig_stop_clean(); // the last try does not wait
}

static void too_large_is_halved(void **state)
{
    (void)state;
    script.limits.in_flight = 1;
    script.takes_bytes = 1000;
    rig_start(1, 1);
    rig_append(500);
    rig_wait_answers(1);
    unsigned calls = rig_calls();
    rig_append(500);
    rig_wait_answers(2);
    rig_stop_clean();
    assert_true(rig_calls() - calls < calls); // has learned from the first
    assert_int_equal(counter_get(&pump_sink_stats(worker.pump)->rejected), 0);
    assert_int_equal(rig_logged("output down"), 0);
}

// No cluster should, but a reply may say 413 and yet some events were taken.
static void too_large_in_part(void **state)
{
    (void)state;
    script.partly = true;
    script.takes_bytes = 1000;
    rig_start(1, 1);
    rig_append(500);
    rig_wait_answers(1);
    rig_stop_clean();
    assert_int_equal(counter_get(&pump_sink_stats(worker.pump)->rejected), 0);
    for (unsigned i = 0; i < 499; i++)
        assert_int_equal(script.seen[i], 1);
}

static void single_event_that_is_too_large_is_rejected(void **state)
{
    (void)state;
    script.takes_bytes = 1000;
    script.reject[3] = true;
    rig_start(1, 1);
    rig_append(3);
    rig_append_padded(1, 2000);
    rig_append(3);
    rig_wait_answers(3);
    rig_stop_clean();
    const char *text = rig_dead_letters();
    assert_non_null(
        strstr(text, "\"status\":413,\"kind\":\"too_large\",\"reason\":\"fake: not now\",\"event\":{\"n\":3,"));
}

// ---- Events on which the output fails

static unsigned calls_with(unsigned event_count)
{
    unsigned count = 0;
    for (unsigned i = 0; i < rig_calls(); i++)
        count += script.call[i].events == event_count;
    return count;
}

static void poisonous_event_is_found(void **state)
{
    (void)state;
    script.durable = true;
    script.poison[700] = true;
    rig_start(1, 10);
    rig_append(1000);
    rig_wait_events(999);
    unsigned calls = rig_calls(), of_several = 0;
    for (unsigned i = 0; i < calls; i++)
        of_several += script.call[i].events > 1;
    assert_in_range(of_several, 10, 40); // three of the whole, then two for each halving; alone it is tried for ever
    rig_append(10);                      // others go on, and it stays
    rig_wait_events(1009);
    rig_wait_calls(calls + 5);
    assert_int_equal(counter_get(&pump_sink_stats(worker.pump)->rejected), 0);
    assert_int_equal(rig_stop(60000), 1);
    assert_int_equal(script.delivered[700], 0);
    assert_true(script.seen[700] > 10);
    assert_true(rig_logged("output fails on a single event") >= 1);
    assert_int_equal(worker.answered_safe, 1);
}

// The output is away for long, and is back with an event on which it fails: that one is found all the same.
static void poisonous_event_after_an_outage(void **state)
{
    (void)state;
    script.durable = true;
    script.poison[70] = true;
    script.result = SINK_DOWN;
    rig_start(1, 5);
    rig_append(100);
    rig_wait_calls(30);
    __atomic_store_n(&script.result, SINK_OK, __ATOMIC_RELEASE);
    rig_wait_events(99);
    assert_int_equal(rig_stop(60000), 1);
}

// A reply that was cut: what it says is taken, the rest goes again.
static void failure_in_part(void **state)
{
    (void)state;
    script.durable = true;
    script.partly = true;
    script.poison[5] = true;
    rig_start(1, 5);
    rig_append(100);
    rig_wait_events(99);
    __atomic_store_n(&script.healed, true, __ATOMIC_RELEASE);
    rig_wait_answers(1);
    rig_stop_clean();
    for (unsigned i = 0; i < 99; i++)
        assert_int_equal(script.seen[i], 1);
}

static void poison_among_others_stops_nobody(void **state)
{
    (void)state;
    struct pump_state now;
    script.poison[123] = script.poison[124] = script.poison[3456] = script.poison[5999] = true;
    script.limits.max_events = 100;
    script.durable = true;
    rig_start(1, 20);
    for (unsigned i = 0; i < 60; i++)
        rig_append(100);
    rig_wait_events(5996);
    rig_wait_up(true, &now);
    __atomic_store_n(&script.healed, true, __ATOMIC_RELEASE); // nothing was given up
    rig_wait_answers(60);
    rig_stop_clean();
    assert_string_equal(now.last_error, "failed");
    for (unsigned i = 500; i < 3400; i++) // those of other hand-overs went once
        assert_int_equal(script.seen[i], 1);
}

// Events that came back again and again wait long. When the output has failed on them since and they are taken apart, that is
// forgotten: they begin anew, and not with the longest wait.
static void pieces_begin_anew(void **state)
{
    (void)state;
    enum { BEFORE = 8, AFTER = 6 }; // with these waits the last ones would take 256 ms * (1 + 2 + 4 + ...)
    script.durable = true;
    script.retries[0] = script.retries[1] = BEFORE + AFTER;
    rig_start(1, 1000000);
    rig_append(2);
    rig_wait_calls(BEFORE);
    __atomic_store_n(&script.result, SINK_FAILED, __ATOMIC_RELEASE);
    int64_t deadline_ns = clock_mono_ns() + SOON_NS;
    while (calls_with(1) < 2) {
        assert_true(clock_mono_ns() < deadline_ns);
        poll(NULL, 0, 1);
    }
    int64_t begin_ns = clock_mono_ns();
    __atomic_store_n(&script.result, SINK_OK, __ATOMIC_RELEASE);
    rig_wait_answers(1);
    assert_true(clock_mono_ns() - begin_ns < 10 * NS_PER_S);
    rig_stop_clean();
}

// An output that fails on everything for long is away: events come to no harm, and to few pieces.
static void long_failure_makes_no_crumbs(void **state)
{
    (void)state;
    struct pump_state now;
    script.durable = true;
    script.limits.max_events = 100;
    script.result = SINK_FAILED;
    rig_start(1, 1);
    for (unsigned i = 0; i < 50; i++)
        rig_append(100);
    rig_wait_up(false, &now);
    rig_wait_calls(600);
    __atomic_store_n(&script.result, SINK_OK, __ATOMIC_RELEASE);
    rig_wait_answers(50);
    rig_stop_clean();
    unsigned well = 0;
    for (unsigned i = 0; i < rig_calls(); i++)
        well += script.call[i].result == SINK_OK;
    assert_in_range(well, 40, 150);
    assert_int_equal(rig_logged("\"output down\""), 1);
    assert_true(calls_with(1) > 0);
}

// As the store was told, and as the metric says.
static unsigned let_go(void)
{
    struct pump_state now;
    pump_state(worker.pump, &now);
    assert_int_equal(now.let_go, script.let_go);
    return script.let_go;
}

// Nobody brings anything else, so nothing shows that the output lives: intake is open again when the sensor of that event
// has been answered, and the output is down for others only as long as it fails on theirs.
static void poisonous_event_of_a_memory_store_is_let_go(void **state)
{
    (void)state;
    struct pump_state now;
    script.poison[0] = true;
    script.late = true;
    rig_start(1, 5);
    rig_append(1);
    rig_wait_answers(1);
    assert_int_equal(worker.batches[0]->status, -EAGAIN);
    rig_wait_up(true, &now);
    assert_true(store_accepts(worker.store));
    assert_in_range(rig_calls(), 3, 20);
    rig_append(5);
    rig_wait_answers(2);
    assert_int_equal(worker.answered_safe, 1);
    assert_int_equal(rig_stop(60000), 0);
    assert_int_equal(let_go(), 1);
    assert_int_equal(rig_logged("\"output down\""), 1);
    assert_int_equal(rig_logged("output is tried again"), 1);
}

static void poisonous_event_is_kept_while_its_sensor_waits(void **state)
{
    (void)state;
    script.poison[0] = true;
    rig_start(1, 5);
    rig_append(1);
    rig_wait_calls(20);
    __atomic_store_n(&script.healed, true, __ATOMIC_RELEASE);
    rig_wait_answers(1);
    rig_stop_clean();
}

// 429 again and again: with each repeat of its batch there would be one more.
static void busy_event_of_a_memory_store_is_let_go(void **state)
{
    (void)state;
    script.retries[3] = 1000;
    script.late = true;
    rig_start(1, 5);
    rig_append(10);
    rig_wait_answers(1);
    assert_int_equal(worker.batches[0]->status, -EAGAIN);
    assert_int_equal(rig_stop(60000), 0);
    assert_int_equal(let_go(), 1);
    for (unsigned i = 0; i < 10; i++)
        assert_int_equal(script.delivered[i], i == 3 ? 0 : 1);
}

// The dead letters are full, and its sensor sends the batch again and again: without this all of that would pile up.
static void rejected_event_of_a_memory_store_is_let_go(void **state)
{
    (void)state;
    struct pump_state now;
    worker.output.outbox.dead_letter_max_bytes = 100; // room for one letter, as the first always goes
    script.late = true;
    script.reject[1] = script.reject[4] = script.reject[7] = true;
    rig_start(1, 5);
    for (unsigned i = 0; i < 3; i++) {
        rig_append(3);
        rig_wait_answers(i + 1);
        assert_int_equal(worker.batches[i]->status, i == 0 ? 0 : -EAGAIN);
    }
    rig_append(3); // well, and the output is, too
    rig_wait_answers(4);
    assert_int_equal(worker.answered_safe, 2);
    pump_state(worker.pump, &now);
    assert_true(now.up);
    assert_true(rig_logged("rejected events wait") >= 1);
    assert_int_equal(rig_stop(60000), 0);
    assert_int_equal(let_go(), 2);
    pump_state(worker.pump, &now);
    assert_string_equal(now.dead_letters, ""); // nothing waits any more
}

// The output is busy with all that there is, until it counts as down; and nobody but the sensors can show that it is back.
static void busy_output_of_a_memory_store_is_tried_again(void **state)
{
    (void)state;
    struct pump_state now;
    script.result = SINK_BUSY;
    script.stuck_ms = 200;
    script.retry_after_ms = 400; // more than sensors wait
    script.late = true;
    rig_start(1, 5);
    rig_append(2);
    rig_wait_answers(1);
    assert_int_equal(worker.batches[0]->status, -EAGAIN);
    __atomic_store_n(&script.result, SINK_OK, __ATOMIC_RELEASE);
    rig_wait_up(true, &now);
    assert_in_range(clock_mono_ns() - script.call[0].done_ns, 400 * NS_PER_MS, SOON_NS);
    assert_int_equal(rig_logged("\"output down\""), 1);
    assert_int_equal(rig_logged("output is tried again"), 1);
    rig_append(3);
    rig_wait_answers(2);
    assert_int_equal(worker.answered_safe, 1);
    assert_int_equal(rig_stop(60000), 0);
}

// It answers, and takes nothing: pauses that grow, although it does not count as down.
static void nothing_taken_backs_off(void **state)
{
    (void)state;
    struct pump_state now;
    script.durable = true;
    script.limits.max_events = script.limits.in_flight = 1;
    for (unsigned i = 0; i < 6; i++)
        script.retries[i] = 1000;
    rig_start(20, 10000);
    for (unsigned i = 0; i < 6; i++)
        rig_append(1);
    int64_t before_ns = 0, pause_ns = 20 * NS_PER_MS;
    for (unsigned i = 0, fresh = 0; fresh < 6; i++) {
        rig_wait_calls(i + 2); // so that this one is over
        if (script.call[i].first != fresh)
            continue; // one that is tried again
        assert_true(fresh == 0 || script.call[i].at_ns - before_ns >= pause_ns);
        pause_ns *= fresh > 0 ? 2 : 1;
        before_ns = script.call[i].done_ns;
        fresh++;
    }
    pump_state(worker.pump, &now);
    assert_true(now.up);
    assert_string_equal(now.last_error, "retry");
    assert_int_equal(rig_stop(60000), 6);
}

int main(void)
{
#define PUMP_TEST(name) cmocka_unit_test_setup_teardown(name, rig_set_up, rig_tear_down)
    const struct CMUnitTest tests[] = {
        PUMP_TEST(down_keeps_all_and_probes),
        PUMP_TEST(busy_output_gets_its_time),
        PUMP_TEST(long_busy_is_down),
        PUMP_TEST(too_large_is_halved),
        PUMP_TEST(too_large_in_part),
        PUMP_TEST(single_event_that_is_too_large_is_rejected),
        PUMP_TEST(poisonous_event_is_found),
        PUMP_TEST(poisonous_event_after_an_outage),
        PUMP_TEST(failure_in_part),
        PUMP_TEST(poison_among_others_stops_nobody),
        PUMP_TEST(pieces_begin_anew),
        PUMP_TEST(long_failure_makes_no_crumbs),
        PUMP_TEST(poisonous_event_of_a_memory_store_is_let_go),
        PUMP_TEST(poisonous_event_is_kept_while_its_sensor_waits),
        PUMP_TEST(busy_event_of_a_memory_store_is_let_go),
        PUMP_TEST(rejected_event_of_a_memory_store_is_let_go),
        PUMP_TEST(busy_output_of_a_memory_store_is_tried_again),
        PUMP_TEST(nothing_taken_backs_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
