// SPDX-License-Identifier: Apache-2.0
//
// `loom check`: exit status, what goes to standard output and what to standard error.

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli/check.h"
#include "net/listener.h"
#include "place.h"

static int set_up(void **state)
{
    int rc = place_set_up(state);
    setenv("LOOM_SENSOR_s1", "token-one", 1);
    return rc;
}

static void assert_status(struct place *place, int expected)
{
    assert_int_equal(place_captured(place, check_run), expected);
    assert_int_equal(expected == 0, place->out.len >= 3 && strcmp(place->out.data + place->out.len - 3, "ok\n") == 0);
    if (expected == 0)
        assert_null(strstr(place->err.data, "loom: /")); // warnings at most
}

static void assert_out(const struct place *place, const char *expected)
{
    if (strstr(place->out.data, expected) == NULL)
        fail_msg("expected \"%s\" in:\n%s", expected, place->out.data);
}

static void assert_err(const struct place *place, const char *expected)
{
    if (strstr(place->err.data, expected) == NULL)
        fail_msg("expected \"%s\" in:\n%s", expected, place->err.data);
}

static void test_the_least(void **state)
{
    struct place *place = *state;
    char expected[512];

    place_config(place, "[server]\nlisten_address = \"127.0.0.1:0\"\n");
    assert_status(place, 0);
    assert_string_equal(place->err.data, "");
    snprintf(expected, sizeof expected,
             "configuration: %s\n"
             "sensors: 1\n"
             "tls: off, tokens and events travel unprotected\n"
             "enrichment.geoip_db_path: none\n"
             "enrichment.asn_db_path: none\n"
             "output: stdout\n"
             "outbox: off\n"
             "server.listen_address: 127.0.0.1:",
             place->config);
    assert_memory_equal(place->out.data, expected, strlen(expected));
    assert_out(place, " can be bound\nok\n");
}

static void test_everything(void **state)
{
    struct place *place = *state;
    char expected[256];
    struct stat st;

    place_config(place,
                 "[server]\nlisten_address = \"unix:%s\"\nmanagement_listen_address = \"127.0.0.1:0\"\n"
                 "tls = true\ncert_file = \"%s\"\nkey_file = \"%s\"\n"
                 "[auth]\ntoken_file = \"%s\"\n"
                 "[enrichment]\ngeoip_db_path = \"%s\"\nasn_db_path = \"%s\"\n",
                 place->socket, place->cert, place->key, place->tokens, place->city, place->asn);
    assert_status(place, 0);
    assert_string_equal(place->err.data, "");
    assert_out(place, "sensors: 2\n");
    snprintf(expected, sizeof expected, "tls: %s and %s belong together\n", place->cert, place->key);
    assert_out(place, expected);
    snprintf(expected, sizeof expected, "enrichment.geoip_db_path: %s, Test-City, IPv6, built 2023-11-14, ",
             place->city);
    assert_out(place, expected);
    snprintf(expected, sizeof expected, "enrichment.asn_db_path: %s, Test-ASN, IPv4, built 2023-11-14, ", place->asn);
    assert_out(place, expected);
    snprintf(expected, sizeof expected, "server.listen_address: unix:%s can be bound\n", place->socket);
    assert_out(place, expected);
    assert_out(place, "server.management_listen_address: 127.0.0.1:");
    assert_int_not_equal(stat(place->socket, &st), 0); // nothing stays behind
}

static void test_warnings_do_not_fail(void **state)
{
    struct place *place = *state;

    assert_int_equal(chmod(place->tokens, 0644), 0);
    place_config(place, "[server]\nlisten_address = \"127.0.0.1:0\"\n[auth]\ntoken_file = \"%s\"\n", place->tokens);
    assert_status(place, 0);
    assert_int_equal(count_lines(&place->err), 1);
    assert_err(place, "loom: warning: /");
    assert_err(place, place->tokens);
}

static void test_wrong_file_is_2(void **state)
{
    struct place *place = *state;

    assert_status(place, 2); // is not there
    assert_int_equal(count_lines(&place->err), 1);
    place_config(place, "[server]\nlisten_adress = \":1\"\nworkers = \"two\"\n");
    assert_status(place, 2);
    assert_string_equal(place->out.data, "");
    assert_int_equal(count_lines(&place->err), 2);
    assert_err(place, "loom: /");
    assert_err(place, "loom.toml:2:1: ");
    assert_err(place, "loom.toml:3:");
}

