// SPDX-License-Identifier: Apache-2.0
//
// json_locate: where the address is and in which form the event is written. The scan has already found the common form;
// what is here walks the other events, member by member.
//
// Everything that Loom reads or writes has a path ("source.geo.city_name"). A path can be written nested (an object for
// each name), dotted (one key with all names, at event level), or mixed. The walk notes each path once with its form;
// an event passes unchanged where a path stands twice or where what Loom would add had to be mixed.

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
    PATH_LOCATION,
    PATH_LEAVES, // all others
};

static const char *const paths[] = {
    [PATH_SOURCE] = "source",        [PATH_AS] = "source.as",      [PATH_ORGANIZATION] = "source.as.organization",
    [PATH_GEO] = "source.geo",       [PATH_IP] = "source.ip",      [PATH_LOCATION] = "source.geo.location",
    [PATH_LEAVES] = "source.domain", "source.as.number",           "source.as.organization.name",
    "source.geo.continent_code",     "source.geo.continent_name",  "source.geo.country_iso_code",
    "source.geo.country_name",       "source.geo.region_iso_code", "source.geo.region_name",
    "source.geo.city_name",          "source.geo.postal_code",     "source.geo.timezone",
};
#define PATH_COUNT (sizeof paths / sizeof *paths)

// Longer than any path that matters: a key that is cut off is still told from all of them.
#define PATH_MAX_LEN 96

struct locate {
    uint32_t seen;      // bit per path
    unsigned forms;     // of all paths below source.as and source.geo, of these and of source.domain
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

static void note_leaf(struct locate *l, size_t path, enum form form, const struct member *member)
{
    if (path == PATH_IP) {
        l->ip = member->value;
        l->ip_form = form;
    } else {
        l->forms |= form;
    }
}

// source, as, as.organization or geo. True when its members are to be walked.
static bool note_object(struct locate *l, size_t path, enum form form, const struct member *member)
{
    if (path != PATH_SOURCE)
        l->forms |= form;
    if (!member_is_object(member)) {
        *(path == PATH_SOURCE ? &l->source_type : &l->target_type) = true;
        return false;
    }
    if (form != FORM_NESTED) // "source.as": {...}
        l->forms |= FORM_MIXED;
    else if (path == PATH_SOURCE)
        l->insert = member->value.at + member->value.len - 1;
    return form == FORM_NESTED;
}

// What Loom does not write, but what stands beside it: its form counts as well.
static void note_other(struct locate *l, struct text path, enum form form)
{
    if (begins_with(path, TEXT("source.geo.location."))) // location is one value, this makes it two
        l->twice = true;
    else if (begins_with(path, TEXT("source.as.")) || begins_with(path, TEXT("source.geo.")))
        l->forms |= form;
}

// Walks the members of the object at `at`, whose own path is the first prefix_len bytes of `path`. It calls itself for
// source, as, as.organization and geo only, so at most three deep.
static void walk(struct locate *l, const char *at, const char *end, char path[PATH_MAX_LEN], size_t prefix_len)
{
    struct member member;
    if (prefix_len > 0)
        path[prefix_len++] = '.';
    for (at++; member_next(&at, end, &member);) {
        bool fits;
        size_t key_len = member_unescape(member.key, path + prefix_len, PATH_MAX_LEN - prefix_len, &fits);
        enum form form = FORM_NESTED;
        if (memchr(path + prefix_len, '.', key_len) != NULL)
            form = prefix_len == 0 ? FORM_DOTTED : FORM_MIXED;

        struct text whole = {path, prefix_len + key_len};
        size_t i = fits ? find_path(whole) : PATH_COUNT;
        if (i == PATH_COUNT) {
            note_other(l, whole, form);
            continue;
        }
        if (l->seen & UINT32_C(1) << i)
            l->twice = true;
        l->seen |= UINT32_C(1) << i;
        if (i > PATH_GEO)
            note_leaf(l, i, form, &member);
        else if (note_object(l, i, form, &member))
            walk(l, member.value.at, member.value.at + member.value.len, path, whole.len);
    }
}

// Which of the reasons counts when several hold: in the order of the lines.
static enum json_pass judge(const struct locate *l)
{
    if (l->twice || (l->forms & FORM_MIXED))
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
    walk(&l, body + event->begin, body + event->end, path, 0);

    enum json_pass pass = judge(&l);
    if (pass != JSON_PASS_OK)
        return pass;
    place->dotted = l.ip_form == FORM_DOTTED;
    place->merge = l.forms != 0;
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
