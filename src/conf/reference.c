// SPDX-License-Identifier: Apache-2.0
//
// docs/CONFIGURATION.md and loom.example.toml. What belongs to a key comes from the option table; what belongs to none
// (environment, tokens, forms of addresses) stands here.

#include <inttypes.h>
#include <string.h>

#include "conf/conf.h"
#include "conf/options.h"

#define EXAMPLE_WIDTH 100

static const char reference_head[] =
    "<!-- Generated from src/conf/options.c by `loom reference`. Do not edit: change the table. -->\n"
    "# Configuration\n"
    "\n"
    "Loom reads one [TOML 1.0](https://toml.io/en/v1.0.0) file: `loom -config FILE`, or `./loom.toml` without the\n"
    "option. `loom check -config FILE` checks everything that a start would check, and tells what it found. A ready\n"
    "example is [loom.example.toml](../loom.example.toml). The file is read once, at start.\n"
    "\n"
    "An unknown key, a wrong type, a value out of bounds and keys that contradict each other stop the start with exit\n"
    "status 2. All of them are listed at once, each with its place and what was expected:\n"
    "\n"
    "    loom.toml:12:1: server.listen_adress: unknown key, did you mean \"listen_address\"?\n"
    "\n"
    "## What holds for every key\n"
    "\n"
    "- **0 and \"\" mean the default**, as if the key were not there. Where -1 is allowed it means off.\n"
    "- The last part of a name is its unit: `_bytes` are bytes, `_ms` milliseconds, `_seconds` seconds, `_rps` and\n"
    "  `_qps` a number per second. Sizes and times are whole numbers without a suffix; TOML allows `2_097_152`.\n"
    "- Paths that do not begin with `/` are taken from the directory that Loom was started in.\n"
    "- Strings hold no control characters and at most 4096 bytes. The file holds at most 1 MiB.\n"
    "- Keys are in lower case: TOML distinguishes `tls` from `TLS`.\n";

static const char reference_addresses[] = "\n"
                                          "## Listen addresses\n"
                                          "\n"
                                          "| form | listens on |\n"
                                          "|---|---|\n"
                                          "| `:8443` | the port on all addresses, IPv6 and IPv4 |\n"
                                          "| `192.0.2.1:8443`, `loom.example.net:8443` | that address; of a name only "
                                          "the first IPv4 one it resolves to, or where it has none the first |\n"
                                          "| `[2001:db8::1]:8443` | that IPv6 address |\n"
                                          "| `unix:/run/loom/loom.sock` | a Unix socket |\n"
                                          "\n"
                                          "Port 0 lets the system choose; the log tells which it chose.\n";

static const char reference_tokens[] =
    "\n"
    "## Tokens\n"
    "\n"
    "A sensor identifies itself by `Authorization: Bearer <token>`. Loom learns tokens from two places, which may be\n"
    "used together:\n"
    "\n"
    "- **Environment.** `LOOM_SENSOR_<id>=<token>`. Every `_` in the name's `<id>` stands for `-`, because a shell\n"
    "  takes no `-` in names: `LOOM_SENSOR_vps_frankfurt_01` is the sensor `vps-frankfurt-01`. Names with `-`, which\n"
    "  Docker and env(1) can set (shells and systemd cannot), work as they are. A variable without a value gives a\n"
    "  warning and no sensor.\n"
    "- **`auth.token_file`.** One `token,sensor_id` a line. Blank lines and lines that begin with `#` are left out, "
    "and\n"
    "  so are spaces around the two parts. Any other line is an error, which names the line and never repeats it. A\n"
    "  file that its group or others can read gives a warning: `chmod 600`.\n"
    "\n"
    "Each sensor has one token and each token one sensor; the same pair in both places is fine. A sensor id has 1 to "
    "64\n"
    "letters, digits, `-`, `.` and `_`; it becomes a label in metrics, where `unknown` is taken, so no sensor may "
    "have\n"
    "that id. A token has 1 to 512 printable ASCII characters except space and comma. `openssl rand -hex 32` makes a\n"
    "good one.\n";

static const char reference_environment[] =
    "\n"
    "## Environment variables\n"
    "\n"
    "| variable | meaning |\n"
    "|---|---|\n"
    "| `LOOM_SENSOR_<id>` | token of the sensor, see [Tokens](#tokens) |\n"
    "| `LOOM_ELASTICSEARCH_USER`, `LOOM_ELASTICSEARCH_PASS` | user and password for `output.type = \"elasticsearch\"` "
    "and "
    "`\"opensearch\"` |\n"
    "| `LOOM_ELASTICSEARCH_API_KEY` | an API key for the same, as the cluster gives it (`encoded`); instead of user "
    "and "
    "password |\n"
    "| each of these with `_FILE` behind it | a file that has the value on its first line |\n"
    "| `LOOM_CLICKHOUSE_USER`, `LOOM_CLICKHOUSE_PASSWORD` | for `output.type = \"clickhouse\"`; not read yet |\n"
    "\n"
    "No other variable changes what Loom does.\n";

static void print_default(const struct option *option, struct buf *out)
{
    switch (option->type) {
    case OPTION_BOOL:
        buf_str(out, option->flags & OPTION_TRUE ? "true" : "false");
        break;
    case OPTION_INT:
        buf_int(out, option->number);
        break;
    case OPTION_LIST:
        buf_str(out, "[]");
        break;
    default:
        buf_printf(out, "\"%s\"", option->text != NULL ? option->text : "");
        break;
    }
}

