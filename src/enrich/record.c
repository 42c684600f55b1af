// SPDX-License-Identifier: Apache-2.0

#include "enrich/record.h"

#include <errno.h>
#include <math.h>

// How the value of a key is taken.
enum rule_shape {
    TAKE_END,       // of a list of rules
    TAKE_TEXT,      // a string
    TAKE_NAMES,     // a map from language to string
    TAKE_MAP,       // a map of more rules
    TAKE_LAST,      // an array of such maps, of which the last and most specific counts
    TAKE_AS_NUMBER, // an integer
    TAKE_LATITUDE,
    TAKE_LONGITUDE,
};

struct rule {
    struct text key;
    enum rule_shape shape;
    enum record_field field;    // TAKE_TEXT, TAKE_NAMES
    const struct rule *members; // TAKE_MAP, TAKE_LAST
};

// The rules hold one another, so the nesting of read_map is the nesting of this table, whatever
// the file's is.
static const struct rule continent_rules[] = {
    {TEXT("code"), TAKE_TEXT, RECORD_CONTINENT_CODE, NULL},
    {TEXT("names"), TAKE_NAMES, RECORD_CONTINENT_NAME, NULL},
    {.shape = TAKE_END},
};
static const struct rule country_rules[] = {
    {TEXT("iso_code"), TAKE_TEXT, RECORD_COUNTRY_CODE, NULL},
    {TEXT("names"), TAKE_NAMES, RECORD_COUNTRY_NAME, NULL},
    {.shape = TAKE_END},
};
static const struct rule subdivision_rules[] = {
    {TEXT("iso_code"), TAKE_TEXT, RECORD_REGION_CODE, NULL},
    {TEXT("names"), TAKE_NAMES, RECORD_REGION_NAME, NULL},
    {.shape = TAKE_END},
};
static const struct rule city_rules[] = {
    {TEXT("names"), TAKE_NAMES, RECORD_CITY_NAME, NULL},
    {.shape = TAKE_END},
};
static const struct rule location_rules[] = {
    {TEXT("latitude"), TAKE_LATITUDE, 0, NULL},
    {TEXT("longitude"), TAKE_LONGITUDE, 0, NULL},
    {TEXT("time_zone"), TAKE_TEXT, RECORD_TIMEZONE, NULL},
    {.shape = TAKE_END},
};
static const struct rule postal_rules[] = {
    {TEXT("code"), TAKE_TEXT, RECORD_POSTAL_CODE, NULL},
    {.shape = TAKE_END},
};
static const struct rule as_rules[] = {
    {TEXT("autonomous_system_number"), TAKE_AS_NUMBER, 0, NULL},
    {TEXT("autonomous_system_organization"), TAKE_TEXT, RECORD_AS_ORGANIZATION, NULL},
    {.shape = TAKE_END},
};
// registered_country and represented_country are not here: they say whose the network is, not where it is.
static const struct rule root_rules[] = {
    {TEXT("city"), TAKE_MAP, 0, city_rules},
    {TEXT("continent"), TAKE_MAP, 0, continent_rules},
    {TEXT("country"), TAKE_MAP, 0, country_rules},
    {TEXT("location"), TAKE_MAP, 0, location_rules},
    {TEXT("postal"), TAKE_MAP, 0, postal_rules},
    {TEXT("subdivisions"), TAKE_LAST, 0, subdivision_rules},
    {TEXT("autonomous_system_number"), TAKE_AS_NUMBER, 0, NULL},
    {TEXT("autonomous_system_organization"), TAKE_TEXT, RECORD_AS_ORGANIZATION, NULL},
    {TEXT("traits"), TAKE_MAP, 0, as_rules}, // of Enterprise and similar databases
    {.shape = TAKE_END},
};

struct reading {
    struct mmdb_reader *reader;
    struct text language;
    struct record *record;
};

static const struct rule *find_rule(const struct rule *rules, struct text key)
{
    for (; rules->shape != TAKE_END; rules++) {
        if (text_eq(rules->key, key))
            return rules;
    }
    return NULL;
}

static void take_text(struct reading *reading, const struct mmdb_value *value, enum record_field field)
{
    if (value->type == VALUE_TEXT && value->size <= RECORD_TEXT_MAX)
        reading->record->text[field] = mmdb_text(reading->reader, value);
}

// Takes also *end, where the map ends, when it stands in place.
static int take_names(struct reading *reading, const struct mmdb_value *names, enum record_field field, uint32_t *end)
{
    uint32_t offset = names->payload;
    for (uint32_t left = names->size; left > 0; left--) {
        struct mmdb_value key, value;
        if (mmdb_read(reading->reader, offset, &key) != 0 || key.type != VALUE_TEXT ||
            mmdb_read(reading->reader, key.next, &value) != 0)
            return -EBADMSG;
        struct text language = mmdb_text(reading->reader, &key);
        bool found = text_eq(language, reading->language) && value.type == VALUE_TEXT && value.size > 0;
        if (found || text_eq(language, TEXT("en")))
            take_text(reading, &value, field);
        if (found && names->followed)
            return 0;
        offset = key.next;
        // What is left after the one that was looked for is all skipped at once.
        if (mmdb_skip(reading->reader, &offset, found ? 2 * (uint64_t)left - 1 : 1) != 0)
            return -EBADMSG;
        if (found)
            break;
    }
    *end = offset;
    return 0;
}

