// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "store/database.h"
#include "store/durable.h"

int store_durable_inspect(const char *dir, struct durable_report *out, struct err *err)
{
    char path[4200];
    snprintf(path, sizeof path, "%s/outbox.db", dir);
    if (access(path, F_OK) != 0)
        return err_set(err, -errno, errno == ENOENT ? "there is no outbox in %s" : "cannot look into %s", dir);
    struct database db;
    struct database_totals totals;
    int rc = database_open(&db, path, DATABASE_INSPECT);
    if (rc == 0)
        rc = database_totals(&db, &totals);
    database_close(&db);
    if (rc != 0)
        return err_set(err, rc, "cannot read %s: %s", path, rc == -EBADMSG ? "the file is damaged" : err_text(rc));
    *out = (struct durable_report){
        .rows = totals.rows,
        .batches = totals.batches,
        .events = totals.events,
        .bytes = totals.bytes,
        .oldest_real_ns = totals.oldest_real_ns,
        .first_row = totals.first_seq,
        .last_row = totals.last_seq,
        .settled_behind = totals.settled_behind,
        .damaged = totals.damaged,
    };
    return 0;
}
