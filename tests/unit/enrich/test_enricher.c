// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "enrich/enrich.h"

#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "mmdb_build.h"

static char *write_file(struct buf file)
{
    char *path = build_write(file.data, file.len);
    buf_fini(&file);
    return path;
}

static void drop(char *path)
{
    unlink(path);
    mem_free(path);
}

// *problems is filled anew, as a string. What is refused leaves nothing to close.
static int open_with(const char *asn, const char *geo, const char *language, struct enricher **out,
                     struct buf *problems)
{
    struct enrich_conf conf = {.geoip_db_path = geo, .asn_db_path = asn, .language = language};
    problems->len = 0;
    int code = enricher_open(&conf, out, problems, NULL);
    buf_char(problems, '\0');
    if (code != 0)
        enricher_close(*out);
    return code;
}

static char *file_of_type(const char *type, bool with_as, bool with_geo)
{
    struct mmdb_build build;
    build_init(&build, 6, 24, type);
    build_head(&build.data, VALUE_MAP, 1U + with_as + with_geo);
    build_key_text(&build.data, "note", "of no use");
    if (with_as) {
        build_text(&build.data, "autonomous_system_number");
        build_uint(&build.data, VALUE_UINT32, 64500);
    }
    if (with_geo) {
        build_text(&build.data, "country");
        build_head(&build.data, VALUE_MAP, 1);
        build_key_text(&build.data, "iso_code", "DE");
    }
    build_network(&build, "192.0.2.0/24", 0);
    char *path = write_file(build_finish(&build));
    build_fini(&build);
    return path;
}

static void info_is_of_the_databases_configured(void **state)
{
    (void)state;
    char *geo = write_file(build_city_file());
    struct enricher *enricher;
    struct buf problems = BUF_EMPTY;
    assert_int_equal(open_with("", geo, NULL, &enricher, &problems), 0);
    assert_string_equal(problems.data, "");
    assert_null(enricher_info(enricher, ENRICH_DB_ASN));
    const struct enrich_db_info *info = enricher_info(enricher, ENRICH_DB_GEO);
    assert_string_equal(info->path, geo);
    assert_string_equal(info->type, "Test-City");
    assert_int_equal(info->build_epoch, 1700000000);
    assert_int_equal(info->ip_version, 6);
    assert_true(info->bytes > 500);
    enricher_close(enricher);

    assert_int_equal(open_with(NULL, NULL, "", &enricher, &problems), 0);
    assert_null(enricher_info(enricher, ENRICH_DB_GEO));
    enricher_close(enricher);
    enricher_close(NULL);
    buf_fini(&problems);
    drop(geo);
}

static void what_is_doubtful_is_a_warning(void **state)
{
    (void)state;
    char *asn = file_of_type("My Own", false, true), *geo = write_file(build_city_file());
    const struct enrich_conf conf = {.asn_db_path = asn, .geoip_db_path = geo, .language = "tlh"};
    struct buf warnings = BUF_EMPTY;
    struct enricher *enricher;
    assert_int_equal(enricher_open(&conf, &enricher, NULL, &warnings), 0);
    buf_char(&warnings, '\0');
    const char *second = strchr(warnings.data, '\n') + 1;
    assert_non_null(strstr(warnings.data, "(\"My Own\") have nothing that Loom would add\n"));
    assert_memory_equal(second, "enrichment.language: ", 21);
    assert_non_null(strstr(second, " has no names in \"tlh\": English ones are used\n"));
    enricher_close(enricher);
    buf_fini(&warnings);
    drop(asn);
    drop(geo);
}

// A type of which both name and records say that it is for something else is refused; one that is unknown is not.
static void a_database_of_the_other_kind_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *type;
        bool has_as, has_geo;
        bool fine_as_asn, fine_as_geo;
    } rows[] = {
        {"GeoLite2-ASN", true, false, true, false},    {"GeoIP2-ISP", true, false, true, false},
        {"GeoLite2-City", false, true, false, true},   {"DBIP-Country-Lite", false, true, false, true},
        {"GeoIP2-Enterprise", true, true, true, true}, {"DBIP-Location-ISP", true, true, true, true},
        {"My Own", true, false, true, true}, // a warning
        {"My Own", false, true, true, true},           {"GeoIP2-Domain", false, false, true, true},
        {"My City and ASN", true, false, true, true},
    };
    struct buf problems = BUF_EMPTY;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char *path = file_of_type(rows[i].type, rows[i].has_as, rows[i].has_geo);
        struct enricher *enricher;
        print_message("%s\n", rows[i].type);
        int code = open_with(path, NULL, NULL, &enricher, &problems);
        assert_int_equal(code, rows[i].fine_as_asn ? 0 : ERR_DATABASE);
        if (code == 0)
            enricher_close(enricher);
        else
            assert_non_null(strstr(problems.data, "asn_db_path needs a database of autonomous systems"));
        code = open_with(NULL, path, NULL, &enricher, &problems);
        assert_int_equal(code, rows[i].fine_as_geo ? 0 : ERR_DATABASE);
        if (code == 0)
            enricher_close(enricher);
        else
            assert_non_null(strstr(problems.data, "geoip_db_path needs a database of places"));
        drop(path);
    }
    buf_fini(&problems);
}

