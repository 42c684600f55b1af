// SPDX-License-Identifier: Apache-2.0
#include "sink/http_client.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <curl/curl.h>

#include "base/clock.h"
#include "base/mem.h"
#include "sink/http_nodes.h"

// curl tells which descriptors and which time it waits for; the loop watches them. It must not be called back from
// within its own callbacks, and it is not: everything below runs from the loop or from the owner.

struct http_client {
    struct loop *loop;
    CURLM *multi;
    struct loop_timer timer;         // curl's
    struct loop_timer refused_timer; // for requests that curl did not take
    struct http_client_conf conf;
    struct http_nodes nodes;
    char **bases;                // the URLs without a slash at the end
    char *authorization;         // the header line, or NULL; wiped
    struct http_request *active; // all that are under way
    bool reporting, closed;      // check_done is at work, during which on_done may close the client
};

struct watch {
    struct loop_poll poll; // first: on_ready gets its address
    struct http_client *client;
    curl_socket_t fd;
};

static void check_done(struct http_client *client);
static void on_refused_timer(struct loop_timer *timer);

// ---- The loop and curl

static void on_socket_ready(struct loop_poll *poll, int events)
{
    struct watch *watch = (struct watch *)poll;
    struct http_client *client = watch->client;
    int action = (events & LOOP_READABLE ? CURL_CSELECT_IN : 0) | (events & LOOP_WRITABLE ? CURL_CSELECT_OUT : 0);
    int running;
    curl_multi_socket_action(client->multi, watch->fd, action, &running); // the watch may be gone after it
    check_done(client);
}

static void on_timer(struct loop_timer *timer)
{
    struct http_client *client = (struct http_client *)((char *)timer - offsetof(struct http_client, timer));
    int running;
    curl_multi_socket_action(client->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    check_done(client);
}

static int on_curl_timer(CURLM *multi, long timeout_ms, void *ctx)
{
    struct http_client *client = ctx;
    (void)multi;
    if (timeout_ms < 0)
        loop_timer_stop(&client->timer);
    else
        loop_timer_start(client->loop, &client->timer, timeout_ms, on_timer);
    return 0;
}

static int on_curl_socket(CURL *easy, curl_socket_t fd, int what, void *ctx, void *socket_ctx)
{
    struct http_client *client = ctx;
    struct watch *watch = socket_ctx;
    (void)easy;

    if (what == CURL_POLL_REMOVE) {
        if (watch != NULL) {
            loop_poll_close(&watch->poll);
            mem_free(watch);
            curl_multi_assign(client->multi, fd, NULL);
        }
        return 0;
    }
    if (watch == NULL) {
        watch = mem_zalloc(sizeof *watch);
        if (loop_poll_open(client->loop, &watch->poll, fd, on_socket_ready) != 0) {
            mem_free(watch);
            return -1; // curl ends the transfers of this client
        }
        watch->client = client;
        watch->fd = fd;
        curl_multi_assign(client->multi, fd, watch);
    }
    loop_poll_set(&watch->poll, (what & CURL_POLL_IN ? LOOP_READABLE : 0) | (what & CURL_POLL_OUT ? LOOP_WRITABLE : 0));
    return 0;
}

// ---- One request

static size_t on_reply_data(char *data, size_t size, size_t count, void *ctx)
{
    struct http_request *request = ctx;
    size_t len = size * count;
    if (len > request->client->conf.reply_max - request->reply.len || buf_try_append(&request->reply, data, len) != 0) {
        request->failure = HTTP_REPLY_LARGE;
        return 0;
    }
    return len;
}

static struct curl_slist *add_header(struct curl_slist *list, const char *line)
{
    struct curl_slist *longer = curl_slist_append(list, line);
    INVARIANT(longer != NULL); // out of memory
    return longer;
}

// The list holds copies: the one with a secret is wiped with it.
static void free_headers(struct curl_slist *list)
{
    for (struct curl_slist *at = list; at != NULL; at = at->next)
        mem_wipe(at->data, strlen(at->data));
    curl_slist_free_all(list);
}

static struct curl_slist *make_headers(const struct http_client *client, const struct http_request *request)
{
    struct curl_slist *list = add_header(NULL, "Expect:"); // no 100-continue: it costs a round trip
    if (request->content_type != NULL) {
        char line[128];
        snprintf(line, sizeof line, "Content-Type: %s", request->content_type);
        list = add_header(list, line);
    }
    if (request->gzip)
        list = add_header(list, "Content-Encoding: gzip");
    if (client->authorization != NULL)
        list = add_header(list, client->authorization);
    return list;
}

// What a request holds inside curl; the private pointer of its easy handle.
struct transfer {
    struct http_request *request;
    struct curl_slist *headers;
    int64_t began_ns;
};

static void set_tls(CURL *easy, const struct http_client_conf *conf)
{
    curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    if (conf->ca_file[0] != '\0') {
        curl_easy_setopt(easy, CURLOPT_CAINFO, conf->ca_file);
        curl_easy_setopt(easy, CURLOPT_CAPATH, NULL); // these and no others
    }
    if (conf->client_cert_file[0] != '\0') {
        curl_easy_setopt(easy, CURLOPT_SSLCERT, conf->client_cert_file);
        curl_easy_setopt(easy, CURLOPT_SSLKEY, conf->client_key_file);
    }
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, conf->insecure_skip_verify ? 0L : 1L);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, conf->insecure_skip_verify ? 0L : 2L);
}

