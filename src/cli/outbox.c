// SPDX-License-Identifier: Apache-2.0
#include "cli/outbox.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/clock.h"
#include "cli/print.h"
#include "conf/conf.h"
#include "store/durable.h"

enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_CONFIG = 2 };

static void print_age(int64_t oldest_real_ns)
{
    if (oldest_real_ns == 0) {
        printf("oldest:    -\n");
        return;
    }
    char time[CLOCK_RFC3339_MAX];
    clock_rfc3339(oldest_real_ns, time);
    int64_t age_s = (clock_real_ns() - oldest_real_ns) / NS_PER_S;
    printf("oldest:    %s (%" PRId64 " s ago)\n", time, age_s > 0 ? age_s : 0);
}

// Rows are numbered in the order of their commits. The output's position is the first that it has not all of; it is behind by the
// rows from there on, though of some it has a part.
static void print_report(const struct conf_outbox *conf, const struct durable_report *report)
{
    double share = conf->max_bytes > 0 ? 100.0 * (double)report->bytes / (double)conf->max_bytes : 0;
    printf("directory: %s\n", conf->dir);
    printf("records:   %" PRIu64 " batches in %" PRIu64 " rows\n", report->batches, report->rows);
    printf("events:    %" PRIu64 "\n", report->events);
    printf("bytes:     %" PRIu64 " of %" PRId64 " (%.1f %%)\n", report->bytes, conf->max_bytes, share);
    print_age(report->oldest_real_ns);
    if (report->rows > 0)
        printf("position:  row %" PRIu64 ", newest %" PRIu64 "\n", report->first_row, report->last_row);
    else
        printf("position:  at the end\n");
    printf("lag:       %" PRIu64 " rows, %" PRIu64 " events; %" PRIu64 " events behind the position are delivered\n",
           report->rows, report->events, report->settled_behind);
    printf("damaged:   %" PRIu64 " records set aside\n", report->damaged);
}

int outbox_run(const char *config)
{
    struct conf conf;
    struct buf problems = BUF_EMPTY;
    struct durable_report report;
    struct err err;
    int status = EXIT_OK;
    if (conf_load(config, &conf, &problems) != 0) {
        print_lines("loom: ", &problems);
        status = EXIT_CONFIG;
    } else if (store_durable_inspect(conf.output.outbox.dir, &report, &err) != 0) {
        fprintf(stderr, "loom: %s%s\n", err.text,
                conf.output.outbox.enabled ? "" : " (and output.outbox.enabled is false)");
        status = EXIT_FAILED;
    } else {
        print_report(&conf.output.outbox, &report);
        status = print_flush() == 0 ? EXIT_OK : EXIT_FAILED;
    }
    buf_fini(&problems);
    conf_fini(&conf);
    return status;
}