// Everything else that is wrong is 1, and is said at once, the addresses included.
static void test_what_a_start_would_refuse_is_1(void **state)
{
    struct place *place = *state;

    unsetenv("LOOM_SENSOR_s1");
    place_config(place,
                 "[server]\nlisten_address = \"192.0.2.1:8443\"\nmanagement_listen_address = \"unix:/nonexistent/x\"\n"
                 "tls = true\ncert_file = \"%s\"\nkey_file = \"%s\"\n"
                 "[enrichment]\nasn_db_path = \"%s\"\n",
                 place->cert, place->other_key, place->no_db);
    assert_status(place, 1);
    assert_int_equal(count_lines(&place->err), 5);
    assert_err(place, "LOOM_SENSOR_");
    assert_err(place, place->other_key);
    assert_err(place, place->no_db);
    assert_err(place, "loom: server.listen_address: can't listen on 192.0.2.1:8443: ");
    assert_err(place, "loom: server.management_listen_address: can't listen on unix:/nonexistent/x: ");
    assert_null(strstr(place->out.data, "belong together")); // what is wrong is not reported as found
    assert_null(strstr(place->out.data, "sensors:"));
    assert_out(place, "enrichment.geoip_db_path: none\n");
    char expected[256];
    snprintf(expected, sizeof expected, "enrichment.asn_db_path: %s, not loaded\n", place->no_db);
    assert_out(place, expected);
}

static void test_one_thing_wrong_is_1(void **state)
{
    struct place *place = *state;

    place_config(place, "[server]\nlisten_address = \"192.0.2.1:8443\"\n");
    assert_status(place, 1);
    assert_int_equal(count_lines(&place->err), 1);
    place_config(place, "[server]\nlisten_address = \"127.0.0.1:0\"\nmanagement_listen_address = \"192.0.2.1:1\"\n");
    assert_status(place, 1);
    assert_int_equal(count_lines(&place->err), 1);
    assert_out(place, "server.listen_address: 127.0.0.1:");
    place_config(place, "[server]\nlisten_address = \"127.0.0.1:0\"\n[enrichment]\nasn_db_path = \"%s\"\n",
                 place->no_db);
    assert_status(place, 1);
    assert_int_equal(count_lines(&place->err), 1);
}

// Each is judged by itself: what the good one is, and why each bad one is refused.
static void test_each_database(void **state)
{
    struct place *place = *state;
    char expected[256];

    place_config(place,
                 "[server]\nlisten_address = \"127.0.0.1:0\"\n"
                 "[enrichment]\ngeoip_db_path = \"%s\"\nasn_db_path = \"/nope\"\n",
                 place->no_db);
    assert_status(place, 1);
    assert_int_equal(count_lines(&place->err), 2);
    assert_err(place, "loom: /nope: No such file or directory\n");
    snprintf(expected, sizeof expected, "loom: %s: ", place->no_db);
    assert_err(place, expected);
    snprintf(expected, sizeof expected,
             "enrichment.geoip_db_path: %s, not loaded\nenrichment.asn_db_path: /nope, not loaded\n", place->no_db);
    assert_out(place, expected);

    place_config(place,
                 "[server]\nlisten_address = \"127.0.0.1:0\"\n"
                 "[enrichment]\ngeoip_db_path = \"%s\"\nasn_db_path = \"/nope\"\n",
                 place->city);
    assert_status(place, 1);
    assert_int_equal(count_lines(&place->err), 1);
    snprintf(expected, sizeof expected, "enrichment.geoip_db_path: %s, Test-City, IPv6, built ", place->city);
    assert_out(place, expected);
    assert_out(place, "enrichment.asn_db_path: /nope, not loaded\n");
}

// Line by line, as on a terminal: the write that fails is not the last thing that is done.
static int check_into_full(const char *config)
{
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    assert_int_equal(dup2(full, STDOUT_FILENO), STDOUT_FILENO);
    close(full);
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
    int rc = check_run(config);
    clearerr(stdout);
    return rc;
}

static void test_a_write_that_fails_has_its_own_reason(void **state)
{
    struct place *place = *state;

    place_config(place, "[server]\nlisten_address = \"192.0.2.1:8443\"\n");
    assert_int_equal(place_captured(place, check_into_full), 1);
    assert_err(place, "loom: server.listen_address: can't listen on 192.0.2.1:8443: ");
    if (strstr(place->err.data, "loom: standard output: Input/output error\n") == NULL)
        assert_err(place, "loom: standard output: No space left on device\n");
    place_config(place, "[server]\nlisten_address = \"127.0.0.1:0\"\n");
    assert_int_equal(place_captured(place, check_into_full), 1); // nobody has read the "ok"
}

static void ignore_accept(void *ctx, int fd, const struct address *peer)
{
    (void)ctx, (void)peer;
    close(fd);
}

