// SPDX-License-Identifier: Apache-2.0
//
// From a file to struct conf: read, parse (conf/toml.h), then each key against the option table (conf/options.h), then
// the rules between keys (conf/rules.h). Whatever is wrong becomes a line in the list of problems, and the next key is
// looked at, so that one run shows everything there is to correct.

#include "conf/conf.h"

#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/endpoint.h"
#include "base/mem.h"
#include "conf/load.h"
#include "conf/options.h"
#include "conf/suggest.h"
#include "conf/toml.h"

#define FILE_MAX  (1024 * 1024)
#define SHOWN_MAX 80 // bytes of a key or value that a problem repeats

static void *field_of(struct conf *conf, const struct option *option)
{
    return (char *)conf + option->offset;
}

// A text from the file inside a problem: cut where a character ends.
static struct text shown(const char *string)
{
    struct text text = text_of(string);
    if (text.len <= SHOWN_MAX)
        return text;
    text.len = SHOWN_MAX;
    while (text.len > 0 && ((unsigned char)string[text.len] & 0xC0) == 0x80)
        text.len--;
    return text;
}

static void problem_open(struct loading *loading, const struct toml_node *node)
{
    loading->problem_count++;
    buf_printf(loading->problems, "%s:%u:%u: ", loading->path, node->line, node->column);
    buf_text(loading->problems, shown(node->path));
    buf_str(loading->problems, ": ");
}

static void problem_close(struct loading *loading)
{
    buf_char(loading->problems, '\n');
}

void loading_problem(struct loading *loading, const struct toml_node *node, const char *text)
{
    problem_open(loading, node);
    buf_str(loading->problems, text);
    problem_close(loading);
}

static const char *kind_text(const struct toml_node *node)
{
    switch (node->kind) {
    case TOML_KIND_TABLE:
        return "a table";
    case TOML_KIND_ARRAY:
        return node->strings != NULL ? "a list" : "a list of other things";
    case TOML_KIND_STRING:
        return "a string";
    case TOML_KIND_INTEGER:
        return "a number";
    case TOML_KIND_FLOAT:
        return "a number with a fraction";
    case TOML_KIND_BOOLEAN:
        return "true or false";
    case TOML_KIND_DATETIME:
        return "a date or time";
    }
    return "something else";
}

static void expected(struct loading *loading, const struct option *option, const struct toml_node *node)
{
    problem_open(loading, node);
    buf_str(loading->problems, "expected ");
    option_print_expected(option, loading->problems);
    buf_printf(loading->problems, ", not %s", kind_text(node));
    problem_close(loading);
}

// Each take_* stores a value into its field, or adds a problem and leaves the default. 0 or ERR_CONFIG.

static int take_int(struct loading *loading, const struct option *option, const struct toml_node *node)
{
    int64_t value = node->integer;
    bool off = value == -1 && option->flags & OPTION_OFF;
    if (value != 0 && !off && (value < option->min || value > option->max)) {
        problem_open(loading, node);
        buf_str(loading->problems, "expected ");
        option_print_expected(option, loading->problems);
        buf_printf(loading->problems, ", not %" PRId64, value);
        problem_close(loading);
        return ERR_CONFIG;
    }
    if (value != 0)
        *(int64_t *)field_of(loading->conf, option) = value;
    return 0;
}

static int take_bool(struct loading *loading, const struct option *option, const struct toml_node *node)
{
    if (node->boolean && option->flags & OPTION_UNBUILT) {
        loading_problem(loading, node, "true is not built into this version of Loom");
        return ERR_CONFIG;
    }
    *(bool *)field_of(loading->conf, option) = node->boolean;
    return 0;
}

static int check_word(struct loading *loading, const struct option *option, const struct toml_node *node)
{
    for (const struct option_word *word = option->words; word->word != NULL; word++) {
        if (strcmp(word->word, node->string) != 0)
            continue;
        if (!word->unbuilt)
            return 0;
        problem_open(loading, node);
        buf_printf(loading->problems, "\"%s\" is not built into this version of Loom", word->word);
        problem_close(loading);
        return ERR_CONFIG;
    }
    problem_open(loading, node);
    buf_str(loading->problems, "expected ");
    option_print_expected(option, loading->problems);
    buf_str(loading->problems, ", not \"");
    buf_text(loading->problems, shown(node->string));
    buf_char(loading->problems, '"');
    suggest_word(option->words, text_of(node->string), loading->problems);
    problem_close(loading);
    return ERR_CONFIG;
}

// "https://user:password@host/": RFC 3986, 3.2.1. The authority ends at the first "/", "?" or "#", but a password may hold
// one that somebody has forgotten to escape, so any "@" counts.
static bool url_has_userinfo(const char *url)
{
    const char *start = strstr(url, "://");
    return strchr(start != NULL ? start + 3 : url, '@') != NULL;
}

