// SPDX-License-Identifier: Apache-2.0
//
// What a start opens before it listens: all of it, or every reason why not. The sanitizers see that nothing stays open.

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "cli/prepare.h"
#include "place.h"

struct outcome {
    int rc;
    struct prepared prepared;
    struct buf problems, warnings;
};

static struct outcome prepare_it(const struct place *place)
{
    struct outcome outcome = {.problems = BUF_EMPTY, .warnings = BUF_EMPTY};
    outcome.rc = prepare(place->config, &outcome.prepared, &outcome.problems, &outcome.warnings);
    text_in(&outcome.problems);
    text_in(&outcome.warnings);
    return outcome;
}

static void outcome_fini(struct outcome *outcome)
{
    static const struct prepared nothing;
    prepared_fini(&outcome->prepared);
    assert_memory_equal(&outcome->prepared, &nothing, sizeof nothing);
    prepared_fini(&outcome->prepared); // a second time finds nothing to do
    buf_fini(&outcome->problems);
    buf_fini(&outcome->warnings);
}

static void test_the_least(void **state)
{
    struct place *place = *state;
    setenv("LOOM_SENSOR_s1", "token-one", 1);
    place_config(place, "# all defaults\n");
    struct outcome outcome = prepare_it(place);

    assert_int_equal(outcome.rc, 0);
    assert_string_equal(outcome.problems.data, "");
    assert_string_equal(outcome.warnings.data, "");
    assert_string_equal(outcome.prepared.conf.server.listen_address, ":8443");
    assert_int_equal(auth_count(outcome.prepared.auth), 1);
    assert_null(outcome.prepared.tls);
    assert_null(outcome.prepared.enricher);
    assert_ptr_equal(outcome.prepared.sink, &sink_stdout);
    outcome_fini(&outcome);
}

static void configure_all(struct place *place, const char *key, const char *asn)
{
    place_config(place,
                 "[server]\ntls = true\ncert_file = \"%s\"\nkey_file = \"%s\"\n"
                 "[auth]\ntoken_file = \"%s\"\n"
                 "[enrichment]\ngeoip_db_path = \"%s\"\nasn_db_path = \"%s\"\n",
                 place->cert, key, place->tokens, place->city, asn);
}

static void test_everything(void **state)
{
    struct place *place = *state;
    setenv("LOOM_SENSOR_s1", "token-one", 1);
    configure_all(place, place->key, place->asn);
    struct outcome outcome = prepare_it(place);

    assert_int_equal(outcome.rc, 0);
    assert_string_equal(outcome.problems.data, "");
    assert_string_equal(outcome.warnings.data, "");
    assert_int_equal(auth_count(outcome.prepared.auth), 2);
    assert_non_null(outcome.prepared.tls);
    assert_non_null(outcome.prepared.enricher);
    assert_string_equal(enricher_info(outcome.prepared.enricher, ENRICH_DB_GEO)->path, place->city);
    assert_string_equal(enricher_info(outcome.prepared.enricher, ENRICH_DB_ASN)->path, place->asn);
    outcome_fini(&outcome);
}

static void test_doubtful_is_a_warning(void **state)
{
    struct place *place = *state;
    setenv("LOOM_SENSOR_empty", "", 1);
    assert_int_equal(chmod(place->tokens, 0644), 0);
    configure_all(place, place->key, place->asn);
    struct outcome outcome = prepare_it(place);

    assert_int_equal(outcome.rc, 0);
    assert_string_equal(outcome.problems.data, "");
    assert_int_equal(count_lines(&outcome.warnings), 2);
    assert_non_null(strstr(outcome.warnings.data, "LOOM_SENSOR_empty"));
    assert_non_null(strstr(outcome.warnings.data, place->tokens));
    outcome_fini(&outcome);
}

static void test_metrics_without_an_address(void **state)
{
    struct place *place = *state;
    setenv("LOOM_SENSOR_s1", "token-one", 1);
    for (int address = 0; address < 2; address++) {
        place_config(place, "[server]\nmanagement_listen_address = \"%s\"\n[observability]\nmetrics_enabled = true\n",
                     address ? "127.0.0.1:0" : "");
        struct outcome outcome = prepare_it(place);
        assert_int_equal(outcome.rc, 0);
        assert_string_equal(outcome.warnings.data,
                            address ? ""
                                    : "observability.metrics_enabled: is true, but without "
                                      "server.management_listen_address /metrics is served nowhere\n");
        outcome_fini(&outcome);
    }
}

