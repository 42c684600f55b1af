// SPDX-License-Identifier: Apache-2.0
#include "sink/es_conf.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "sink/http_client.h"
#include "sink/secrets.h"

// Collects problems and remembers the first one's code.
struct checking {
    struct buf *problems, *warnings;
    int code;
};

static void note(struct checking *checking, int rc, const struct err *err)
{
    if (rc == 0)
        return;
    if (checking->code == 0)
        checking->code = rc;
    if (checking->problems != NULL)
        buf_printf(checking->problems, "%s\n", err->text);
}

static void warn(struct checking *checking, const char *text)
{
    if (checking->warnings != NULL)
        buf_printf(checking->warnings, "%s\n", text);
}

struct credentials {
    char *user, *pass, *api_key;
};

static void read_credentials(struct checking *checking, struct credentials *out)
{
    struct err err = {0};
    note(checking, secret_read("LOOM_ELASTICSEARCH_USER", &out->user, &err), &err);
    note(checking, secret_read("LOOM_ELASTICSEARCH_PASS", &out->pass, &err), &err);
    note(checking, secret_read("LOOM_ELASTICSEARCH_API_KEY", &out->api_key, &err), &err);
}

// The user may stand in the file and in the environment, as long as it is the same.
static void settle_user(struct checking *checking, const struct conf_output *conf, struct credentials *have)
{
    struct err err = {0};
    const char *configured = conf->elasticsearch_user;
    if (configured[0] == '\0')
        return;
    if (have->user != NULL && strcmp(have->user, configured) != 0)
        note(checking,
             err_set(&err, -EINVAL, "output.elasticsearch_user and LOOM_ELASTICSEARCH_USER differ: remove one"), &err);
    secret_free(have->user);
    have->user = mem_strdup(configured);
}

static char *make_authorization(struct checking *checking, const struct credentials *have)
{
    struct err err = {0};
    int rc = 0;
    if (have->api_key != NULL && (have->user != NULL || have->pass != NULL))
        rc = err_set(&err, -EINVAL,
                     "LOOM_ELASTICSEARCH_API_KEY is set, and a user or password too: only one kind can be used");
    else if (have->user != NULL && have->pass == NULL)
        rc = err_set(&err, -EINVAL, "a user for Elasticsearch is set, but no LOOM_ELASTICSEARCH_PASS");
    else if (have->pass != NULL && have->user == NULL)
        rc = err_set(&err, -EINVAL,
                     "LOOM_ELASTICSEARCH_PASS is set, but no user (output.elasticsearch_user or "
                     "LOOM_ELASTICSEARCH_USER)");
    else if (have->user != NULL && strchr(have->user, ':') != NULL)
        rc = err_set(&err, -EINVAL, "the user for Elasticsearch must have no colon"); // RFC 7617, 2
    note(checking, rc, &err);
    if (checking->code != 0)
        return NULL;
    if (have->user != NULL)
        return secret_basic(have->user, have->pass);
    if (have->api_key == NULL)
        return NULL;
    size_t size = strlen(have->api_key) + sizeof "ApiKey ";
    char *value = mem_alloc(size);
    snprintf(value, size, "ApiKey %s", have->api_key);
    return value;
}

// Plain HTTP to another machine.
static bool is_unprotected(const char *url)
{
    static const char *const local[] = {"localhost", "127.", "[::1]"};
    if (strncasecmp(url, "http://", 7) != 0)
        return false;
    for (size_t i = 0; i < sizeof local / sizeof *local; i++)
        if (strncasecmp(url + 7, local[i], strlen(local[i])) == 0)
            return false;
    return true;
}

static void check_urls(struct checking *checking, const struct conf_output *conf, bool secret)
{
    bool plain = false;
    for (char **url = conf->elasticsearch_url; *url != NULL; url++) {
        struct err err = {0};
        if (http_client_check_url(*url, &err) != 0) {
            err_prefix(&err, "output.elasticsearch_url");
            note(checking, err.code, &err);
        }
        plain = plain || is_unprotected(*url);
    }
    if (plain && secret)
        warn(checking, "output.elasticsearch_url is http: the password travels unprotected");
    if (conf->elasticsearch_insecure_skip_verify)
        warn(checking,
             "output.elasticsearch_insecure_skip_verify: whoever sits in between can read events and password");
}

static void check_file(struct checking *checking, const char *key, const char *path)
{
    struct err err = {0};
    if (path[0] == '\0')
        return;
    FILE *file = fopen(path, "re");
    if (file == NULL)
        note(checking, err_set(&err, -errno, "%s: %s: %s", key, path, err_text(-errno)), &err);
    else
        fclose(file);
}

int es_conf_open(const struct conf_output *conf, struct es_conf *out, struct buf *problems, struct buf *warnings)
{
    struct checking checking = {.problems = problems, .warnings = warnings};
    struct credentials have = {0};
    struct err err = {0};

    *out = (struct es_conf){0};
    note(&checking, es_name_open(conf, &out->name, &err), &err);
    read_credentials(&checking, &have);
    settle_user(&checking, conf, &have);
    out->authorization = make_authorization(&checking, &have);
    check_urls(&checking, conf, out->authorization != NULL);
    check_file(&checking, "output.elasticsearch_ca_file", conf->elasticsearch_ca_file);
    check_file(&checking, "output.elasticsearch_client_cert_file", conf->elasticsearch_client_cert_file);
    check_file(&checking, "output.elasticsearch_client_key_file", conf->elasticsearch_client_key_file);
    secret_free(have.user);
    secret_free(have.pass);
    secret_free(have.api_key);
    return checking.code;
}

void es_conf_fini(struct es_conf *conf)
{
    secret_free(conf->authorization);
    *conf = (struct es_conf){0};
}
