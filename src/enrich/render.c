// SPDX-License-Identifier: Apache-2.0

#include "enrich/render.h"

#include <math.h>

#include "json/write.h"

// The object being written: its brace comes with its first member.
struct object {
    struct buf *out;
    bool open;
};

static void begin_member(struct object *object, const char *name)
{
    buf_str(object->out, object->open ? ",\"" : "{\"");
    buf_str(object->out, name);
    buf_str(object->out, "\":");
    object->open = true;
}

static void write_text(struct object *object, const char *name, struct text text)
{
    if (text.len == 0)
        return;
    begin_member(object, name);
    json_write_string(object->out, text);
}

// ISO 3166-2: "CA-QC". Without the country it would be no code.
static void write_region_code(struct object *object, struct text country, struct text region)
{
    char code[2 * RECORD_TEXT_MAX + 1];
    if (country.len == 0 || region.len == 0)
        return;
    memcpy(code, country.at, country.len);
    code[country.len] = '-';
    memcpy(code + country.len + 1, region.at, region.len);
    write_text(object, "region_iso_code", (struct text){code, country.len + 1 + region.len});
}

// Coordinates have few decimals, so a small division finds most of them: a quotient of two whole numbers that a double
// holds is rounded just as reading the decimal text is. A tenth of what the general way costs.
static void write_degrees(struct buf *out, double degrees)
{
    double scale = 1;
    for (int decimals = 0; decimals <= 7; decimals++, scale *= 10) {
        double scaled = nearbyint(degrees * scale);
        if (scaled / scale != degrees || (scaled == 0 && signbit(scaled)))
            continue;
        uint64_t whole = (uint64_t)fabs(scaled);
        uint64_t unit = (uint64_t)scale;
        if (scaled < 0)
            buf_char(out, '-');
        buf_uint(out, whole / unit);
        if (decimals > 0) {
            char digits[8];
            uint64_t fraction = whole % unit;
            for (int i = decimals - 1; i >= 0; i--, fraction /= 10)
                digits[i] = (char)('0' + fraction % 10);
            buf_char(out, '.');
            buf_append(out, digits, (size_t)decimals);
        }
        return;
    }
    json_write_double(out, degrees);
}

static void write_location(struct object *object, double latitude, double longitude)
{
    begin_member(object, "location");
    buf_str(object->out, "{\"lat\":");
    write_degrees(object->out, latitude);
    buf_str(object->out, ",\"lon\":");
    write_degrees(object->out, longitude);
    buf_char(object->out, '}');
}

void render_as(struct buf *out, const struct record *record)
{
    if (!record_has_as(record))
        return;
    struct text organization = record->text[RECORD_AS_ORGANIZATION];
    struct object as = {out, false};
    buf_str(out, "\"as\":");
    if (record->as_number != 0) {
        begin_member(&as, "number");
        buf_uint(out, record->as_number);
    }
    if (organization.len > 0) {
        begin_member(&as, "organization");
        buf_str(out, "{\"name\":");
        json_write_string(out, organization);
        buf_char(out, '}');
    }
    buf_char(out, '}');
}

void render_geo(struct buf *out, const struct record *record)
{
    if (!record_has_geo(record))
        return;
    const struct text *text = record->text;
    struct object geo = {out, false};
    buf_str(out, "\"geo\":");
    write_text(&geo, "continent_code", text[RECORD_CONTINENT_CODE]);
    write_text(&geo, "continent_name", text[RECORD_CONTINENT_NAME]);
    write_text(&geo, "country_iso_code", text[RECORD_COUNTRY_CODE]);
    write_text(&geo, "country_name", text[RECORD_COUNTRY_NAME]);
    write_region_code(&geo, text[RECORD_COUNTRY_CODE], text[RECORD_REGION_CODE]);
    write_text(&geo, "region_name", text[RECORD_REGION_NAME]);
    write_text(&geo, "city_name", text[RECORD_CITY_NAME]);
    write_text(&geo, "postal_code", text[RECORD_POSTAL_CODE]);
    write_text(&geo, "timezone", text[RECORD_TIMEZONE]);
    if (record->has_location)
        write_location(&geo, record->latitude, record->longitude);
    buf_char(out, '}');
}
