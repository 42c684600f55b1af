// SPDX-License-Identifier: Apache-2.0
//
// How fast json_scan is, in each vector form that this processor has: bench_scan [--simd NAME] [--batch N] FILE...
// A file of lines (NDJSON) is joined into arrays of N events (default 50), any other file is scanned as it is. Each round
// scans all files, and the figure is that of the best round, since other processes may have the processor in between.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "json/scan.h"

#define MEASURE_NS (500 * NS_PER_MS)

struct bodies {
    struct buf *at;
    size_t count;
    size_t bytes;
    size_t events;
};

static void add(struct bodies *bodies, struct buf body)
{
    bodies->at = mem_realloc(bodies->at, (bodies->count + 1) * sizeof *bodies->at);
    bodies->at[bodies->count++] = body;
    bodies->bytes += body.len;
}

static void read_all(const char *path, struct buf *out)
{
    char chunk[65536];
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        perror(path);
        exit(1);
    }
    for (size_t n; (n = fread(chunk, 1, sizeof chunk, file)) > 0;)
        buf_append(out, chunk, n);
    fclose(file);
}

// Lines of objects become arrays; the last one may be shorter.
static void join_lines(const struct buf *file, size_t batch, struct bodies *bodies)
{
    struct buf body = BUF_EMPTY;
    size_t count = 0;
    const char *end = file->data + file->len;
    for (const char *line = file->data, *next; line < end; line = next + 1) {
        next = memchr(line, '\n', (size_t)(end - line));
        if (next == NULL)
            next = end;
        if (next == line)
            continue;
        buf_char(&body, count == 0 ? '[' : ',');
        buf_append(&body, line, (size_t)(next - line));
        if (++count < batch)
            continue;
        buf_char(&body, ']');
        add(bodies, body);
        body = BUF_EMPTY;
        count = 0;
    }
    if (count > 0) {
        buf_char(&body, ']');
        add(bodies, body);
    }
}

static void measure(const struct bodies *bodies, enum json_simd simd)
{
    struct json_events events = {0};
    struct json_error error;
    int64_t best = INT64_MAX, begin = clock_mono_ns(), before = begin;
    json_simd_force(simd);
    while (before - begin < MEASURE_NS) {
        for (size_t i = 0; i < bodies->count; i++)
            if (json_scan(bodies->at[i].data, bodies->at[i].len, &events, &error) != 0)
                exit(1);
        int64_t now = clock_mono_ns();
        if (now - before < best)
            best = now - before;
        before = now;
    }
    printf("%-10s %6.2f GB/s  %7.1f ns/event\n", json_simd_name(simd), (double)bodies->bytes / (double)best,
           (double)best / (double)bodies->events);
    json_events_fini(&events);
}

static void count_events(struct bodies *bodies)
{
    struct json_events events = {0};
    struct json_error error;
    for (size_t i = 0; i < bodies->count; i++) {
        if (json_scan(bodies->at[i].data, bodies->at[i].len, &events, &error) != 0) {
            fprintf(stderr, "no batch: %s at byte %zu\n", error.reason, error.offset);
            exit(1);
        }
        bodies->events += events.count;
    }
    json_events_fini(&events);
}

int main(int argc, char **argv)
{
    struct bodies bodies = {0};
    const char *only = NULL;
    size_t batch = 50;
    for (int i = 1; i < argc; i++) {
        struct buf file = BUF_EMPTY;
        if (strcmp(argv[i], "--simd") == 0 && i + 1 < argc) {
            only = argv[++i];
        } else if (strcmp(argv[i], "--batch") == 0 && i + 1 < argc) {
            batch = strtoul(argv[++i], NULL, 10);
        } else {
            read_all(argv[i], &file);
            if (file.len > 0 && file.data[0] == '{') {
                join_lines(&file, batch, &bodies);
                buf_fini(&file);
            } else {
                add(&bodies, file);
            }
        }
    }
    if (bodies.count == 0) {
        fprintf(stderr, "usage: bench_scan [--simd NAME] [--batch N] FILE...\n");
        return 2;
    }
    count_events(&bodies);
    printf("%zu bodies, %zu events, %zu bytes\n", bodies.count, bodies.events, bodies.bytes);
    for (int simd = 0; simd < JSON_SIMD_COUNT; simd++)
        if (json_simd_available((enum json_simd)simd) &&
            (only == NULL || strcmp(only, json_simd_name((enum json_simd)simd)) == 0))
            measure(&bodies, (enum json_simd)simd);
    for (size_t i = 0; i < bodies.count; i++)
        buf_fini(&bodies.at[i]);
    mem_free(bodies.at);
    return 0;
}
