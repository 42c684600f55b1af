// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "enrich/render.h"

#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "mmdb_build.h"

// A record of one member, which the test appends after begin().
struct sample {
    struct buf data;
    struct buf text;
};

static struct sample begin(uint32_t members)
{
    struct sample sample = {BUF_EMPTY, BUF_EMPTY};
    build_head(&sample.data, VALUE_MAP, members);
    return sample;
}

static int read_sample(const struct sample *sample, const char *language, struct record *record)
{
    struct mmdb_reader reader = {(const uint8_t *)sample->data.data, (uint32_t)sample->data.len, MMDB_RECORD_STEPS};
    return record_read(&reader, 0, text_of(language), record);
}

// What is written: AS, a space, geography.
static void assert_renders(struct sample *sample, const char *language, const char *expected)
{
    struct record record;
    assert_int_equal(read_sample(sample, language, &record), 0);
    sample->text.len = 0;
    render_as(&sample->text, &record);
    buf_char(&sample->text, ' ');
    render_geo(&sample->text, &record);
    buf_char(&sample->text, '\0');
    assert_string_equal(sample->text.data, expected);
    buf_fini(&sample->data);
    buf_fini(&sample->text);
}

static void put_uint_map(struct buf *data, const char *key)
{
    build_text(data, key);
    build_head(data, VALUE_MAP, 1);
    build_text(data, "geoname_id");
    build_uint(data, VALUE_UINT32, 1234);
}

static void every_field_stands_in_the_order_of_ecs(void **state)
{
    (void)state;
    struct sample s = begin(7);
    build_text(&s.data, "subdivisions");
    build_head(&s.data, VALUE_ARRAY, 2);
    build_head(&s.data, VALUE_MAP, 2);
    build_key_text(&s.data, "iso_code", "ENG");
    build_names(&s.data, "England");
    build_head(&s.data, VALUE_MAP, 2);
    build_key_text(&s.data, "iso_code", "WSM");
    build_names(&s.data, "Westminster");
    build_text(&s.data, "postal");
    build_head(&s.data, VALUE_MAP, 1);
    build_key_text(&s.data, "code", "SW1A");
    build_text(&s.data, "location");
    build_head(&s.data, VALUE_MAP, 3);
    build_key_text(&s.data, "time_zone", "Europe/London");
    build_text(&s.data, "longitude");
    build_double(&s.data, -0.1419);
    build_text(&s.data, "latitude");
    build_double(&s.data, 51.5014);
    build_text(&s.data, "country");
    build_head(&s.data, VALUE_MAP, 2);
    build_key_text(&s.data, "iso_code", "GB");
    build_names(&s.data, "United Kingdom");
    build_text(&s.data, "continent");
    build_head(&s.data, VALUE_MAP, 2);
    build_key_text(&s.data, "code", "EU");
    build_names(&s.data, "Europe");
    build_text(&s.data, "city");
    build_head(&s.data, VALUE_MAP, 1);
    build_names(&s.data, "London");
    build_text(&s.data, "traits"); // as in an Enterprise file
    build_head(&s.data, VALUE_MAP, 2);
    build_text(&s.data, "autonomous_system_number");
    build_uint(&s.data, VALUE_UINT32, 4294967294);
    build_key_text(&s.data, "autonomous_system_organization", "Example Transit");
    assert_renders(&s, "en",
                   "\"as\":{\"number\":4294967294,\"organization\":{\"name\":\"Example Transit\"}} "
                   "\"geo\":{\"continent_code\":\"EU\",\"continent_name\":\"Europe\",\"country_iso_code\":\"GB\","
                   "\"country_name\":\"United Kingdom\",\"region_iso_code\":\"GB-WSM\","
                   "\"region_name\":\"Westminster\",\"city_name\":\"London\",\"postal_code\":\"SW1A\","
                   "\"timezone\":\"Europe/London\",\"location\":{\"lat\":51.5014,\"lon\":-0.1419}}");
}

static void as_is_what_the_record_has(void **state)
{
    (void)state;
    struct sample s = begin(1);
    build_text(&s.data, "autonomous_system_number");
    build_uint(&s.data, VALUE_UINT64, 64500);
    assert_renders(&s, "en", "\"as\":{\"number\":64500} ");

    s = begin(1);
    build_key_text(&s.data, "autonomous_system_organization", "Example");
    assert_renders(&s, "en", "\"as\":{\"organization\":{\"name\":\"Example\"}} ");

    s = begin(2); // AS 0 is no system, and a name of no letters is no name
    build_text(&s.data, "autonomous_system_number");
    build_uint(&s.data, VALUE_UINT32, 0);
    build_key_text(&s.data, "autonomous_system_organization", "");
    assert_renders(&s, "en", " ");

    s = begin(1);
    build_text(&s.data, "autonomous_system_number");
    build_uint(&s.data, VALUE_UINT64, 4294967296);
    assert_renders(&s, "en", " ");
}

