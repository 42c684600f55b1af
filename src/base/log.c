// SPDX-License-Identifier: Apache-2.0
#include "base/log.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/utf8.h"

// A line is at most PIPE_BUF on Linux, so a pipe takes it whole or not at all.
#define LINE_MAX_BYTES 4096
// Kept free for how a line ends: closing quote, "truncated", "dropped" with a 20-digit number, brace, newline.
#define LINE_TAIL_BYTES 80

static enum log_level log_threshold = LOG_INFO;
static enum log_format log_shape = LOG_JSON;
static bool log_colour;

static pthread_mutex_t log_mutex = PTHREAD_MUTEX_INITIALIZER; // held over a poll and a write that don't block
static uint64_t log_dropped;                                  // lines lost since the last one written

struct line {
    size_t len;
    size_t limit;
    bool truncated;
    char data[LINE_MAX_BYTES];
};

void log_setup(enum log_level level, enum log_format format)
{
    log_threshold = level;
    log_shape = format;
    log_colour = format == LOG_CONSOLE && isatty(STDERR_FILENO) == 1;
}

bool log_enabled(enum log_level level)
{
    return level >= log_threshold;
}

// All or nothing; once something did not fit, nothing more does, so a line never has a hole in it.
static void line_bytes(struct line *line, const char *data, size_t len)
{
    if (line->truncated || line->len + len > line->limit) {
        line->truncated = true;
        return;
    }
    memcpy(line->data + line->len, data, len);
    line->len += len;
}

static void line_str(struct line *line, const char *string)
{
    line_bytes(line, string, strlen(string));
}

static void line_int(struct line *line, int64_t value)
{
    char digits[21];
    size_t at = sizeof digits;
    uint64_t magnitude = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    do {
        digits[--at] = (char)('0' + magnitude % 10);
        magnitude /= 10;
    } while (magnitude > 0);
    if (value < 0)
        digits[--at] = '-';
    line_bytes(line, digits + at, sizeof digits - at);
}

static void line_escape(struct line *line, unsigned code)
{
    static const char hex[] = "0123456789abcdef";
    char escape[] = {'\\', 'u', hex[code >> 12 & 15], hex[code >> 8 & 15], hex[code >> 4 & 15], hex[code & 15]};
    line_bytes(line, escape, sizeof escape);
}

// One character as JSON text. Control characters, C1 too, are escaped: a log must not steer the terminal that shows it.
static size_t line_character(struct line *line, struct text text)
{
    const unsigned char *p = (const unsigned char *)text.at;
    size_t len = *p < 0x80 ? 1 : utf8_len(p, p + text.len);
    if (len == 0) {
        line_escape(line, 0xfffd);
        return 1;
    }
    if (*p == '"' || *p == '\\')
        line_bytes(line, (const char[]){'\\', (char)*p}, 2);
    else if (*p == '\n')
        line_bytes(line, "\\n", 2);
    else if (*p < ' ' || *p == 0x7f)
        line_escape(line, *p);
    else if (*p == 0xc2 && p[1] < 0xa0)
        line_escape(line, p[1]);
    else
        line_bytes(line, text.at, len);
    return len;
}

static void line_escaped(struct line *line, struct text text)
{
    while (text.len > 0 && !line->truncated) {
        size_t used = line_character(line, text);
        text.at += used;
        text.len -= used;
    }
}

// A value that is too long is cut at a character, and nothing follows it; so the room kept for the tail has place for
// the quotes of the last value, however the line came out.
static void line_quoted(struct line *line, struct text text)
{
    line->data[line->len++] = '"';
    line_escaped(line, text);
    line->data[line->len++] = '"';
}

// Whether a value reads unambiguously without quotes on the console.
static bool line_is_word(struct text text)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.at[i] <= ' ' || text.at[i] >= 0x7f || text.at[i] == '"' || text.at[i] == '\\' || text.at[i] == '=')
            return false;
    return text.len > 0;
}

static struct text field_text(const struct log_field *field)
{
    if (field->text == NULL)
        return TEXT("");
    return (struct text){field->text, field->len == SIZE_MAX ? strlen(field->text) : field->len};
}

