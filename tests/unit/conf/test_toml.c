// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/err.h"
#include "conf/toml.h"

static struct toml_doc parse(const char *text)
{
    struct toml_doc doc;
    struct toml_fault fault;
    int result = toml_parse(text, strlen(text), &doc, &fault);
    if (result != 0)
        fail_msg("%s: %u:%u: %s", text, fault.line, fault.column, fault.text);
    return doc;
}

static const struct toml_node *node_at(const struct toml_doc *doc, const char *path)
{
    for (size_t i = 0; i < doc->count; i++)
        if (strcmp(doc->nodes[i].path, path) == 0)
            return &doc->nodes[i];
    fail_msg("no node %s", path);
    return NULL;
}

static void test_values(void **state)
{
    (void)state;
    static const struct {
        const char *value;
        enum toml_kind kind;
        int64_t integer;
        const char *string;
    } cases[] = {
        {"0", TOML_KIND_INTEGER, 0, NULL},
        {"+99", TOML_KIND_INTEGER, 99, NULL},
        {"-17", TOML_KIND_INTEGER, -17, NULL},
        {"2_097_152", TOML_KIND_INTEGER, 2097152, NULL},
        {"0xDEAD_beef", TOML_KIND_INTEGER, 0xDEADBEEF, NULL},
        {"0o755", TOML_KIND_INTEGER, 0755, NULL},
        {"0b1101", TOML_KIND_INTEGER, 13, NULL},
        {"9223372036854775807", TOML_KIND_INTEGER, INT64_MAX, NULL},
        {"-9223372036854775808", TOML_KIND_INTEGER, INT64_MIN, NULL},
        {"1.0", TOML_KIND_FLOAT, 0, NULL},
        {"6.626e-34", TOML_KIND_FLOAT, 0, NULL},
        {"inf", TOML_KIND_FLOAT, 0, NULL},
        {"-nan", TOML_KIND_FLOAT, 0, NULL},
        {"1979-05-27T07:32:00Z", TOML_KIND_DATETIME, 0, NULL},
        {"1979-05-27 07:32:00.999-07:00", TOML_KIND_DATETIME, 0, NULL},
        {"1979-05-27", TOML_KIND_DATETIME, 0, NULL},
        {"07:32:00", TOML_KIND_DATETIME, 0, NULL},
        {"\"a\\tb\\u00E9\\\"\"", TOML_KIND_STRING, 0, "a\tb\xC3\xA9\""},
        {"'C:\\path'", TOML_KIND_STRING, 0, "C:\\path"},
        {"\"\"\"\none \\\n   line\"\"\"", TOML_KIND_STRING, 0, "one line"},
        {"'''\nfirst\nsecond'''", TOML_KIND_STRING, 0, "first\nsecond"},
        {"\"\"\"two quotes\"\"\"\"\"", TOML_KIND_STRING, 0, "two quotes\"\""},
        {"\"\"", TOML_KIND_STRING, 0, ""},
        {"[]", TOML_KIND_ARRAY, 0, NULL},
        {"{}", TOML_KIND_TABLE, 0, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf text = BUF_EMPTY;
        buf_printf(&text, "key = %s", cases[i].value);
        buf_char(&text, '\0');
        struct toml_doc doc = parse(text.data);
        assert_int_equal(doc.count, 1);
        const struct toml_node *node = &doc.nodes[0];
        assert_int_equal(node->kind, cases[i].kind);
        assert_int_equal(node->integer, cases[i].integer);
        if (cases[i].string != NULL)
            assert_string_equal(node->string, cases[i].string);
        else
            assert_null(node->string);
        toml_fini(&doc);
        buf_fini(&text);
    }
}

static void test_booleans(void **state)
{
    (void)state;
    struct toml_doc doc = parse("yes = true\nno = false\n");
    assert_true(node_at(&doc, "yes")->boolean);
    assert_false(node_at(&doc, "no")->boolean);
    assert_int_equal(node_at(&doc, "no")->kind, TOML_KIND_BOOLEAN);
    toml_fini(&doc);
}

static void test_lists(void **state)
{
    (void)state;
    struct toml_doc doc = parse("hosts = ['a', \"b\", # why not\n]\nempty = []\nmixed = ['a', 1]\nnested = [['a']]\n");
    const struct toml_node *hosts = node_at(&doc, "hosts");
    assert_int_equal(hosts->kind, TOML_KIND_ARRAY);
    assert_string_equal(hosts->strings[0], "a");
    assert_string_equal(hosts->strings[1], "b");
    assert_null(hosts->strings[2]);
    assert_non_null(node_at(&doc, "empty")->strings);
    assert_null(node_at(&doc, "empty")->strings[0]);
    assert_null(node_at(&doc, "mixed")->strings);
    assert_null(node_at(&doc, "nested")->strings);
    toml_fini(&doc);
}

// Tables, dotted keys and inline tables are three spellings of the same thing.
static void test_paths(void **state)
{
    (void)state;
    static const char *const spellings[] = {"[output.outbox]\ndir = 'x'\n", "output.outbox.dir = 'x'\n",
                                            "[output]\noutbox = { dir = 'x' }\n", "output = { outbox.dir = 'x' }\n",
                                            "[ output . 'outbox' ]\n\"dir\" = 'x'\n"};
    for (size_t i = 0; i < sizeof spellings / sizeof *spellings; i++) {
        struct toml_doc doc = parse(spellings[i]);
        assert_int_equal(doc.count, 3);
        assert_int_equal(node_at(&doc, "output")->kind, TOML_KIND_TABLE);
        assert_int_equal(node_at(&doc, "output.outbox")->kind, TOML_KIND_TABLE);
        assert_string_equal(node_at(&doc, "output.outbox.dir")->string, "x");
        assert_string_equal(node_at(&doc, "output.outbox.dir")->name, "dir");
        assert_string_equal(node_at(&doc, "output")->name, "output");
        toml_fini(&doc);
    }
}

// A quoted key never looks like a path of bare ones, and can't break a line of the log.
static void test_quoted_keys(void **state)
{
    (void)state;
    struct toml_doc doc = parse("\"server.tls\" = 1\n[server]\n\"a b\\\"\\n\" = 1\n'' = 2\nbare-key_1 = 3\n");
    assert_string_equal(node_at(&doc, "\"server.tls\"")->name, "\"server.tls\"");
    assert_string_equal(node_at(&doc, "server.\"a b\\\"\\u000A\"")->name, "\"a b\\\"\\u000A\"");
    assert_int_equal(node_at(&doc, "server.\"\"")->integer, 2);
    assert_int_equal(node_at(&doc, "server.bare-key_1")->integer, 3);
    toml_fini(&doc);
}

static void test_positions(void **state)
{
    (void)state;
    struct toml_doc doc = parse("# first\nzebra = 1\n\n[ server ]\n  tls = true\n  \"\xC3\xA9\".x = 1 \n[a]\n");
    assert_int_equal(node_at(&doc, "zebra")->line, 2);
    assert_int_equal(node_at(&doc, "zebra")->column, 1);
    assert_int_equal(node_at(&doc, "server")->line, 4);
    assert_int_equal(node_at(&doc, "server")->column, 3);
    assert_int_equal(node_at(&doc, "server.tls")->line, 5);
    assert_int_equal(node_at(&doc, "server.tls")->column, 3);
    // In the order of the file, not of the alphabet.
    assert_string_equal(doc.nodes[0].path, "zebra");
    assert_string_equal(doc.nodes[1].path, "server");
    assert_string_equal(doc.nodes[doc.count - 1].path, "a");
    toml_fini(&doc);
}

static void test_control_characters_are_marked(void **state)
{
    (void)state;
    struct toml_doc doc = parse("plain = 'a b'\nnul = \"a\\u0000b\"\nlines = \"a\\nb\"\nlist = ['a', \"\\u007F\"]\n");
    assert_false(node_at(&doc, "plain")->control);
    assert_true(node_at(&doc, "nul")->control);
    assert_string_equal(node_at(&doc, "nul")->string, "a");
    assert_true(node_at(&doc, "lines")->control);
    assert_true(node_at(&doc, "list")->control);
    toml_fini(&doc);
}

static void test_bom_and_crlf(void **state)
{
    (void)state;
    struct toml_doc doc = parse("\xEF\xBB\xBF[server]\r\ntls = true\r\n");
    assert_true(node_at(&doc, "server.tls")->boolean);
    assert_int_equal(node_at(&doc, "server.tls")->line, 2);
    toml_fini(&doc);
}

static void test_empty(void **state)
{
    (void)state;
    static const char *const texts[] = {"", "\n", "# only a comment", "\xEF\xBB\xBF", " \t\r\n"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct toml_doc doc = parse(texts[i]);
        assert_int_equal(doc.count, 0);
        toml_fini(&doc);
    }
}

static void test_syntax_errors(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        unsigned line;
    } cases[] = {
        {"key", 1},
        {"key = ", 1},
        {"= 1", 1},
        {"a = }", 1},
        {"a = [}", 1},
        {"a = [,]", 1},
        {"a = # 1", 1},
        {"\n\nkey = yes", 3},
        {"a = 1\na = 2\n", 2},            // duplicate key
        {"a.b = 1\na = 2\n", 2},          // a value where a table is
        {"a = 1\na.b = 2\n", 2},          // a table where a value is
        {"[a]\n[b]\n[a]\n", 3},           // duplicate table
        {"[a]\nb = 1\n[a.b]\n", 3},       // a table over a value
        {"a = {b = 1}\n[a.c]\n", 2},      // inline tables are closed
        {"a = {b = 1,}\n", 1},            // no trailing comma in TOML 1.0
        {"a = {b = 1\n}\n", 1},           // nor a line break
        {"a = [1\n", 1},                  // end of file
        {"a = \"x\ny\"\n", 1},            // a line break in a string
        {"a = \"\\q\"\n", 1},             // unknown escape
        {"a = \"\\uD800\"\n", 1},         // no scalar value
        {"a = \"\xFF\"\n", 1},            // no UTF-8
        {"a = \"\x01\"\n", 1},            // bare control character
        {"a = 01\n", 1},                  // leading zero
        {"a = 1__0\n", 1},                //
        {"a = 0x\n", 1},                  //
        {"a = 9223372036854775808\n", 1}, // more than 64 bits
        {"a = 1.\n", 1},                  //
        {"a = 2026-02-30\n", 1},          // no such day
        {"a = 25:00:00\n", 1},            // no such hour
        {"a = True\n", 1},                //
        {"a = 1 b = 2\n", 1},             // two on a line
        {"a = 1\rb = 2\n", 1},            // a CR alone ends no line
        {"[a\n", 1},                      //
        {"[a]]\n", 1},                    //
        {"[]\n", 1},                      //
        {"a = [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]\n", 1}, // too deep
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct toml_doc doc;
        struct toml_fault fault;
        int result = toml_parse(cases[i].text, strlen(cases[i].text), &doc, &fault);
        if (result != ERR_SYNTAX)
            fail_msg("accepted: %s", cases[i].text);
        if (fault.line != cases[i].line)
            fail_msg("line %u (%s) for: %s", fault.line, fault.text, cases[i].text);
        assert_true(fault.column >= 1);
        assert_true(strlen(fault.text) > 0);
        assert_null(strchr(fault.text, '\n'));
        assert_int_equal(doc.count, 0);
        toml_fini(&doc);
    }
}