static void set_limits(CURL *easy, const struct http_client_conf *conf)
{
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)conf->connect_ms);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)conf->total_ms);
    curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, (long)conf->stall_s);
    curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, 256L * 1024);
}

static CURL *make_easy(struct http_client *client, struct http_request *request, struct transfer *transfer)
{
    CURL *easy = curl_easy_init();
    INVARIANT(easy != NULL);
    struct buf url = BUF_EMPTY;
    buf_printf(&url, "%s%s", client->bases[request->node], request->path);
    buf_char(&url, '\0');
    curl_easy_setopt(easy, CURLOPT_URL, url.data); // copied
    buf_fini(&url);

    set_limits(easy, &client->conf);
    set_tls(easy, &client->conf);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, transfer->headers);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, "loom");
    curl_easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, "gzip");
    if (request->content_type != NULL) {
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS, request->body.at); // not copied
        curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body.len);
    }
    if (strcmp(request->method, request->content_type != NULL ? "POST" : "GET") != 0)
        curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request->method);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_reply_data);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, request);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, request->curl_error);
    curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer);
    return easy;
}

static void try_next_node(struct http_client *client, struct http_request *request)
{
    int64_t now_ns = clock_mono_ns();
    request->node = http_nodes_choose(&client->nodes, now_ns);
    request->url = client->conf.urls[request->node];
    request->tries++;
    request->failure = HTTP_ANSWERED;
    request->reply.len = 0;
    request->curl_error[0] = '\0';

    struct transfer *transfer = mem_zalloc(sizeof *transfer);
    transfer->request = request;
    transfer->began_ns = now_ns;
    transfer->headers = make_headers(client, request);
    request->easy = make_easy(client, request, transfer);
    request->refused = curl_multi_add_handle(client->multi, request->easy) != CURLM_OK;
    if (request->refused) { // no memory: to be reported, but not from here
        loop_timer_start(client->loop, &client->refused_timer, 1, on_refused_timer);
    }
}

static struct transfer *transfer_of(CURL *easy)
{
    struct transfer *transfer = NULL;
    curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&transfer);
    return transfer;
}

static void drop_easy(struct http_client *client, struct http_request *request)
{
    struct transfer *transfer = transfer_of(request->easy);
    curl_multi_remove_handle(client->multi, request->easy);
    curl_easy_cleanup(request->easy);
    request->easy = NULL;
    free_headers(transfer->headers);
    mem_free(transfer);
}

// ---- How it ended

// Was there a connection, so that the server may have got something of the request?
static bool was_connected(CURL *easy, CURLcode code)
{
    switch (code) {
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_PROXY:
        return false;
    default:
        break;
    }
    curl_off_t begun_us = 0; // until the request began to be sent
    return curl_easy_getinfo(easy, CURLINFO_PRETRANSFER_TIME_T, &begun_us) == CURLE_OK && begun_us > 0;
}

// For a person. curl's own texts hold times and ports that change with each try, and one text a trouble is better; but
// what is wrong with a certificate only they tell.
static void describe(struct http_request *request, CURLcode code)
{
    long number = 0;
    curl_easy_getinfo(request->easy, CURLINFO_OS_ERRNO, &number);
    const char *text = curl_easy_strerror(code);
    if (code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CONNECT_ERROR || code == CURLE_SSL_CERTPROBLEM ||
        code == CURLE_SSL_CACERT_BADFILE)
        text = request->curl_error[0] != '\0' ? request->curl_error : text;
    else if (code == CURLE_COULDNT_CONNECT && number != 0)
        text = err_text(-(int)number);
    snprintf(request->error, sizeof request->error, "%s", text);
    for (char *at = request->error; *at != '\0'; at++) // what a server may have had a hand in
        if ((unsigned char)*at < ' ' || (unsigned char)*at > '~')
            *at = '?';
}

