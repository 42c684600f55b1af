// SPDX-License-Identifier: Apache-2.0
#include "base/text.h"

bool text_eq_nocase(struct text a, struct text b)
{
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++)
        if (text_lower(a.at[i]) != text_lower(b.at[i]))
            return false;
    return true;
}

struct text text_trim(struct text text)
{
    while (text.len > 0 && (text.at[0] == ' ' || text.at[0] == '\t')) {
        text.at++;
        text.len--;
    }
    while (text.len > 0 && (text.at[text.len - 1] == ' ' || text.at[text.len - 1] == '\t'))
        text.len--;
    return text;
}

bool text_line(struct text *rest, struct text *line)
{
    if (rest->len == 0)
        return false;
    const char *newline = memchr(rest->at, '\n', rest->len);
    size_t len = newline != NULL ? (size_t)(newline - rest->at) : rest->len;
    size_t taken = newline != NULL ? len + 1 : len;
    *line = (struct text){rest->at, len};
    *rest = (struct text){rest->at + taken, rest->len - taken};
    return true;
}