static void what_is_missing_or_of_another_type_is_not_written(void **state)
{
    (void)state;
    struct sample s = begin(0);
    assert_renders(&s, "en", " ");

    s = begin(7);
    build_text(&s.data, "city");
    build_text(&s.data, "Berlin"); // a flat schema
    put_uint_map(&s.data, "continent");
    build_text(&s.data, "country");
    build_head(&s.data, VALUE_MAP, 2);
    build_text(&s.data, "iso_code");
    build_uint(&s.data, VALUE_UINT16, 49);
    build_key_text(&s.data, "names", "Germany");
    build_key_text(&s.data, "location", "52,13");
    build_text(&s.data, "postal");
    build_head(&s.data, VALUE_MAP, 1);
    build_text(&s.data, "code");
    build_uint(&s.data, VALUE_UINT32, 10115);
    put_uint_map(&s.data, "subdivisions");
    build_key_text(&s.data, "autonomous_system_number", "AS64500");
    assert_renders(&s, "en", " ");

    s = begin(2); // where the network is registered is not where it is
    build_text(&s.data, "registered_country");
    build_head(&s.data, VALUE_MAP, 1);
    build_key_text(&s.data, "iso_code", "AU");
    build_text(&s.data, "represented_country");
    build_head(&s.data, VALUE_MAP, 1);
    build_key_text(&s.data, "iso_code", "US");
    assert_renders(&s, "en", " ");

    s.data = BUF_EMPTY; // a record that is no map
    s.text = BUF_EMPTY;
    build_text(&s.data, "DE");
    assert_renders(&s, "en", " ");
}

static void values_in_place_and_by_pointer_are_the_same(void **state)
{
    (void)state;
    struct sample s = begin(3);
    build_text(&s.data, "unknown");
    build_head(&s.data, VALUE_ARRAY, 1);
    uint32_t country = (uint32_t)s.data.len;
    build_head(&s.data, VALUE_MAP, 3);
    uint32_t iso_code = (uint32_t)s.data.len;
    build_key_text(&s.data, "iso_code", "DE");
    build_text(&s.data, "is_in_european_union");
    build_head(&s.data, VALUE_BOOLEAN, 1);
    uint32_t names = (uint32_t)s.data.len;
    build_names(&s.data, "Germany");
    build_text(&s.data, "country");
    build_pointer(&s.data, country);
    build_text(&s.data, "continent");
    build_head(&s.data, VALUE_MAP, 2);
    build_pointer(&s.data, names); // the key
    build_pointer(&s.data, names + 6);
    build_pointer(&s.data, iso_code);
    build_pointer(&s.data, iso_code + 9);
    assert_renders(
        &s, "en", " \"geo\":{\"continent_name\":\"Germany\",\"country_iso_code\":\"DE\",\"country_name\":\"Germany\"}");
}

static struct sample region(const char *country, uint32_t members, const char *iso_code, const char *name)
{
    struct sample s = begin(2);
    build_text(&s.data, "country");
    build_head(&s.data, VALUE_MAP, 1);
    build_key_text(&s.data, "iso_code", country);
    build_text(&s.data, "subdivisions");
    build_head(&s.data, VALUE_ARRAY, 1);
    build_head(&s.data, VALUE_MAP, members);
    if (iso_code != NULL)
        build_key_text(&s.data, "iso_code", iso_code);
    if (name != NULL)
        build_names(&s.data, name);
    return s;
}

static void region_code_needs_both_halves(void **state)
{
    (void)state;
    struct sample s = region("CA", 2, "QC", "Quebec");
    assert_renders(&s, "en",
                   " \"geo\":{\"country_iso_code\":\"CA\",\"region_iso_code\":\"CA-QC\",\"region_name\":\"Quebec\"}");
    s = region("", 1, "QC", NULL);
    assert_renders(&s, "en", " ");
    s = region("CA", 1, NULL, "Quebec"); // as in DB-IP's
    assert_renders(&s, "en", " \"geo\":{\"country_iso_code\":\"CA\",\"region_name\":\"Quebec\"}");
    s = region("CA", 1, "", NULL);
    assert_renders(&s, "en", " \"geo\":{\"country_iso_code\":\"CA\"}");

    s = begin(1); // the last subdivision has nothing, and the one before it does not stand in
    build_text(&s.data, "subdivisions");
    build_head(&s.data, VALUE_ARRAY, 2);
    build_head(&s.data, VALUE_MAP, 1);
    build_names(&s.data, "England");
    build_head(&s.data, VALUE_MAP, 0);
    assert_renders(&s, "en", " ");
    s = begin(1);
    build_text(&s.data, "subdivisions");
    build_head(&s.data, VALUE_ARRAY, 0);
    assert_renders(&s, "en", " ");
}

