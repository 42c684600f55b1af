// SPDX-License-Identifier: Apache-2.0
//
// What /health, /live, /ready and /metrics say in each phase, and while the output is down.

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"
#include "rig.h"

#define SOON_NS (60 * NS_PER_S)
#define DOWN    "{\"reason\":\"output\",\"detail\":\"test: \\\"not\\\" now\"}"

static void assert_ready(struct rig *rig, const char *expected) // NULL: ready
{
    struct buf reasons = BUF_EMPTY;

    assert_int_equal(admin_ready(&rig->admin, &reasons), expected == NULL);
    buf_char(&reasons, '\0');
    assert_string_equal(reasons.data, expected != NULL ? expected : "");
    buf_fini(&reasons);

    assert_int_equal(rig_get(rig, "/ready"), expected != NULL ? 503 : 200);
    assert_string_equal(rig_answer.content_type, expected != NULL ? "application/json" : "text/plain");
    assert_string_equal(rig_answer.body.data, expected != NULL ? expected : "ok");
}

static void wait_ready(struct rig *rig, bool ready)
{
    int64_t deadline_ns = clock_mono_ns() + SOON_NS;
    while ((rig_get(rig, "/ready") == 200) != ready) {
        assert_true(clock_mono_ns() < deadline_ns);
        poll(NULL, 0, 1);
    }
}

static void test_phases(void **state)
{
    struct rig *rig = rig_new(false);
    (void)state;

    rig->admin.phase = ADMIN_STARTING;
    assert_ready(rig, "[{\"reason\":\"starting\"}]");
    rig->admin.pump = NULL; // not there yet
    assert_ready(rig, "[{\"reason\":\"starting\"}]");
    rig->admin.pump = rig->pump;
    rig->admin.phase = ADMIN_SERVING;
    assert_ready(rig, NULL);
    rig->admin.phase = ADMIN_DRAINING;
    assert_ready(rig, "[{\"reason\":\"draining\"}]");
    rig_free(rig);
}

static void test_output_down_and_up_again(void **state)
{
    struct rig *rig = rig_new(false);
    (void)state;

    rig_output(false);
    rig_post_begin(rig, "Bearer token-s1", "[{}]");
    wait_ready(rig, false);
    assert_ready(rig, "[" DOWN "]");
    rig->admin.phase = ADMIN_DRAINING;
    assert_ready(rig, "[{\"reason\":\"draining\"}," DOWN "]");
    rig->admin.phase = ADMIN_STARTING;
    assert_ready(rig, "[{\"reason\":\"starting\"}," DOWN "]");
    rig->admin.phase = ADMIN_SERVING;

    rig_output(true);
    wait_ready(rig, true);
    assert_ready(rig, NULL);
    rig_answer.status = 0; // /ready's
    assert_int_equal(rig_post_end(rig), 204);
    rig_free(rig);
}

// Alive means that this thread still answers: whether sensors should come is another question.
static void test_alive_whatever_happens(void **state)
{
    static const enum admin_phase phases[] = {ADMIN_STARTING, ADMIN_SERVING, ADMIN_DRAINING};
    struct rig *rig = rig_new(false);
    (void)state;

    rig_output(false);
    rig_post_begin(rig, "Bearer token-s1", "[{}]");
    wait_ready(rig, false);
    for (size_t i = 0; i < sizeof phases / sizeof *phases; i++) {
        rig->admin.phase = phases[i];
        assert_int_equal(rig_get(rig, "/health"), 200);
        assert_string_equal(rig_answer.body.data, "ok");
        assert_int_equal(rig_get(rig, "/live"), 200);
        assert_string_equal(rig_answer.body.data, "ok");
    }
    rig_output(true);
    rig_answer.status = 0;
    assert_int_equal(rig_post_end(rig), 204);
    rig_free(rig);
}

static void test_metrics_when_enabled(void **state)
{
    struct rig *rig = rig_new(false);
    (void)state;

    assert_int_equal(rig_get(rig, "/metrics"), 200);
    assert_string_equal(rig_answer.content_type, "text/plain; version=0.0.4; charset=utf-8");
    assert_non_null(strstr(rig_answer.body.data, "\nloom_output_up{output=\"test\"} 1\n"));
    rig->admin.phase = ADMIN_DRAINING; // the last numbers of a Loom that ends are wanted too
    assert_int_equal(rig_get(rig, "/metrics"), 200);
    rig->admin.phase = ADMIN_STARTING; // when there is nothing to count yet
    assert_int_equal(rig_get(rig, "/metrics"), 404);
    rig->admin.phase = ADMIN_SERVING;
    rig->admin.metrics_enabled = false;
    assert_int_equal(rig_get(rig, "/metrics"), 404);
    assert_string_equal(rig_answer.content_type, "application/json");
    assert_string_equal(rig_answer.body.data, "{\"error\":\"not_found\"}");
    rig_free(rig);
}

static void test_paths(void **state)
{
    static const char *const expected[] = {"/health", "/live", "/ready", "/metrics"};
    size_t count = 0;
    (void)state;

    for (; admin_paths[count] != NULL; count++) {
        assert_true(count < sizeof expected / sizeof *expected);
        assert_string_equal(admin_paths[count], expected[count]);
    }
    assert_int_equal(count, sizeof expected / sizeof *expected);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_phases),
        cmocka_unit_test(test_output_down_and_up_again),
        cmocka_unit_test(test_alive_whatever_happens),
        cmocka_unit_test(test_metrics_when_enabled),
        cmocka_unit_test(test_paths),
    };
    log_setup(LOG_ERROR, LOG_JSON); // the pump says that the output is down
    return cmocka_run_group_tests(tests, NULL, NULL);
}