// An answer of something that stands before the node, not of the node, which would have answered in JSON.
static bool is_gateway_failure(CURL *easy, unsigned status)
{
    if (status != 502 && status != 503 && status != 504)
        return false;
    const char *type = NULL;
    curl_easy_getinfo(easy, CURLINFO_CONTENT_TYPE, &type);
    return type == NULL || strncasecmp(type, "application/", 12) != 0 || strstr(type, "json") == NULL;
}

static void take_outcome(struct http_request *request, CURLcode code)
{
    request->error[0] = '\0';
    request->status = 0;
    request->retry_after_ms = 0;
    if (code != CURLE_OK) {
        if (request->failure != HTTP_REPLY_LARGE)
            request->failure = was_connected(request->easy, code) ? HTTP_LOST : HTTP_UNREACHABLE;
        describe(request, code);
        if (request->failure == HTTP_REPLY_LARGE)
            snprintf(request->error, sizeof request->error, "the reply is too large");
        return;
    }
    long status = 0;
    curl_off_t retry_after_s = 0;
    curl_easy_getinfo(request->easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(request->easy, CURLINFO_RETRY_AFTER, &retry_after_s);
    request->status = (unsigned)status;
    if (retry_after_s > 0)
        request->retry_after_ms = (retry_after_s < 86400 ? retry_after_s : 86400) * 1000;
}

static void finish(struct http_client *client, struct http_request *request)
{
    if (request->prev != NULL)
        request->prev->next = request->next;
    else
        client->active = request->next;
    if (request->next != NULL)
        request->next->prev = request->prev;
    request->on_done(request);
}

static void transfer_done(struct http_client *client, struct transfer *transfer, CURLcode code)
{
    struct http_request *request = transfer->request;
    int64_t now_ns = clock_mono_ns();
    take_outcome(request, code);
    bool failed = request->failure == HTTP_UNREACHABLE || request->failure == HTTP_LOST ||
                  is_gateway_failure(request->easy, request->status);
    if (failed)
        http_nodes_failed(&client->nodes, request->node, transfer->began_ns, now_ns);
    else
        http_nodes_worked(&client->nodes, request->node);
    drop_easy(client, request);
    // What was lost half-way may be too much for the server, or for the time: that is not for the next one to suffer.
    bool again = failed && request->failure != HTTP_LOST && request->tries < client->nodes.count &&
                 http_nodes_available(&client->nodes, now_ns);
    if (again)
        try_next_node(client, request);
    else
        finish(client, request);
}

static void reported(struct http_client *client)
{
    client->reporting = false;
    if (client->closed)
        mem_free(client);
}

static struct http_request *find_refused(const struct http_client *client)
{
    struct http_request *request = client->active;
    while (request != NULL && !request->refused)
        request = request->next;
    return request;
}

static void on_refused_timer(struct loop_timer *timer)
{
    struct http_client *client = (struct http_client *)((char *)timer - offsetof(struct http_client, refused_timer));
    struct http_request *request;
    client->reporting = true;
    while (!client->closed && (request = find_refused(client)) != NULL) {
        request->refused = false;
        transfer_done(client, transfer_of(request->easy), CURLE_OUT_OF_MEMORY);
    }
    reported(client);
}

static void check_done(struct http_client *client)
{
    CURLMsg *message;
    int left;
    client->reporting = true;
    while (!client->closed && (message = curl_multi_info_read(client->multi, &left)) != NULL) {
        if (message->msg != CURLMSG_DONE)
            continue;
        CURLcode code = message->data.result; // the message is gone with its handle
        transfer_done(client, transfer_of(message->easy_handle), code);
    }
    reported(client);
}

// ---- The client

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;

static void init_curl(void)
{
    INVARIANT(curl_global_init(CURL_GLOBAL_DEFAULT) == 0);
}

int http_client_check_url(const char *url, struct err *err)
{
    pthread_once(&curl_once, init_curl);
    CURLU *parsed = curl_url();
    INVARIANT(parsed != NULL);
    char *part = NULL;
    CURLUcode code = curl_url_set(parsed, CURLUPART_URL, url, 0);
    int rc = 0;
    if (code != CURLUE_OK)
        rc = err_set(err, -EINVAL, "%s is no URL: %s", url, curl_url_strerror(code));
    else if (curl_url_get(parsed, CURLUPART_USER, &part, 0) == CURLUE_OK)
        rc = err_set(err, -EINVAL, "a URL with a user in it");
    else if (strpbrk(url, "?#") != NULL)
        rc = err_set(err, -EINVAL, "%s has a query or a fragment", url);
    curl_free(part);
    curl_url_cleanup(parsed);
    return rc;
}

static int check_file(const char *path, struct err *err)
{
    if (path[0] == '\0')
        return 0;
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return err_set(err, -errno, "%s: %s", path, err_text(-errno));
    fclose(file);
    return 0;
}

static int check_conf(const struct http_client_conf *conf, struct err *err)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && conf->urls[i] != NULL; i++)
        rc = http_client_check_url(conf->urls[i], err);
    const char *files[] = {conf->ca_file, conf->client_cert_file, conf->client_key_file};
    for (size_t i = 0; rc == 0 && i < sizeof files / sizeof *files; i++)
        rc = check_file(files[i], err);
    return rc;
}

