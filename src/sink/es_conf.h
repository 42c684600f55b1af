// SPDX-License-Identifier: Apache-2.0
#pragma once

// What an Elasticsearch output needs from configuration and environment, checked as a whole: for `loom check` and for a start.

#include "base/buf.h"
#include "base/err.h"
#include "conf/conf.h"
#include "sink/es_name.h"

struct es_conf {
    struct es_name name;
    char *authorization; // value of the header, or NULL; wiped by es_conf_fini
};

// 0, or the code of the first problem; every problem is a line of *problems, what is doubtful one of *warnings (either may be
// NULL). *out is to be released with es_conf_fini in every case.
int es_conf_open(const struct conf_output *conf, struct es_conf *out, struct buf *problems, struct buf *warnings);
void es_conf_fini(struct es_conf *conf);
