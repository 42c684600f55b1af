// SPDX-License-Identifier: Apache-2.0
//
// Memory of requests: it is used again, what grew large is given back, and the budget knows of every byte in flight.

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "bed.h"

static const struct ingest_limits limits = {
    .max_body_size_bytes = 1 << 20, .max_events_per_batch = 1000, .max_event_size_bytes = 1 << 20};

// What intake.c promises: no more intakes than that wait for their next request, and no larger buffers in them.
enum { SPARES = 32, SMALL_BODY = 64 * 1024, SMALL_LINES = 128 * 1024, FEW_EVENTS = 500 };

static unsigned spares(const struct bed *bed)
{
    const struct intake *intake;
    unsigned count = 0;
    TAILQ_FOREACH(intake, &bed->worker->spare, link)
    count++;
    assert_int_equal(count, bed->worker->spare_count);
    return count;
}

static void test_reuse(void **state)
{
    struct bed *bed = bed_new(&limits, false);
    struct refusal refusal;
    (void)state;

    struct intake *intake = bed_intake(bed, TEXT("[{\"a\":1},{\"b\":2}]"));
    assert_int_equal(ingest_build(intake, &refusal), 0);
    const char *body = intake->body.data, *lines = intake->batch.lines.data;
    const uint32_t *ends = intake->batch.ends;
    intake->request = (struct http_request *)intake; // any pointer: it must not be there the next time
    intake->batch.sensor = "s1";
    intake->deadline_ns = 5;
    intake->body_len = 17;
    intake_put(intake);
    assert_int_equal(spares(bed), 1);

    struct intake *again = intake_get(bed->worker);
    assert_ptr_equal(again, intake);
    assert_int_equal(spares(bed), 0);
    assert_null(again->body.data);
    assert_ptr_equal(again->batch.lines.data, lines);
    assert_ptr_equal(again->batch.ends, ends);
    // Nothing but memory comes from the request before.
    assert_int_equal(again->body.len, 0);
    assert_int_equal(again->batch.lines.len, 0);
    assert_int_equal(again->batch.count, 0);
    assert_null(again->batch.sensor);
    assert_null(again->request);
    assert_null(again->sensor);
    assert_int_equal(again->body_len, 0);
    assert_int_equal(again->admitted, 0);
    assert_int_equal(again->deadline_ns, 0);
    assert_false(again->waiting);
    assert_false(again->in_store);
    // All of the body's buffer counts, however little is wanted; and it is not taken where there is no room for that.
    size_t cap = bed->worker->spare_bodies[0].cap;
    bed->budget.limit = (int64_t)cap - 1;
    assert_int_equal(intake_admit(again, 1, 1), 0);
    assert_ptr_not_equal(again->body.data, body);
    assert_int_equal(budget_used(&bed->budget), 1);
    intake_put(again);
    bed->budget.limit = 1000000;
    again = intake_get(bed->worker);
    buf_fini(&bed->worker->spare_bodies[--bed->worker->spare_body_count]); // that of one byte
    assert_int_equal(intake_admit(again, 1, 1), 0);
    assert_ptr_equal(again->body.data, body);
    assert_int_equal(budget_used(&bed->budget), cap);
    intake_put(again);
    bed_free(bed);
}

// Each step doubles, up to what may come; where that is too much, the next byte is still admitted. Memory follows.
static void test_admission_in_steps(void **state)
{
    static const struct {
        uint64_t total, most, admitted;
    } rows[] = {
        {0, 0, 0},
        {1, 1, 1},
        {2, 100, 100},
        {4096, 8000, 4096},
        {4097, 8000, 8000},
        {8001, 9000, 9000},
        {9001, 90000, 18000},
        {60000, 90000, 60000},
        {60001, 90000, 60001},
    };
    struct bed *bed = bed_new(&limits, false);
    struct intake *intake = intake_get(bed->worker);
    (void)state;

    bed->budget.limit = 65000;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(intake_admit(intake, rows[i].total, rows[i].most), 0);
        assert_int_equal(intake->admitted, rows[i].admitted);
        assert_int_equal(budget_used(&bed->budget), rows[i].admitted);
        assert_true(intake->body.cap >= rows[i].total && intake->body.cap <= rows[i].admitted);
    }
    assert_int_equal(intake_admit(intake, 65001, 90000), -ENOBUFS);
    assert_int_equal(intake->admitted, 60001);
    assert_int_equal(intake_admit(intake, 65000, 90000), 0);
    intake_put(intake);
    bed_free(bed);
}

