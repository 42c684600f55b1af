// SPDX-License-Identifier: Apache-2.0
//
// Reading an address is on the way of every event, and inet_pton wants a terminated copy and the family beforehand:
// both forms are read here in one pass.

#include "enrich/ip.h"

#include "json/lex.h"

#define IP_GROUPS 8

// "a.b.c.d", each part 0 to 255 in one to three digits.
static bool parse_v4(const char *at, const char *end, uint32_t *out)
{
    uint32_t address = 0;
    for (int part = 0; part < 4; part++) {
        if (part > 0) {
            if (at == end || *at != '.')
                return false;
            at++;
        }
        const char *first = at;
        unsigned value = 0;
        for (unsigned digit; at < end && (digit = (unsigned char)*at - '0') <= 9; at++) {
            if (at > first && value == 0)
                return false; // "01" is octal to some and decimal to others
            value = value * 10 + digit;
            if (value > 255)
                return false;
        }
        if (at == first)
            return false;
        address = address << 8 | value;
    }
    *out = address;
    return at == end;
}

struct v6_groups {
    uint16_t at[IP_GROUPS];
    int count;
    int gap; // "::" stands before this group; -1: none
};

// Groups of up to four hex digits between colons. A last part with dots is an IPv4 address of two groups.
static bool parse_groups(const char *at, const char *end, struct v6_groups *groups)
{
    *groups = (struct v6_groups){.gap = -1};
    if (end - at >= 2 && at[0] == ':' && at[1] == ':') {
        groups->gap = 0;
        at += 2;
    }
    while (at < end) {
        const char *first = at;
        unsigned value = 0;
        for (int digit; at < end && at - first < 4 && (digit = lex_hex((uint8_t)*at)) >= 0; at++)
            value = value << 4 | (unsigned)digit;
        if (at < end && *at == '.') {
            uint32_t v4;
            if (groups->count > IP_GROUPS - 2 || !parse_v4(first, end, &v4))
                return false;
            groups->at[groups->count++] = (uint16_t)(v4 >> 16);
            groups->at[groups->count++] = (uint16_t)v4;
            return true;
        }
        if (at == first || groups->count == IP_GROUPS)
            return false;
        groups->at[groups->count++] = (uint16_t)value;
        if (at == end)
            return true;
        if (*at++ != ':' || at == end)
            return false;
        if (*at == ':') {
            if (groups->gap >= 0)
                return false;
            groups->gap = groups->count;
            at++;
        }
    }
    return groups->gap >= 0;
}

static bool parse_v6(const char *at, const char *end, struct ip *out)
{
    struct v6_groups groups;
    if (!parse_groups(at, end, &groups))
        return false;
    // "::" stands for at least one group.
    if (groups.gap < 0 ? groups.count != IP_GROUPS : groups.count >= IP_GROUPS)
        return false;

    uint64_t words[2] = {0, 0};
    for (int i = 0; i < groups.count; i++) {
        bool after_gap = groups.gap >= 0 && i >= groups.gap;
        int place = after_gap ? i + IP_GROUPS - groups.count : i;
        words[place / 4] |= (uint64_t)groups.at[i] << (48 - 16 * (place % 4));
    }
    *out = (struct ip){words[0], words[1]};
    return true;
}

bool ip_parse(struct text text, struct ip *out)
{
    const char *end = text.at + text.len;
    uint32_t v4;
    // Most addresses are IPv4, and what is IPv6 fails here within five characters.
    if (parse_v4(text.at, end, &v4)) {
        *out = (struct ip){0, IP_MAPPED_PREFIX << 32 | v4};
        return true;
    }
    return parse_v6(text.at, end, out);
}
