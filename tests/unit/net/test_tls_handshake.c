// SPDX-License-Identifier: Apache-2.0
//
// Handshakes of streams over TLS: resumed, slow, refused. test_tls_session.c has what comes after them.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>
#include <openssl/bio.h>
#include <openssl/err.h>

#include "client.h"
#include "net/stats.h"
#include "support.h"

static void client_resumes(int fd, void *ctx)
{
    SSL_SESSION **session = ctx;
    char byte = 'x';
    SSL *ssl = client_ssl(fd, session[1] != NULL ? TLS1_3_VERSION : TLS1_2_VERSION);
    bool first = session[0] == NULL;
    if (!first)
        CHECK(SSL_set_session(ssl, session[0]) == 1);
    CHECK(SSL_connect(ssl) == 1);
    CHECK(SSL_session_reused(ssl) == !first);
    client_write(ssl, &byte, 1);
    client_read(ssl, &byte, 1); // TLS 1.3 hands out its tickets before this
    SSL_SESSION_free(session[0]);
    session[0] = SSL_get1_session(ssl);
    client_close(ssl, fd);
}

static void test_sessions_resume(void **state)
{
    (void)state;
    static char mark;
    for (size_t v = 0; v < 2; v++) {
        void *session[2] = {NULL, v == 1 ? &mark : NULL};
        for (int i = 0; i < 3; i++) {
            struct owner owner = client_owner(100, OWNER_DRAINS);
            owner.echo = true;
            owner_run(&owner, client_resumes, session);
            assert_int_equal(owner.end, STREAM_EOF);
        }
        SSL_SESSION_free(session[0]);
    }
}

struct offer {
    const unsigned char *alpn;
    unsigned len;
    bool refused;
    const char *chosen;
};

static void client_offers(int fd, void *ctx)
{
    const struct offer *offer = ctx;
    SSL *ssl = client_ssl(fd, TLS1_3_VERSION);
    CHECK(offer->len == 0 || SSL_set_alpn_protos(ssl, offer->alpn, offer->len) == 0);
    CHECK((SSL_connect(ssl) == 1) == !offer->refused);
    if (offer->refused) {
        CHECK(ERR_GET_REASON(ERR_peek_error()) == SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL);
        SSL_free(ssl);
        close(fd);
        return;
    }
    const unsigned char *chosen;
    unsigned len;
    SSL_get0_alpn_selected(ssl, &chosen, &len);
    CHECK(len == strlen(offer->chosen) && (len == 0 || memcmp(chosen, offer->chosen, len) == 0));
    client_close(ssl, fd);
}

