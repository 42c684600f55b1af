// SPDX-License-Identifier: Apache-2.0
#pragma once

// Tokens in the clear, from where they are configured to where only their digests are kept (ingest/auth.h): at start,
// on one thread. What goes to `problems` and `warnings` is a line each, which names a variable, a sensor, a file and
// line, and never a token or a line's content.

#include <stddef.h>

#include "base/buf.h"
#include "base/text.h"

#define TOKEN_MAX      512       // bytes; printable ASCII without space and comma
#define SENSOR_ID_MAX  64        // bytes; letters, digits, "-", ".", "_": the id is a label of metrics
#define SENSOR_UNKNOWN "unknown" // that label where no token matched, so no sensor's id

struct token {
    char *token;
    char *sensor;
    char *place; // "LOOM_SENSOR_spip_001" or "/etc/loom/tokens:12"
};

struct token_list {
    struct token *at;
    size_t count, cap;
};

#define TOKEN_LIST_EMPTY ((struct token_list){0})

void token_list_fini(struct token_list *list); // overwrites the tokens

// Every LOOM_SENSOR_<id>=<token> of the environment.
void tokens_from_env(char *const *env, struct token_list *list, struct buf *problems, struct buf *warnings);
// A token file, by path.
void tokens_from_file(const char *path, struct token_list *list, struct buf *problems, struct buf *warnings);
// The content of a token file; path is for messages only.
void tokens_from_text(const char *path, struct text text, struct token_list *list, struct buf *problems);

// Sorts by sensor, leaves out what stands there twice, and reports sensors with two tokens and tokens with two sensors.
void tokens_settle(struct token_list *list, struct buf *problems);
