// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "ingest/tokens.h"

#define BAD_TOKEN  "a token has 1 to 512 printable ASCII characters, without space and comma\n"
#define BAD_SENSOR "a sensor id has 1 to 64 letters, digits, \"-\", \".\" and \"_\"\n"

struct fixture {
    struct token_list list;
    struct buf problems, warnings;
};

static int setup(void **state)
{
    *state = mem_zalloc(sizeof(struct fixture));
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    token_list_fini(&f->list);
    buf_fini(&f->problems);
    buf_fini(&f->warnings);
    mem_free(f);
    return 0;
}

static void assert_text(const struct buf *buf, const char *expected)
{
    char *text = mem_strndup(buf->len > 0 ? buf->data : "", buf->len);
    assert_string_equal(text, expected);
    mem_free(text);
}

static void assert_token(const struct fixture *f, size_t i, const char *token, const char *sensor, const char *place)
{
    assert_true(i < f->list.count);
    assert_string_equal(f->list.at[i].token, token);
    assert_string_equal(f->list.at[i].sensor, sensor);
    assert_string_equal(f->list.at[i].place, place);
}

static void test_env(void **state)
{
    struct fixture *f = *state;
    const char *const env[] = {"PATH=/bin",
                               "LOOM_SENSOR_spip_001=t1",
                               "LOOM_SENSOR_vps-frankfurt-01=t2",
                               "LOOM_SENSOR_mixed_one-two=t3==",
                               "LOOM_SENSOR_dotted.name=t4",
                               "LOOM_SENSOR=t5",
                               "XLOOM_SENSOR_a=t6",
                               "loom_sensor_a=t7",
                               "LOOM_SENSOR_noequals",
                               NULL};
    tokens_from_env((char *const *)env, &f->list, &f->problems, &f->warnings);
    assert_text(&f->problems, "");
    assert_text(&f->warnings, "");
    assert_int_equal(f->list.count, 4);
    assert_token(f, 0, "t1", "spip-001", "LOOM_SENSOR_spip_001");
    assert_token(f, 1, "t2", "vps-frankfurt-01", "LOOM_SENSOR_vps-frankfurt-01");
    assert_token(f, 2, "t3==", "mixed-one-two", "LOOM_SENSOR_mixed_one-two");
    assert_token(f, 3, "t4", "dotted.name", "LOOM_SENSOR_dotted.name");
    tokens_from_env(NULL, &f->list, &f->problems, &f->warnings);
    assert_int_equal(f->list.count, 4);
}

static void test_env_faults(void **state)
{
    struct fixture *f = *state;
    const char *const env[] = {"LOOM_SENSOR_empty=",
                               "LOOM_SENSOR_=SECRET",
                               "LOOM_SENSOR_a b\n=SECRET",
                               "LOOM_SENSOR_space=SE CRET",
                               "LOOM_SENSOR_comma=SE,CRET",
                               "LOOM_SENSOR_cr=SECRET\r",
                               "LOOM_SENSOR_utf8=SECR\xC3\xA9T",
                               "LOOM_SENSOR_unknown=SECRET",
                               NULL};
    tokens_from_env((char *const *)env, &f->list, &f->problems, &f->warnings);
    assert_int_equal(f->list.count, 0);
    assert_text(&f->warnings, "LOOM_SENSOR_empty: is empty, so it gives no sensor a token\n");
    assert_text(&f->problems,
                "LOOM_SENSOR_: " BAD_SENSOR "LOOM_SENSOR_a?b?: " BAD_SENSOR "LOOM_SENSOR_space: " BAD_TOKEN
                "LOOM_SENSOR_comma: " BAD_TOKEN "LOOM_SENSOR_cr: " BAD_TOKEN "LOOM_SENSOR_utf8: " BAD_TOKEN
                "LOOM_SENSOR_unknown: \"unknown\" can't be a sensor id: metrics call requests without a valid token "
                "that\n");
}

static void test_text(void **state)
{
    struct fixture *f = *state;
    static const char text[] = "# token,sensor\n"
                               "\n"
                               "t1,spip-001\n"
                               "  t2\t, spip_002 \r\n"
                               "   # indented, a comment\r\n"
                               " \t \n"
                               "t#3,a\r\n"
                               "t4,last.line";
    tokens_from_text("/t", (struct text){text, sizeof text - 1}, &f->list, &f->problems);
    assert_text(&f->problems, "");
    assert_int_equal(f->list.count, 4);
    assert_token(f, 0, "t1", "spip-001", "/t:3");
    assert_token(f, 1, "t2", "spip_002", "/t:4"); // in a file "_" is "_"
    assert_token(f, 2, "t#3", "a", "/t:7");
    assert_token(f, 3, "t4", "last.line", "/t:8");
}