static int check_url(struct loading *loading, const struct option *option, const char *url,
                     const struct toml_node *node)
{
    if (!(option->flags & OPTION_URL))
        return 0;
    if (url_has_userinfo(url)) {
        loading_problem(loading, node,
                        "has a user or password in the URL; set the user by its own key and the password in the "
                        "environment");
        return ERR_CONFIG;
    }
    if (strpbrk(url, "?#") != NULL) { // what stands there may be a key
        loading_problem(loading, node, "has a query or a fragment in the URL; remove it");
        return ERR_CONFIG;
    }
    bool http = strncasecmp(url, "http://", 7) == 0, https = strncasecmp(url, "https://", 8) == 0;
    if ((!http && !https) || strchr("/?#", url[http ? 7 : 8]) != NULL) { // strchr finds the end of the string too
        loading_problem(loading, node, "expected a URL, such as \"https://localhost:9200\"");
        return ERR_CONFIG;
    }
    return 0;
}

static int take_string(struct loading *loading, const struct option *option, const struct toml_node *node)
{
    if (node->string[0] == '\0' && !node->control)
        return 0;
    if (node->control) {
        loading_problem(loading, node, "has a control character");
        return ERR_CONFIG;
    }
    if (strlen(node->string) > OPTION_STRING_MAX) {
        problem_open(loading, node);
        buf_printf(loading->problems, "is longer than %d bytes", OPTION_STRING_MAX);
        problem_close(loading);
        return ERR_CONFIG;
    }
    if (check_url(loading, option, node->string, node) != 0)
        return ERR_CONFIG;
    struct endpoint endpoint;
    struct err err;
    if (option->flags & OPTION_ADDRESS && endpoint_parse(node->string, &endpoint, &err) != 0) {
        loading_problem(loading, node, err.text);
        return ERR_CONFIG;
    }
    if (option->type == OPTION_WORD && check_word(loading, option, node) != 0)
        return ERR_CONFIG;

    char **field = field_of(loading->conf, option);
    mem_free(*field);
    *field = mem_strdup(node->string);
    return 0;
}

static void free_list(char **list)
{
    for (char **string = list; string != NULL && *string != NULL; string++)
        mem_free(*string);
    mem_free(list);
}

static int take_list(struct loading *loading, const struct option *option, char *const *strings,
                     const struct toml_node *node)
{
    size_t count = 0;
    if (node->kind == TOML_KIND_STRING && strings[0][0] == '\0' && !node->control)
        return 0; // "" is the default
    for (; strings[count] != NULL; count++) {
        size_t len = strlen(strings[count]);
        if (node->control || len == 0 || len > OPTION_STRING_MAX) {
            loading_problem(loading, node, "has an element that is empty, too long or has a control character");
            return ERR_CONFIG;
        }
        if (check_url(loading, option, strings[count], node) != 0)
            return ERR_CONFIG;
    }
    char **list = mem_array(count + 1, sizeof *list);
    for (size_t i = 0; i < count; i++)
        list[i] = mem_strdup(strings[i]);

    char ***field = field_of(loading->conf, option);
    free_list(*field);
    *field = list;
    return 0;
}

static int take_value(struct loading *loading, const struct option *option, const struct toml_node *node)
{
    switch (option->type) {
    case OPTION_STRING:
    case OPTION_WORD:
        if (node->kind == TOML_KIND_STRING)
            return take_string(loading, option, node);
        break;
    case OPTION_BOOL:
        if (node->kind == TOML_KIND_BOOLEAN)
            return take_bool(loading, option, node);
        break;
    case OPTION_INT:
        if (node->kind == TOML_KIND_INTEGER)
            return take_int(loading, option, node);
        break;
    case OPTION_LIST:
        if (node->strings != NULL)
            return take_list(loading, option, node->strings, node);
        if (node->kind == TOML_KIND_STRING)
            return take_list(loading, option, (char *[]){node->string, NULL}, node);
        break;
    case OPTION_REFUSED:
        problem_open(loading, node);
        buf_printf(loading->problems, "a secret does not belong in this file: %s", option->help);
        problem_close(loading);
        return ERR_CONFIG;
    }
    expected(loading, option, node);
    return ERR_CONFIG;
}

static void unknown(struct loading *loading, struct text section, const struct toml_node *node)
{
    problem_open(loading, node);
    if (node->kind == TOML_KIND_TABLE) {
        buf_str(loading->problems, "unknown section");
        suggest_section(text_of(node->path), loading->problems);
    } else {
        buf_str(loading->problems, "unknown key");
        suggest_key(section, text_of(node->name), loading->problems);
    }
    problem_close(loading);
}

