// SPDX-License-Identifier: Apache-2.0
#include "cli/template.h"

#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "cli/print.h"
#include "conf/conf.h"
#include "sink/es_name.h"
#include "sink/es_template.h"

static int refuse(const struct err *err)
{
    fprintf(stderr, "loom: %s\n", err->text);
    return 2;
}

// The exit status.
static int print_template(const struct conf_output *output)
{
    bool opensearch = strcmp(output->type, "opensearch") == 0;
    struct es_name name;
    struct buf text = BUF_EMPTY;
    struct err err = {0};

    if (!opensearch && strcmp(output->type, "elasticsearch") != 0) {
        err_set(&err, -EINVAL, "output.type is \"%s\": only elasticsearch and opensearch have a template",
                output->type);
        return refuse(&err);
    }
    if (es_name_open(output, &name, &err) != 0)
        return refuse(&err);
    es_template_print(&name, opensearch, &text);
    int rc = print_text((struct text){text.data, text.len});
    buf_fini(&text);
    return rc == 0 ? 0 : 1;
}

int template_run(const char *config)
{
    struct conf conf;
    struct buf problems = BUF_EMPTY;
    int status = 2;

    if (conf_load(config, &conf, &problems) == 0)
        status = print_template(&conf.output);
    else
        print_lines("", &problems);
    buf_fini(&problems);
    conf_fini(&conf);
    return status;
}