static void test_dates_of_the_certificate(void **state)
{
    struct place *place = *state;
    setenv("LOOM_SENSOR_s1", "token-one", 1);
    place_config(place, "[server]\ntls = true\ncert_file = \"%s\"\nkey_file = \"%s\"\n", place->other_cert,
                 place->other_key);
    struct outcome outcome = prepare_it(place);

    assert_int_equal(outcome.rc, 0);
    assert_int_equal(count_lines(&outcome.warnings), 1);
    assert_memory_equal(outcome.warnings.data, "server.cert_file: ", 18);
    assert_non_null(strstr(outcome.warnings.data, " has expired on 2"));
    outcome_fini(&outcome);
}

// A file that is wrong is all there is to say: what it would have opened is not known.
static void assert_file_is_wrong(struct place *place, unsigned lines, const char *named)
{
    struct outcome outcome = prepare_it(place);

    assert_int_equal(outcome.rc, ERR_CONFIG);
    assert_int_equal(count_lines(&outcome.problems), lines);
    assert_non_null(strstr(outcome.problems.data, place->config));
    assert_non_null(strstr(outcome.problems.data, named));
    assert_null(strstr(outcome.problems.data, "LOOM_SENSOR")); // there is no token either
    assert_null(outcome.prepared.auth);
    assert_null(outcome.prepared.tls);
    assert_null(outcome.prepared.enricher);
    outcome_fini(&outcome);
}

static void test_wrong_file(void **state)
{
    struct place *place = *state;
    assert_file_is_wrong(place, 1, "No such file");
    place_config(place, "[server\n");
    assert_file_is_wrong(place, 1, ":1:");
    place_config(place, "[server]\nlisten_adress = \":1\"\nworkers = \"two\"\n[sever]\n");
    assert_file_is_wrong(place, 3, "listen_address"); // the nearest known key
    place_config(place, "[server]\ntls = true\n");
    assert_file_is_wrong(place, 2, "server.cert_file");
    place_config(place, "[enrichment.dns]\nenabled = true\n");
    assert_file_is_wrong(place, 1, "enrichment.dns");
    place_config(place, "[output]\ntype = \"kafka\"\n");
    assert_file_is_wrong(place, 1, "is not built into this version");
}

// What a good file names and the system does not give.
static void test_all_problems_at_once(void **state)
{
    struct place *place = *state;
    place_config(place,
                 "[server]\ntls = true\ncert_file = \"%s\"\nkey_file = \"%s\"\n"
                 "[enrichment]\nasn_db_path = \"%s\"\ngeoip_db_path = \"/nonexistent/city\"\n",
                 place->cert, place->other_key, place->no_db);
    struct outcome outcome = prepare_it(place);

    assert_true(outcome.rc < 0 && outcome.rc != ERR_CONFIG);
    assert_int_equal(count_lines(&outcome.problems), 4);
    assert_non_null(strstr(outcome.problems.data, "LOOM_SENSOR_"));
    assert_non_null(strstr(outcome.problems.data, place->other_key));
    assert_non_null(strstr(outcome.problems.data, place->no_db));
    assert_non_null(strstr(outcome.problems.data, "/nonexistent/city: No such file or directory\n"));
    assert_null(outcome.prepared.auth);
    assert_null(outcome.prepared.tls);
    assert_null(enricher_info(outcome.prepared.enricher, ENRICH_DB_ASN));
    assert_null(enricher_info(outcome.prepared.enricher, ENRICH_DB_GEO));
    assert_ptr_equal(outcome.prepared.sink, &sink_stdout);
    outcome_fini(&outcome);
}