// Most often the Loom that runs here, which must not notice that it is checked.
static void test_address_in_use(void **state)
{
    struct place *place = *state;
    char unix_address[80], tcp_address[ADDRESS_TEXT_MAX];
    struct listener *unix_listener, *tcp_listener;
    struct loop *loop = loop_new();
    struct err err = {0};

    snprintf(unix_address, sizeof unix_address, "unix:%s", place->socket);
    assert_int_equal(listener_open(loop, unix_address, ignore_accept, NULL, &unix_listener, &err), 0);
    assert_int_equal(listener_open(loop, "127.0.0.1:0", ignore_accept, NULL, &tcp_listener, &err), 0);
    address_text(listener_address(tcp_listener), tcp_address);
    place_config(place, "[server]\nlisten_address = \"%s\"\nmanagement_listen_address = \"%s\"\n", unix_address,
                 tcp_address);
    assert_status(place, 0);
    assert_string_equal(place->err.data, "");
    assert_out(place, "(fine when that is the Loom that runs here)\nserver.management_listen_address: ");
    assert_out(place, "(fine when that is the Loom that runs here)\nok\n");

    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const struct address *address = listener_address(unix_listener);
    assert_int_equal(connect(fd, (const struct sockaddr *)&address->sa, address->len), 0);
    close(fd);
    listener_close(unix_listener);
    listener_close(tcp_listener);
    loop_free(loop);
}

static void test_same_address_twice(void **state)
{
    struct place *place = *state;
    char address[ADDRESS_TEXT_MAX], expected[256];
    struct listener *listener;
    struct loop *loop = loop_new();
    struct err err = {0};

    // A port that is free: the system's choice of a moment ago.
    assert_int_equal(listener_open(loop, "127.0.0.1:0", ignore_accept, NULL, &listener, &err), 0);
    address_text(listener_address(listener), address);
    listener_close(listener);
    loop_free(loop);
    for (int i = 0; i < 2; i++) {
        if (i == 1)
            snprintf(address, sizeof address, "unix:%s", place->socket);
        place_config(place, "[server]\nlisten_address = \"%s\"\nmanagement_listen_address = \"%s\"\n", address,
                     address);
        assert_status(place, 1);
        assert_int_equal(count_lines(&place->err), 1);
        snprintf(expected, sizeof expected,
                 "loom: server.management_listen_address: %s is taken by server.listen_address\n", address);
        assert_string_equal(place->err.data, expected);
    }
}

// A start makes the directory in one that is there, and no more; a check makes nothing. What a start refuses, it refuses.
static void test_outbox_directory(void **state)
{
    struct place *place = *state;
    static const char config[] = "[server]\nlisten_address = \"127.0.0.1:0\"\n[output]\ntype = \"elasticsearch\"\n"
                                 "elasticsearch_url = \"http://127.0.0.1:9\"\n[output.outbox]\ndir = \"%s%s\"\n";
    char directory[] = "/tmp/loom-test-XXXXXX", inner[64], expected[192];
    assert_non_null(mkdtemp(directory));

    place_config(place, config, directory, "/outbox");
    assert_status(place, 0);
    snprintf(expected, sizeof expected, "outbox: %s/outbox\n", directory);
    assert_out(place, expected);
    snprintf(inner, sizeof inner, "%s/outbox", directory);
    assert_int_not_equal(access(inner, F_OK), 0);

    place_config(place, config, directory, "/a/b");
    assert_status(place, 1);
    snprintf(expected, sizeof expected, "loom: output.outbox.dir: %s/a/b: No such file or directory\n", directory);
    assert_err(place, expected);
    assert_int_equal(rmdir(directory), 0);

    snprintf(inner, sizeof inner, "%s/outbox", place->dir);
    place_later_outbox(inner);
    place_config(place, config, place->dir, "/outbox");
    assert_status(place, 1);
    snprintf(expected, sizeof expected, "loom: output.outbox.dir: cannot read %s/outbox.db: a later version", inner);
    assert_err(place, expected);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_the_least, set_up, place_tear_down),
        cmocka_unit_test_setup_teardown(test_everything, set_up, place_tear_down),
        cmocka_unit_test_setup_teardown(test_warnings_do_not_fail, set_up, place_tear_down),
        cmocka_unit_test_setup_teardown(test_wrong_file_is_2, set_up, place_tear_down),
        cmocka_unit_test_setup_teardown(test_what_a_start_would_refuse_is_1, set_up, place_tear_down),
        cmocka_unit_test_setup_teardown(test_one_thing_wrong_is_1, set_up, place_tear_down),
        cmocka_unit_test_setup_teardown(test_each_database, set_up, place_tear_down),
        cmocka_unit_test_setup_teardown(test_a_write_that_fails_has_its_own_reason, set_up, place_tear_down),
        cmocka_unit_test_setup_teardown(test_address_in_use, set_up, place_tear_down),
        cmocka_unit_test_setup_teardown(test_same_address_twice, set_up, place_tear_down),
        cmocka_unit_test_setup_teardown(test_outbox_directory, set_up, place_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
