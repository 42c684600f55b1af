// SPDX-License-Identifier: Apache-2.0

#include "cli/check.h"

#include <errno.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "cli/prepare.h"
#include "cli/print.h"
#include "net/listener.h"
#include "store/durable.h"

static void ignore_accept(void *ctx, int fd, const struct address *peer)
{
    (void)ctx, (void)fd, (void)peer; // never started
}

// An address that is in use is most often Loom itself, checked while it runs.
static int report_address(const char *key, int rc, const struct listener *listener, const struct err *err)
{
    if (rc == 0) {
        char text[ADDRESS_TEXT_MAX];
        printf("%s: %s can be bound\n", key, address_text(listener_address(listener), text));
        return 0;
    }
    if (rc == -EADDRINUSE) {
        printf("%s: %s (fine when that is the Loom that runs here)\n", key, err->text);
        return 0;
    }
    fprintf(stderr, "loom: %s: %s\n", key, err->text);
    return rc;
}

static int listen_on(struct loop *loop, const char *address, struct listener **out, struct err *err)
{
    return listener_open(loop, address, ignore_accept, NULL, out, err);
}

// *sensors is NULL, or what a start would have open by now: the same address for both must not pass as one that the
// running Loom uses.
static int check_management(struct loop *loop, const char *address, struct listener **sensors)
{
    struct listener *listener = NULL;
    struct err err = {0};
    int rc = listen_on(loop, address, &listener, &err);

    if (rc == -EADDRINUSE && *sensors != NULL) {
        listener_close(*sensors);
        *sensors = NULL;
        rc = listen_on(loop, address, &listener, &err);
        if (rc == 0)
            rc = err_set(&err, -EINVAL, "%s is taken by server.listen_address", address);
    }
    rc = report_address("server.management_listen_address", rc, listener, &err);
    listener_close(listener);
    return rc;
}

// Binds as a start would and lets go again.
static int check_addresses(const struct conf_server *server)
{
    struct loop *loop = loop_new();
    if (loop == NULL) {
        fprintf(stderr, "loom: cannot check addresses: %s\n", err_text(-EMFILE));
        return -EMFILE;
    }
    struct listener *sensors = NULL;
    struct err err = {0};

    int rc = listen_on(loop, server->listen_address, &sensors, &err);
    rc = report_address("server.listen_address", rc, sensors, &err);
    if (server->management_listen_address[0] != '\0') {
        int management = check_management(loop, server->management_listen_address, &sensors);
        rc = rc != 0 ? rc : management;
    }
    listener_close(sensors);
    loop_free(loop);
    return rc;
}

static void print_database(const struct enricher *enricher, enum enrich_db db, const char *key, const char *path)
{
    const struct enrich_db_info *info = enricher != NULL ? enricher_info(enricher, db) : NULL;
    if (path[0] == '\0') {
        printf("%s: none\n", key);
        return;
    }
    if (info == NULL) { // the problems say why
        printf("%s: %s, not loaded\n", key, path);
        return;
    }
    char built[32] = "unknown";
    time_t epoch = (time_t)info->build_epoch;
    struct tm tm;
    if (gmtime_r(&epoch, &tm) != NULL)
        strftime(built, sizeof built, "%Y-%m-%d", &tm);
    printf("%s: %s, %s, IPv%u, built %s, %.1f MiB\n", key, info->path, info->type, info->ip_version, built,
           (double)info->bytes / 1048576.0);
}

static void print_found(const char *config, const struct prepared *prepared)
{
    const struct conf *conf = &prepared->conf;

    printf("configuration: %s\n", config);
    if (prepared->auth != NULL)
        printf("sensors: %zu\n", auth_count(prepared->auth));
    if (!conf->server.tls)
        printf("tls: off, tokens and events travel unprotected\n");
    else if (prepared->tls != NULL)
        printf("tls: %s and %s belong together\n", conf->server.cert_file, conf->server.key_file);
    print_database(prepared->enricher, ENRICH_DB_GEO, "enrichment.geoip_db_path", conf->enrichment.geoip_db_path);
    print_database(prepared->enricher, ENRICH_DB_ASN, "enrichment.asn_db_path", conf->enrichment.asn_db_path);
    printf("output: %s\n", conf->output.type);
}

// What the directory has to allow, found out without making it: whoever checks need not be whom Loom runs as.
static int directory_error(const char *dir)
{
    if (access(dir, R_OK | W_OK | X_OK) == 0)
        return 0;
    if (errno != ENOENT)
        return -errno;
    char *parent = mem_strdup(dir);
    int rc = access(dirname(parent), W_OK | X_OK) == 0 ? 0 : -errno; // a start makes the last part
    mem_free(parent);
    return rc;
}

// The directory of the outbox, which dead letters need without it too.
static int report_outbox(const struct conf_output *output)
{
    const char *dir = output->outbox.dir;
    struct durable_report report;
    struct err err = {0};

    if (!output->outbox.enabled && !output->network) {
        printf("outbox: off\n");
        return 0;
    }
    int rc = directory_error(dir);
    if (rc != 0) {
        fprintf(stderr, "loom: output.outbox.dir: %s: %s\n", dir, err_text(rc));
        return rc;
    }
    if (!output->outbox.enabled) {
        printf("outbox: off, dead letters in %s\n", dir);
        return 0;
    }
    rc = store_durable_inspect(dir, &report, &err);
    if (rc == ERR_LATER) {
        fprintf(stderr, "loom: output.outbox.dir: %s\n", err.text);
        return rc;
    }
    if (rc == 0)
        printf("outbox: %s, %" PRIu64 " events wait\n", dir, report.events);
    else
        printf("outbox: %s\n", dir); // nothing there yet, or nothing that a start would not mend
    return 0;
}

int check_run(const char *config)
{
    struct prepared prepared;
    struct buf problems = BUF_EMPTY, warnings = BUF_EMPTY;

    int rc = prepare(config, &prepared, &problems, &warnings);
    print_lines("loom: ", &problems);
    print_lines("loom: warning: ", &warnings);
    if (rc != ERR_CONFIG) {
        print_found(config, &prepared);
        int outbox = report_outbox(&prepared.conf.output);
        rc = rc != 0 ? rc : outbox;
        int bound = check_addresses(&prepared.conf.server);
        rc = rc != 0 ? rc : bound;
    }
    if (rc == 0)
        printf("ok\n");
    int written = print_flush();
    rc = rc != 0 ? rc : written;
    prepared_fini(&prepared);
    buf_fini(&problems);
    buf_fini(&warnings);
    return rc == 0 ? 0 : rc == ERR_CONFIG ? 2 : 1;
}