static struct sample city_in_three_languages(const char *german)
{
    struct sample s = begin(2);
    build_text(&s.data, "city");
    build_head(&s.data, VALUE_MAP, 1);
    build_text(&s.data, "names");
    build_head(&s.data, VALUE_MAP, 3);
    build_key_text(&s.data, "de", german);
    build_key_text(&s.data, "en", "Munich");
    build_key_text(&s.data, "pt-BR", "Munique");
    build_text(&s.data, "postal"); // is found although not all names were read
    build_head(&s.data, VALUE_MAP, 1);
    build_key_text(&s.data, "code", "80331");
    return s;
}

static void names_are_in_the_language_or_in_english(void **state)
{
    (void)state;
    struct sample s = city_in_three_languages("M\u00fcnchen");
    assert_renders(&s, "de", " \"geo\":{\"city_name\":\"M\u00fcnchen\",\"postal_code\":\"80331\"}");
    s = city_in_three_languages("M\u00fcnchen");
    assert_renders(&s, "pt-BR", " \"geo\":{\"city_name\":\"Munique\",\"postal_code\":\"80331\"}");
    s = city_in_three_languages("M\u00fcnchen");
    assert_renders(&s, "en", " \"geo\":{\"city_name\":\"Munich\",\"postal_code\":\"80331\"}");
    s = city_in_three_languages("M\u00fcnchen");
    assert_renders(&s, "xx", " \"geo\":{\"city_name\":\"Munich\",\"postal_code\":\"80331\"}");
    s = city_in_three_languages(""); // an empty name is none
    assert_renders(&s, "de", " \"geo\":{\"city_name\":\"Munich\",\"postal_code\":\"80331\"}");
}

static struct sample location(double latitude, double longitude)
{
    struct sample s = begin(1);
    build_text(&s.data, "location");
    build_head(&s.data, VALUE_MAP, 2);
    build_text(&s.data, "latitude");
    build_double(&s.data, latitude);
    build_text(&s.data, "longitude");
    build_double(&s.data, longitude);
    return s;
}

static void location_has_both_in_range_or_is_not_there(void **state)
{
    (void)state;
    static const struct {
        double latitude, longitude;
        const char *expected;
    } rows[] = {
        {0, 0, " \"geo\":{\"location\":{\"lat\":0,\"lon\":0}}"},
        {90, -180, " \"geo\":{\"location\":{\"lat\":90,\"lon\":-180}}"},
        {-90, 180, " \"geo\":{\"location\":{\"lat\":-90,\"lon\":180}}"},
        {-0.05, 100.5, " \"geo\":{\"location\":{\"lat\":-0.05,\"lon\":100.5}}"},
        {1.000001, 0.0000001, " \"geo\":{\"location\":{\"lat\":1.000001,\"lon\":0.0000001}}"},
        {90.0001, 0, " "},
        {0, -180.0001, " "},
        {NAN, 0, " "},
        {0, NAN, " "},
        {INFINITY, 0, " "},
        {0, -INFINITY, " "},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct sample s = location(rows[i].latitude, rows[i].longitude);
        assert_renders(&s, "en", rows[i].expected);
    }

    struct sample s = begin(1);
    build_text(&s.data, "location");
    build_head(&s.data, VALUE_MAP, 1);
    build_text(&s.data, "latitude");
    build_double(&s.data, 1);
    assert_renders(&s, "en", " ");

    s = begin(1);
    build_text(&s.data, "location");
    build_head(&s.data, VALUE_MAP, 2);
    build_text(&s.data, "latitude");
    build_float(&s.data, -1.5F);
    build_text(&s.data, "longitude");
    build_float(&s.data, 45.1F); // its value is 45.09999847
    assert_renders(&s, "en", " \"geo\":{\"location\":{\"lat\":-1.5,\"lon\":45.1}}");
}

static void every_coordinate_reads_back_as_the_same(void **state)
{
    (void)state;
    uint64_t seed = 88172645463325252;
    struct buf out = BUF_EMPTY;
    for (int i = 0; i < 20000; i++) {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        double raw = (double)(int64_t)seed / 9.3e18 * 90;
        double scale = pow(10, (double)(seed % 9));
        double value = i % 4 == 0 ? raw : nearbyint(raw * scale) / scale;
        struct record record = {.has_location = true, .latitude = value, .longitude = -value};
        out.len = 0;
        render_geo(&out, &record);
        buf_char(&out, '\0');
        const char *lat = strstr(out.data, "\"lat\":") + 6, *lon = strstr(out.data, "\"lon\":") + 6;
        assert_true(strtod(lat, NULL) == value);
        assert_true(strtod(lon, NULL) == -value);
        if (value != 0)
            assert_int_equal(signbit(strtod(lat, NULL)), signbit(value));
    }
    buf_fini(&out);
}