static void test_last_in_first_out(void **state)
{
    struct bed *bed = bed_new(&limits, false);
    (void)state;

    struct intake *one = intake_get(bed->worker), *two = intake_get(bed->worker);
    assert_ptr_not_equal(one, two);
    intake_put(one);
    intake_put(two);
    assert_ptr_equal(intake_get(bed->worker), two);
    assert_ptr_equal(intake_get(bed->worker), one);
    intake_put(one);
    intake_put(two);
    bed_free(bed);
}

static void test_spares_are_bounded(void **state)
{
    struct intake *intakes[3 * SPARES];
    struct bed *bed = bed_new(&limits, false);
    (void)state;

    for (size_t i = 0; i < 3 * SPARES; i++)
        intakes[i] = bed_intake(bed, TEXT("[{}]"));
    assert_int_equal(budget_used(&bed->budget), 3 * SPARES * 4);
    for (size_t i = 0; i < 3 * SPARES; i++) {
        intake_put(intakes[i]);
        assert_in_range(spares(bed), 1, SPARES);
        assert_int_equal(budget_used(&bed->budget), (3 * SPARES - 1 - i) * 4);
    }
    assert_int_equal(spares(bed), SPARES);
    intake_free_spares(bed->worker);
    assert_int_equal(spares(bed), 0);
    bed_free(bed);
}

// A body of `events` events of `size` bytes each.
static struct buf body_of(size_t events, size_t size)
{
    struct buf body = BUF_EMPTY;
    for (size_t i = 0; i < events; i++)
        buf_printf(&body, "%s{\"k\":\"%0*d\"}", i == 0 ? "[" : ",", (int)size - 8, 0);
    buf_char(&body, ']');
    return body;
}

static void test_large_buffers_are_released(void **state)
{
    static const struct {
        size_t events, size;
        bool body_kept, lines_kept, ends_kept;
    } rows[] = {
        {10, 100, true, true, true},      {10, 3000, true, true, true},  {1, 100000, false, true, true},
        {10, 100000, false, false, true}, {1000, 10, true, true, false}, {1000, 1000, false, false, false},
    };
    (void)state;

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct bed *bed = bed_new(&limits, false);
        struct buf body = body_of(rows[i].events, rows[i].size);
        struct refusal refusal;
        struct intake *intake = bed_intake(bed, (struct text){body.data, body.len});
        assert_int_equal(ingest_build(intake, &refusal), 0);
        intake_put(intake);
        assert_int_equal(bed->worker->spare_body_count, rows[i].body_kept);
        assert_true(!rows[i].body_kept || bed->worker->spare_bodies[0].cap <= SMALL_BODY);
        intake = intake_get(bed->worker);
        assert_true(intake->batch.lines.cap <= SMALL_LINES);
        assert_true(intake->ends_cap <= FEW_EVENTS);
        assert_int_equal(intake->batch.lines.data != NULL, rows[i].lines_kept);
        assert_int_equal(intake->batch.ends != NULL, rows[i].ends_kept);
        intake_put(intake);
        buf_fini(&body);
        bed_free(bed);
    }
}

// After a burst the buffers that are kept are bounded together, not only each.
static void test_spare_bytes_are_bounded(void **state)
{
    struct intake *intakes[SPARES];
    struct bed *bed = bed_new(&limits, false);
    struct buf body = body_of(10, 10000);
    struct refusal refusal;
    (void)state;

    bed->budget.limit = 1 << 24;
    for (size_t i = 0; i < SPARES; i++) {
        intakes[i] = bed_intake(bed, (struct text){body.data, body.len});
        assert_int_equal(ingest_build(intakes[i], &refusal), 0);
    }
    size_t bytes = 0;
    for (size_t i = 0; i < SPARES; i++) {
        assert_true(intakes[i]->batch.lines.cap <= SMALL_LINES);
        intake_put(intakes[i]);
    }
    const struct intake *intake;
    TAILQ_FOREACH(intake, &bed->worker->spare, link)
    bytes += intake->batch.lines.cap + intake->body.cap;
    assert_int_equal(spares(bed), SPARES);
    assert_int_equal(bytes, bed->worker->spare_bytes);
    assert_in_range(bytes, 1 << 20, 2 << 20);
    assert_in_range(bed->worker->spare_body_count, 0, SPARE_BODIES);
    buf_fini(&body);
    bed_free(bed);
}

