// SPDX-License-Identifier: Apache-2.0
#pragma once

// Every key of the configuration file, as data. conf/conf.c fills struct conf from this table and checks types and
// bounds by it; conf/reference.c prints the documentation and the example file from it. So a key that is read is
// documented, and the other way round. Constant; any thread.
//
// In every option 0 or "" stands for the default.

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/text.h"
#include "conf/conf.h"

enum option_type {
    OPTION_STRING,
    OPTION_WORD, // one of a few strings
    OPTION_BOOL,
    OPTION_INT,
    OPTION_LIST,    // of strings; a single string is a list of one
    OPTION_REFUSED, // a secret: known only to say where it belongs
};

enum option_flag {
    OPTION_OFF = 1 << 0,     // -1 is allowed too, and turns the limit off
    OPTION_UNBUILT = 1 << 1, // OPTION_BOOL: true needs a part that this version lacks
    OPTION_URL = 1 << 2,     // an http(s) URL, or a list of them, without user and password
    OPTION_ADDRESS = 1 << 5, // has the form of a listen address
    OPTION_SHOWN = 1 << 3,   // in force in the example file; others stand there as comments
    OPTION_TRUE = 1 << 4,    // OPTION_BOOL: true is the default
};

struct option_word {
    const char *word; // NULL ends a list
    bool unbuilt;     // accepted as a word, refused at start: needs a part that this version lacks
};

#define OPTION_STRING_MAX 4096 // bytes; the longest path that Linux takes

struct option {
    const char *section; // "enrichment.dns"
    const char *name;
    enum option_type type;
    unsigned flags;
    size_t offset;                   // of the field in struct conf: char *, bool, int64_t or char **
    const char *text;                // default of OPTION_STRING and OPTION_WORD; NULL is ""
    int64_t number, min, max;        // default and bounds of OPTION_INT; lists default to empty
    const struct option_word *words; // OPTION_WORD
    const char *default_note;        // what the default means, where the bare value does not tell
    const char *example;             // as written in TOML; NULL: the default
    const char *help;                // for who runs Loom; OPTION_REFUSED: what to use instead
};

struct option_section {
    const char *name;
    const char *help;
};

extern const struct option options[];
extern const size_t options_count;
extern const struct option_section option_sections[];
extern const size_t option_sections_count;

// By path, as in struct toml_node ("limits.max_connections"); NULL when there is none.
const struct option *option_find(const char *path);
const struct option_section *option_section_find(struct text name);

// Appends what an option takes: `a whole number from 1 to 256 (0: the default)`, `one of "json", "console"`.
void option_print_expected(const struct option *option, struct buf *out);