static void take_as_number(struct reading *reading, const struct mmdb_value *value)
{
    uint64_t number;
    if (mmdb_uint(reading->reader, value, &number) == 0 && number <= UINT32_MAX)
        reading->record->as_number = (uint32_t)number;
}

static void take_degrees(struct reading *reading, const struct mmdb_value *value, double *out)
{
    double degrees;
    if (mmdb_real(reading->reader, value, &degrees) == 0)
        *out = degrees;
}

static int read_map(struct reading *reading, const struct mmdb_value *map, const struct rule *rules, uint32_t *end);

static int take_last(struct reading *reading, const struct mmdb_value *array, const struct rule *rules)
{
    uint32_t offset = array->payload;
    if (array->size == 0)
        return 0;
    struct mmdb_value last;
    if (mmdb_skip(reading->reader, &offset, array->size - 1) != 0 || mmdb_read(reading->reader, offset, &last) != 0)
        return -EBADMSG;
    return last.type == VALUE_MAP ? read_map(reading, &last, rules, &offset) : 0;
}

// Takes what the rule wants; a value of another type is left. *end is changed where a map was read to its end.
static int take_value(struct reading *reading, const struct mmdb_value *value, const struct rule *rule, uint32_t *end)
{
    switch (rule->shape) {
    case TAKE_END:
        return 0;
    case TAKE_TEXT:
        take_text(reading, value, rule->field);
        return 0;
    case TAKE_NAMES:
        return value->type == VALUE_MAP ? take_names(reading, value, rule->field, end) : 0;
    case TAKE_MAP:
        return value->type == VALUE_MAP ? read_map(reading, value, rule->members, end) : 0;
    case TAKE_LAST:
        return value->type == VALUE_ARRAY ? take_last(reading, value, rule->members) : 0;
    case TAKE_AS_NUMBER:
        take_as_number(reading, value);
        return 0;
    case TAKE_LATITUDE:
        take_degrees(reading, value, &reading->record->latitude);
        return 0;
    case TAKE_LONGITUDE:
        take_degrees(reading, value, &reading->record->longitude);
        return 0;
    }
    return 0;
}

// Reads one member's value and moves *offset past it.
static int read_member(struct reading *reading, const struct rule *rule, uint32_t *offset)
{
    struct mmdb_value value;
    if (mmdb_read(reading->reader, *offset, &value) != 0)
        return -EBADMSG;
    uint32_t end = value.next;
    if (take_value(reading, &value, rule, &end) != 0)
        return -EBADMSG;
    bool container = value.type == VALUE_MAP || value.type == VALUE_ARRAY;
    if (container && !value.followed && end == value.next)
        return mmdb_skip(reading->reader, offset, 1); // nothing of it was read
    *offset = value.followed ? value.next : end;
    return 0;
}

static int read_map(struct reading *reading, const struct mmdb_value *map, const struct rule *rules, uint32_t *end)
{
    uint32_t offset = map->payload;
    for (uint32_t i = 0; i < map->size; i++) {
        struct mmdb_value key;
        if (mmdb_read(reading->reader, offset, &key) != 0 || key.type != VALUE_TEXT)
            return -EBADMSG;
        offset = key.next;
        const struct rule *rule = find_rule(rules, mmdb_text(reading->reader, &key));
        int code = rule != NULL ? read_member(reading, rule, &offset) : mmdb_skip(reading->reader, &offset, 1);
        if (code != 0)
            return code;
    }
    *end = offset;
    return 0;
}

int record_read(struct mmdb_reader *reader, uint32_t offset, struct text language, struct record *record)
{
    *record = (struct record){.latitude = NAN, .longitude = NAN};
    struct reading reading = {reader, language, record};
    struct mmdb_value root;
    if (mmdb_read(reader, offset, &root) != 0)
        return -EBADMSG;
    // A record that is no map belongs to a schema that Loom does not know.
    int code = root.type == VALUE_MAP ? read_map(&reading, &root, root_rules, &offset) : 0;
    // Neither comparison holds for a NaN.
    record->has_location = fabs(record->latitude) <= 90 && fabs(record->longitude) <= 180;
    return code;
}

bool record_has_as(const struct record *record)
{
    return record->as_number != 0 || record->text[RECORD_AS_ORGANIZATION].len > 0;
}

bool record_has_geo(const struct record *record)
{
    for (int field = 0; field < RECORD_AS_ORGANIZATION; field++) {
        if (field != RECORD_REGION_CODE && record->text[field].len > 0)
            return true; // a region's code is written together with the country's only
    }
    return record->has_location;
}
