// SPDX-License-Identifier: Apache-2.0

#include "http/h1_check.h"
#include "http/h1_class.h"

static bool all(struct text text, enum h1_class class)
{
    for (size_t i = 0; i < text.len; i++) {
        if (!h1_is(text.at[i], class))
            return false;
    }
    return true;
}

static struct text from(struct text text, size_t at)
{
    return (struct text){text.at + at, text.len - at};
}

static bool starts_nocase(struct text text, struct text with)
{
    return text.len >= with.len && text_eq_nocase((struct text){text.at, with.len}, with);
}

// The first of `chars` in text, or text.len.
static size_t find_any(struct text text, const char *chars)
{
    size_t i = 0;
    while (i < text.len && strchr(chars, text.at[i]) == NULL)
        i++;
    return i;
}

// host [":" port], RFC 9110, 7.2: the value of Host and the authority of a target. No user information.
static bool check_authority(struct text authority)
{
    struct text rest;

    if (authority.len > 0 && authority.at[0] == '[') {
        const char *end = memchr(authority.at, ']', authority.len);
        if (end == NULL)
            return false;
        for (const char *c = authority.at + 1; c < end; c++) {
            if (!h1_is(*c, H1_HOST) && *c != ':')
                return false;
        }
        rest = from(authority, (size_t)(end + 1 - authority.at));
    } else {
        size_t host = 0;
        while (host < authority.len && h1_is(authority.at[host], H1_HOST))
            host++;
        rest = from(authority, host);
    }
    if (rest.len == 0)
        return true;
    if (rest.at[0] != ':')
        return false;
    for (size_t i = 1; i < rest.len; i++) {
        if (rest.at[i] < '0' || rest.at[i] > '9')
            return false;
    }
    return true;
}

bool h1_target_split(struct text target, bool connect, struct text *path, struct text *query)
{
    *path = target;
    *query = (struct text){"", 0};
    if (target.len == 0 || !all(target, H1_TARGET))
        return false;
    if (connect)
        return memchr(target.at, ':', target.len) != NULL && target.at[0] != ':' && check_authority(target);
    if (text_eq(target, TEXT("*")))
        return true;
    if (target.at[0] != '/') {
        size_t scheme = starts_nocase(target, TEXT("http://"))    ? sizeof "http://" - 1
                        : starts_nocase(target, TEXT("https://")) ? sizeof "https://" - 1
                                                                  : 0;
        struct text rest = from(target, scheme);
        struct text authority = {rest.at, find_any(rest, "/?")};
        if (scheme == 0 || authority.len == 0 || authority.at[0] == ':' || !check_authority(authority))
            return false;
        target = from(rest, authority.len);
        *path = target;
    }
    const char *mark = memchr(target.at, '?', target.len);
    if (mark != NULL) {
        path->len = (size_t)(mark - target.at);
        *query = (struct text){mark + 1, target.len - path->len - 1};
    }
    if (path->len == 0) // "http://host" and "http://host?query": RFC 9110, 4.2.3
        *path = TEXT("/");
    return true;
}

static const char *check_request_line(struct h1_head_check *check, struct text line)
{
    const char *space = memchr(line.at, ' ', line.len);
    if (space == NULL || space == line.at)
        return "invalid request line";
    struct text method = {line.at, (size_t)(space - line.at)};
    if (!all(method, H1_TOKEN))
        return "invalid method";

    struct text rest = from(line, method.len + 1);
    space = memchr(rest.at, ' ', rest.len);
    if (space == NULL)
        return "invalid request line";
    struct text target = {rest.at, (size_t)(space - rest.at)}, path, query;
    if (!h1_target_split(target, text_eq(method, TEXT("CONNECT")), &path, &query))
        return "invalid request target";

    struct text version = from(rest, target.len + 1);
    if (!text_eq(version, TEXT("HTTP/1.1")) && !text_eq(version, TEXT("HTTP/1.0")))
        return version.len == 8 && starts_nocase(version, TEXT("HTTP/")) ? "unsupported HTTP version"
                                                                         : "invalid request line";
    check->method = method;
    check->minor = (unsigned)(version.at[7] - '0');
    return NULL;
}