// Where a password stands the parser may have to stop: whatever it says, it must not say the password.
static void test_faults_quote_nothing(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "password = hunter2",
        "password = 'hunter2",
        "password = \"hunter2\" hunter2",
        "password = 1hunter2",
        "password = truehunter2",
        "password = thunter2",
        "password = infhunter2",
        "password = 0xhunter2",
        "password = \"\\hunter2\"",
        "[tokens]\nhunter2 = 1\nhunter2 = 2",
        "[tokens]\n\"hunt'er2\" = 1\n\"hunt'er2\" = 2",
        "[hunter2]\n[hunter2]",
        "hunter2 = 1\n[hunter2.x]",
        "hunter2",
        "pin = 99999999999999999999",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct toml_doc doc;
        struct toml_fault fault;
        assert_int_equal(toml_parse(texts[i], strlen(texts[i]), &doc, &fault), ERR_SYNTAX);
        if (strstr(fault.text, "hunt") != NULL || strstr(fault.text, "er2") != NULL ||
            strstr(fault.text, "9999") != NULL)
            fail_msg("\"%s\" says: %s", texts[i], fault.text);
        toml_fini(&doc);
    }
}

static void test_faults_say_what_was_expected(void **state)
{
    (void)state;
    struct toml_doc doc;
    struct toml_fault fault;
    assert_int_equal(toml_parse("key value", 9, &doc, &fault), ERR_SYNTAX);
    assert_int_equal(fault.column, 5);
    assert_non_null(strstr(fault.text, "expected '='"));
    toml_fini(&doc);
}

