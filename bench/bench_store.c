// SPDX-License-Identifier: Apache-2.0
//
// The durable store alone: threads append batches of Spip-like events, each keeps a few in flight, a pump takes and settles all
// that is committed. Then the disk alone, with write and fdatasync of the size that a commit had on average, and the ratio
// of the two in bytes on disk.
//
//     bench_store DIRECTORY [THREADS [IN_FLIGHT [SECONDS [stalled]]]]
//
// stalled: the pump takes nothing until the threads have ended, as while the output is away.

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "store/durable.h"

enum { EVENTS = 50, THREADS_MAX = 16, SAMPLES_MAX = 1 << 20 };

struct job {
    struct batch batch; // first
    struct batch model; // its lines and ends, which the store may keep
    int64_t began_ns;
    struct worker *worker;
};

// A thread's own.
struct worker {
    pthread_t thread;
    struct store *store;
    struct mailbox home;
    unsigned in_flight_max, in_flight, number;
    uint64_t batches, bytes, events, failed;
    int64_t *samples;
    size_t samples_count;
    int64_t until_ns;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool woken; // under the mutex
};

struct pump {
    struct store *store;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool woken, over; // under the mutex
    bool stalled;     // atomic
    uint64_t events;
};

static void write_lines(struct batch *batch, uint64_t salt)
{
    for (uint32_t i = 0; i < EVENTS; i++) {
        uint64_t x = (salt * EVENTS + i + 1) * UINT64_C(0x9e3779b97f4a7c15);
        buf_printf(
            &batch->lines,
            "{\"@timestamp\":\"2026-11-24T10:%02u:%02uZ\",\"event\":{\"id\":\"%016llx%08llx\",\"kind\":\"event\","
            "\"category\":[\"network\"],\"type\":[\"connection\"],\"dataset\":\"spip.http\",\"ingested_by\":\"spip\"},"
            "\"source\":{\"ip\":\"%u.%u.%u.%u\",\"port\":%u,\"as\":{\"number\":%u,\"organization\":{\"name\":\"Example "
            "Networks %u\"}},\"geo\":{\"continent_code\":\"EU\",\"country_iso_code\":\"NL\",\"city_name\":\"Utrecht\","
            "\"location\":{\"lat\":52.%04u,\"lon\":5.%04u}}},\"destination\":{\"ip\":\"192.0.2.%u\",\"port\":%u},"
            "\"http\":{\"request\":{\"method\":\"GET\",\"body\":{\"content\":\"%016llx\"}}},\"url\":{\"path\":"
            "\"/cgi-bin/luci/;stok=/locale?form=country&op=%llu\"},\"user_agent\":{\"original\":\"Mozilla/5.0 (X11; "
            "Linux x86_64) AppleWebKit/537.36\"}}\n",
            (unsigned)(x >> 8 & 31), (unsigned)(x >> 16 & 31), (unsigned long long)x, (unsigned long long)(x >> 32),
            (unsigned)(x >> 56 & 255), (unsigned)(x >> 48 & 255), (unsigned)(x >> 40 & 255), (unsigned)(x >> 32 & 255),
            (unsigned)(x & 65535), (unsigned)(x >> 20 & 65535), (unsigned)(x >> 20 & 255), (unsigned)(x >> 24 & 8191),
            (unsigned)(x >> 12 & 8191), (unsigned)(x >> 16 & 255), (unsigned)(x >> 7 & 65535),
            (unsigned long long)(x * x), (unsigned long long)(x >> 30));
        batch->ends[i] = (uint32_t)batch->lines.len;
    }
}

static void wake_worker(void *ctx)
{
    struct worker *worker = ctx;
    pthread_mutex_lock(&worker->mutex);
    worker->woken = true;
    pthread_cond_signal(&worker->changed);
    pthread_mutex_unlock(&worker->mutex);
}

static void send_job(struct worker *worker, struct job *job);

static void on_answer(struct mail *mail)
{
    struct job *job = (struct job *)mail;
    struct worker *worker = job->worker;
    int64_t now_ns = clock_mono_ns();
    worker->in_flight--;
    if (job->batch.status != 0) {
        worker->failed++;
    } else {
        worker->batches++;
        worker->bytes += job->model.lines.len;
        worker->events += job->batch.count;
        if (worker->samples_count < SAMPLES_MAX)
            worker->samples[worker->samples_count++] = now_ns - job->began_ns;
    }
    if (now_ns < worker->until_ns)
        send_job(worker, job);
}