// 1*DIGIT and nothing else: no list, no sign, no space behind. Beyond 2^63 no body is meant.
static bool parse_length(struct text value, uint64_t *length)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < value.len; i++) {
        unsigned digit = (unsigned)(value.at[i] - '0');
        if (digit > 9 || sum > ((uint64_t)INT64_MAX - digit) / 10)
            return false;
        sum = sum * 10 + digit;
    }
    *length = sum;
    return value.len > 0;
}

// The three headers that decide where a message ends and for whom it is. value: without white space before it.
static const char *check_special(struct h1_head_check *check, struct text name, struct text value)
{
    if (text_eq_nocase(name, TEXT("Content-Length"))) {
        if (check->has_length)
            return "repeated Content-Length";
        if (!parse_length(value, &check->length))
            return "invalid Content-Length";
        check->has_length = true;
    } else if (starts_nocase(name, TEXT("Transfer-Encoding"))) {
        // http-parser takes any name that begins like this for the header itself.
        if (name.len > sizeof "Transfer-Encoding" - 1)
            return "invalid header name";
        if (check->chunked)
            return "repeated Transfer-Encoding";
        if (!text_eq_nocase(value, TEXT("chunked")))
            return "unknown Transfer-Encoding";
        check->chunked = true;
    } else if (text_eq_nocase(name, TEXT("Host"))) {
        if (check->hosts++ > 0)
            return "repeated Host";
        if (!check_authority(text_trim(value)))
            return "invalid Host";
    }
    return NULL;
}

static const char *check_field_line(struct h1_head_check *check, struct text line)
{
    if (line.at[0] == ' ' || line.at[0] == '\t')
        return "folded header line";
    const char *colon = memchr(line.at, ':', line.len);
    if (colon == NULL || colon == line.at)
        return "invalid header line";
    struct text name = {line.at, (size_t)(colon - line.at)};
    struct text value = from(line, name.len + 1);
    if (!all(name, H1_TOKEN))
        return "invalid header name";
    if (!all(value, H1_VALUE))
        return "invalid character in a header";
    if (name.len != sizeof "Host" - 1 && name.len != sizeof "Content-Length" - 1 &&
        name.len < sizeof "Transfer-Encoding" - 1)
        return NULL;
    while (value.len > 0 && (value.at[0] == ' ' || value.at[0] == '\t'))
        value = from(value, 1);
    return check_special(check, name, value);
}

// What can be said only when all headers are known.
static const char *check_end(const struct h1_head_check *check)
{
    if (check->chunked && check->has_length)
        return "Content-Length with Transfer-Encoding";
    if (check->chunked && check->minor == 0)
        return "Transfer-Encoding in HTTP/1.0";
    if (check->hosts == 0 && check->minor > 0)
        return "no Host";
    return NULL;
}

// A line without its CRLF.
static const char *check_line(struct h1_head_check *check, struct text line)
{
    if (check->lines == 0 && line.len == 0 && check->line_at == 0) {
        check->line_at = 2;
        return NULL;
    }
    if (check->lines++ == 0)
        return check_request_line(check, line);
    if (line.len > 0)
        return check_field_line(check, line);
    check->done = true;
    return check_end(check);
}

bool h1_head_check(struct h1_head_check *check, struct text head)
{
    check->method.at = head.at + check->line_at; // the bytes may have moved since the last call
    while (!check->done) {
        struct text rest = from(head, check->checked);
        const char *reason = NULL;
        // No need to wait for the end of a line that begins like this: a TLS greeting sent to a plain port, say.
        if (check->lines == 0 && rest.len > 0 && !h1_is(rest.at[0], H1_TOKEN) && rest.at[0] != '\r' &&
            rest.at[0] != '\n')
            reason = "invalid request line";
        const char *lf = reason == NULL ? memchr(rest.at, '\n', rest.len) : NULL;
        if (reason == NULL && lf == NULL)
            return false;

        if (reason == NULL) {
            size_t len = (size_t)(lf - rest.at);
            reason = len > 0 && lf[-1] == '\r' ? check_line(check, (struct text){rest.at, len - 1}) : "bare LF";
            check->checked += len + 1;
        }
        if (reason != NULL) {
            check->refusal = (struct h1_refusal){400, reason};
            return false;
        }
        if (check->lines > 1 + H1_MAX_FIELDS && !check->done) {
            check->refusal = (struct h1_refusal){431, "too many headers"};
            return false;
        }
    }
    return true;
}
