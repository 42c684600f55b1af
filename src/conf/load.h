// SPDX-License-Identifier: Apache-2.0
#pragma once

// A file on its way into struct conf: what conf.c and rules.c share. Lives on conf_read's stack.

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/text.h"
#include "conf/conf.h"
#include "conf/toml.h"

struct loaded_option {
    const struct toml_node *node; // NULL: not in the file
    bool refused;                 // has a problem of its own already
};

struct loading {
    const char *path;
    struct conf *conf;
    struct buf *problems;
    size_t problem_count;
    struct loaded_option *loaded; // [options_count]
};

// conf_load after the file is read. path is for messages only.
int conf_read(const char *path, struct text text, struct conf *conf, struct buf *problems);

// Adds a line: file:line:column: key: text.
void loading_problem(struct loading *loading, const struct toml_node *node, const char *text);

// What holds between keys. A rule about a key that has a problem of its own stays silent.
void loading_check_rules(struct loading *loading);