// While the store has a batch, all that it holds counts; its body is gone.
static void test_dropped_body(void **state)
{
    static const size_t sizes[] = {100, 100000};
    (void)state;

    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct bed *bed = bed_new(&limits, false);
        struct buf body = body_of(2, sizes[i]);
        struct refusal refusal;
        struct intake *intake = bed_intake(bed, (struct text){body.data, body.len});
        assert_int_equal(ingest_build(intake, &refusal), 0);
        assert_int_equal(budget_used(&bed->budget), body.len);
        intake_drop_body(intake);
        assert_null(intake->body.data);
        assert_int_equal(budget_used(&bed->budget),
                         intake->batch.lines.cap + 2 * sizeof *intake->batch.ends + sizeof *intake);
        intake_put(intake);
        assert_int_equal(budget_used(&bed->budget), 0);
        buf_fini(&body);
        bed_free(bed);
    }
}

// White space of a body is no line: the room for it is given back before the batch waits.
static void test_lines_of_a_padded_body(void **state)
{
    struct bed *bed = bed_new(&limits, false);
    struct buf body = BUF_EMPTY;
    struct refusal refusal;
    (void)state;

    buf_printf(&body, "[{\"a\":1}%60000s]", "");
    struct intake *intake = bed_intake(bed, (struct text){body.data, body.len});
    assert_int_equal(ingest_build(intake, &refusal), 0);
    intake_drop_body(intake);
    assert_true(text_eq((struct text){intake->batch.lines.data, intake->batch.lines.len}, TEXT("{\"a\":1}\n")));
    assert_true(intake->batch.lines.cap < 100);
    intake_put(intake);
    buf_fini(&body);
    bed_free(bed);
}

// Requests that end at any point of their way, in any order: the budget holds what the intakes say, and ends at 0.
static void test_budget_is_balanced(void **state)
{
    enum { IN_FLIGHT = 50 };
    struct bed *bed = bed_new(&limits, false);
    struct intake *intakes[IN_FLIGHT] = {0};
    uint64_t seed = 20261123;
    (void)state;

    for (int step = 0; step < 5000; step++) {
        seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
        struct intake **slot = &intakes[(seed >> 33) % IN_FLIGHT];
        unsigned choice = (unsigned)(seed >> 50) % 4;
        struct refusal refusal;
        if (*slot == NULL) {
            struct buf body = body_of(1 + (seed >> 20) % 20, 10 + (seed >> 25) % 500);
            *slot = bed_intake(bed, (struct text){body.data, choice == 0 ? body.len / 2 : body.len}); // 0: invalid
            buf_fini(&body);
        } else if (choice != 0 && (*slot)->batch.count == 0 && ingest_build(*slot, &refusal) == 0) {
            if (choice == 1)
                intake_drop_body(*slot);
        } else {
            intake_put(*slot);
            *slot = NULL;
        }
        uint64_t held = 0;
        for (size_t i = 0; i < IN_FLIGHT; i++)
            held += intakes[i] != NULL ? intakes[i]->admitted : 0;
        assert_int_equal(budget_used(&bed->budget), held);
    }
    for (size_t i = 0; i < IN_FLIGHT; i++)
        if (intakes[i] != NULL)
            intake_put(intakes[i]);
    bed_free(bed);
}

// A store may keep lines and ends: the intake goes on without them.
static void test_kept_by_the_store(void **state)
{
    struct bed *bed = bed_new(&limits, false);
    struct refusal refusal;
    (void)state;

    struct intake *intake = bed_intake(bed, TEXT("[{\"a\":1},{\"b\":2}]"));
    assert_int_equal(ingest_build(intake, &refusal), 0);
    mem_free(intake->batch.ends);
    buf_fini(&intake->batch.lines);
    intake->batch.ends = NULL;
    intake_put(intake);
    assert_int_equal(bed->worker->spare_bytes, 0);
    intake = bed_intake(bed, TEXT("[{\"a\":1}]"));
    assert_int_equal(ingest_build(intake, &refusal), 0);
    assert_int_equal(intake->batch.count, 1);
    assert_int_equal(intake->batch.ends[0], 8);
    assert_int_equal(intake->batch.lines.len, 8);
    intake_put(intake);
    bed_free(bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reuse),
        cmocka_unit_test(test_kept_by_the_store),
        cmocka_unit_test(test_admission_in_steps),
        cmocka_unit_test(test_last_in_first_out),
        cmocka_unit_test(test_spares_are_bounded),
        cmocka_unit_test(test_large_buffers_are_released),
        cmocka_unit_test(test_spare_bytes_are_bounded),
        cmocka_unit_test(test_dropped_body),
        cmocka_unit_test(test_lines_of_a_padded_body),
        cmocka_unit_test(test_budget_is_balanced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
