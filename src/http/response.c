// SPDX-License-Identifier: Apache-2.0

#include "http/response.h"

#include <stdio.h>
#include <time.h>

#include "base/clock.h"

// Reason phrases are for people with a packet dump; a status without one here goes out with an empty one.
static const struct {
    unsigned status;
    const char *phrase;
} phrases[] = {
    {200, "OK"},
    {204, "No Content"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {408, "Request Timeout"},
    {413, "Content Too Large"},
    {415, "Unsupported Media Type"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {500, "Internal Server Error"},
    {503, "Service Unavailable"},
};

static const char *phrase_of(unsigned status)
{
    for (size_t i = 0; i < sizeof phrases / sizeof *phrases; i++) {
        if (phrases[i].status == status)
            return phrases[i].phrase;
    }
    return "";
}

bool response_status_has_body(unsigned status)
{
    return status >= 200 && status != 204 && status != 304;
}

// IMF-fixdate (RFC 9110, 5.6.7); not strftime, whose names follow the locale.
static const char *date_line(struct response_date *date)
{
    static const char days[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                       "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    int64_t second = clock_real_ns() / NS_PER_S;

    if (second != date->second) {
        time_t now = (time_t)second;
        struct tm tm;
        gmtime_r(&now, &tm);
        snprintf(date->line, sizeof date->line, "Date: %s, %02u %s %04u %02u:%02u:%02u GMT\r\n", days[tm.tm_wday],
                 (unsigned)tm.tm_mday % 100, months[tm.tm_mon], (unsigned)(tm.tm_year + 1900) % 10000,
                 (unsigned)tm.tm_hour % 100, (unsigned)tm.tm_min % 100, (unsigned)tm.tm_sec % 100);
        date->second = second;
    }
    return date->line;
}

void response_render(struct buf *out, const struct response_form *form, struct response_date *date)
{
    const struct http_response *response = form->response;
    bool has_body = response_status_has_body(response->status);

    buf_text(out, TEXT("HTTP/1.1 "));
    buf_uint(out, response->status);
    buf_char(out, ' ');
    buf_str(out, phrase_of(response->status));
    buf_text(out, TEXT("\r\n"));
    buf_str(out, date_line(date));
    if (!form->keep)
        buf_text(out, TEXT("Connection: close\r\n"));
    else if (form->http_1_0)
        buf_text(out, TEXT("Connection: keep-alive\r\n"));
    if (response->content_type != NULL) {
        buf_text(out, TEXT("Content-Type: "));
        buf_str(out, response->content_type);
        buf_text(out, TEXT("\r\n"));
    }
    if (has_body) {
        buf_text(out, TEXT("Content-Length: "));
        buf_uint(out, response->body.len);
        buf_text(out, TEXT("\r\n"));
    }
    if (response->headers != NULL)
        buf_str(out, response->headers);
    buf_text(out, TEXT("\r\n"));
    if (has_body && !form->head)
        buf_text(out, response->body);
}
