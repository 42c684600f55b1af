// SPDX-License-Identifier: Apache-2.0
#include "cli/print.h"

#include <errno.h>
#include <stdio.h>

#include "base/err.h"

void print_lines(const char *prefix, const struct buf *lines)
{
    struct text rest = {lines->data, lines->len}, line;
    while (text_line(&rest, &line))
        fprintf(stderr, "%s%.*s\n", prefix, (int)line.len, line.at);
}

static int told(int rc)
{
    if (rc != 0)
        fprintf(stderr, "loom: standard output: %s\n", err_text(rc));
    return rc;
}

int print_text(struct text text)
{
    if (fwrite(text.at, 1, text.len, stdout) == text.len)
        return print_flush();
    return told(-errno);
}

int print_flush(void)
{
    // Of a write that failed before the last one, errno is long that of something else.
    return told(fflush(stdout) != 0 ? -errno : ferror(stdout) ? -EIO : 0);
}
