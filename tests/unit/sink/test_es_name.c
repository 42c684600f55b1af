// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sink/es_name.h"

#include <string.h>

#include "base/clock.h"

static int open_index(const char *index, struct es_name *name, struct err *err)
{
    struct conf_output conf = {.elasticsearch_index = (char *)index, .elasticsearch_data_stream = (char *)""};
    return es_name_open(&conf, name, err);
}

static int open_stream(const char *stream, struct es_name *name, struct err *err)
{
    struct conf_output conf = {.elasticsearch_index = (char *)"loom-events",
                               .elasticsearch_data_stream = (char *)stream};
    return es_name_open(&conf, name, err);
}

static void expect(struct buf *out, const char *text)
{
    if (!text_eq((struct text){out->data, out->len}, text_of(text)))
        fail_msg("%.*s, not %s", (int)out->len, out->data, text);
    out->len = 0;
}

static void names(void **state)
{
    (void)state;
    static const struct {
        const char *index, *name, *pattern, *label;
    } cases[] = {
        {"loom-events", "loom-events", "loom-events", "loom-events"},
        {"loom-%Y.%m.%d", "loom-2026.11.23", "loom-*.*.*", "loom-yyyy.mm.dd"},
        {"loom-%Y%m%d%H-x", "loom-2026112317-x", "loom-*-x", "loom-yyyymmddhh-x"},
        {"x%d", "x23", "x*", "xdd"},
        {"h\xc3\xb6nig", "h\xc3\xb6nig", "h\xc3\xb6nig", "h\xc3\xb6nig"},
        {".hidden", ".hidden", ".hidden", ".hidden"},
        {"a-_+.", "a-_+.", "a-_+.", "a-_+."},
    };
    struct buf out = BUF_EMPTY;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct es_name name;
        struct err err = {0};
        if (open_index(cases[i].index, &name, &err) != 0)
            fail_msg("%s: %s", cases[i].index, err.text);
        assert_false(name.data_stream);
        assert_int_equal(name.dated, strchr(cases[i].index, '%') != NULL);
        es_name_write(&name, 1795453341, &out);
        expect(&out, cases[i].name);
        es_name_pattern(&name, &out);
        expect(&out, cases[i].pattern);
        es_name_label(&name, &out);
        expect(&out, cases[i].label);
    }
    struct es_name name;
    assert_int_equal(open_index("l-%Y.%m.%d.%H", &name, NULL), 0);
    es_name_write(&name, -62167219200, &out);
    expect(&out, "l-0000.01.01.00");
    es_name_write(&name, 253402300799, &out);
    expect(&out, "l-9999.12.31.23");
    buf_fini(&out);
}

static void bad_names(void **state)
{
    (void)state;
    static const char *const indices[] = {
        "",    ".",    "..",  "-a",    "_a",  "+a",   "Loom",  "loomX", "a b",  "a\tb", "a\\b",
        "a/b", "a*",   "a?b", "a\"b",  "a<b", "a>b",  "a|b",   "a,b",   "a#b",  "a:b",  "a%",
        "a%y", "a%%b", "%Y",  "a%Yb%", "a%M", "%Y-a", "a%d%S", "a\x7f", "a\nb",
    };
    char too_long[258];
    struct es_name name;
    for (size_t i = 0; i < sizeof indices / sizeof *indices; i++) {
        struct err err = {0};
        if (open_index(indices[i], &name, &err) == 0)
            fail_msg("\"%s\" passes", indices[i]);
        assert_non_null(strstr(err.text, "output.elasticsearch_index"));
    }
    memset(too_long, 'a', sizeof too_long);
    too_long[255] = '\0';
    assert_int_equal(open_index(too_long, &name, NULL), 0);
    memcpy(too_long + 253, "%d", 3); // two bytes of a date are two bytes
    assert_int_equal(open_index(too_long, &name, NULL), 0);
    memcpy(too_long + 253, "%Y", 3);
    assert_int_not_equal(open_index(too_long, &name, NULL), 0);
    memset(too_long, 'a', sizeof too_long);
    too_long[256] = '\0';
    assert_int_not_equal(open_index(too_long, &name, NULL), 0);
}

static void data_streams(void **state)
{
    (void)state;
    static const char *const good[] = {"logs-loom.spip-default", "metrics-a-b", "logs-a_b-c.d"};
    static const char *const bad[] = {
        "logs",      "logs-loom",  "logs-a-b-c", "logs--b",   "-a-b",    "logs-a-",    "Logs-a-b",
        "logs-a-%Y", "logs-a-b%d", "logs-a b-c", "logs-a*-b", ".ds-a-b", "logs-a:b-c", ".ds.a-b-c",
    };
    struct es_name name;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct err err = {0};
        if (open_stream(good[i], &name, &err) != 0)
            fail_msg("%s: %s", good[i], err.text);
        assert_true(name.data_stream);
        assert_false(name.dated);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct err err = {0};
        if (open_stream(bad[i], &name, &err) == 0)
            fail_msg("\"%s\" passes", bad[i]);
        assert_non_null(strstr(err.text, "output.elasticsearch_data_stream"));
    }
    char part[128] = "logs-";
    memset(part + 5, 'a', 100);
    memcpy(part + 105, "-b", 3);
    assert_int_equal(open_stream(part, &name, NULL), 0);
    memcpy(part + 105, "a-b", 4);
    assert_int_not_equal(open_stream(part, &name, NULL), 0);
}

static void time_of_event(void **state)
{
    (void)state;
    assert_int_equal(es_name_seconds(TEXT("{\"@timestamp\":\"1970-01-02\"}\n"), 5), 86400);
    assert_int_equal(es_name_seconds(TEXT("{\"@timestamp\":\"soon\"}\n"), 7 * NS_PER_S + 1), 7);
    assert_int_equal(es_name_seconds(TEXT("{}\n"), 7 * NS_PER_S - 1), 6);
    assert_int_equal(es_name_seconds(TEXT("{}\n"), -1), -1);
}

static void escapes(void **state)
{
    (void)state;
    struct buf out = BUF_EMPTY;
    es_name_escape(TEXT("loom-_.~09az+%h\xc3\xb6"), &out);
    expect(&out, "loom-_.~09az%2B%25h%C3%B6");
    buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names),         cmocka_unit_test(bad_names), cmocka_unit_test(data_streams),
        cmocka_unit_test(time_of_event), cmocka_unit_test(escapes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
