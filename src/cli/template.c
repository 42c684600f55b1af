// SPDX-License-Identifier: Apache-2.0
#include "cli/template.h"

#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "conf/conf.h"
#include "sink/es_name.h"
#include "sink/es_template.h"

static int print_template(const struct conf_output *output, struct err *err)
{
    bool opensearch = strcmp(output->type, "opensearch") == 0;
    struct es_name name;
    struct buf text = BUF_EMPTY;

    if (!opensearch && strcmp(output->type, "elasticsearch") != 0)
        return err_set(err, -EINVAL, "output.type is \"%s\": only elasticsearch and opensearch have a template",
                       output->type);
    int rc = es_name_open(output, &name, err);
    if (rc != 0)
        return rc;
    es_template_print(&name, opensearch, &text);
    if (fwrite(text.data, 1, text.len, stdout) != text.len || fflush(stdout) != 0)
        rc = err_set(err, -EIO, "standard output: %s", err_text(-errno));
    buf_fini(&text);
    return rc;
}

int template_run(const char *config)
{
    struct conf conf;
    struct buf problems = BUF_EMPTY;
    struct err err = {0};
    int rc = conf_load(config, &conf, &problems);

    if (rc != 0) {
        fprintf(stderr, "%.*s", (int)problems.len, problems.data);
        rc = 2;
    } else if (print_template(&conf.output, &err) != 0) {
        fprintf(stderr, "loom: %s\n", err.text);
        rc = err.code == -EIO ? 1 : 2;
    }
    buf_fini(&problems);
    conf_fini(&conf);
    return rc;
}