static void database_text_is_escaped(void **state)
{
    (void)state;
    struct sample s = begin(1);
    build_key_text(&s.data, "autonomous_system_organization", "a\"b\\c\nd\x01\xff\xc3\xa9</script>");
    assert_renders(&s, "en",
                   "\"as\":{\"organization\":{\"name\":\"a\\\"b\\\\c\\nd\\u0001\xef\xbf\xbd\xc3\xa9</script>\"}} ");

    struct buf data = BUF_EMPTY; // a zero byte is a character like others
    build_head(&data, VALUE_MAP, 1);
    build_text(&data, "autonomous_system_organization");
    build_bytes(&data, VALUE_TEXT, "a\0b", 3);
    s = (struct sample){data, BUF_EMPTY};
    assert_renders(&s, "en", "\"as\":{\"organization\":{\"name\":\"a\\u0000b\"}} ");
}

static void long_texts_are_left_out(void **state)
{
    (void)state;
    for (uint32_t len = RECORD_TEXT_MAX; len <= RECORD_TEXT_MAX + 1; len++) {
        char *text = mem_zalloc(len + 1);
        memset(text, '\x01', len); // six characters each when escaped
        struct sample s = begin(2);
        build_key_text(&s.data, "autonomous_system_organization", text);
        build_text(&s.data, "postal");
        build_head(&s.data, VALUE_MAP, 1);
        build_key_text(&s.data, "code", "1");
        struct record record;
        assert_int_equal(read_sample(&s, "en", &record), 0);
        render_as(&s.text, &record);
        assert_int_equal(s.text.len,
                         len == RECORD_TEXT_MAX ? strlen("'as':{'organization':{'name':''}}") + 6 * len : 0);
        s.text.len = 0;
        render_geo(&s.text, &record); // the rest is there
        assert_int_equal(s.text.len, strlen("'geo':{'postal_code':'1'}"));
        buf_fini(&s.data);
        buf_fini(&s.text);
        mem_free(text);
    }
}

static void broken_records_are_told(void **state)
{
    (void)state;
    struct record record;
    struct sample s = begin(2); // one member is missing
    build_key_text(&s.data, "autonomous_system_organization", "Example");
    assert_int_equal(read_sample(&s, "en", &record), -EBADMSG);
    buf_fini(&s.data);

    s = begin(1); // a key that is no text
    build_uint(&s.data, VALUE_UINT16, 1);
    build_text(&s.data, "x");
    assert_int_equal(read_sample(&s, "en", &record), -EBADMSG);
    buf_fini(&s.data);

    s = begin(1); // a pointer back to the record itself: the rules lead in, not the file
    build_text(&s.data, "city");
    build_pointer(&s.data, 0);
    assert_int_equal(read_sample(&s, "en", &record), 0);
    buf_fini(&s.data);

    s = begin(1); // more subdivisions than any file could hold
    build_text(&s.data, "subdivisions");
    build_head(&s.data, VALUE_ARRAY, 16000000);
    assert_int_equal(read_sample(&s, "en", &record), -EBADMSG);
    buf_fini(&s.data);

    s = begin(1); // the same for names
    build_text(&s.data, "city");
    build_head(&s.data, VALUE_MAP, 1);
    build_text(&s.data, "names");
    build_head(&s.data, VALUE_MAP, 16000000);
    build_key_text(&s.data, "en", "x");
    assert_int_equal(read_sample(&s, "en", &record), -EBADMSG);
    buf_fini(&s.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_field_stands_in_the_order_of_ecs),
        cmocka_unit_test(as_is_what_the_record_has),
        cmocka_unit_test(what_is_missing_or_of_another_type_is_not_written),
        cmocka_unit_test(values_in_place_and_by_pointer_are_the_same),
        cmocka_unit_test(region_code_needs_both_halves),
        cmocka_unit_test(names_are_in_the_language_or_in_english),
        cmocka_unit_test(location_has_both_in_range_or_is_not_there),
        cmocka_unit_test(every_coordinate_reads_back_as_the_same),
        cmocka_unit_test(database_text_is_escaped),
        cmocka_unit_test(long_texts_are_left_out),
        cmocka_unit_test(broken_records_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