static void test_text_faults(void **state)
{
    struct fixture *f = *state;
    static const char text[] = "SECRET\n"
                               ",sensor\n"
                               "SECRET,\n"
                               "SECRET,sensor,more\n"
                               "SE CRET,sensor\n"
                               "SECRET,sen sor\n"
                               "SECR\0ET,sensor\n"
                               "SECRET,sen\0sor\n"
                               "\xEF\xBB\xBFSECRET,sensor\n"
                               "SECRET,sensor/x\n"
                               "SECRET\r,sensor\n"
                               "SECRET,unknown\n"
                               "SECRET;sensor\n";
    tokens_from_text("/t", (struct text){text, sizeof text - 1}, &f->list, &f->problems);
    assert_int_equal(f->list.count, 0);
    assert_text(&f->problems,
                "/t:1: expected token,sensor_id\n"
                "/t:2: " BAD_TOKEN "/t:3: " BAD_SENSOR "/t:4: " BAD_SENSOR "/t:5: " BAD_TOKEN "/t:6: " BAD_SENSOR
                "/t:7: " BAD_TOKEN "/t:8: " BAD_SENSOR "/t:9: " BAD_TOKEN "/t:10: " BAD_SENSOR "/t:11: " BAD_TOKEN
                "/t:12: \"unknown\" can't be a sensor id: metrics call requests without a valid token that\n"
                "/t:13: expected token,sensor_id\n");
}

static void test_lengths(void **state)
{
    struct fixture *f = *state;
    for (size_t over = 0; over <= 1; over++) {
        struct buf text = BUF_EMPTY;
        for (size_t i = 0; i < TOKEN_MAX + over; i++)
            buf_char(&text, '~');
        buf_str(&text, ",a\n!,");
        for (size_t i = 0; i < SENSOR_ID_MAX + over; i++)
            buf_char(&text, 'Z');
        tokens_from_text("/t", (struct text){text.data, text.len}, &f->list, &f->problems);
        assert_int_equal(f->list.count, 2);
        buf_fini(&text);
    }
    assert_text(&f->problems, "/t:1: " BAD_TOKEN "/t:2: " BAD_SENSOR);
}

static void test_settle(void **state)
{
    struct fixture *f = *state;
    const char *const env[] = {"LOOM_SENSOR_b=tb", "LOOM_SENSOR_a=ta", NULL};
    tokens_from_env((char *const *)env, &f->list, &f->problems, &f->warnings);
    tokens_from_text("/t", TEXT("tc,c\nta,a\ntb,b\nta,a\n"), &f->list, &f->problems);
    assert_int_equal(f->list.count, 6);
    tokens_settle(&f->list, &f->problems);
    assert_text(&f->problems, "");
    assert_int_equal(f->list.count, 3);
    assert_string_equal(f->list.at[0].sensor, "a");
    assert_string_equal(f->list.at[1].sensor, "b");
    assert_string_equal(f->list.at[2].sensor, "c");
    assert_string_equal(f->list.at[2].token, "tc");
}

static void test_two_tokens_of_a_sensor(void **state)
{
    struct fixture *f = *state;
    const char *const env[] = {"LOOM_SENSOR_spip_001=SECRET1", "LOOM_SENSOR_other=ok", NULL};
    tokens_from_env((char *const *)env, &f->list, &f->problems, &f->warnings);
    tokens_from_text("/t", TEXT("SECRET2,spip-001\n"), &f->list, &f->problems);
    tokens_settle(&f->list, &f->problems);
    assert_text(&f->problems, "sensor \"spip-001\" has two tokens: LOOM_SENSOR_spip_001 and /t:1\n");
}

static void test_two_sensors_of_a_token(void **state)
{
    struct fixture *f = *state;
    const char *const env[] = {"LOOM_SENSOR_spip_001=SECRET", NULL};
    tokens_from_env((char *const *)env, &f->list, &f->problems, &f->warnings);
    tokens_from_text("/t", TEXT("SECRET,spip-002\n"), &f->list, &f->problems);
    tokens_settle(&f->list, &f->problems);
    assert_text(&f->problems,
                "sensors \"spip-001\" (LOOM_SENSOR_spip_001) and \"spip-002\" (/t:1) have the same token\n");
}

