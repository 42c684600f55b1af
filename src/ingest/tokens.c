// SPDX-License-Identifier: Apache-2.0
#include "ingest/tokens.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"

#define VARIABLE_PREFIX "LOOM_SENSOR_"
#define VARIABLE_SHOWN  100 // bytes of a variable's name in a message
#define FILE_MAX        (4 * 1024 * 1024)

static const char bad_token[] = "a token has 1 to 512 printable ASCII characters, without space and comma";
static const char bad_sensor[] = "a sensor id has 1 to 64 letters, digits, \"-\", \".\" and \"_\"";
static const char bad_unknown[] = "\"" SENSOR_UNKNOWN "\" can't be a sensor id: metrics call requests without a valid "
                                  "token that";

static void token_fini(struct token *token)
{
    mem_wipe(token->token, strlen(token->token));
    mem_free(token->token);
    mem_free(token->sensor);
    mem_free(token->place);
}

void token_list_fini(struct token_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        token_fini(&list->at[i]);
    mem_free(list->at);
    *list = TOKEN_LIST_EMPTY;
}

static bool is_token(struct text text)
{
    if (text.len < 1 || text.len > TOKEN_MAX)
        return false;
    for (size_t i = 0; i < text.len; i++)
        if (text.at[i] <= ' ' || text.at[i] > '~' || text.at[i] == ',')
            return false;
    return true;
}

static bool is_sensor_id(struct text text)
{
    if (text.len < 1 || text.len > SENSOR_ID_MAX)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.at[i];
        bool alphanumeric = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!alphanumeric && c != '-' && c != '.' && c != '_')
            return false;
    }
    return true;
}

// What is wrong with a pair, or NULL. Fixed texts: neither part may show up in a message.
static const char *pair_fault(struct text token, struct text sensor)
{
    if (!is_token(token))
        return bad_token;
    if (!is_sensor_id(sensor))
        return bad_sensor;
    if (text_eq(sensor, TEXT(SENSOR_UNKNOWN)))
        return bad_unknown;
    return NULL;
}

// Takes over place.
static void add(struct token_list *list, struct text token, struct text sensor, char *place)
{
    if (list->count == list->cap) {
        list->cap = list->cap == 0 ? 16 : 2 * list->cap;
        list->at = mem_realloc(list->at, list->cap * sizeof *list->at); // pointers only: no token stays behind
    }
    list->at[list->count++] = (struct token){
        .token = mem_strndup(token.at, token.len), .sensor = mem_strndup(sensor.at, sensor.len), .place = place};
}

// A variable's name for messages: names may hold anything but "=", and a message is one line.
static char *printable(struct text name)
{
    char *shown = mem_strndup(name.at, name.len < VARIABLE_SHOWN ? name.len : VARIABLE_SHOWN);
    for (char *c = shown; *c != '\0'; c++)
        if (*c <= ' ' || *c > '~')
            *c = '?';
    return shown;
}

static void from_variable(struct text name, struct text token, struct token_list *list, struct buf *problems,
                          struct buf *warnings)
{
    size_t prefix = strlen(VARIABLE_PREFIX);
    char *place = printable(name);
    if (token.len == 0) {
        buf_printf(warnings, "%s: is empty, so it gives no sensor a token\n", place);
        mem_free(place);
        return;
    }
    char *sensor = mem_strndup(name.at + prefix, name.len - prefix);
    for (char *c = sensor; *c != '\0'; c++)
        if (*c == '_')
            *c = '-'; // a shell's variables can't have "-" in their names
    const char *fault = pair_fault(token, text_of(sensor));
    if (fault != NULL) {
        buf_printf(problems, "%s: %s\n", place, fault);
        mem_free(place);
    } else {
        add(list, token, text_of(sensor), place);
    }
    mem_free(sensor);
}

void tokens_from_env(char *const *env, struct token_list *list, struct buf *problems, struct buf *warnings)
{
    for (; env != NULL && *env != NULL; env++) {
        const char *equals = strchr(*env, '=');
        if (equals != NULL && strncmp(*env, VARIABLE_PREFIX, strlen(VARIABLE_PREFIX)) == 0)
            from_variable((struct text){*env, (size_t)(equals - *env)}, text_of(equals + 1), list, problems, warnings);
    }
}

static void from_line(const char *path, unsigned line_number, struct text line, struct token_list *list,
                      struct buf *problems)
{
    if (line.len > 0 && line.at[line.len - 1] == '\r')
        line.len--;
    line = text_trim(line);
    if (line.len == 0 || line.at[0] == '#')
        return;

