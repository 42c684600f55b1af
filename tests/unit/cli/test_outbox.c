// SPDX-License-Identifier: Apache-2.0
//
// `loom outbox`: what it prints of a store that is open, of one that is closed, and where there is none.

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/mem.h"
#include "cli/outbox.h"
#include "place.h"
#include "store/durable.h"

static void configure(struct place *place, char dir[64])
{
    snprintf(dir, 64, "%s/outbox", place->dir);
    place_config(place, "[output.outbox]\ndir = \"%s\"\nmax_bytes = 1000000\n", dir);
}

static void no_wake(void *ctx)
{
    (void)ctx;
}

static void no_run(struct mail *mail)
{
    (void)mail;
}

static void assert_has(const struct buf *text, const char *expected)
{
    if (strstr(text->data, expected) == NULL)
        fail_msg("expected \"%s\" in:\n%s", expected, text->data);
}

static void append(struct store *store, struct batch *batch, struct mailbox *home)
{
    uint32_t *ends = mem_array(2, sizeof *ends);
    ends[0] = 3;
    ends[1] = 6;
    *batch = (struct batch){.mail.run = no_run,
                            .home = home,
                            .status = 1,
                            .sensor = "s1",
                            .arrived_real_ns = clock_real_ns() - 90 * NS_PER_S,
                            .lines = {mem_strdup("{}\n{}\n"), 6, 7},
                            .ends = ends,
                            .count = 2};
    assert_int_equal(store_append(store, batch), 0);
    store_kick(store);
    for (int i = 0; i < 60000 && !mailbox_run(home); i++)
        usleep(1000);
    assert_int_equal(batch->status, 0);
    mem_free(batch->ends); // unless the store has kept them
    buf_fini(&batch->lines);
}

static int outbox_into_full(const char *config)
{
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    assert_int_equal(dup2(full, STDOUT_FILENO), STDOUT_FILENO);
    close(full);
    int rc = outbox_run(config);
    clearerr(stdout);
    return rc;
}

static void test_while_loom_runs(void **state)
{
    struct place *place = *state;
    char dir[64];
    struct store *store;
    struct mailbox home;
    struct batch first, second;
    struct err err;
    configure(place, dir);
    mailbox_init(&home, no_wake, NULL);
    const struct conf_outbox conf = {.dir = dir, .max_bytes = 1000000, .when_full = (char *)"reject"};
    assert_int_equal(store_durable_open(&conf, &store, &err), 0);

    assert_int_equal(place_captured(place, outbox_run), 0);
    assert_has(&place->out, "events:    0\n");
    assert_has(&place->out, "position:  at the end\n");
    append(store, &first, &home);
    append(store, &second, &home);
    assert_int_equal(place_captured(place, outbox_run), 0);
    assert_string_equal(place->err.data, "");
    assert_has(&place->out, dir);
    assert_has(&place->out, "records:   2 batches in 2 rows\n");
    assert_has(&place->out, "events:    4\n");
    assert_has(&place->out, " of 1000000 (0.0 %)\n");
    assert_has(&place->out, "position:  row 1, newest 2\n");
    assert_has(&place->out, "lag:       2 rows, 4 events; 0 events behind");
    assert_has(&place->out, "damaged:   0 records");
    int age_s = 0;
    assert_int_equal(sscanf(strstr(place->out.data, "Z ("), "Z (%d s ago)", &age_s), 1);
    assert_in_range(age_s, 90, 1000);

    store->ops->close(store);
    assert_int_equal(place_captured(place, outbox_run), 0);
    assert_has(&place->out, "events:    4\n");
    assert_int_equal(place_captured(place, outbox_into_full), 1);
    assert_has(&place->err, "loom: standard output: No space left on device\n");
}

static void test_none(void **state)
{
    struct place *place = *state;
    char dir[64];
    configure(place, dir);
    assert_int_equal(place_captured(place, outbox_run), 1);
    assert_string_equal(place->out.data, "");
    assert_has(&place->err, "loom: there is no outbox in ");
    assert_has(&place->err, dir);

    place_config(place, "[output.outbox]\ndirectory = 1\n");
    assert_int_equal(place_captured(place, outbox_run), 2);
    assert_has(&place->err, "directory");
}

// What a start says of it, `loom outbox` says too; tests/unit/store has the rest.
static void test_of_a_later_version(void **state)
{
    struct place *place = *state;
    char dir[64];
    configure(place, dir);
    place_later_outbox(dir);
    assert_int_equal(place_captured(place, outbox_run), 1);
    assert_string_equal(place->out.data, "");
    assert_has(&place->err, dir);
    assert_has(&place->err, "a later version of Loom has written it; start that version");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_while_loom_runs, place_set_up, place_tear_down),
        cmocka_unit_test_setup_teardown(test_none, place_set_up, place_tear_down),
        cmocka_unit_test_setup_teardown(test_of_a_later_version, place_set_up, place_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
