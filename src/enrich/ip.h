// SPDX-License-Identifier: Apache-2.0
#pragma once

// An IP address as two 64-bit words, made from its text. Plain data; any thread.

#include <stdbool.h>
#include <stdint.h>

#include "base/text.h"

// The sixteen bytes of the IPv6 form in host order. An IPv4 address is kept as its mapped form, ::ffff:a.b.c.d, so
// that both spellings of it are the same address: to a comparison, to the cache and to the databases.
struct ip {
    uint64_t high;
    uint64_t low;
};

#define IP_MAPPED_PREFIX UINT64_C(0xffff)

static inline bool ip_is_v4(struct ip ip)
{
    return ip.high == 0 && ip.low >> 32 == IP_MAPPED_PREFIX;
}

// ::/96, where an IPv6 database keeps IPv4: the unspecified address, loopback, and ::a.b.c.d, whose meaning RFC 4291,
// 2.5.5.1 has ended.
static inline bool ip_is_v4_compatible(struct ip ip)
{
    return ip.high == 0 && ip.low >> 32 == 0;
}

// Accepts exactly what inet_pton does for AF_INET or AF_INET6: no leading zeros in a decimal part, no zone, no port, no
// brackets, no spaces. The text needs no terminating zero.
bool ip_parse(struct text text, struct ip *out);
