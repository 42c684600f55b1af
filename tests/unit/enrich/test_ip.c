// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "enrich/ip.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>

static void both_forms_are_read(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        struct ip ip;
    } rows[] = {
        {"0.0.0.0", {0, 0xffff00000000}},
        {"255.255.255.255", {0, 0xffffffffffff}},
        {"81.2.69.160", {0, 0xffff510245a0}},
        {"::ffff:81.2.69.160", {0, 0xffff510245a0}},
        {"::ffff:5102:45a0", {0, 0xffff510245a0}},
        {"0:0:0:0:0:FFFF:5102:45A0", {0, 0xffff510245a0}},
        {"::81.2.69.160", {0, 0x510245a0}}, // IPv4-compatible, not mapped
        {"::", {0, 0}},
        {"::1", {0, 1}},
        {"1::", {0x0001000000000000, 0}},
        {"2001:db8::17", {0x20010db800000000, 0x17}},
        {"2001:db8:1:2:3:4:5:6", {0x20010db800010002, 0x0003000400050006}},
        {"::2:3:4:5:6:7:8", {0x0000000200030004, 0x0005000600070008}},
        {"1:2:3:4:5:6:7::", {0x0001000200030004, 0x0005000600070000}},
        {"1:2:3:4:5:6:1.2.3.4", {0x0001000200030004, 0x0005000601020304}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct ip ip = {~0U, ~0U};
        print_message("%s\n", rows[i].text);
        assert_true(ip_parse(text_of(rows[i].text), &ip));
        assert_int_equal(ip.high, rows[i].ip.high);
        assert_int_equal(ip.low, rows[i].ip.low);
    }
}

static void mapped_is_v4_and_nothing_else(void **state)
{
    (void)state;
    struct ip ip;
    assert_true(ip_parse(TEXT("1.2.3.4"), &ip) && ip_is_v4(ip));
    assert_true(ip_parse(TEXT("::ffff:1.2.3.4"), &ip) && ip_is_v4(ip) && !ip_is_v4_compatible(ip));
    assert_true(ip_parse(TEXT("::1.2.3.4"), &ip) && !ip_is_v4(ip) && ip_is_v4_compatible(ip));
    assert_true(ip_parse(TEXT("::1"), &ip) && !ip_is_v4(ip) && ip_is_v4_compatible(ip));
    assert_true(ip_parse(TEXT("::1:0:0"), &ip) && !ip_is_v4(ip) && !ip_is_v4_compatible(ip));
    assert_true(ip_parse(TEXT("::1:ffff:1.2.3.4"), &ip) && !ip_is_v4(ip));
    assert_true(ip_parse(TEXT("1::ffff:1.2.3.4"), &ip) && !ip_is_v4(ip));
}

static void what_is_no_address_is_refused(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "",
        " ",
        "1.2.3",
        "1.2.3.4.5",
        "1.2.3.4.",
        ".1.2.3.4",
        "1..3.4",
        "01.2.3.4",
        "1.2.3.00",
        "256.1.1.1",
        "1.1.1.1111",
        " 1.2.3.4",
        "1.2.3.4 ",
        "1.2.3.4:80",
        "0x1.2.3.4",
        "1.2.3.-4",
        "1.2.3.+4",
        "+1.2.3.4",
        ":",
        ":::",
        "1::2::3",
        ":1::2",
        "1:2:3:4:5:6:7",
        "1:2:3:4:5:6:7:8:9",
        "1:2:3:4:5:6:7::8",
        "12345::",
        "fe80::1%eth0",
        "[::1]",
        "g::",
        "::1.2.3",
        "::1.2.3.4:5",
        "1:2:3:4:5:6:7:1.2.3.4",
        "::01.2.3.4",
        "1:",
        "::1:",
        "localhost",
        "1.2.3.4/24",
        "1,2,3,4",
        "\xd9\xa1.1.1.1",
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct ip ip;
        print_message("'%s'\n", rows[i]);
        assert_false(ip_parse(text_of(rows[i]), &ip));
    }
    struct ip ip;
    assert_false(ip_parse((struct text){"1.2.3.4\0", 8}, &ip));
    assert_true(ip_parse((struct text){"1.2.3.45", 7}, &ip)); // ends where its length says
    assert_int_equal(ip.low & 0xff, 4);
}

static uint64_t seed = 88172645463325252;
static uint64_t next_random(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    return seed ^= seed << 17;
}

static bool reference(const char *text, struct ip *out)
{
    uint8_t bytes[16] = {[10] = 0xff, [11] = 0xff};
    if (inet_pton(AF_INET, text, bytes + 12) != 1 && inet_pton(AF_INET6, text, bytes) != 1)
        return false;
    uint64_t words[2] = {0, 0};
    for (int i = 0; i < 16; i++)
        words[i / 8] = words[i / 8] << 8 | bytes[i];
    *out = (struct ip){words[0], words[1]};
    return true;
}

// Addresses in several spellings, and what a changed, lost or added character makes of them.
static size_t random_text(char text[64])
{
    uint8_t bytes[16];
    for (int i = 0; i < 16; i++)
        bytes[i] = next_random() % 3 == 0 ? 0 : (uint8_t)next_random();
    bool v6 = next_random() % 2 == 0;
    inet_ntop(v6 ? AF_INET6 : AF_INET, bytes, text, 64);
    size_t len = strlen(text);
    static const char alphabet[] = "0123456789abcdefABCDEF::::.... %g";
    for (uint64_t changes = next_random() % 4; changes > 0 && len > 1; changes--) {
        size_t at = next_random() % len;
        char c = alphabet[next_random() % (sizeof alphabet - 1)];
        switch (next_random() % 3) {
        case 0:
            text[at] = c;
            break;
        case 1:
            memmove(text + at, text + at + 1, len - at);
            len--;
            break;
        default:
            memmove(text + at + 1, text + at, len - at + 1);
            text[at] = c;
            len++;
            break;
        }
    }
    return len;
}

static void agrees_with_inet_pton(void **state)
{
    (void)state;
    unsigned accepted = 0;
    for (int i = 0; i < 300000; i++) {
        char text[64];
        size_t len = random_text(text);
        struct ip ours = {0}, theirs = {0};
        bool ok = ip_parse((struct text){text, len}, &ours);
        if (ok != reference(text, &theirs) || ours.high != theirs.high || ours.low != theirs.low)
            fail_msg("'%s': %d %" PRIx64 " %" PRIx64, text, ok, ours.high, ours.low);
        accepted += ok;
    }
    assert_in_range(accepted, 50000, 250000); // both answers were tried
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_forms_are_read),
        cmocka_unit_test(mapped_is_v4_and_nothing_else),
        cmocka_unit_test(what_is_no_address_is_refused),
        cmocka_unit_test(agrees_with_inet_pton),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
