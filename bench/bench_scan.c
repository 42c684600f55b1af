// SPDX-License-Identifier: Apache-2.0
//
// How fast json_scan is, in each vector form that this processor has, beside yyjson's plain read of the same bytes when the
// build has it: bench_scan [--only NAME] [--batch N] [--rounds N] FILE...
// A file of lines (NDJSON) is joined into arrays of N events (default 50), any other file is scanned as it is. In each round
// every form goes once over all files, and the figure is the median of a form's CPU times: so a slow minute of the machine
// falls on all of them, and what other processes take on none.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#ifdef LOOM_BENCH_YYJSON
#include <yyjson.h>
#endif

#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "read.h"
#include "json/scan.h"

enum { ROUNDS = 301, CONTENDERS_MAX = JSON_SIMD_COUNT + 1 };

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

struct contender {
    const char *name;
    int simd; // JSON_SIMD_COUNT: yyjson
    int64_t *times_ns;
};

static void scan_all(const struct bodies *bodies, struct json_events *events)
{
    struct json_error error;
    for (size_t i = 0; i < bodies->count; i++)
        if (json_scan(bodies->at[i].data, bodies->at[i].len, events, &error) != 0)
            exit(1);
}

#ifdef LOOM_BENCH_YYJSON
// Into memory that is there already and is used again for each body, as json_scan's events are.
static void read_all_by_yyjson(const struct bodies *bodies)
{
    static struct buf pool;
    for (size_t i = 0; i < bodies->count; i++) {
        const struct buf *body = &bodies->at[i];
        yyjson_alc alc;
        buf_reserve(&pool, yyjson_read_max_memory_usage(body->len, YYJSON_READ_NOFLAG));
        yyjson_alc_pool_init(&alc, pool.data, pool.cap);
        yyjson_doc *doc = yyjson_read_opts(body->data, body->len, YYJSON_READ_NOFLAG, &alc, NULL);
        if (doc == NULL)
            exit(1);
        yyjson_doc_free(doc);
    }
}
#else
static void read_all_by_yyjson(const struct bodies *bodies)
{
    (void)bodies;
}
#endif

static int64_t cpu_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (int64_t)now.tv_sec * NS_PER_S + now.tv_nsec;
}

// Not inlined, so that callgrind can be told to collect in here alone.
void bench_scan_round(const struct bodies *bodies, int simd, struct json_events *events);
__attribute__((noinline)) void bench_scan_round(const struct bodies *bodies, int simd, struct json_events *events)
{
    if (simd == JSON_SIMD_COUNT)
        read_all_by_yyjson(bodies);
    else
        scan_all(bodies, events);
    __asm__ volatile("" ::: "memory"); // no tail call
}

static int compare_times(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void measure(const struct bodies *bodies, struct contender *contenders, size_t count, size_t rounds)
{
    struct json_events events = {0};
    for (size_t i = 0; i < count; i++)
        contenders[i].times_ns = mem_array(rounds, sizeof(int64_t));
    for (size_t round = 0; round < rounds; round++) {
        for (size_t i = 0; i < count; i++) {
            if (contenders[i].simd != JSON_SIMD_COUNT)
                json_simd_force((enum json_simd)contenders[i].simd);
            int64_t before = cpu_ns();
            bench_scan_round(bodies, contenders[i].simd, &events);
            contenders[i].times_ns[round] = cpu_ns() - before;
        }
    }
    for (size_t i = 0; i < count; i++) {
        int64_t *times_ns = contenders[i].times_ns;
        qsort(times_ns, rounds, sizeof *times_ns, compare_times);
        double median = (double)times_ns[rounds / 2];
        printf("%-10s %6.2f GB/s  %7.1f ns/event  (best round %.2f GB/s)\n", contenders[i].name,
               (double)bodies->bytes / median, median / (double)bodies->events,
               (double)bodies->bytes / (double)times_ns[0]);
        mem_free(times_ns);
    }
    json_events_fini(&events);
}

static size_t choose(struct contender *contenders, const char *only)
{
    size_t count = 0;
    for (int simd = 0; simd < JSON_SIMD_COUNT; simd++)
        if (json_simd_available((enum json_simd)simd))
            contenders[count++] = (struct contender){.name = json_simd_name((enum json_simd)simd), .simd = simd};
#ifdef LOOM_BENCH_YYJSON
    contenders[count++] = (struct contender){.name = "yyjson", .simd = JSON_SIMD_COUNT};
#else
    printf("no yyjson to compare with: this was built without (see bench/README.md)\n");
#endif
    for (size_t i = 0; only != NULL && i < count; i++) {
        if (strcmp(only, contenders[i].name) == 0) {
            contenders[0] = contenders[i];
            return 1;
        }
    }
    return only == NULL ? count : 0;
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
    size_t batch = 50, rounds = ROUNDS;
    for (int i = 1; i < argc; i++) {
        struct buf file = BUF_EMPTY;
        if (strcmp(argv[i], "--only") == 0 && i + 1 < argc) {
            only = argv[++i];
        } else if (strcmp(argv[i], "--batch") == 0 && i + 1 < argc) {
            batch = strtoul(argv[++i], NULL, 10);
        } else if (strcmp(argv[i], "--rounds") == 0 && i + 1 < argc) {
            rounds = strtoul(argv[++i], NULL, 10);
        } else {
            read_file(argv[i], &file);
            if (file.len > 0 && file.data[0] == '{') {
                join_lines(&file, batch, &bodies);
                buf_fini(&file);
            } else {
                add(&bodies, file);
            }
        }
    }
    if (bodies.count == 0 || batch == 0 || rounds == 0) {
        fprintf(stderr, "usage: bench_scan [--only NAME] [--batch N] [--rounds N] FILE...\n");
        return 2;
    }
    count_events(&bodies);
    printf("%zu bodies, %zu events, %zu bytes\n", bodies.count, bodies.events, bodies.bytes);
    struct contender contenders[CONTENDERS_MAX];
    size_t contender_count = choose(contenders, only);
    if (contender_count == 0) {
        fprintf(stderr, "no form %s in this build or processor\n", only);
        return 2;
    }
    measure(&bodies, contenders, contender_count, rounds);
    for (size_t i = 0; i < bodies.count; i++)
        buf_fini(&bodies.at[i]);
    mem_free(bodies.at);
    return 0;
}
