// SPDX-License-Identifier: Apache-2.0
#pragma once

// A TOML 1.0 document as a flat list of keys, for C. The parser is toml++ (C++); toml.cpp is the only file that sees
// it, and no exception leaves that file. The document belongs to the caller. Any thread.

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum toml_kind {
    TOML_KIND_TABLE,
    TOML_KIND_ARRAY,
    TOML_KIND_STRING,
    TOML_KIND_INTEGER,
    TOML_KIND_FLOAT,
    TOML_KIND_BOOLEAN,
    TOML_KIND_DATETIME, // and a date or a time alone
};

struct toml_node {
    char *path;       // "output.outbox.dir"; a part that is no bare key stands in quotes, with escapes: "a b".c
    const char *name; // the last part, inside path
    enum toml_kind kind;
    unsigned line, column; // of the key, from 1; columns count characters, not bytes
    bool boolean;
    int64_t integer;
    char *string;   // TOML_KIND_STRING, else NULL
    char **strings; // TOML_KIND_ARRAY that holds strings only: NULL-terminated, else NULL
    bool control;   // a string here has a control character; one with U+0000 ends there as C sees it
};

// Tables come before what they hold, and otherwise in the order of the file. What stands inside arrays is not listed.
struct toml_doc {
    struct toml_node *nodes;
    size_t count;
};

struct toml_fault {
    unsigned line, column;
    char text[200]; // quotes nothing from the document: the place of the error may be a password
};

// Depth of dotted keys, arrays and inline tables beyond which a document is refused instead of parsed.
#define TOML_MAX_DEPTH 32

// 0, ERR_SYNTAX with *fault filled, or -ENOMEM. *doc is to be released with toml_fini in all cases.
int toml_parse(const char *data, size_t len, struct toml_doc *doc, struct toml_fault *fault);
void toml_fini(struct toml_doc *doc);

#ifdef __cplusplus
}
#endif