int http_client_open(const struct http_client_conf *conf, struct http_client **out, struct err *err)
{
    pthread_once(&curl_once, init_curl);
    int rc = check_conf(conf, err);
    if (rc != 0)
        return rc;
    struct http_client *client = mem_zalloc(sizeof *client);
    client->conf = *conf;
    client->loop = conf->loop;
    size_t count = 0;
    while (conf->urls[count] != NULL)
        count++;
    http_nodes_init(&client->nodes, count, conf->set_aside_ms);
    client->bases = mem_array(count, sizeof *client->bases);
    for (size_t i = 0; i < count; i++) {
        size_t len = strlen(conf->urls[i]);
        while (len > 0 && conf->urls[i][len - 1] == '/')
            len--;
        client->bases[i] = mem_strndup(conf->urls[i], len);
    }
    if (conf->authorization != NULL) {
        size_t size = strlen(conf->authorization) + sizeof "Authorization: ";
        client->authorization = mem_alloc(size);
        snprintf(client->authorization, size, "Authorization: %s", conf->authorization);
    }
    client->conf.authorization = NULL; // the caller's, who wipes it
    client->multi = curl_multi_init();
    INVARIANT(client->multi != NULL);
    curl_multi_setopt(client->multi, CURLMOPT_SOCKETFUNCTION, on_curl_socket);
    curl_multi_setopt(client->multi, CURLMOPT_SOCKETDATA, client);
    curl_multi_setopt(client->multi, CURLMOPT_TIMERFUNCTION, on_curl_timer);
    curl_multi_setopt(client->multi, CURLMOPT_TIMERDATA, client);
    *out = client;
    return 0;
}

void http_client_start(struct http_client *client, struct http_request *request)
{
    request->client = client;
    request->tries = 0;
    request->prev = NULL;
    request->next = client->active;
    if (client->active != NULL)
        client->active->prev = request;
    client->active = request;
    try_next_node(client, request);
}

void http_client_abort_all(struct http_client *client)
{
    struct http_request *request = client->active, *last = NULL;
    client->active = NULL; // what on_done starts is none of these
    for (; request != NULL; request = last) {
        last = request->next;
        drop_easy(client, request);
        request->failure = HTTP_ABORTED;
        request->status = 0;
        request->retry_after_ms = 0;
        snprintf(request->error, sizeof request->error, "interrupted");
        request->on_done(request);
    }
}

void http_client_close(struct http_client *client)
{
    if (client == NULL)
        return;
    INVARIANT(client->active == NULL);
    curl_multi_cleanup(client->multi); // closes the connections, with the watches on them
    loop_timer_close(&client->timer);
    loop_timer_close(&client->refused_timer);
    for (size_t i = 0; i < client->nodes.count; i++)
        mem_free(client->bases[i]);
    mem_free(client->bases);
    http_nodes_fini(&client->nodes);
    if (client->authorization != NULL) {
        mem_wipe(client->authorization, strlen(client->authorization));
        mem_free(client->authorization);
    }
    client->closed = true;
    if (!client->reporting)
        mem_free(client);
}

void http_request_fini(struct http_request *request)
{
    buf_fini(&request->reply);
}