// Of two databases each is judged, whichever is bad; what is doubtful of a good one is said once.
static void test_both_databases_are_judged(void **state)
{
    struct place *place = *state;
    const struct {
        const char *geo, *asn;
        const char *problems[2]; // how the lines begin, in order
        unsigned warnings;
        bool geo_opens, asn_opens;
    } rows[] = {
        {"/etc/passwd", "/nope", {"/nope: No such file or directory\n", "/etc/passwd: "}, 0, false, false},
        {place->no_db, place->no_db, {place->no_db, place->no_db}, 0, false, false},
        {place->asn, place->city, {place->city, place->asn}, 0, false, false}, // exchanged
        {"/nope", place->asn, {"/nope: No such file or directory\n", NULL}, 0, false, true},
        {place->city, "/nope", {"/nope: No such file or directory\n", NULL}, 1, true, false},
        {place->city, place->asn, {NULL, NULL}, 1, true, true},
    };

    setenv("LOOM_SENSOR_s1", "token-one", 1);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        place_config(place, "[enrichment]\ngeoip_db_path = \"%s\"\nasn_db_path = \"%s\"\nlanguage = \"tlh\"\n",
                     rows[i].geo, rows[i].asn);
        struct outcome outcome = prepare_it(place);
        const char *line = outcome.problems.data;
        unsigned lines = 0;
        for (; lines < 2 && rows[i].problems[lines] != NULL; lines++) {
            assert_memory_equal(line, rows[i].problems[lines], strlen(rows[i].problems[lines]));
            line = strchr(line, '\n') + 1;
        }
        assert_string_equal(line, "");
        assert_int_equal(count_lines(&outcome.warnings), rows[i].warnings);
        assert_int_equal(outcome.rc != 0, lines > 0);
        assert_int_equal(enricher_info(outcome.prepared.enricher, ENRICH_DB_GEO) != NULL, rows[i].geo_opens);
        assert_int_equal(enricher_info(outcome.prepared.enricher, ENRICH_DB_ASN) != NULL, rows[i].asn_opens);
        outcome_fini(&outcome);
    }
}

// One thing fails; the others are open and are released.
static void assert_one_problem(struct place *place, const char *named)
{
    struct outcome outcome = prepare_it(place);

    assert_true(outcome.rc < 0 && outcome.rc != ERR_CONFIG);
    assert_int_equal(count_lines(&outcome.problems), 1);
    assert_non_null(strstr(outcome.problems.data, named));
    assert_null(strstr(outcome.problems.data, "token-file"));
    assert_int_equal((outcome.prepared.auth != NULL) + (outcome.prepared.tls != NULL) +
                         (enricher_info(outcome.prepared.enricher, ENRICH_DB_GEO) != NULL) +
                         (enricher_info(outcome.prepared.enricher, ENRICH_DB_ASN) != NULL) +
                         (outcome.prepared.sink != NULL),
                     4);
    outcome_fini(&outcome);
}

static void test_one_problem(void **state)
{
    struct place *place = *state;

    configure_all(place, place->other_key, place->asn);
    assert_one_problem(place, place->other_key);
    configure_all(place, "/nonexistent/key", place->asn);
    assert_one_problem(place, "/nonexistent/key: No such file or directory");
    configure_all(place, place->key, place->no_db);
    assert_one_problem(place, place->no_db);
    configure_all(place, place->key, "/nonexistent/asn");
    assert_one_problem(place, "/nonexistent/asn: No such file or directory");
    configure_all(place, place->key, place->asn);
    setenv("LOOM_SENSOR_other", "token-file", 1); // the token that the file gives to another sensor
    assert_one_problem(place, "\"file-sensor\"");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_the_least, place_set_up, place_tear_down),
        cmocka_unit_test_setup_teardown(test_everything, place_set_up, place_tear_down),
        cmocka_unit_test_setup_teardown(test_doubtful_is_a_warning, place_set_up, place_tear_down),
        cmocka_unit_test_setup_teardown(test_metrics_without_an_address, place_set_up, place_tear_down),
        cmocka_unit_test_setup_teardown(test_dates_of_the_certificate, place_set_up, place_tear_down),
        cmocka_unit_test_setup_teardown(test_wrong_file, place_set_up, place_tear_down),
        cmocka_unit_test_setup_teardown(test_all_problems_at_once, place_set_up, place_tear_down),
        cmocka_unit_test_setup_teardown(test_both_databases_are_judged, place_set_up, place_tear_down),
        cmocka_unit_test_setup_teardown(test_one_problem, place_set_up, place_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
