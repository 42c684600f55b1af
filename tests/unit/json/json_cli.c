// SPDX-License-Identifier: Apache-2.0
//
// What Loom makes of documents, for differential.py: reads them on standard input (a line with the length in bytes, then
// the bytes), checks that all vector forms agree, and prints for each
//
//     refused OFFSET INDEX REASON
//     valid COUNT                      and then, for each event,
//     BEGIN END PASS IP-IN-HEX LINE    the line with ADDITIONS, in hexadecimal as well
//
// Needs no test framework, so it also runs where there is none: under qemu-user, see tests/neon/run.

#include "agree.h"
#include "base/buf.h"
#include "json/splice.h"

// The same as in differential.py.
#define ADDITIONS                                                                                                      \
    "\"as\":{\"number\":64500,\"organization\":{\"name\":\"Example\"}},"                                               \
    "\"geo\":{\"city_name\":\"Delft\",\"location\":{\"lat\":52.01,\"lon\":4.36}}"

static void print_hex(const char *at, size_t len)
{
    putchar(' ');
    if (len == 0)
        putchar('-');
    for (size_t i = 0; i < len; i++)
        printf("%02x", (unsigned char)at[i]);
}

static void print_event(const char *body, const struct json_event *event)
{
    struct buf line = BUF_EMPTY;
    struct json_place place;
    enum json_pass pass = json_locate(body, event, &place);
    int rc = pass == JSON_PASS_OK ? json_splice(body, &place, TEXT(ADDITIONS), &line) : json_copy(body, event, &line);
    if (rc != 0)
        exit(1);
    printf("%u %u %s", event->begin, event->end, json_pass_name(pass));
    print_hex(place.ip.at, pass == JSON_PASS_OK ? place.ip.len : 0);
    print_hex(line.data, line.len);
    putchar('\n');
    buf_fini(&line);
}

static void judge(const char *body, size_t len)
{
    struct json_events events = {0};
    struct json_error error;
    bool valid;
    if (!forms_agree(body, len, &valid))
        exit(1);
    if (json_scan(body, len, &events, &error) != 0) {
        printf("refused %zu %lld %s\n", error.offset, (long long)error.index, error.reason);
    } else {
        printf("valid %zu\n", events.count);
        for (size_t i = 0; i < events.count; i++)
            print_event(body, &events.at[i]);
    }
    json_events_fini(&events);
}

int main(void)
{
    size_t len;
    int forms = 0;
    while (scanf("%zu%*1[\n]", &len) == 1) {
        char *body = malloc(len > 0 ? len : 1);
        if (body == NULL || fread(body, 1, len, stdin) != len)
            return 1;
        judge(body, len);
        free(body);
    }
    for (int simd = 0; simd < JSON_SIMD_COUNT; simd++)
        if (json_simd_available((enum json_simd)simd))
            fprintf(stderr, "%s%s", forms++ > 0 ? ", " : "", json_simd_name((enum json_simd)simd));
    fprintf(stderr, " agree\n");
    return 0;
}