static void test_alpn(void **state)
{
    static const struct offer offers[] = {
        {NULL, 0, false, ""},
        {(const unsigned char *)"\x08http/1.1", 9, false, "http/1.1"},
        {(const unsigned char *)"\x02h2\x08http/1.1", 12, false, "http/1.1"},
        {(const unsigned char *)"\x08http/1.0", 9, false, "http/1.0"},
        {(const unsigned char *)"\x08http/1.0\x08http/1.1", 18, false, "http/1.1"},
        {(const unsigned char *)"\x02h2", 3, true, NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof offers / sizeof *offers; i++) {
        struct owner owner = client_owner(100, OWNER_DRAINS);
        owner_run(&owner, client_offers, (void *)&offers[i]);
        assert_int_equal(owner.end, offers[i].refused ? -EPROTO : STREAM_EOF);
    }
}

static void client_of_tls_1_1(int fd, void *ctx)
{
    (void)ctx;
    SSL *ssl = client_ssl(fd, 0);
    SSL_set_security_level(ssl, 0);
    CHECK(SSL_set_min_proto_version(ssl, TLS1_1_VERSION) == 1 && SSL_set_max_proto_version(ssl, TLS1_1_VERSION) == 1);
    CHECK(SSL_connect(ssl) != 1);
    CHECK(ERR_GET_REASON(ERR_peek_error()) == SSL_R_TLSV1_ALERT_PROTOCOL_VERSION);
    SSL_free(ssl);
    close(fd);
}

static void client_of_cbc(int fd, void *ctx)
{
    (void)ctx;
    SSL *ssl = client_ssl(fd, TLS1_2_VERSION);
    CHECK(SSL_set_cipher_list(ssl, "ECDHE-ECDSA-AES128-SHA256") == 1);
    CHECK(SSL_connect(ssl) != 1);
    SSL_free(ssl);
    close(fd);
}

static void client_that_distrusts(int fd, void *ctx)
{
    (void)ctx;
    SSL *ssl = client_ssl(fd, TLS1_2_VERSION);
    CHECK(SSL_set1_host(ssl, "elsewhere.example") == 1);
    CHECK(SSL_connect(ssl) != 1);
    SSL_free(ssl);
    close(fd);
}

static void client_that_waits_for_the_end(int fd)
{
    char answer[64];
    while (read(fd, answer, sizeof answer) > 0)
        ;
    close(fd);
}

static void client_of_http(int fd, void *ctx)
{
    (void)ctx;
    CHECK(send(fd, "GET / HTTP/1.1\r\n\r\n", 18, 0) == 18);
    client_that_waits_for_the_end(fd);
}

static void client_that_says_goodbye(int fd, void *ctx)
{
    (void)ctx;
    SSL *ssl = client_ssl(fd, TLS1_2_VERSION);
    SSL_set0_rbio(ssl, BIO_new(BIO_s_mem()));
    CHECK(SSL_connect(ssl) != 1); // the ClientHello is out
    SSL_free(ssl);
    CHECK(send(fd, "\x15\x03\x03\x00\x02\x01\x00", 7, 0) == 7); // the alert close_notify
    client_that_waits_for_the_end(fd);
}

static void client_that_leaves(int fd, void *ctx)
{
    (void)ctx;
    CHECK(send(fd, "\x16\x03\x01", 3, 0) == 3);
    close(fd);
}

static void client_that_only_looks(int fd, void *ctx)
{
    (void)ctx;
    close(fd);
}

static void test_failed_handshakes(void **state)
{
    static const struct {
        owner_client *client;
        int end;
        unsigned counted;
        const char *reason;
    } rows[] = {
        {client_of_tls_1_1, -EPROTO, 1, "unsupported protocol"},
        {client_of_cbc, -EPROTO, 1, "no shared cipher"},
        {client_that_distrusts, -EPROTO, 1, "alert bad certificate"},
        {client_of_http, -EPROTO, 1, "http request"},
        {client_that_says_goodbye, -ECONNRESET, 1, NULL},
        {client_that_leaves, -ECONNRESET, 1, NULL},
        {client_that_only_looks, -ECONNRESET, 0, NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        counter before = counter_get(&net_stats.handshake_failures);
        struct owner owner = client_owner(100, OWNER_DRAINS);
        owner_run(&owner, rows[i].client, NULL);
        assert_int_equal(owner.end, rows[i].end);
        assert_false(owner.handshake_done);
        assert_int_equal(counter_get(&net_stats.handshake_failures) - before, rows[i].counted);
        if (rows[i].reason == NULL)
            assert_null(owner.reason);
        else
            assert_non_null(strstr(owner.reason, rows[i].reason)); // OpenSSL's own words differ between versions
        assert_int_equal(ERR_peek_error(), 0);
    }
}

static void client_that_stalls(int fd, void *ctx)
{
    (void)ctx;
    SSL *ssl = client_ssl(fd, TLS1_3_VERSION);
    BIO *hello = BIO_new(BIO_s_mem());
    SSL_set0_wbio(ssl, hello);
    SSL_set0_rbio(ssl, BIO_new(BIO_s_mem()));
    CHECK(SSL_connect(ssl) != 1);
    char *data, byte = 'x';
    long len = BIO_get_mem_data(hello, &data);
    for (long i = 0; i < len; i++) { // byte for byte, which is as slow as it gets
        CHECK(send(fd, data + i, 1, 0) == 1);
        if (i == len / 2)
            usleep(50000);
    }
    SSL_set0_rbio(ssl, BIO_new_socket(fd, BIO_NOCLOSE));
    SSL_set0_wbio(ssl, BIO_new_socket(fd, BIO_NOCLOSE));
    CHECK(SSL_connect(ssl) == 1);
    client_write(ssl, &byte, 1);
    client_read(ssl, &byte, 1);
    client_close(ssl, fd);
}

static void test_slow_handshake(void **state)
{
    (void)state;
    struct owner owner = client_owner(100, OWNER_DRAINS);
    owner.echo = true;
    owner_run(&owner, client_that_stalls, NULL);
    assert_int_equal(owner.end, STREAM_EOF);
    assert_int_equal(owner.received, 1);
}

int main(void)
{
    alarm(240); // a lost wake-up ends the test
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sessions_resume),
        cmocka_unit_test(test_alpn),
        cmocka_unit_test(test_failed_handshakes),
        cmocka_unit_test(test_slow_handshake),
    };
    return cmocka_run_group_tests(tests, client_set_up, client_tear_down);
}
