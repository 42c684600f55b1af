// SPDX-License-Identifier: Apache-2.0
//
// json_locate: where the address is and in which form the event is written. The scan has already found the common form;
// what is here walks the other events, member by member.
//
// Everything that Loom reads or writes has a path ("source.geo.city_name"). A path can be written nested (an object for
// each name), dotted (one key with all names, at event level), or mixed ("source.geo" with an object, or a dotted key in
// source). The walk notes each path once; an event passes unchanged where one stands twice, or where a field that Loom
// would add stands there in another form than the address. What Loom does not know may stand beside it in any form.

#include <stdint.h>

#include "json/member.h"
#include "json/splice.h"

enum form { FORM_NESTED = 1, FORM_DOTTED = 2, FORM_MIXED = 4 };

enum path {
    PATH_SOURCE,
    PATH_AS,
    PATH_ORGANIZATION,
    PATH_GEO, // the last one that is an object
    PATH_IP,
    PATH_FIELDS, // all others: what Loom adds
};

static const char *const paths[] = {
    [PATH_SOURCE] = "source",      [PATH_AS] = "source.as",     [PATH_ORGANIZATION] = "source.as.organization",
    [PATH_GEO] = "source.geo",     [PATH_IP] = "source.ip",     [PATH_FIELDS] = "source.as.number",
    "source.as.organization.name", "source.geo.continent_code", "source.geo.continent_name",
    "source.geo.country_iso_code", "source.geo.country_name",   "source.geo.region_iso_code",
    "source.geo.region_name",      "source.geo.city_name",      "source.geo.postal_code",
    "source.geo.timezone",         "source.geo.location",
};
#define PATH_COUNT (sizeof paths / sizeof *paths)

// Longer than any path that matters: a key that is cut off is still told from all of them.
#define PATH_MAX_LEN 96

struct locate {
    uint32_t seen;      // bit per path
    unsigned forms;     // of the fields that Loom adds
    unsigned ip_form;   // 0: there is none
    struct text ip;     // its value, as written
    const char *insert; // the } of the nested source
    bool twice;         // a path stands twice
    bool source_type;   // source is no object
    bool target_type;   // as, geo or as.organization is none
};

const char *json_pass_name(enum json_pass pass)
{
    static const char *const names[JSON_PASS_COUNT] = {
        [JSON_PASS_OK] = "ok",
        [JSON_PASS_NO_SOURCE] = "no_source",
        [JSON_PASS_SOURCE_TYPE] = "source_type",
        [JSON_PASS_NO_IP] = "no_ip",
        [JSON_PASS_IP_TYPE] = "ip_type",
        [JSON_PASS_DUPLICATE_KEY] = "duplicate_key",
        [JSON_PASS_TARGET_TYPE] = "target_type",
    };
    return pass < JSON_PASS_COUNT ? names[pass] : "unknown";
}

static bool begins_with(struct text text, struct text prefix)
{
    return text.len >= prefix.len && memcmp(text.at, prefix.at, prefix.len) == 0;
}

static size_t find_path(struct text path)
{
    size_t i = 0;
    while (i < PATH_COUNT && !text_eq(path, text_of(paths[i])))
        i++;
    return i;
}

static bool was_seen(const struct locate *l, size_t path)
{
    return l->seen & UINT32_C(1) << path;
}

static void walk(struct locate *l, struct text object, enum form form, char path[PATH_MAX_LEN], size_t prefix_len);

// A member whose path is known; `path` has its text, of `len` bytes.
static void note(struct locate *l, size_t known, enum form form, const struct member *member, char path[PATH_MAX_LEN],
                 size_t len)
{
    l->twice |= was_seen(l, known);
    l->seen |= UINT32_C(1) << known;
    if (known > PATH_IP) {
        l->forms |= form;
    } else if (known == PATH_IP) {
        l->ip = member->value;
        l->ip_form = form;
    } else if (member_is_object(member)) {
        if (known == PATH_SOURCE)
            l->insert = member->value.at + member->value.len - 1;
        walk(l, member->value, form, path, len);
    } else {
        *(known == PATH_SOURCE ? &l->source_type : &l->target_type) = true;
    }
}