    const char *fault = "expected token,sensor_id";
    const char *comma = memchr(line.at, ',', line.len);
    if (comma != NULL) {
        struct text token = text_trim((struct text){line.at, (size_t)(comma - line.at)});
        struct text sensor = text_trim((struct text){comma + 1, line.len - (size_t)(comma + 1 - line.at)});
        fault = pair_fault(token, sensor);
        if (fault == NULL) {
            struct buf place = BUF_EMPTY;
            buf_printf(&place, "%s:%u", path, line_number);
            add(list, token, sensor, mem_strndup(place.data, place.len));
            buf_fini(&place);
        }
    }
    if (fault != NULL)
        buf_printf(problems, "%s:%u: %s\n", path, line_number, fault);
}

void tokens_from_text(const char *path, struct text text, struct token_list *list, struct buf *problems)
{
    struct text line;
    for (unsigned line_number = 1; text_line(&text, &line); line_number++)
        from_line(path, line_number, line, list, problems);
}

// Reads at most size bytes. Their number, or a negative errno.
static ssize_t read_all(int fd, char *data, size_t size)
{
    size_t len = 0;
    while (len < size) {
        ssize_t n = read(fd, data + len, size - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        len += (size_t)n;
    }
    return (ssize_t)len;
}

void tokens_from_file(const char *path, struct token_list *list, struct buf *problems, struct buf *warnings)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); // a FIFO by mistake is refused rather than waited for
    if (fd < 0 || fstat(fd, &st) != 0) {
        buf_printf(problems, "%s: %s\n", path, err_text(-errno));
        if (fd >= 0)
            close(fd);
        return;
    }
    if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)) {
        buf_printf(problems, "%s: is not a regular file\n", path);
        close(fd);
        return;
    }
    if ((st.st_mode & (S_IRGRP | S_IROTH)) != 0)
        buf_printf(warnings, "%s: can be read by its group or others (mode %04o); use chmod 600\n", path,
                   (unsigned)(st.st_mode & 07777));

    // One block for all of it: one that grows would leave copies of tokens behind.
    char *data = mem_alloc(FILE_MAX + 1);
    ssize_t len = read_all(fd, data, FILE_MAX + 1);
    close(fd);
    if (len < 0)
        buf_printf(problems, "%s: %s\n", path, err_text((int)len));
    else if (len > FILE_MAX)
        buf_printf(problems, "%s: is larger than %d bytes; is this the token file?\n", path, FILE_MAX);
    else
        tokens_from_text(path, (struct text){data, (size_t)len}, list, problems);
    if (len > 0)
        mem_wipe(data, (size_t)len);
    mem_free(data);
}

static int by_sensor(const void *a, const void *b)
{
    const struct token *x = a, *y = b;
    int order = strcmp(x->sensor, y->sensor);
    return order != 0 ? order : strcmp(x->token, y->token);
}

static int by_token(const void *a, const void *b)
{
    const struct token *x = a, *y = b;
    int order = strcmp(x->token, y->token);
    return order != 0 ? order : strcmp(x->sensor, y->sensor);
}

static void sort(struct token_list *list, int (*order)(const void *, const void *))
{
    if (list->count > 1)
        qsort(list->at, list->count, sizeof *list->at, order);
}

// Of entries that are the same pair the first stays.
static void drop_repeats(struct token_list *list)
{
    size_t kept = 0;
    for (size_t i = 0; i < list->count; i++) {
        if (kept > 0 && by_sensor(&list->at[kept - 1], &list->at[i]) == 0)
            token_fini(&list->at[i]);
        else
            list->at[kept++] = list->at[i];
    }
    list->count = kept;
}

void tokens_settle(struct token_list *list, struct buf *problems)
{
    sort(list, by_token);
    drop_repeats(list); // the same pairs are neighbours in either order
    for (size_t i = 1; i < list->count; i++) {
        const struct token *a = &list->at[i - 1], *b = &list->at[i];
        if (strcmp(a->token, b->token) == 0)
            buf_printf(problems, "sensors \"%s\" (%s) and \"%s\" (%s) have the same token\n", a->sensor, a->place,
                       b->sensor, b->place);
    }
    sort(list, by_sensor);
    for (size_t i = 1; i < list->count; i++) {
        const struct token *a = &list->at[i - 1], *b = &list->at[i];
        if (strcmp(a->sensor, b->sensor) == 0)
            buf_printf(problems, "sensor \"%s\" has two tokens: %s and %s\n", a->sensor, a->place, b->place);
    }
}
