// SPDX-License-Identifier: Apache-2.0
//
// Which member of a record goes to which field, and what is as good as not there. How the fields are written stands in
// test_render.c.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "enrich/record.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "mmdb_build.h"

static int read_data(const struct buf *data, struct record *record)
{
    struct mmdb_reader reader = {(const uint8_t *)data->data, (uint32_t)data->len, MMDB_RECORD_STEPS};
    return record_read(&reader, 0, TEXT("de"), record);
}

// Opens `depth` maps, each the only member of the one before: "a.b" is {"a":{"b": and then what the caller appends.
// "[]" after a name stands for an array of one.
static struct buf open_path(const char *path)
{
    struct buf data = BUF_EMPTY;
    while (*path != '\0') {
        size_t len = strcspn(path, ".");
        bool array = len > 2 && memcmp(path + len - 2, "[]", 2) == 0;
        build_head(&data, VALUE_MAP, 1);
        build_bytes(&data, VALUE_TEXT, path, (uint32_t)(array ? len - 2 : len));
        if (array)
            build_head(&data, VALUE_ARRAY, 1);
        path += len + (path[len] == '.');
    }
    return data;
}

// Where a text is found alone in a record.
static const struct {
    const char *path;
    enum record_field field; // RECORD_TEXT_COUNT: nowhere
    bool has_as, has_geo;
} text_rows[] = {
    {"continent.code", RECORD_CONTINENT_CODE, false, true},
    {"continent.names.en", RECORD_CONTINENT_NAME, false, true},
    {"continent.names.de", RECORD_CONTINENT_NAME, false, true},
    {"country.iso_code", RECORD_COUNTRY_CODE, false, true},
    {"country.names.en", RECORD_COUNTRY_NAME, false, true},
    {"subdivisions[].iso_code", RECORD_REGION_CODE, false, false}, // is written with the country's only
    {"subdivisions[].names.en", RECORD_REGION_NAME, false, true},
    {"city.names.en", RECORD_CITY_NAME, false, true},
    {"postal.code", RECORD_POSTAL_CODE, false, true},
    {"location.time_zone", RECORD_TIMEZONE, false, true},
    {"autonomous_system_organization", RECORD_AS_ORGANIZATION, true, false},
    {"traits.autonomous_system_organization", RECORD_AS_ORGANIZATION, true, false},
    // The schema's names in other places, and places that say something else.
    {"registered_country.iso_code", RECORD_TEXT_COUNT, false, false},
    {"represented_country.names.en", RECORD_TEXT_COUNT, false, false},
    {"city.names.fr", RECORD_TEXT_COUNT, false, false},
    {"city.names.EN", RECORD_TEXT_COUNT, false, false},
    {"city.iso_code", RECORD_TEXT_COUNT, false, false},
    {"City.names.en", RECORD_TEXT_COUNT, false, false},
    {"city.name", RECORD_TEXT_COUNT, false, false},
    {"country", RECORD_TEXT_COUNT, false, false},
    {"names.en", RECORD_TEXT_COUNT, false, false},
    {"country[].iso_code", RECORD_TEXT_COUNT, false, false},
    {"subdivisions.iso_code", RECORD_TEXT_COUNT, false, false},
    {"traits.isp", RECORD_TEXT_COUNT, false, false},
    {"traits.country.iso_code", RECORD_TEXT_COUNT, false, false},
    {"city.city.names.en", RECORD_TEXT_COUNT, false, false},
};

static void a_text_goes_to_its_field_and_no_other(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof text_rows / sizeof *text_rows; i++) {
        struct buf data = open_path(text_rows[i].path);
        struct record record;
        build_text(&data, "x");
        print_message("%s\n", text_rows[i].path);
        assert_int_equal(read_data(&data, &record), 0);
        for (int field = 0; field < RECORD_TEXT_COUNT; field++)
            assert_int_equal(record.text[field].len, field == (int)text_rows[i].field);
        assert_int_equal(record_has_as(&record), text_rows[i].has_as);
        assert_int_equal(record_has_geo(&record), text_rows[i].has_geo);
        assert_int_equal(record.as_number, 0);
        assert_false(record.has_location);
        buf_fini(&data);
    }
}

