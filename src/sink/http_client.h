// SPDX-License-Identifier: Apache-2.0
#pragma once

// The HTTP client of the outputs: libcurl's multi interface on the loop of the pump's thread. One client per output, with
// its URLs, credentials and certificates; many requests at a time. Everything on the loop's thread.
//
// With several URLs the requests go around. A node that can't be reached, or for which a proxy answers 502, 503 or 504, is
// set aside for a while, and the request goes to the next one at once; each node is asked at most once per request.
// Redirects are not followed. Proxies are taken from the environment, as curl does.

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "net/loop.h"

struct http_client_conf {
    struct loop *loop;
    char *const *urls; // NULL-terminated, at least one; without query and fragment. Borrowed while the client lives
    const char *authorization; // value of that header, or NULL; the client's own copies are wiped
    const char *ca_file, *client_cert_file, *client_key_file; // "": none
    bool insecure_skip_verify;
    int64_t connect_ms;   // until a connection stands
    int64_t total_ms;     // for one try of a request
    int64_t stall_s;      // without a byte in either direction
    int64_t set_aside_ms; // for how long a failed node is left alone at first; it doubles, to at most 64 times
    size_t reply_max;     // bytes of a reply, unpacked
};

enum http_failure {
    HTTP_ANSWERED,    // there is a status and a whole reply
    HTTP_UNREACHABLE, // no connection: name, connect, TLS, proxy
    HTTP_LOST,        // the connection ended, or time ran out, after the request was begun; the server may have it
    HTTP_REPLY_LARGE, // over reply_max
    HTTP_ABORTED,     // http_client_abort_all
};

struct http_request {
    // Filled by the caller, who owns all of it until on_done.
    const char *method;                            // "GET", "POST", "PUT"
    const char *path;                              // "/_bulk?refresh=false"; comes after the URL's own path
    const char *content_type;                      // NULL without a body
    struct text body;                              // borrowed
    bool gzip;                                     // the body is compressed
    void (*on_done)(struct http_request *request); // once, never from within http_client_start; may start requests

    // The outcome, for on_done.
    enum http_failure failure;
    unsigned status;        // 0 when there is none
    int64_t retry_after_ms; // of Retry-After in seconds or as a date; 0: none
    struct buf reply;       // released by http_request_fini
    const char *url;        // the node that answered or failed last
    char error[256];        // what failed: "Connection refused"; "" when answered

    // The client's.
    struct http_client *client;
    struct http_request *next, *prev; // of those that are under way
    void *easy;
    bool refused; // by curl: no transfer is under way
    size_t node;
    size_t tries; // nodes asked so far
    char curl_error[256];
};
void http_request_fini(struct http_request *request); // after on_done, or never started

struct http_client;
// -EINVAL with a text for a URL that is none or a certificate file that can't be read; nothing is connected yet.
int http_client_open(const struct http_client_conf *conf, struct http_client **out, struct err *err);
void http_client_start(struct http_client *client, struct http_request *request);
void http_client_abort_all(struct http_client *client); // each on_done is called before it returns
// Nothing may be under way any more; from within the last on_done is fine, and NULL too.
void http_client_close(struct http_client *client);
// What `open` says of one URL, for a check of the configuration.
int http_client_check_url(const char *url, struct err *err);