static struct buf repeated(const char *head, const char *part, size_t times, const char *tail)
{
    struct buf text = BUF_EMPTY;
    buf_str(&text, head);
    for (size_t i = 0; i < times; i++)
        buf_str(&text, part);
    buf_str(&text, tail);
    return text;
}

// Each of these would recurse a quarter of a million times deep.
static void test_depth(void **state)
{
    (void)state;
    static const struct {
        const char *head, *part, *tail;
    } cases[] = {
        {"a", ".a", " = 1"},
        {"[a", ".a", "]"},
        {"a = ", "[", ""},
        {"a = ", "{a=", ""},
        {"[[a", ". a", "]]"},
        {"x = 'a.b'\n# .....\n'a'", ".\"a\"", " = 1"},
        {"a = [{a", ".a", ""},
        {"a = \"\\\"\"\na", ".a", ""},
        {"a = '''''''\na", ".a", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf text = repeated(cases[i].head, cases[i].part, 250000, cases[i].tail);
        struct toml_doc doc;
        struct toml_fault fault;
        assert_int_equal(toml_parse(text.data, text.len, &doc, &fault), ERR_SYNTAX);
        assert_true(fault.line >= 1 && fault.column >= 1);
        toml_fini(&doc);
        buf_fini(&text);
    }
}

static void test_depth_boundary(void **state)
{
    (void)state;
    struct toml_doc doc;
    struct toml_fault fault;
    struct buf allowed = repeated("\n'\xC3\xA9' = 1\na", ".a", TOML_MAX_DEPTH - 1, " = 1");
    assert_int_equal(toml_parse(allowed.data, allowed.len, &doc, &fault), 0);
    assert_int_equal(doc.count, 1 + TOML_MAX_DEPTH);
    toml_fini(&doc);
    buf_fini(&allowed);

    struct buf refused = repeated("\n'\xC3\xA9", ".a", 2 * TOML_MAX_DEPTH, "' = 1\n");
    buf_str(&refused, "'\xC3\xA9'");
    for (int i = 0; i < TOML_MAX_DEPTH; i++)
        buf_str(&refused, ".a");
    assert_int_equal(toml_parse(refused.data, refused.len, &doc, &fault), ERR_SYNTAX);
    assert_int_equal(fault.line, 3);
    assert_int_equal(fault.column, 3 + 2 * (TOML_MAX_DEPTH - 1) + 1); // in characters: the accented one counts once
    toml_fini(&doc);
    buf_fini(&refused);
}

// Beyond ASCII only in strings and comments: toml++ must not see it elsewhere.
static void test_beyond_ascii(void **state)
{
    (void)state;
    static const char *const allowed[] = {
        "# \xC3\xA9\n",
        "'\xC3\xA9' = 1\n",
        "a = \"\xC3\xA9\"\n",
        "\"\xC2\xA0\".x = '''\xC3\xA9\n\xC3\xA9'''\n",
        "a = \"\"\"\xC3\xA9\\\n  x\xC3\xA9\"\"\"\n",
        "a = ['x', 1,'\xC3\xA9']\n",
        "a1='\xC3\xA9'\nb = 1\n'\xC3\xA9' = 1\n",
        "['\xC3\xA9'.b]\n\"\xC3\xA9\" = '\xC3\xA9'\n",
    };
    for (size_t i = 0; i < sizeof allowed / sizeof *allowed; i++) {
        struct toml_doc doc = parse(allowed[i]);
        toml_fini(&doc);
    }
    static const struct {
        const char *text;
        unsigned line, column;
    } refused[] = {
        {"\xC3\xA9 = 1", 1, 1},
        {"a = 1\nb = \xC3\xA9", 2, 5},
        {"a\xC2\xA0= 1", 1, 2},
        {"'\xC3\xA9'.\xC3\xA9 = 1", 1, 5},
        {"a = 1 \xEF\xBB\xBF\n", 1, 7},
        {"a = \"\"\"\\\n\xC2\xA7\"\"\"\n", 2, 1},
        {"a = \"\"\"\\\xC2\xA7\"\"\"\n", 1, 9},
        {"a = \"\\\xC2\xA7\"\n", 1, 7},
        {"\xCC\xAA", 1, 1},
        {"a = 1\"\xC3\xA9\"", 1, 7},
        {"a = -1.'\xC3\xA9'", 1, 9},
        {"a=1='\xC3\xA9'", 1, 6},
        {"a = [1, 2'\xC3\xA9']", 1, 11},
    };
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        struct toml_doc doc;
        struct toml_fault fault;
        assert_int_equal(toml_parse(refused[i].text, strlen(refused[i].text), &doc, &fault), ERR_SYNTAX);
        if (fault.line != refused[i].line || fault.column != refused[i].column)
            fail_msg("%u:%u (%s) for %s", fault.line, fault.column, fault.text, refused[i].text);
        toml_fini(&doc);
    }
}

