// SPDX-License-Identifier: Apache-2.0

#include "cli/prepare.h"

#include <string.h>
#include <unistd.h>

static void add_line(struct buf *out, const struct err *err)
{
    buf_str(out, err->text);
    buf_char(out, '\n');
}

static int prepare_tls(struct prepared *out, struct buf *problems, struct buf *warnings)
{
    const struct conf_server *server = &out->conf.server;
    struct err err = {0};

    if (!server->tls)
        return 0;
    int rc = tls_server_open(server->cert_file, server->key_file, &out->tls, warnings, &err);
    if (rc != 0)
        add_line(problems, &err);
    return rc;
}

static int prepare_enricher(struct prepared *out, struct buf *problems, struct buf *warnings)
{
    const struct conf_enrichment *enrichment = &out->conf.enrichment;
    const struct enrich_conf conf = {
        .geoip_db_path = enrichment->geoip_db_path,
        .asn_db_path = enrichment->asn_db_path,
        .language = enrichment->language,
    };

    if (enrichment->geoip_db_path[0] == '\0' && enrichment->asn_db_path[0] == '\0')
        return 0;
    return enricher_open(&conf, &out->enricher, problems, warnings);
}

static int prepare_sink(struct prepared *out, struct buf *problems, struct buf *warnings)
{
    struct err err = {0};

    out->sink = sink_find(out->conf.output.type);
    if (out->sink != NULL)
        return out->sink->check != NULL ? out->sink->check(&out->conf.output, problems, warnings) : 0;
    err_set(&err, ERR_UNBUILT, "output.type \"%s\" is not built into this version of Loom", out->conf.output.type);
    add_line(problems, &err);
    return ERR_UNBUILT;
}

// What is lawful but can't be what was meant.
static void check_sense(const struct conf *conf, struct buf *warnings)
{
    if (conf->observability.metrics_enabled && conf->server.management_listen_address[0] == '\0')
        buf_str(warnings, "observability.metrics_enabled: is true, but without server.management_listen_address "
                          "/metrics is served nowhere\n");
}

int prepare(const char *config, struct prepared *out, struct buf *problems, struct buf *warnings)
{
    memset(out, 0, sizeof *out);
    int rc = conf_load(config, &out->conf, problems);
    if (rc != 0)
        return ERR_CONFIG;

    check_sense(&out->conf, warnings);
    const char *token_file = out->conf.auth.token_file;
    const int parts[] = {
        auth_open(environ, token_file, &out->auth, problems, warnings),
        prepare_tls(out, problems, warnings),
        prepare_enricher(out, problems, warnings),
        prepare_sink(out, problems, warnings),
    };
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (parts[i] != 0)
            rc = parts[i] == ERR_CONFIG ? -EINVAL : parts[i];
    }
    return rc;
}

void prepared_fini(struct prepared *prepared)
{
    if (prepared->enricher != NULL)
        enricher_close(prepared->enricher);
    if (prepared->tls != NULL)
        tls_server_close(prepared->tls);
    if (prepared->auth != NULL)
        auth_close(prepared->auth);
    conf_fini(&prepared->conf);
    memset(prepared, 0, sizeof *prepared);
}
