// SPDX-License-Identifier: Apache-2.0
#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

// A reason is one line wherever it ends up, whatever a library put into its message.
static void err_one_line(char *text)
{
    for (; *text != '\0'; text++)
        if ((unsigned char)*text < ' ')
            *text = ' ';
}

#undef err_set // see err.h: a macro for the static analyser
int err_set(struct err *err, int code, const char *format, ...)
{
    if (err == NULL)
        return code;
    va_list args;
    va_start(args, format);
    vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    err_one_line(err->text);
    err->code = code;
    return code;
}

int err_prefix(struct err *err, const char *format, ...)
{
    char prefixed[ERR_TEXT_MAX];
    va_list args;
    va_start(args, format);
    int written = vsnprintf(prefixed, sizeof prefixed, format, args);
    va_end(args);
    if (written < 0)
        return err->code;
    size_t used = (size_t)written < sizeof prefixed - 3 ? (size_t)written : sizeof prefixed - 3;
    memcpy(prefixed + used, ": ", 2);
    used += 2;
    // What no longer fits is the end of the old text: the prefix says where to look.
    size_t kept = strnlen(err->text, sizeof prefixed - 1 - used);
    memcpy(prefixed + used, err->text, kept);
    prefixed[used + kept] = '\0';
    err_one_line(prefixed);
    memcpy(err->text, prefixed, sizeof err->text);
    return err->code;
}

const char *err_text(int code)
{
    switch (code) {
    case 0:
        return "no error";
#define ERR_CASE(name, number, string)                                                                                 \
    case name:                                                                                                         \
        return string;
        ERR_TABLE(ERR_CASE)
#undef ERR_CASE
    default:
        break;
    }
    const char *text = code < 0 ? strerrordesc_np(-code) : NULL;
    return text != NULL ? text : "unknown error";
}