static void a_broken_record_is_found_at_the_start(void **state)
{
    (void)state;
    struct mmdb_build build;
    build_init(&build, 6, 24, "Test-City");
    build_text(&build.data, "padding");
    uint32_t here = build_here(&build);
    build_head(&build.data, VALUE_MAP, 2); // and nothing follows
    build_network(&build, "192.0.2.0/24", here);
    char *path = write_file(build_finish(&build));
    struct enricher *enricher;
    struct buf problems = BUF_EMPTY;
    assert_int_equal(open_with(NULL, path, NULL, &enricher, &problems), ERR_DATABASE);
    assert_memory_equal(problems.data, path, strlen(path));
    assert_string_equal(problems.data + strlen(path), ": the record at offset 8 of the data section is broken\n");
    buf_fini(&problems);
    drop(path);
    build_fini(&build);
}

// Whoever has two bad files wants to hear of both; and of one that is good, what it is.
static void each_that_is_refused_is_told(void **state)
{
    (void)state;
    char *asn = write_file(build_asn_file()), *geo = write_file(build_city_file());
    const struct {
        const char *asn, *geo;
        int code;
        const char *problems;
    } rows[] = {
        {asn, "/nonexistent/b", -ENOENT, "/nonexistent/b: No such file or directory\n"},
        {"/nonexistent/a", geo, -ENOENT, "/nonexistent/a: No such file or directory\n"},
        {"/nonexistent/a", "/nonexistent/b", -ENOENT,
         "/nonexistent/a: No such file or directory\n/nonexistent/b: No such file or directory\n"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct enrich_conf conf = {.asn_db_path = rows[i].asn, .geoip_db_path = rows[i].geo, .language = "tlh"};
        struct buf problems = BUF_EMPTY, warnings = BUF_EMPTY;
        struct enricher *enricher;
        assert_int_equal(enricher_open(&conf, &enricher, &problems, &warnings), rows[i].code);
        buf_char(&problems, '\0');
        assert_string_equal(problems.data, rows[i].problems);
        assert_int_equal(enricher_info(enricher, ENRICH_DB_ASN) != NULL, rows[i].asn == asn);
        assert_int_equal(enricher_info(enricher, ENRICH_DB_GEO) != NULL, rows[i].geo == geo);
        assert_int_equal(warnings.len > 0, rows[i].geo == geo); // of the language
        enricher_close(enricher);                               // LeakSanitizer looks on
        buf_fini(&problems);
        buf_fini(&warnings);
    }
    drop(asn);
    drop(geo);
}

// The first code counts, and a broken record is as good a reason as a file that is none.
static void the_code_is_that_of_the_first(void **state)
{
    (void)state;
    char *none = build_write("no database", 11), *other = write_file(build_city_file());
    struct buf problems = BUF_EMPTY;
    struct enricher *enricher;
    assert_int_equal(open_with(other, "/nonexistent", NULL, &enricher, &problems), ERR_DATABASE);
    assert_non_null(strstr(problems.data, "asn_db_path needs a database of autonomous systems"));
    assert_non_null(strstr(problems.data, "\n/nonexistent: No such file or directory\n"));
    assert_int_equal(open_with("/nonexistent", none, NULL, &enricher, &problems), -ENOENT);
    assert_non_null(strstr(problems.data, none));
    buf_fini(&problems);
    drop(none);
    drop(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(info_is_of_the_databases_configured),
        cmocka_unit_test(what_is_doubtful_is_a_warning),
        cmocka_unit_test(a_database_of_the_other_kind_is_refused),
        cmocka_unit_test(a_broken_record_is_found_at_the_start),
        cmocka_unit_test(each_that_is_refused_is_told),
        cmocka_unit_test(the_code_is_that_of_the_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