// What follows the value of another type is found all the same: it is stepped over whole.
static void a_value_of_another_type_is_not_there(void **state)
{
    static const enum mmdb_type types[] = {VALUE_UINT32, VALUE_DOUBLE, VALUE_BYTES, VALUE_BOOLEAN,
                                           VALUE_FLOAT,  VALUE_MAP,    VALUE_ARRAY};
    static const char *const keys[] = {"continent", "country", "city",         "location",
                                       "postal",    "traits",  "subdivisions", "autonomous_system_organization"};
    (void)state;
    for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) {
        for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
            struct buf data = BUF_EMPTY;
            struct record record;
            build_head(&data, VALUE_MAP, 2);
            build_text(&data, keys[k]);
            if (types[i] == VALUE_DOUBLE)
                build_double(&data, 1.5);
            else if (types[i] == VALUE_FLOAT)
                build_float(&data, 1.5F);
            else if (types[i] == VALUE_BYTES)
                build_bytes(&data, VALUE_BYTES, "abc", 3);
            else if (types[i] == VALUE_MAP)
                build_head(&data, VALUE_MAP, 0);
            else if (types[i] == VALUE_ARRAY)
                build_head(&data, VALUE_ARRAY, 0);
            else if (types[i] == VALUE_BOOLEAN)
                build_head(&data, VALUE_BOOLEAN, 1);
            else
                build_uint(&data, VALUE_UINT32, 70000);
            build_text(&data, "autonomous_system_number");
            build_uint(&data, VALUE_UINT32, 64500);
            print_message("%s, type %d\n", keys[k], (int)types[i]);
            assert_int_equal(read_data(&data, &record), 0);
            for (int field = 0; field < RECORD_TEXT_COUNT; field++)
                assert_int_equal(record.text[field].len, 0);
            assert_int_equal(record.as_number, 64500);
            assert_false(record_has_geo(&record));
            buf_fini(&data);
        }
    }
}

