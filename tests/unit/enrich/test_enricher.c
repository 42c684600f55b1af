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

static int open_with(const char *asn, const char *geo, const char *language, struct enricher **out, struct err *err)
{
    struct enrich_conf conf = {.geoip_db_path = geo, .asn_db_path = asn, .language = language};
    return enricher_open(&conf, out, NULL, err);
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
    struct err err;
    assert_int_equal(open_with("", geo, NULL, &enricher, &err), 0);
    assert_null(enricher_info(enricher, ENRICH_DB_ASN));
    const struct enrich_db_info *info = enricher_info(enricher, ENRICH_DB_GEO);
    assert_string_equal(info->path, geo);
    assert_string_equal(info->type, "Test-City");
    assert_int_equal(info->build_epoch, 1700000000);
    assert_int_equal(info->ip_version, 6);
    assert_true(info->bytes > 500);
    enricher_close(enricher);

    assert_int_equal(open_with(NULL, NULL, "", &enricher, &err), 0);
    assert_null(enricher_info(enricher, ENRICH_DB_GEO));
    enricher_close(enricher);
    enricher_close(NULL);
    drop(geo);
}

static void what_is_doubtful_is_a_warning(void **state)
{
    (void)state;
    char *asn = file_of_type("My Own", false, true), *geo = write_file(build_city_file());
    const struct enrich_conf conf = {.asn_db_path = asn, .geoip_db_path = geo, .language = "tlh"};
    struct buf warnings = BUF_EMPTY;
    struct enricher *enricher;
    struct err err;
    assert_int_equal(enricher_open(&conf, &enricher, &warnings, &err), 0);
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
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char *path = file_of_type(rows[i].type, rows[i].has_as, rows[i].has_geo);
        struct enricher *enricher;
        struct err err = {0};
        print_message("%s\n", rows[i].type);
        int code = open_with(path, NULL, NULL, &enricher, &err);
        assert_int_equal(code, rows[i].fine_as_asn ? 0 : ERR_DATABASE);
        if (code == 0)
            enricher_close(enricher);
        else
            assert_non_null(strstr(err.text, "asn_db_path needs a database of autonomous systems"));
        code = open_with(NULL, path, NULL, &enricher, &err);
        assert_int_equal(code, rows[i].fine_as_geo ? 0 : ERR_DATABASE);
        if (code == 0)
            enricher_close(enricher);
        else
            assert_non_null(strstr(err.text, "geoip_db_path needs a database of places"));
        drop(path);
    }
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
    struct err err;
    assert_int_equal(open_with(NULL, path, NULL, &enricher, &err), ERR_DATABASE);
    assert_memory_equal(err.text, path, strlen(path));
    assert_string_equal(err.text + strlen(path), ": the record at offset 8 of the data section is broken");
    drop(path);
    build_fini(&build);
}

static void the_second_that_fails_leaves_nothing_of_the_first(void **state)
{
    (void)state;
    char *asn = write_file(build_asn_file());
    struct enricher *enricher = NULL;
    struct err err;
    assert_int_equal(open_with(asn, "/nonexistent", NULL, &enricher, &err), -ENOENT); // LeakSanitizer looks on
    assert_string_equal(err.text, "/nonexistent: No such file or directory");
    assert_null(enricher);
    drop(asn);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(info_is_of_the_databases_configured),
        cmocka_unit_test(what_is_doubtful_is_a_warning),
        cmocka_unit_test(a_database_of_the_other_kind_is_refused),
        cmocka_unit_test(a_broken_record_is_found_at_the_start),
        cmocka_unit_test(the_second_that_fails_leaves_nothing_of_the_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
