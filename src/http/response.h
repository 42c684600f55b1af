// SPDX-License-Identifier: Apache-2.0
#pragma once

// The head of an answer (RFC 9112, 4). Owned by one loop.

#include "base/buf.h"
#include "http/http.h"

// The Date header, rendered once a second. Zero at first.
struct response_date {
    int64_t second;
    char line[40]; // with its CRLF
};

struct response_form {
    const struct http_response *response;
    bool http_1_0; // of the request
    bool keep;     // the connection stays open
    bool head;     // the request is HEAD: the length is told, the body stays out
};

// Appends status line, headers and the empty line, and the body too where it is sent.
void response_render(struct buf *out, const struct response_form *form, struct response_date *date);

// Whether an answer of this status has a body (RFC 9110, 8.6).
bool response_status_has_body(unsigned status);

#define RESPONSE_CONTINUE TEXT("HTTP/1.1 100 Continue\r\n\r\n")
