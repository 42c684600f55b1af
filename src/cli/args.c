// SPDX-License-Identifier: Apache-2.0

#include "cli/args.h"

#include <stdbool.h>
#include <string.h>

const char args_usage[] =
    "Usage: loom [COMMAND] [-config FILE]\n"
    "\n"
    "Takes batches of ECS events from Spip sensors over HTTPS, adds AS and geography, and delivers them.\n"
    "\n"
    "  loom -config FILE           run (default ./loom.toml)\n"
    "  loom check -config FILE     check everything that a start would check, say what was found, and end\n"
    "  loom outbox -config FILE    what waits on disk for the output; also while Loom runs\n"
    "  loom template -config FILE  print the index template for Elasticsearch or OpenSearch\n"
    "  loom example                print an example configuration\n"
    "  loom reference              print the reference of the configuration (Markdown)\n"
    "  loom -version               print the version\n"
    "  loom -help                  print this\n"
    "\n"
    "Sensor tokens come by environment, LOOM_SENSOR_<id>=<token>, or from auth.token_file.\n"
    "Exit status: 0 done, 1 a start failed, 2 the command line or the configuration is wrong.\n";

static const struct {
    const char *name;
    enum args_command command;
} commands[] = {
    {"run", ARGS_RUN},           {"check", ARGS_CHECK},         {"outbox", ARGS_OUTBOX},
    {"template", ARGS_TEMPLATE}, {"reference", ARGS_REFERENCE}, {"example", ARGS_EXAMPLE},
    {"version", ARGS_VERSION},   {"help", ARGS_HELP},
};

static bool find_command(const char *name, enum args_command *out)
{
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        if (strcmp(name, commands[i].name) == 0) {
            *out = commands[i].command;
            return true;
        }
    }
    return false;
}

// One option at argv[*i]; moves *i on when its value is the next argument.
static int parse_option(int argc, char **argv, int *i, struct args *out, struct err *err)
{
    const char *name = argv[*i] + (argv[*i][1] == '-' ? 2 : 1);

    if (strcmp(name, "version") == 0 || strcmp(name, "v") == 0) {
        out->command = ARGS_VERSION;
        return 0;
    }
    if (strcmp(name, "help") == 0 || strcmp(name, "h") == 0) {
        out->command = ARGS_HELP;
        return 0;
    }
    if (strncmp(name, "config=", 7) == 0) {
        out->config = name + 7;
    } else if (strcmp(name, "config") == 0) {
        if (*i + 1 >= argc)
            return err_set(err, -EINVAL, "%s needs a file", argv[*i]);
        out->config = argv[++*i];
    } else {
        return err_set(err, -EINVAL, "unknown option %s", argv[*i]);
    }
    return out->config[0] != '\0' ? 0 : err_set(err, -EINVAL, "-config needs a file");
}

int args_parse(int argc, char **argv, struct args *out, struct err *err)
{
    bool have_command = false;

    *out = (struct args){.command = ARGS_RUN, .config = "./loom.toml"};
    for (int i = 1; i < argc; i++) {
        if (argv[i][0] == '-' && argv[i][1] != '\0') {
            int rc = parse_option(argc, argv, &i, out, err);
            if (rc != 0)
                return rc;
            if (out->command == ARGS_VERSION || out->command == ARGS_HELP)
                return 0;
        } else if (have_command || !find_command(argv[i], &out->command)) {
            return err_set(err, -EINVAL, "unexpected argument %s", argv[i]);
        } else {
            have_command = true;
        }
    }
    return 0;
}
