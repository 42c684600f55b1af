// SPDX-License-Identifier: Apache-2.0
//
// Any bytes as a configuration file. Parsing ends, says the same twice, and keeps what conf/toml.h promises; loading
// keeps to its list of problems; and what stands in a refused table never comes out of it.

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "conf/conf.h"
#include "conf/load.h"
#include "conf/toml.h"

#define SECRET "S3cr3t-T0k3n"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_line(struct text line)
{
    INVARIANT(line.len > 0);
    INVARIANT(line.len < 1000);
    for (size_t i = 0; i < line.len; i++)
        INVARIANT((unsigned char)line.at[i] >= 0x20 && line.at[i] != 0x7F);
}

static void check_doc(const struct toml_doc *doc)
{
    for (size_t i = 0; i < doc->count; i++) {
        const struct toml_node *node = &doc->nodes[i];
        INVARIANT(node->line >= 1 && node->column >= 1);
        INVARIANT(node->path[0] != '\0' && node->name >= node->path && node->name[0] != '\0');
        INVARIANT(node->name == node->path || node->name[-1] == '.');
        INVARIANT((node->string != NULL) == (node->kind == TOML_KIND_STRING));
        INVARIANT(node->strings == NULL || node->kind == TOML_KIND_ARRAY);
        for (const char *c = node->path; *c != '\0'; c++)
            INVARIANT((unsigned char)*c >= 0x20 && *c != 0x7F);
    }
}

static int check_parse(const char *data, size_t size)
{
    struct toml_doc doc, again;
    struct toml_fault fault, fault_again;
    int result = toml_parse(data, size, &doc, &fault);
    INVARIANT(result == 0 || result == ERR_SYNTAX);
    if (result == 0)
        check_doc(&doc);
    else
        check_line(text_of(fault.text));
    INVARIANT(toml_parse(data, size, &again, &fault_again) == result);
    INVARIANT(again.count == doc.count && strcmp(fault.text, fault_again.text) == 0);
    toml_fini(&doc);
    toml_fini(&again);
    return result;
}

static void check_load(struct text text, int parsed)
{
    struct conf conf;
    struct buf problems = BUF_EMPTY;
    int result = conf_read("f", text, &conf, &problems);
    INVARIANT(parsed != 0 ? result == parsed : result == 0 || result == ERR_CONFIG);
    INVARIANT((result == 0) == (problems.len == 0));
    INVARIANT(problems.len == 0 || problems.data[problems.len - 1] == '\n');

    struct text rest = {problems.data, problems.len}, line;
    size_t lines = 0;
    for (; text_line(&rest, &line); lines++) {
        check_line(line);
        INVARIANT(line.at[0] == 'f' && line.at[1] == ':' && line.at[2] >= '1' && line.at[2] <= '9');
    }
    INVARIANT(result != ERR_SYNTAX || lines == 1);
    INVARIANT(conf.server.workers >= 1 && conf.server.listen_address[0] != '\0');
    INVARIANT(conf.limits.max_body_size_bytes >= 1 && conf.limits.max_connections >= 1);
    INVARIANT(strcmp(conf.output.type, "clickhouse") != 0 && strcmp(conf.output.type, "kafka") != 0); // not built
    INVARIANT(result != 0 || strcmp(conf.output.type, "stdout") == 0 || conf.output.elasticsearch_url[0] != NULL);
    conf_fini(&conf);
    buf_fini(&problems);
}

static void check_secret(struct text text)
{
    if (memmem(text.at, text.len, SECRET, strlen(SECRET)) != NULL)
        return;
    struct buf with_secret = BUF_EMPTY, problems = BUF_EMPTY;
    struct conf conf;
    buf_text(&with_secret, text);
    buf_str(&with_secret, "\n[auth.tokens]\n\"" SECRET "\" = \"" SECRET "\"\n");
    INVARIANT(conf_read("f", (struct text){with_secret.data, with_secret.len}, &conf, &problems) != 0);
    INVARIANT(memmem(problems.data, problems.len, SECRET, strlen(SECRET)) == NULL);
    conf_fini(&conf);
    buf_fini(&with_secret);
    buf_fini(&problems);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct text text = {(const char *)data, size};
    check_load(text, check_parse(text.at, text.len));
    check_secret(text);
    return 0;
}