static void send_job(struct worker *worker, struct job *job)
{
    if (job->batch.ends == NULL) {
        job->batch.ends = mem_array(EVENTS, sizeof *job->batch.ends);
        memcpy(job->batch.ends, job->model.ends, EVENTS * sizeof *job->batch.ends);
        buf_append(&job->batch.lines, job->model.lines.data, job->model.lines.len);
    }
    job->batch.mail.run = on_answer;
    job->batch.home = &worker->home;
    job->batch.arrived_real_ns = clock_real_ns();
    job->batch.id.low = ++worker->number;
    job->began_ns = clock_mono_ns();
    worker->in_flight++;
    while (store_append(worker->store, &job->batch) != 0)
        sched_yield(); // full: the pump is behind
    store_kick(worker->store);
}

static void *worker_main(void *ctx)
{
    struct worker *worker = ctx;
    for (unsigned i = 0; i < worker->in_flight_max; i++) {
        struct job *job = mem_zalloc(sizeof *job);
        job->worker = worker;
        job->batch.sensor = "sensor-1";
        job->batch.count = EVENTS;
        job->model.ends = mem_array(EVENTS, sizeof *job->model.ends);
        write_lines(&job->model, i + (uintptr_t)worker);
        send_job(worker, job);
    }
    while (worker->in_flight > 0) {
        pthread_mutex_lock(&worker->mutex);
        while (!worker->woken)
            pthread_cond_wait(&worker->changed, &worker->mutex);
        worker->woken = false;
        pthread_mutex_unlock(&worker->mutex);
        mailbox_run(&worker->home);
    }
    return NULL;
}

static void wake_pump(void *ctx)
{
    struct pump *pump = ctx;
    pthread_mutex_lock(&pump->mutex);
    pump->woken = true;
    pthread_cond_signal(&pump->changed);
    pthread_mutex_unlock(&pump->mutex);
}

static bool is_delivering(void *ctx)
{
    (void)ctx;
    return true;
}

static void *pump_main(void *ctx)
{
    struct pump *pump = ctx;
    struct batch *batches[64];
    for (;;) {
        bool stalled = __atomic_load_n(&pump->stalled, __ATOMIC_ACQUIRE);
        size_t count = stalled ? 0 : pump->store->ops->take(pump->store, batches, 64);
        for (size_t i = 0; i < count; i++) {
            pump->events += batches[i]->count;
            pump->store->ops->settle(pump->store, batches[i], 0, batches[i]->count, VERDICT_DELIVERED);
        }
        if (count > 0)
            continue;
        pthread_mutex_lock(&pump->mutex);
        while (!pump->woken && !pump->over)
            pthread_cond_wait(&pump->changed, &pump->mutex);
        bool over = pump->over && !pump->woken;
        pump->woken = false;
        pthread_mutex_unlock(&pump->mutex);
        if (over)
            return NULL;
    }
}

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

// Commits a second of so many bytes by write and fdatasync alone, on a file that grows.
static double disk_alone(const char *dir, size_t bytes, double seconds)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/disk-alone", dir);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    char *data = mem_alloc(bytes);
    for (size_t i = 0; i < bytes; i++)
        data[i] = (char)rand();
    int64_t began_ns = clock_mono_ns();
    uint64_t commits = 0;
    while (clock_mono_ns() - began_ns < (int64_t)(seconds * NS_PER_S)) {
        if (write(fd, data, bytes) != (ssize_t)bytes || fdatasync(fd) != 0) {
            perror(path);
            exit(1);
        }
        commits++;
    }
    double rate = (double)commits / ((double)(clock_mono_ns() - began_ns) / NS_PER_S);
    close(fd);
    unlink(path);
    mem_free(data);
    return rate;
}

static double cpu_s(void)
{
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / NS_PER_S;
}