static void test_settle_nothing(void **state)
{
    struct fixture *f = *state;
    tokens_settle(&f->list, &f->problems);
    assert_int_equal(f->list.count, 0);
    assert_text(&f->problems, "");
}

// Enough entries for the list to grow, in an order that has to change.
static void test_many(void **state)
{
    struct fixture *f = *state;
    struct buf text = BUF_EMPTY;
    for (int i = 999; i >= 0; i--)
        buf_printf(&text, "token-%03d,sensor-%03d\n", (i * 7) % 1000, i);
    tokens_from_text("/t", (struct text){text.data, text.len}, &f->list, &f->problems);
    tokens_settle(&f->list, &f->problems);
    assert_text(&f->problems, "");
    assert_int_equal(f->list.count, 1000);
    for (int i = 0; i < 1000; i++) {
        char sensor[16], token[16];
        snprintf(sensor, sizeof sensor, "sensor-%03d", i);
        snprintf(token, sizeof token, "token-%03d", (i * 7) % 1000);
        assert_string_equal(f->list.at[i].sensor, sensor);
        assert_string_equal(f->list.at[i].token, token);
    }
    buf_fini(&text);
}

static void test_file(void **state)
{
    struct fixture *f = *state;
    char path[] = "/tmp/loom-test-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "t1,a\nbad\n", 9), 9);
    static const mode_t modes[] = {0600, 0400, 0640, 0604, 0620};
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        assert_int_equal(fchmod(fd, modes[i]), 0);
        f->warnings.len = f->problems.len = 0;
        tokens_from_file(path, &f->list, &f->problems, &f->warnings);
        assert_int_equal(f->list.count, i + 1);
        assert_int_equal(f->warnings.len > 0, (modes[i] & 0044) != 0);
    }
    char expected[128];
    snprintf(expected, sizeof expected, "%s:2: expected token,sensor_id\n", path);
    assert_text(&f->problems, expected);

    f->warnings.len = f->problems.len = 0;
    assert_int_equal(fchmod(fd, 0644), 0);
    tokens_from_file(path, &f->list, &f->problems, &f->warnings);
    snprintf(expected, sizeof expected, "%s: can be read by its group or others (mode 0644); use chmod 600\n", path);
    assert_text(&f->warnings, expected);
    close(fd);
    unlink(path);
}

static void test_unreadable_files(void **state)
{
    struct fixture *f = *state;
    tokens_from_file("/nonexistent/tokens", &f->list, &f->problems, &f->warnings);
    assert_text(&f->problems, "/nonexistent/tokens: No such file or directory\n");
    f->problems.len = 0;
    tokens_from_file("/proc/self", &f->list, &f->problems, &f->warnings);
    assert_text(&f->problems, "/proc/self: Is a directory\n");
    f->problems.len = 0;
    tokens_from_file("/dev/zero", &f->list, &f->problems, &f->warnings); // has no end
    assert_text(&f->problems, "/dev/zero: is not a regular file\n");
    char fifo[64];
    snprintf(fifo, sizeof fifo, "/tmp/loom-tokens-%d", (int)getpid());
    assert_int_equal(mkfifo(fifo, 0600), 0);
    f->problems.len = 0;
    tokens_from_file(fifo, &f->list, &f->problems, &f->warnings); // and is not waited for
    assert_non_null(strstr(f->problems.data, ": is not a regular file\n"));
    unlink(fifo);
    assert_int_equal(f->list.count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_env, setup, teardown),
        cmocka_unit_test_setup_teardown(test_env_faults, setup, teardown),
        cmocka_unit_test_setup_teardown(test_text, setup, teardown),
        cmocka_unit_test_setup_teardown(test_text_faults, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lengths, setup, teardown),
        cmocka_unit_test_setup_teardown(test_settle, setup, teardown),
        cmocka_unit_test_setup_teardown(test_two_tokens_of_a_sensor, setup, teardown),
        cmocka_unit_test_setup_teardown(test_two_sensors_of_a_token, setup, teardown),
        cmocka_unit_test_setup_teardown(test_settle_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many, setup, teardown),
        cmocka_unit_test_setup_teardown(test_file, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unreadable_files, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
