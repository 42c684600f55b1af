// SPDX-License-Identifier: Apache-2.0

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#include "http/router.h"
#include "rig.h"

static struct rig rig;
static atomic_uint misses[2]; // 404, 405

static void on_headers(void *ctx, struct http_request *request)
{
    request->handler_data = ctx; // the ctx of the route, which the later calls get too
}

static void on_body(void *ctx, struct http_request *request, const char *data, size_t len)
{
    (void)data, (void)len;
    assert_ptr_equal(ctx, request->handler_data);
}

static void on_complete(void *ctx, struct http_request *request)
{
    assert_ptr_equal(ctx, request->handler_data);
    http_respond(request, &(struct http_response){.status = 200, .body = text_of(ctx)});
}

static void on_abort(void *ctx, struct http_request *request, int reason)
{
    (void)reason;
    assert_ptr_equal(ctx, request->handler_data);
}

static const struct http_handler handler = {on_headers, on_body, on_complete, on_abort};

static void on_miss(void *ctx, struct http_request *request, unsigned status)
{
    assert_ptr_equal(ctx, misses);
    assert_non_null(request->peer);
    atomic_fetch_add(&misses[status - 404], 1);
}

static char root[] = "root", both[] = "both";
static const struct http_route routes[] = {
    {"/", HTTP_ALLOW(POST), &handler, root},
    {"/both", HTTP_ALLOW(GET) | HTTP_ALLOW(HEAD) | HTTP_ALLOW(POST), &handler, both},
};
static struct http_router router = {routes, 2, on_miss, misses};

static int start(void **state)
{
    (void)state;
    atomic_store(&misses[0], 0);
    atomic_store(&misses[1], 0);
    rig_start_with(&rig, &http_router, &router);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    rig_stop(&rig);
    return 0;
}

static void check(int fd, const char *method, const char *path, const char *status_line, const char *body)
{
    char request[256];

    snprintf(request, sizeof request, "%s %s HTTP/1.1\r\nHost: loom\r\nContent-Length: 2\r\n\r\nhi", method, path);
    rig_say(fd, request);
    rig_expect(fd, status_line, body);
}

static void test_routes(void **state)
{
    static const char not_found[] = "{\"error\":\"not_found\"}";
    int fd = rig_connect(&rig);

    (void)state;
    check(fd, "POST", "/", "HTTP/1.1 200", "root");
    check(fd, "POST", "/?a=b", "HTTP/1.1 200", "root");
    check(fd, "GET", "/both", "HTTP/1.1 200", "both");
    check(fd, "POST", "http://other/both", "HTTP/1.1 200", "both");
    assert_int_equal(misses[0] + misses[1], 0);
    static const char *const unknown[] = {"/both/", "/BOTH", "//", "/bot", "/bothx", "/%62oth", "/./both", "*"};
    for (unsigned i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        check(fd, "POST", unknown[i], "HTTP/1.1 404 Not Found", not_found);
        assert_int_equal(misses[0], i + 1);
    }
    close(fd);
}

static void check_allow(int fd, const char *method, const char *path, const char *allow)
{
    struct buf got = BUF_EMPTY;
    char request[128];

    snprintf(request, sizeof request, "%s %s HTTP/1.1\r\nHost: loom\r\n\r\n", method, path);
    rig_say(fd, request);
    rig_read(fd, &got, strcmp(method, "HEAD") != 0);
    assert_memory_equal(got.data, "HTTP/1.1 405 Method Not Allowed\r\n", 33);
    assert_non_null(strstr(got.data, allow));
    if (strcmp(method, "HEAD") != 0)
        assert_string_equal(strstr(got.data, "\r\n\r\n") + 4, "{\"error\":\"method_not_allowed\"}");
    buf_fini(&got);
}

static void test_methods(void **state)
{
    static const char *const others[] = {"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "BREW", "post"};
    int fd = rig_connect(&rig);

    (void)state;
    for (unsigned i = 0; i < sizeof others / sizeof *others; i++) {
        check_allow(fd, others[i], "/", "\r\nAllow: POST\r\n");
        assert_int_equal(misses[1], i + 1);
    }
    check_allow(fd, "PUT", "/both", "\r\nAllow: GET, HEAD, POST\r\n");
    close(fd);

    fd = rig_connect(&rig);
    rig_say(fd, "CONNECT loom:443 HTTP/1.1\r\nHost: loom:443\r\n\r\n");
    rig_expect(fd, "HTTP/1.1 404", "{\"error\":\"not_found\"}");
    rig_expect_end(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_routes, start, stop),
        cmocka_unit_test_setup_teardown(test_methods, start, stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
