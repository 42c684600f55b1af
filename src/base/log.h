// SPDX-License-Identifier: Apache-2.0
#pragma once

// Structured log lines on standard error: one JSON object a line, or a line for the console. A line is written with one
// write(2), so lines of several threads never mix; a log that can't be written is dropped, never waited for. Any
// thread. Never hand it a token, a body or the value of a header. A line is at most 4 KiB: one that is longer is cut at
// a character and says "truncated"; "dropped" tells how many lines before it were lost.
//
//     LOG(LOG_INFO, "listening", LOG_STR("address", address), LOG_INT("workers", n));
//     {"time":"2026-11-23T17:02:21.123456Z","level":"info","message":"listening","address":":8443","workers":2}

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };
enum log_format { LOG_JSON, LOG_CONSOLE };

struct log_field {
    const char *key;
    enum { LOG_FIELD_INT, LOG_FIELD_TEXT } kind;
    int64_t number;
    const char *text; // need not be UTF-8: what is not is escaped
    size_t len;
};

#define LOG_INT(key, value)  ((struct log_field){(key), LOG_FIELD_INT, (int64_t)(value), NULL, 0})
#define LOG_STR(key, value)  ((struct log_field){(key), LOG_FIELD_TEXT, 0, (value), SIZE_MAX})
#define LOG_TEXT(key, value) ((struct log_field){(key), LOG_FIELD_TEXT, 0, (value).at, (value).len})

#define LOG_NONE ((struct log_field){0}) // for `condition ? LOG_STR(...) : LOG_NONE`: leaves the field out

#define LOG(level, message, ...)                                                                                       \
    do {                                                                                                               \
        if (log_enabled(level)) {                                                                                      \
            const struct log_field log_fields_[] = {{0}, ##__VA_ARGS__};                                               \
            log_write((level), (message), log_fields_ + 1, sizeof log_fields_ / sizeof *log_fields_ - 1);              \
        }                                                                                                              \
    } while (0)

// Before threads start. Default: info, JSON.
void log_setup(enum log_level level, enum log_format format);
bool log_enabled(enum log_level level);
void log_write(enum log_level level, const char *message, const struct log_field *fields, size_t count);

// At most `burst` lines, then `per_s` a second, over all threads; tells how many lines were held back since the last
// one that passed. Zero-initialised state; one static instance per kind of line.
struct log_limit {
    int64_t next_ns;    // atomic
    uint64_t held_back; // atomic
};
bool log_limit_pass(struct log_limit *limit, unsigned per_s, unsigned burst, uint64_t *held_back);