int main(int argc, char **argv)
{
    static struct worker workers[THREADS_MAX];
    if (argc < 2) {
        fprintf(stderr, "usage: bench_store DIRECTORY [THREADS [IN_FLIGHT [SECONDS [stalled]]]]\n");
        return 2;
    }
    unsigned threads = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 2;
    unsigned in_flight = argc > 3 ? (unsigned)strtoul(argv[3], NULL, 10) : 16;
    double seconds = argc > 4 ? strtod(argv[4], NULL) : 5;
    threads = threads < 1 ? 1 : threads > THREADS_MAX ? THREADS_MAX : threads;
    struct conf_outbox conf = {.dir = argv[1], .max_bytes = (int64_t)64 << 30, .when_full = (char *)"reject"};
    struct store *store;
    struct err err;
    if (store_durable_open(&conf, &store, &err) != 0) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    struct pump pump = {.store = store, .stalled = argc > 5};
    pthread_mutex_init(&pump.mutex, NULL);
    pthread_cond_init(&pump.changed, NULL);
    store->ops->attach(store, &(struct store_reader){wake_pump, is_delivering, &pump});
    pthread_t pump_thread;
    pthread_create(&pump_thread, NULL, pump_main, &pump);

    int64_t began_ns = clock_mono_ns();
    double began_cpu_s = cpu_s();
    for (unsigned i = 0; i < threads; i++) {
        struct worker *worker = &workers[i];
        worker->store = store;
        worker->in_flight_max = in_flight;
        worker->samples = mem_array(SAMPLES_MAX, sizeof *worker->samples);
        worker->until_ns = began_ns + (int64_t)(seconds * NS_PER_S);
        mailbox_init(&worker->home, wake_worker, worker);
        pthread_mutex_init(&worker->mutex, NULL);
        pthread_cond_init(&worker->changed, NULL);
        pthread_create(&worker->thread, NULL, worker_main, worker);
    }
    struct worker sum = {.samples = mem_array((size_t)threads * SAMPLES_MAX, sizeof(int64_t))};
    for (unsigned i = 0; i < threads; i++) {
        pthread_join(workers[i].thread, NULL);
        sum.batches += workers[i].batches;
        sum.bytes += workers[i].bytes;
        sum.events += workers[i].events;
        sum.failed += workers[i].failed;
        for (size_t s = 0; s < workers[i].samples_count; s++)
            sum.samples[sum.samples_count++] = workers[i].samples[s];
    }
    double took_s = (double)(clock_mono_ns() - began_ns) / NS_PER_S, took_cpu_s = cpu_s() - began_cpu_s;
    struct store_stats stats;
    store->ops->stats(store, &stats);
    __atomic_store_n(&pump.stalled, false, __ATOMIC_RELEASE);
    int64_t drained_ns = clock_mono_ns();
    pthread_mutex_lock(&pump.mutex);
    pump.woken = pump.over = true;
    pthread_cond_signal(&pump.changed);
    pthread_mutex_unlock(&pump.mutex);
    pthread_join(pump_thread, NULL);
    double drain_s = (double)(clock_mono_ns() - drained_ns) / NS_PER_S;
    uint64_t raw = sum.bytes / (sum.batches > 0 ? sum.batches : 1);
    store->ops->close(store);
    qsort(sum.samples, sum.samples_count, sizeof *sum.samples, by_value);
    double mean_commit_raw = (double)sum.bytes / (double)stats.commits;
    printf("store: %u threads, %u batches of %llu bytes in flight each, %.1f s; %llu refused\n", threads, in_flight,
           (unsigned long long)raw, took_s, (unsigned long long)sum.failed);
    printf("  %.0f commits/s of %.1f batches, %.1f MB/s of lines, %.0f events/s, %.2f us CPU an event, delivered %llu "
           "of %llu\n",
           (double)stats.commits / took_s, (double)sum.batches / (double)stats.commits,
           (double)sum.bytes / took_s / 1e6, (double)sum.events / took_s, took_cpu_s * 1e6 / (double)sum.events,
           (unsigned long long)pump.events, (unsigned long long)sum.events);
    if (sum.samples_count > 0)
        printf("  acknowledged after p50 %.2f ms, p99 %.2f ms, most %.2f ms\n",
               (double)sum.samples[sum.samples_count / 2] / 1e6,
               (double)sum.samples[sum.samples_count * 99 / 100] / 1e6,
               (double)sum.samples[sum.samples_count - 1] / 1e6);
    printf("  %llu bytes of records were left, drained in %.2f s\n", (unsigned long long)stats.bytes, drain_s);
    double disk = disk_alone(argv[1], (size_t)mean_commit_raw, seconds / 2);
    printf("disk: %.0f commits/s of %.0f bytes, %.1f MB/s; the store has %.2f of that in bytes of lines\n", disk,
           mean_commit_raw, disk * mean_commit_raw / 1e6, (double)sum.bytes / took_s / (disk * mean_commit_raw));
    return 0;
}
