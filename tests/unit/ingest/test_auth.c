// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"
#include "ingest/auth.h"
#include "net/secret.h"

static struct auth *open_ok(char *const *env, const char *token_file)
{
    struct auth *auth;
    struct buf problems = BUF_EMPTY, warnings = BUF_EMPTY;
    assert_int_equal(auth_open(env, token_file, &auth, &problems, &warnings), 0);
    assert_int_equal(problems.len, 0);
    assert_non_null(auth);
    buf_fini(&problems);
    buf_fini(&warnings);
    return auth;
}

static void assert_refused(char *const *env, const char *token_file, const char *expected)
{
    struct auth *auth;
    struct buf problems = BUF_EMPTY, warnings = BUF_EMPTY;
    assert_int_equal(auth_open(env, token_file, &auth, &problems, &warnings), ERR_CONFIG);
    assert_null(auth);
    buf_char(&problems, '\0');
    assert_string_equal(problems.data, expected);
    buf_fini(&problems);
    buf_fini(&warnings);
    auth_close(auth);
}

static const char *const two_sensors[] = {"LOOM_SENSOR_spip_002=token-two", "LOOM_SENSOR_spip_001=token-one", NULL};

static void test_sensors_in_order(void **state)
{
    (void)state;
    struct auth *auth = open_ok((char *const *)two_sensors, NULL);
    assert_int_equal(auth_count(auth), 2);
    assert_string_equal(auth_sensor(auth, 0)->id, "spip-001");
    assert_string_equal(auth_sensor(auth, 1)->id, "spip-002");
    assert_string_equal(auth_unknown(auth)->id, "unknown");
    auth_close(auth);
}

static void test_check(void **state)
{
    (void)state;
    struct auth *auth = open_ok((char *const *)two_sensors, "");
    struct secret_hasher *hasher = auth_hasher_new(auth);
    struct sensor *one = auth_sensor(auth, 0), *two = auth_sensor(auth, 1);
    const struct {
        const char *value;
        struct sensor *sensor;
    } cases[] = {
        {"Bearer token-one", one},
        {"Bearer token-two", two},
        {"bearer token-one", one},
        {"BEARER token-two", two},
        {"Bearer   token-one", one}, // 1*SP
        {" Bearer token-one ", one}, // white space around a field's value is not of the value
        {"", NULL},
        {"Bearer", NULL},
        {"Bearer ", NULL},
        {"Bearer\ttoken-one", NULL},
        {"Bearertoken-one", NULL},
        {"Beare token-one", NULL},
        {"Basic token-one", NULL},
        {"token-one", NULL},
        {"Bearer token-on", NULL},
        {"Bearer token-onee", NULL},
        {"Bearer Token-one", NULL},
        {"Bearer token-one token-two", NULL},
        {"Bearer token-one,", NULL},
        {"Bearer token-one, Bearer token-two", NULL},
        {"Bearer \"token-one\"", NULL},
        {"Bearer spip-001", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (auth_check(auth, hasher, text_of(cases[i].value)) != cases[i].sensor)
            fail_msg("wrong sensor for: %s", cases[i].value);
    assert_null(auth_check(auth, hasher, (struct text){NULL, 0}));
    assert_null(auth_check(auth, hasher, TEXT("Bearer token-one\0")));
    secret_hasher_free(hasher);
    auth_close(auth);
}

// Enough for collisions and long runs in the table: each token finds its own sensor, and no other does.
static void test_many_sensors(void **state)
{
    (void)state;
    char path[] = "/tmp/loom-test-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    struct buf text = BUF_EMPTY;
    for (int i = 0; i < 3000; i++)
        buf_printf(&text, "token-%d,sensor-%04d\n", i, i);
    assert_int_equal(write(fd, text.data, text.len), text.len);
    close(fd);

    struct auth *auth = open_ok(NULL, path);
    struct secret_hasher *hasher = auth_hasher_new(auth);
    assert_int_equal(auth_count(auth), 3000);
    for (int i = 0; i < 3000; i++) {
        char value[64];
        snprintf(value, sizeof value, "Bearer token-%d", i);
        assert_ptr_equal(auth_check(auth, hasher, text_of(value)), auth_sensor(auth, (size_t)i));
        snprintf(value, sizeof value, "Bearer token-%d", 3000 + i);
        assert_null(auth_check(auth, hasher, text_of(value)));
    }
    secret_hasher_free(hasher);
    auth_close(auth);
    buf_fini(&text);
    unlink(path);
}

static void test_token_of_any_length(void **state)
{
    (void)state;
    struct auth *auth = open_ok((char *const *)two_sensors, NULL);
    struct secret_hasher *hasher = auth_hasher_new(auth);
    struct buf value = BUF_EMPTY;
    buf_str(&value, "Bearer token-one");
    while (value.len < 100000)
        buf_char(&value, 'x');
    assert_null(auth_check(auth, hasher, (struct text){value.data, value.len}));
    buf_fini(&value);
    secret_hasher_free(hasher);
    auth_close(auth);
}

static void test_no_token_is_an_error(void **state)
{
    (void)state;
    const char *const env[] = {"PATH=/bin", "LOOM_SENSOR_a=", NULL};
    assert_refused((char *const *)env, "",
                   "no sensor has a token: set LOOM_SENSOR_<sensor id>=<token> in the environment, or name a file in "
                   "auth.token_file\n");
    assert_refused(NULL, "/dev/null", "/dev/null: is not a regular file\n");
    // The file is what is wrong, not that it gave no token.
    assert_refused((char *const *)env, "/nonexistent", "/nonexistent: No such file or directory\n");
}

static void test_all_problems_at_once(void **state)
{
    (void)state;
    const char *const env[] = {"LOOM_SENSOR_a=SECRET1", "LOOM_SENSOR_b=SECRET1", "LOOM_SENSOR_=SECRET2", NULL};
    assert_refused((char *const *)env, "/nonexistent",
                   "LOOM_SENSOR_: a sensor id has 1 to 64 letters, digits, \"-\", \".\" and \"_\"\n"
                   "/nonexistent: No such file or directory\n"
                   "sensors \"a\" (LOOM_SENSOR_a) and \"b\" (LOOM_SENSOR_b) have the same token\n");
}

// What stood in *problems before is not this function's.
static void test_appends(void **state)
{
    (void)state;
    struct auth *auth;
    struct buf problems = BUF_EMPTY, warnings = BUF_EMPTY;
    buf_str(&problems, "other\n");
    assert_int_equal(auth_open((char *const *)two_sensors, NULL, &auth, &problems, &warnings), 0);
    assert_int_equal(problems.len, 6);
    auth_close(auth);
    buf_fini(&problems);
    buf_fini(&warnings);
}

static void test_count(void **state)
{
    (void)state;
    struct sensor sensor = {.id = "a"};
    for (size_t i = 0; i < SENSOR_STATUS_COUNT; i++)
        for (size_t times = 0; times <= i; times++)
            sensor_count(&sensor, sensor_status[i]);
    sensor_count(&sensor, 599);
    for (size_t i = 0; i < SENSOR_STATUS_COUNT; i++)
        assert_int_equal(counter_get(&sensor.requests[i]), i + 1 + (sensor_status[i] == 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sensors_in_order),
        cmocka_unit_test(test_check),
        cmocka_unit_test(test_many_sensors),
        cmocka_unit_test(test_token_of_any_length),
        cmocka_unit_test(test_no_token_is_an_error),
        cmocka_unit_test(test_all_problems_at_once),
        cmocka_unit_test(test_appends),
        cmocka_unit_test(test_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