static void line_field(struct line *line, const struct log_field *field)
{
    if (field->key == NULL)
        return;
    size_t begin = line->len;
    bool json = log_shape == LOG_JSON;
    line_str(line, json ? ",\"" : " ");
    line_str(line, field->key);
    line_str(line, json ? "\":" : "=");
    if (field->kind == LOG_FIELD_INT)
        line_int(line, field->number);
    if (line->truncated) {
        line->len = begin; // no half of a key or number
        return;
    }
    if (field->kind == LOG_FIELD_INT)
        return;
    struct text text = field_text(field);
    if (!json && line_is_word(text) && line->len + text.len <= line->limit)
        line_bytes(line, text.at, text.len);
    else
        line_quoted(line, text);
}

static void line_begin(struct line *line, enum log_level level, const char *message)
{
    static const char *const json_name[] = {"debug", "info", "warn", "error"};
    static const char *const console_name[] = {"DEBUG", "INFO ", "WARN ", "ERROR"};
    static const char *const colour[] = {"\033[2m", "\033[32m", "\033[33m", "\033[31m"};
    char time[CLOCK_RFC3339_MAX];
    clock_rfc3339(clock_real_ns(), time);
    if (log_shape == LOG_JSON) {
        line_str(line, "{\"time\":\"");
        line_str(line, time);
        line_str(line, "\",\"level\":\"");
        line_str(line, json_name[level]);
        line_str(line, "\",\"message\":");
        line_quoted(line, text_of(message));
        return;
    }
    line_str(line, time);
    line_str(line, log_colour ? " " : "");
    line_str(line, log_colour ? colour[level] : " ");
    line_str(line, console_name[level]);
    line_str(line, log_colour ? "\033[0m " : " ");
    line_escaped(line, text_of(message));
}

static void line_end(struct line *line, uint64_t dropped)
{
    bool truncated = line->truncated;
    line->truncated = false;
    line->limit = LINE_MAX_BYTES;
    bool json = log_shape == LOG_JSON;
    if (truncated)
        line_str(line, json ? ",\"truncated\":true" : " truncated=true");
    if (dropped > 0)
        line_field(line, &LOG_INT("dropped", dropped));
    line_str(line, json ? "}\n" : "\n");
}

// A line that would have to wait is dropped and counted. The mutex keeps two threads of this process from both seeing
// the last room in a pipe.
static void line_put(struct line *line)
{
    pthread_mutex_lock(&log_mutex);
    line_end(line, log_dropped);
    struct pollfd ready = {.fd = STDERR_FILENO, .events = POLLOUT};
    bool room = poll(&ready, 1, 0) == 1 && (ready.revents & POLLOUT) != 0;
    if (room && write(STDERR_FILENO, line->data, line->len) == (ssize_t)line->len)
        log_dropped = 0;
    else
        log_dropped++;
    pthread_mutex_unlock(&log_mutex);
}

void log_write(enum log_level level, const char *message, const struct log_field *fields, size_t count)
{
    int saved_errno = errno; // a log line between a failing call and the look at its errno changes nothing
    struct line line;
    line.len = 0;
    line.limit = LINE_MAX_BYTES - LINE_TAIL_BYTES;
    line.truncated = false;
    line_begin(&line, level, message);
    for (size_t i = 0; i < count && !line.truncated; i++)
        line_field(&line, &fields[i]);
    line_put(&line);
    errno = saved_errno;
}

// The generic cell rate algorithm: next_ns is when the next line is due at the allowed rate, and it may lie up to
// (burst - 1) intervals ahead of now.
bool log_limit_pass(struct log_limit *limit, unsigned per_s, unsigned burst, uint64_t *held_back)
{
    INVARIANT(per_s > 0 && burst > 0);
    int64_t interval_ns = NS_PER_S / per_s;
    int64_t now_ns = clock_mono_ns();
    int64_t due_ns = __atomic_load_n(&limit->next_ns, __ATOMIC_RELAXED);
    int64_t next_ns;
    do {
        if (due_ns > now_ns + (int64_t)(burst - 1) * interval_ns) {
            __atomic_fetch_add(&limit->held_back, 1, __ATOMIC_RELAXED);
            return false;
        }
        next_ns = (due_ns > now_ns ? due_ns : now_ns) + interval_ns;
    } while (!__atomic_compare_exchange_n(&limit->next_ns, &due_ns, next_ns, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    uint64_t held = __atomic_exchange_n(&limit->held_back, 0, __ATOMIC_RELAXED);
    if (held_back != NULL)
        *held_back = held;
    return true;
}