// A size that is a power of two many times over is hard to read as a number.
static void print_default_note(const struct option *option, struct buf *out)
{
    int64_t number = option->number;
    size_t name_len = strlen(option->name);
    bool bytes = name_len > 6 && strcmp(option->name + name_len - 6, "_bytes") == 0;
    if (option->default_note != NULL)
        buf_printf(out, " (%s)", option->default_note);
    else if (bytes && number % (1024 * 1024) == 0)
        buf_printf(out, " (%" PRId64 " MiB)", number / (1024 * 1024));
    else if (bytes && number % 1024 == 0)
        buf_printf(out, " (%" PRId64 " KiB)", number / 1024);
}

static void print_accepted(const struct option *option, struct buf *out)
{
    if (option->type != OPTION_INT) {
        option_print_expected(option, out);
        return;
    }
    buf_printf(out, "%" PRId64 " to %" PRId64, option->min, option->max);
    if (option->flags & OPTION_OFF)
        buf_str(out, ", or -1: off");
}

// Text of the table for a cell of a Markdown table, where "<" would begin a tag and "|" the next cell.
static void print_cell(const char *text, struct buf *out)
{
    for (; *text != '\0'; text++) {
        if (*text == '<')
            buf_str(out, "&lt;");
        else if (*text == '|')
            buf_str(out, "\\|");
        else
            buf_char(out, *text);
    }
}

static void print_reference_section(const struct option_section *section, struct buf *out)
{
    buf_printf(out, "\n## [%s]\n\n", section->name);
    print_cell(section->help, out);
    buf_str(out, "\n\n| key | value | default | meaning |\n|---|---|---|---|\n");
    for (size_t i = 0; i < options_count; i++) {
        const struct option *option = &options[i];
        if (option->type == OPTION_REFUSED || strcmp(option->section, section->name) != 0)
            continue;
        buf_printf(out, "| `%s` | ", option->name);
        print_accepted(option, out);
        buf_str(out, " | `");
        print_default(option, out);
        buf_str(out, "`");
        print_default_note(option, out);
        buf_str(out, " | ");
        print_cell(option->help, out);
        buf_str(out, " |\n");
    }
}

static void print_refused(struct buf *out)
{
    buf_str(out, "\n## Secrets are refused\n\n"
                 "These keys are errors, and what they hold is never shown. A user or password inside a URL is refused "
                 "as well.\n\n| key | instead |\n|---|---|\n");
    for (size_t i = 0; i < options_count; i++) {
        if (options[i].type != OPTION_REFUSED)
            continue;
        buf_printf(out, "| `%s.%s` | ", options[i].section, options[i].name);
        print_cell(options[i].help, out);
        buf_str(out, " |\n");
    }
}

static void print_unbuilt(struct buf *out)
{
    buf_str(out, "\n## Not built into this version\n\n"
                 "Loom knows these settings, but stops at start with a line that says so, rather than run without what "
                 "was asked for:\n\n");
    for (size_t i = 0; i < options_count; i++) {
        const struct option *option = &options[i];
        if (option->flags & OPTION_UNBUILT)
            buf_printf(out, "- `%s.%s = true`\n", option->section, option->name);
        for (const struct option_word *word = option->words; word != NULL && word->word != NULL; word++)
            if (word->unbuilt)
                buf_printf(out, "- `%s.%s = \"%s\"`\n", option->section, option->name, word->word);
    }
    buf_str(out,
            "\nThe keys that belong to them are checked for type and bounds and have no effect until then, but for\n"
            "`output.outbox.retry_backoff_ms` and `retry_max_backoff_ms`, which are in force for stdout.\n");
}

void conf_print_reference(struct buf *out)
{
    buf_str(out, reference_head);
    for (size_t i = 0; i < option_sections_count; i++)
        print_reference_section(&option_sections[i], out);
    print_unbuilt(out);
    print_refused(out);
    buf_str(out, reference_addresses);
    buf_str(out, reference_tokens);
    buf_str(out, reference_environment);
}

// Words of text as comment lines of at most EXAMPLE_WIDTH.
static void print_comment(const char *text, struct buf *out)
{
    size_t column = 0;
    while (*text != '\0') {
        size_t len = strcspn(text, " ");
        if (column > 0 && column + 1 + len > EXAMPLE_WIDTH) {
            buf_char(out, '\n');
            column = 0;
        }
        buf_str(out, column == 0 ? "# " : " ");
        column += len + (column == 0 ? 2 : 1);
        buf_append(out, text, len);
        text += len;
        text += strspn(text, " ");
    }
    buf_char(out, '\n');
}

static void print_example_option(const struct option *option, struct buf *out)
{
    print_comment(option->help, out);
    if (!(option->flags & OPTION_SHOWN))
        buf_char(out, '#');
    buf_printf(out, "%s = ", option->name);
    if (option->example != NULL)
        buf_str(out, option->example);
    else
        print_default(option, out);
    buf_char(out, '\n');
}

void conf_print_example(struct buf *out)
{
    buf_str(out,
            "# Loom's configuration, as an example. Generated from src/conf/options.c by `loom example`.\n"
            "#\n"
            "# Every key is here. Lines that begin with # and a key are not in force: they show the default, or an\n"
            "# example where there is none. docs/CONFIGURATION.md has bounds, forms of addresses and the rest.\n");
    for (size_t i = 0; i < option_sections_count; i++) {
        const struct option_section *section = &option_sections[i];
        buf_char(out, '\n');
        print_comment(section->help, out);
        buf_printf(out, "[%s]\n", section->name);
        for (size_t j = 0; j < options_count; j++)
            if (options[j].type != OPTION_REFUSED && strcmp(options[j].section, section->name) == 0)
                print_example_option(&options[j], out);
    }
}
