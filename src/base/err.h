// SPDX-License-Identifier: Apache-2.0
#pragma once

// One space of result codes: 0, or a negative code. System errors keep errno's number (-ENOSPC);
// Loom's own codes start at -1001 and stand in the table below, with their text.
// `struct err` is for where a person reads the reason: configuration, start-up, a refused batch.

#include <errno.h>
#include <stddef.h>

#define ERR_TEXT_MAX 512

#define ERR_TABLE(X)                                                                                                   \
    X(ERR_SYNTAX, -1001, "syntax error")                                                                               \
    X(ERR_CONFIG, -1002, "configuration error")                                                                        \
    X(ERR_TLS, -1003, "TLS error")                                                                                     \
    X(ERR_DATABASE, -1004, "database error")                                                                           \
    X(ERR_OUTPUT, -1005, "output error")                                                                               \
    X(ERR_UNBUILT, -1006, "not built into this version of Loom")                                                       \
    X(ERR_LATER, -1007, "a later version of Loom has written it; start that version, or set another directory")

enum err_code {
#define ERR_ENUM(name, code, text) name = (code),
    ERR_TABLE(ERR_ENUM)
#undef ERR_ENUM
};

// A reason for a person. Plain data on the caller's stack; whoever fills it owns nothing.
struct err {
    int code;                // 0 or negative, as above
    char text[ERR_TEXT_MAX]; // one line, no token and no body in it
};

// Fills *err (which may be NULL) and returns code, so that a failing function can `return err_set(...)`.
int err_set(struct err *err, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));
#ifdef __clang_analyzer__
// clang-tidy looks at one file at a time: it has to be told that what err_set returns is a failure.
static inline int err_is_negative(int code)
{
    if (code >= 0)
        __builtin_unreachable();
    return code;
}
#define err_set(err, code, ...) (err_set((err), (code), __VA_ARGS__), err_is_negative(code))
#endif

// Puts "prefix: " before the text that is there. Returns err->code.
int err_prefix(struct err *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

// The text of a code: Loom's own, or the system's for an errno. Static or thread-local storage.
const char *err_text(int code);