static void take_node(struct loading *loading, const struct toml_node *node)
{
    struct text section = {node->path, node->name > node->path ? (size_t)(node->name - node->path) - 1 : 0};
    if (section.len > 0 && option_section_find(section) == NULL)
        return; // inside something that is a problem itself; below [auth.tokens] even the keys are secrets

    if (option_section_find(text_of(node->path)) != NULL) {
        if (node->kind != TOML_KIND_TABLE) {
            problem_open(loading, node);
            buf_printf(loading->problems, "expected a section, [%s], not %s", node->path, kind_text(node));
            problem_close(loading);
        }
        return;
    }

    const struct option *option = option_find(node->path);
    if (option == NULL) {
        unknown(loading, section, node);
        return;
    }
    struct loaded_option *loaded = &loading->loaded[option - options];
    loaded->node = node;
    loaded->refused = take_value(loading, option, node) != 0;
}

static void set_defaults(struct conf *conf)
{
    for (size_t i = 0; i < options_count; i++) {
        const struct option *option = &options[i];
        switch (option->type) {
        case OPTION_STRING:
        case OPTION_WORD:
            *(char **)field_of(conf, option) = mem_strdup(option->text != NULL ? option->text : "");
            break;
        case OPTION_INT:
            *(int64_t *)field_of(conf, option) = option->number;
            break;
        case OPTION_LIST:
            *(char ***)field_of(conf, option) = mem_array(1, sizeof(char *));
            break;
        case OPTION_BOOL:
            *(bool *)field_of(conf, option) = (option->flags & OPTION_TRUE) != 0;
            break;
        case OPTION_REFUSED:
            break;
        }
    }
}

// The cores this process may run on: a container or systemd's CPUAffinity= may leave it fewer than the machine has.
static int64_t count_cores(int64_t most)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0)
        return 1;
    int64_t cores = CPU_COUNT(&set);
    return cores < 1 ? 1 : cores > most ? most : cores;
}

static int read_file(const char *path, struct buf *out)
{
    int result = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    for (;;) {
        buf_reserve(out, 16 * 1024);
        ssize_t n = read(fd, out->data + out->len, out->cap - out->len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            result = -errno;
        if (n <= 0)
            break;
        out->len += (size_t)n;
        if (out->len > FILE_MAX) {
            result = -EFBIG;
            break;
        }
    }
    close(fd);
    return result;
}

int conf_read(const char *path, struct text text, struct conf *conf, struct buf *problems)
{
    *conf = (struct conf){0};
    set_defaults(conf);

    struct loading loading = {.path = path, .conf = conf, .problems = problems};
    loading.loaded = mem_array(options_count, sizeof *loading.loaded);
    struct toml_doc doc;
    struct toml_fault fault;
    int result = toml_parse(text.at, text.len, &doc, &fault);
    if (result == ERR_SYNTAX) {
        buf_printf(problems, "%s:%u:%u: %s\n", path, fault.line, fault.column, fault.text);
        goto out;
    }
    if (result != 0) {
        buf_printf(problems, "%s: %s\n", path, err_text(result));
        goto out;
    }
    for (size_t i = 0; i < doc.count; i++)
        take_node(&loading, &doc.nodes[i]);
    loading_check_rules(&loading);
    result = loading.problem_count > 0 ? ERR_CONFIG : 0;

out:
    if (conf->server.workers == 0)
        conf->server.workers = count_cores(option_find("server.workers")->max);
    toml_fini(&doc);
    mem_free(loading.loaded);
    return result;
}

int conf_load(const char *path, struct conf *conf, struct buf *problems)
{
    struct buf file = BUF_EMPTY;
    int result = read_file(path, &file);
    if (result != 0) {
        // The caller gets a whole struct all the same: an empty file's.
        conf_read(path, TEXT(""), conf, problems);
        if (result == -EFBIG)
            buf_printf(problems, "%s: is larger than %d bytes; is this the configuration?\n", path, FILE_MAX);
        else
            buf_printf(problems, "%s: %s\n", path, err_text(result));
    } else {
        result = conf_read(path, (struct text){file.data, file.len}, conf, problems);
    }
    if (file.data != NULL)
        mem_wipe(file.data, file.cap); // somebody may have written a password into it
    buf_fini(&file);
    return result;
}

void conf_fini(struct conf *conf)
{
    for (size_t i = 0; i < options_count; i++) {
        const struct option *option = &options[i];
        if (option->type == OPTION_STRING || option->type == OPTION_WORD)
            mem_free(*(char **)field_of(conf, option));
        else if (option->type == OPTION_LIST)
            free_list(*(char ***)field_of(conf, option));
    }
    *conf = (struct conf){0};
}