static void numbers_of_systems_have_32_bits(void **state)
{
    static const struct {
        enum mmdb_type type;
        uint64_t value;
        uint32_t expected;
    } rows[] = {
        {VALUE_UINT16, 65535, 65535},           {VALUE_UINT32, 1, 1},          {VALUE_UINT32, 4294967295, 4294967295},
        {VALUE_UINT64, 4294967295, 4294967295}, {VALUE_UINT64, 4294967296, 0}, // not cut to 0, left out
        {VALUE_UINT64, UINT64_MAX, 0},          {VALUE_UINT32, 0, 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        static const char *const paths[] = {"autonomous_system_number", "traits.autonomous_system_number"};
        for (size_t p = 0; p < 2; p++) {
            struct buf data = open_path(paths[p]);
            struct record record;
            build_uint(&data, rows[i].type, rows[i].value);
            assert_int_equal(read_data(&data, &record), 0);
            assert_int_equal(record.as_number, rows[i].expected);
            assert_int_equal(record_has_as(&record), rows[i].expected != 0);
            assert_false(record_has_geo(&record));
            buf_fini(&data);
        }
    }
}

static struct buf two_names(const char *first, const char *first_text, const char *second, const char *second_text)
{
    struct buf data = open_path("city.names");
    build_head(&data, VALUE_MAP, 2);
    build_key_text(&data, first, first_text);
    build_key_text(&data, second, second_text);
    return data;
}

// The language that was asked for wins whichever comes first; one without letters does not.
static void the_order_of_languages_does_not_count(void **state)
{
    static const struct {
        const char *first, *first_text, *second, *second_text, *expected;
    } rows[] = {
        {"de", "K\u00f6ln", "en", "Cologne", "K\u00f6ln"},
        {"en", "Cologne", "de", "K\u00f6ln", "K\u00f6ln"},
        {"de", "", "en", "Cologne", "Cologne"},
        {"en", "Cologne", "de", "", "Cologne"},
        {"fr", "Cologne (fr)", "en", "Cologne", "Cologne"},
        {"de-AT", "K\u00f6ln (AT)", "fr", "Cologne (fr)", ""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct buf data = two_names(rows[i].first, rows[i].first_text, rows[i].second, rows[i].second_text);
        struct record record;
        assert_int_equal(read_data(&data, &record), 0);
        assert_true(text_eq(record.text[RECORD_CITY_NAME], text_of(rows[i].expected)));
        buf_fini(&data);
    }
}

// The last subdivision counts, and only it.
static void the_last_subdivision_counts(void **state)
{
    (void)state;
    for (uint32_t count = 1; count <= 4; count++) {
        struct buf data = BUF_EMPTY;
        struct record record;
        build_head(&data, VALUE_MAP, 1);
        build_text(&data, "subdivisions");
        build_head(&data, VALUE_ARRAY, count);
        for (uint32_t i = 1; i <= count; i++) {
            char code[2] = {(char)('0' + i), '\0'};
            build_head(&data, VALUE_MAP, i == 1 ? 2 : 1); // the first one's name must not be kept
            build_key_text(&data, "iso_code", code);
            if (i == 1)
                build_names(&data, "First");
        }
        assert_int_equal(read_data(&data, &record), 0);
        assert_int_equal(record.text[RECORD_REGION_CODE].len, 1);
        assert_int_equal(*record.text[RECORD_REGION_CODE].at, '0' + (int)count);
        assert_int_equal(record.text[RECORD_REGION_NAME].len > 0, count == 1);
        buf_fini(&data);
    }
}

// A record is read anew: nothing stays of the one that was read into the same struct before.
static void nothing_stays_of_the_record_before(void **state)
{
    struct buf full = BUF_EMPTY, empty = BUF_EMPTY;
    struct record record;
    (void)state;

    build_head(&full, VALUE_MAP, 3);
    build_key_text(&full, "autonomous_system_organization", "Example");
    build_text(&full, "autonomous_system_number");
    build_uint(&full, VALUE_UINT32, 64500);
    build_text(&full, "location");
    build_head(&full, VALUE_MAP, 2);
    build_text(&full, "latitude");
    build_double(&full, 1);
    build_text(&full, "longitude");
    build_double(&full, 2);
    build_head(&empty, VALUE_MAP, 0);
    assert_int_equal(read_data(&full, &record), 0);
    assert_true(record_has_as(&record) && record_has_geo(&record) && record.has_location);
    assert_int_equal(read_data(&empty, &record), 0);
    assert_false(record_has_as(&record) || record_has_geo(&record) || record.has_location);
    buf_fini(&full);
    buf_fini(&empty);
}

// Every beginning of a good record is broken: no text, number or map is taken half.
static void every_truncation_is_told(void **state)
{
    struct buf data = BUF_EMPTY;
    struct record record;
    (void)state;

    build_head(&data, VALUE_MAP, 4);
    build_text(&data, "subdivisions");
    build_head(&data, VALUE_ARRAY, 2);
    build_head(&data, VALUE_MAP, 0);
    build_head(&data, VALUE_MAP, 1);
    build_names(&data, "Bavaria");
    build_text(&data, "unknown");
    build_head(&data, VALUE_MAP, 1);
    build_key_text(&data, "a", "b");
    build_text(&data, "location");
    build_head(&data, VALUE_MAP, 1);
    build_text(&data, "latitude");
    build_double(&data, 48);
    build_key_text(&data, "autonomous_system_organization", "Example");
    size_t whole = data.len;
    assert_int_equal(read_data(&data, &record), 0);
    for (data.len = 0; data.len < whole; data.len++) {
        struct buf part = BUF_EMPTY; // in a block of its own, for AddressSanitizer
        buf_append(&part, data.data, data.len);
        assert_int_equal(read_data(&part, &record), -EBADMSG);
        buf_fini(&part);
    }
    buf_fini(&data);
}

// What a record may cost is bounded, however it is made.
static void steps_are_bounded(void **state)
{
    struct buf data = BUF_EMPTY;
    struct record record;
    (void)state;

    build_head(&data, VALUE_MAP, MMDB_RECORD_STEPS);
    for (unsigned i = 0; i < MMDB_RECORD_STEPS; i++)
        build_key_text(&data, "x", "y");
    assert_int_equal(read_data(&data, &record), -EBADMSG);
    buf_fini(&data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_text_goes_to_its_field_and_no_other),
        cmocka_unit_test(a_value_of_another_type_is_not_there),
        cmocka_unit_test(numbers_of_systems_have_32_bits),
        cmocka_unit_test(the_order_of_languages_does_not_count),
        cmocka_unit_test(the_last_subdivision_counts),
        cmocka_unit_test(nothing_stays_of_the_record_before),
        cmocka_unit_test(every_truncation_is_told),
        cmocka_unit_test(steps_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