// Dots that are no keys do not count.
static void test_dots_elsewhere(void **state)
{
    (void)state;
    static const char *const heads[] = {"a = '", "a = \"", "a = '''\n", "a = \"\"\"\n", "# ", "a = [0"};
    static const char *const parts[] = {".a", ".\\\"", ".'", ".\"\n", "..'\"", ".5, 1"};
    static const char *const tails[] = {"'", "\"", "'''", " \"\"\"", "\n", "]"};
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        struct buf text = repeated(heads[i], parts[i], 1000, tails[i]);
        struct toml_doc doc;
        struct toml_fault fault;
        if (toml_parse(text.data, text.len, &doc, &fault) != 0)
            fail_msg("%s%s: %s", heads[i], parts[i], fault.text);
        toml_fini(&doc);
        buf_fini(&text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_booleans),
        cmocka_unit_test(test_lists),
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_quoted_keys),
        cmocka_unit_test(test_positions),
        cmocka_unit_test(test_control_characters_are_marked),
        cmocka_unit_test(test_bom_and_crlf),
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_syntax_errors),
        cmocka_unit_test(test_faults_quote_nothing),
        cmocka_unit_test(test_faults_say_what_was_expected),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_depth_boundary),
        cmocka_unit_test(test_beyond_ascii),
        cmocka_unit_test(test_dots_elsewhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