// Walks the members of an object that stands in this form and whose path is the first prefix_len bytes of `path`. note
// calls it for source, as, as.organization and geo only, so it is at most three deep.
static void walk(struct locate *l, struct text object, enum form form, char path[PATH_MAX_LEN], size_t prefix_len)
{
    const char *at = object.at + 1;
    struct member member;
    if (prefix_len > 0)
        path[prefix_len++] = '.';
    while (member_next(&at, object.at + object.len, &member)) {
        bool fits;
        size_t key_len = member_unescape(member.key, path + prefix_len, PATH_MAX_LEN - prefix_len, &fits);
        enum form inner = form == FORM_NESTED ? FORM_NESTED : FORM_MIXED;
        if (memchr(path + prefix_len, '.', key_len) != NULL)
            inner = prefix_len == 0 ? FORM_DOTTED : FORM_MIXED;

        struct text whole = {path, prefix_len + key_len};
        size_t known = fits ? find_path(whole) : PATH_COUNT;
        if (known < PATH_COUNT)
            note(l, known, inner, &member, path, whole.len);
        else if (begins_with(whole, TEXT("source.geo.location.")))
            l->forms |= FORM_MIXED; // location is added as one value
    }
}

// Which of the reasons counts when several hold: in the order of the lines.
static enum json_pass judge(const struct locate *l)
{
    if (l->twice)
        return JSON_PASS_DUPLICATE_KEY;
    if (l->source_type)
        return JSON_PASS_SOURCE_TYPE;
    if (l->ip_form == 0)
        return l->insert != NULL ? JSON_PASS_NO_IP : JSON_PASS_NO_SOURCE;
    if (l->forms & ~l->ip_form)
        return JSON_PASS_DUPLICATE_KEY;
    if (l->ip.at[0] != '"')
        return JSON_PASS_IP_TYPE;
    return l->target_type ? JSON_PASS_TARGET_TYPE : JSON_PASS_OK;
}

static enum json_pass locate_unusual(const char *body, const struct json_event *event, struct json_place *place)
{
    char path[PATH_MAX_LEN];
    struct locate l = {0};
    walk(&l, (struct text){body + event->begin, event->end - event->begin}, FORM_NESTED, path, 0);

    enum json_pass pass = judge(&l);
    if (pass != JSON_PASS_OK)
        return pass;
    place->dotted = l.ip_form == FORM_DOTTED;
    place->merge = was_seen(&l, PATH_AS) || was_seen(&l, PATH_GEO);
    place->insert = place->dotted ? event->end - 1 : (uint32_t)(l.insert - body);
    place->ip = (struct text){l.ip.at + 1, l.ip.len - 2};
    // NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker): judge has looked at its first byte
    if (memchr(place->ip.at, '\\', place->ip.len) != NULL) {
        bool fits;
        size_t len = member_unescape(place->ip, place->decoded, sizeof place->decoded, &fits);
        if (fits) // else it stays as it is written: a backslash is in no address
            place->ip = (struct text){place->decoded, len};
    }
    return JSON_PASS_OK;
}

enum json_pass json_locate(const char *body, const struct json_event *event, struct json_place *place)
{
    place->event = event;
    if (event->flags & JSON_EVENT_UNUSUAL)
        return locate_unusual(body, event, place);
    if (event->ip_begin == 0)
        return event->source_end == 0 ? JSON_PASS_NO_SOURCE : JSON_PASS_NO_IP;
    place->dotted = false;
    place->merge = false;
    place->ip = (struct text){body + event->ip_begin, event->ip_end - event->ip_begin};
    place->insert = event->source_end;
    return JSON_PASS_OK;
}
