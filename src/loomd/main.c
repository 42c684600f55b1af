// SPDX-License-Identifier: Apache-2.0

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/log.h"
#include "cli/args.h"
#include "cli/check.h"
#include "cli/outbox.h"
#include "cli/prepare.h"
#include "cli/print.h"
#include "cli/template.h"
#include "loomd/service.h"

#ifndef LOOM_VERSION
#error "the build defines LOOM_VERSION"
#endif

enum { EXIT_OK = 0, EXIT_START = 1, EXIT_CONFIG = 2 };

// A descriptor 0, 1 or 2 that is closed would be given to the next socket, and events or log lines would go to a client. Standard
// output is opened for reading only: what is written there must fail, not vanish.
static void open_standard_descriptors(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) >= 0 || errno != EBADF)
            continue;
        if (open("/dev/null", fd == STDERR_FILENO ? O_WRONLY : O_RDONLY) != fd)
            _exit(EXIT_START);
    }
}

// A write to a closed pipe or over a size limit is an error of that write, not the end of the process.
static void ignore_signals(void)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigaction(SIGPIPE, &ignore, NULL);
    sigaction(SIGXFSZ, &ignore, NULL);
}

static void raise_descriptor_limit(int64_t connections)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur != RLIM_INFINITY && (rlim_t)connections + 64 > limit.rlim_cur)
        LOG(LOG_WARN, "limits.max_connections is more than this process may open descriptors",
            LOG_INT("max_connections", connections), LOG_INT("descriptors", limit.rlim_cur));
}

static void setup_log(const struct conf_logging *logging)
{
    static const char *const levels[] = {
        [LOG_DEBUG] = "debug", [LOG_INFO] = "info", [LOG_WARN] = "warn", [LOG_ERROR] = "error"};
    enum log_level level = LOG_INFO;

    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
        if (strcmp(logging->level, levels[i]) == 0)
            level = (enum log_level)i;
    }
    log_setup(level, strcmp(logging->format, "console") == 0 ? LOG_CONSOLE : LOG_JSON);
}

// Before the configuration is known there is no log; a person reads this on the terminal or in the journal.
static void log_warnings(const struct buf *warnings)
{
    struct text rest = {warnings->data, warnings->len}, line;
    while (text_line(&rest, &line))
        LOG(LOG_WARN, "configuration", LOG_TEXT("warning", line));
}

static int run(const char *config)
{
    struct prepared prepared;
    struct buf problems = BUF_EMPTY, warnings = BUF_EMPTY;
    struct err err = {0};

    int rc = prepare(config, &prepared, &problems, &warnings);
    int status = rc == 0 ? EXIT_OK : rc == ERR_CONFIG ? EXIT_CONFIG : EXIT_START;
    if (rc == 0) {
        setup_log(&prepared.conf.logging);
        log_warnings(&warnings);
        raise_descriptor_limit(prepared.conf.limits.max_connections);
        if (service_run(&prepared, LOOM_VERSION, &err) != 0) {
            fprintf(stderr, "loom: %s\n", err.text);
            status = EXIT_START;
        }
    }
    print_lines("loom: ", &problems);
    if (rc != 0) // often what explains the problem: "LOOM_SENSOR_x is empty"
        print_lines("loom: warning: ", &warnings);
    prepared_fini(&prepared);
    buf_fini(&problems);
    buf_fini(&warnings);
    return status;
}

static int print_document(void (*print)(struct buf *out))
{
    struct buf out = BUF_EMPTY;
    print(&out);
    int rc = print_text((struct text){out.data, out.len});
    buf_fini(&out);
    return rc == 0 ? EXIT_OK : EXIT_START;
}

int main(int argc, char **argv)
{
    struct args args;
    struct err err = {0};

    open_standard_descriptors();
    ignore_signals();
    if (args_parse(argc, argv, &args, &err) != 0) {
        fprintf(stderr, "loom: %s\n\n%s", err.text, args_usage);
        return EXIT_CONFIG;
    }
    switch (args.command) {
    case ARGS_CHECK:
        return check_run(args.config);
    case ARGS_OUTBOX:
        return outbox_run(args.config);
    case ARGS_TEMPLATE:
        return template_run(args.config);
    case ARGS_VERSION:
        return print_text(TEXT("loom " LOOM_VERSION "\n")) == 0 ? EXIT_OK : EXIT_START;
    case ARGS_HELP:
        return print_text(text_of(args_usage)) == 0 ? EXIT_OK : EXIT_START;
    case ARGS_REFERENCE:
        return print_document(conf_print_reference);
    case ARGS_EXAMPLE:
        return print_document(conf_print_example);
    case ARGS_RUN:
        break;
    }
    return run(args.config);
}
