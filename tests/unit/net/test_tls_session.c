// SPDX-License-Identifier: Apache-2.0
//
// Streams over TLS, against OpenSSL's own client on a blocking socket.
#include "net/tls_session.h"

#include <poll.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/x509.h>

#include "net/stats.h"
#include "owner.h"
#include "support.h"

static struct tls_server *server;
static SSL_CTX *context; // of the clients
static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};

static int set_up(void **state)
{
    (void)state;
    char dir[] = "/tmp/loom-session-XXXXXX", command[64];
    struct err err = {0};
    if (mkdtemp(dir) == NULL)
        return -1;
    struct identity root = identity_new("Test CA", NULL, -1, 30, 0);
    struct identity middle = identity_new("Middle CA", &root, -1, 30, 0);
    struct identity own = identity_new("localhost", &middle, -1, 30, 0);
    const char *cert = write_certs(dir, "cert.pem", (X509 *[]){own.cert, middle.cert}, 2);
    const char *key = write_key(dir, "key.pem", own.key, NULL);
    if (tls_server_open(cert, key, &server, &err) != 0)
        fprintf(stderr, "%s\n", err.text);
    context = client_context(root.cert); // knows the root only: the chain must be sent
    identity_free(&root);
    identity_free(&middle);
    identity_free(&own);
    snprintf(command, sizeof command, "rm -r %s", dir);
    return system(command) != 0 || server == NULL;
}

static int tear_down(void **state)
{
    (void)state;
    SSL_CTX_free(context);
    tls_server_close(server);
    return 0;
}

// ---- Clients

static SSL *client_ssl(int fd, int version)
{
    SSL *ssl = SSL_new(context);
    CHECK(ssl != NULL && SSL_set_fd(ssl, fd) == 1);
    if (version != 0)
        CHECK(SSL_set_min_proto_version(ssl, version) == 1 && SSL_set_max_proto_version(ssl, version) == 1);
    CHECK(SSL_set1_host(ssl, "localhost") == 1);
    return ssl;
}

static SSL *client_connect(int fd, int version)
{
    SSL *ssl = client_ssl(fd, version);
    CHECK(SSL_connect(ssl) == 1);
    return ssl;
}

static void write_all(SSL *ssl, const char *data, size_t len)
{
    size_t n;
    CHECK(SSL_write_ex(ssl, data, len, &n) == 1 && n == len);
}

static void read_all(SSL *ssl, char *out, size_t len)
{
    for (size_t n; len > 0; out += n, len -= n)
        CHECK(SSL_read_ex(ssl, out, len, &n) == 1);
}

// Ends its side, sees the other side end with close_notify.
static void client_close(SSL *ssl, int fd)
{
    char byte;
    SSL_shutdown(ssl);
    CHECK(SSL_read(ssl, &byte, 1) == 0 && SSL_get_error(ssl, 0) == SSL_ERROR_ZERO_RETURN);
    SSL_free(ssl);
    close(fd);
}

static void fill(char *data, size_t len)
{
    for (size_t i = 0; i < len; i++)
        data[i] = owner_pattern(i);
}

static struct owner make_owner(size_t read_size, enum owner_style style)
{
    return (struct owner){.tls = server, .read_size = read_size, .style = style, .family = AF_INET};
}

// ---- Bytes

struct echo {
    int version;
    size_t len, write_size;
};

static void client_echo(int fd, void *ctx)
{
    const struct echo *echo = ctx;
    char sent[40000], got[sizeof sent];
    SSL *ssl = client_connect(fd, echo->version);
    fill(sent, echo->len);
    for (int i = 0; i < 2; i++) {
        for (size_t at = 0; at < echo->len; at += echo->write_size)
            write_all(ssl, sent + at, echo->len - at < echo->write_size ? echo->len - at : echo->write_size);
        read_all(ssl, got, echo->len);
        CHECK(memcmp(sent, got, echo->len) == 0);
    }
    client_close(ssl, fd);
}

static void test_echo(void **state)
{
    static const struct {
        size_t len, write_size;
    } sizes[] = {{1, 1}, {300, 1}, {16384, 16384}, {16385, 16385}, {40000, 40000}, {40000, 1000}};
    static const size_t read_sizes[] = {100, 16384, 65536};
    (void)state;
    for (size_t v = 0; v < 2; v++)
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
            for (size_t j = 0; j < sizeof read_sizes / sizeof *read_sizes; j++)
                for (int style = OWNER_DRAINS; style <= OWNER_READS_ONE; style++) {
                    struct echo echo = {versions[v], sizes[i].len, sizes[i].write_size};
                    struct owner owner = make_owner(read_sizes[j], (enum owner_style)style);
                    owner.echo = true;
                    owner_run(&owner, client_echo, &echo);
                    assert_int_equal(owner.end, STREAM_EOF);
                    assert_int_equal(owner.received, 2 * sizes[i].len);
                    assert_true(owner.handshake_done);
                    assert_int_equal(net_stats.connections, 0);
                }
    assert_int_equal(ERR_peek_error(), 0);
}

// Twenty records in one segment. All of them are inside OpenSSL after the first read, where no poll reports them; the
// client sends nothing more until they have come back.
static void client_sends_many_records_at_once(int fd, void *ctx)
{
    char sent[20 * 500], got[sizeof sent];
    SSL *ssl = client_connect(fd, *(int *)ctx);
    BIO *records = BIO_new(BIO_s_mem());
    SSL_set0_wbio(ssl, records);
    fill(sent, sizeof sent);
    for (int i = 0; i < 20; i++)
        write_all(ssl, sent + i * 500, 500);
    char *data;
    long len = BIO_get_mem_data(records, &data);
    CHECK(send(fd, data, (size_t)len, 0) == len);
    read_all(ssl, got, sizeof got);
    CHECK(memcmp(sent, got, sizeof sent) == 0);
    SSL_set0_wbio(ssl, BIO_new_socket(fd, BIO_NOCLOSE));
    client_close(ssl, fd);
}

static void test_read_ahead_does_not_stall(void **state)
{
    static const size_t read_sizes[] = {100, 500, 65536};
    (void)state;
    for (size_t v = 0; v < 2; v++)
        for (size_t j = 0; j < sizeof read_sizes / sizeof *read_sizes; j++)
            for (int style = OWNER_DRAINS; style <= OWNER_PAUSES; style++) {
                int version = versions[v];
                struct owner owner = make_owner(read_sizes[j], (enum owner_style)style);
                owner.echo = true;
                owner_run(&owner, client_sends_many_records_at_once, &version);
                assert_int_equal(owner.end, STREAM_EOF);
                assert_int_equal(owner.received, 20 * 500);
            }
}

// Half a record stays inside OpenSSL. It must not wake the owner again and again, and must be read when its rest comes.
static void client_sends_half_a_record(int fd, void *ctx)
{
    char got[600];
    SSL *ssl = client_connect(fd, *(int *)ctx);
    BIO *records = BIO_new(BIO_s_mem());
    SSL_set0_wbio(ssl, records);
    fill(got, sizeof got);
    write_all(ssl, got, sizeof got);
    char *data;
    long len = BIO_get_mem_data(records, &data);
    CHECK(send(fd, data, 300, 0) == 300);
    usleep(100000); // an owner that is woken without end would count thousands of wake-ups
    CHECK(send(fd, data + 300, (size_t)len - 300, 0) == len - 300);
    read_all(ssl, got, sizeof got);
    SSL_set0_wbio(ssl, BIO_new_socket(fd, BIO_NOCLOSE));
    client_close(ssl, fd);
}

static void test_half_a_record(void **state)
{
    (void)state;
    for (size_t v = 0; v < 2; v++)
        for (int style = OWNER_DRAINS; style <= OWNER_PAUSES; style++) {
            int version = versions[v];
            struct owner owner = make_owner(65536, (enum owner_style)style);
            owner.echo = true;
            owner_run(&owner, client_sends_half_a_record, &version);
            assert_int_equal(owner.received, 600);
            assert_true(owner.wakes < 20);
        }
}

struct answer {
    int version;
    size_t len;
    bool slowly;
    size_t first; // what the first read gave
};

static void client_reads_answer(int fd, void *ctx)
{
    struct answer *answer = ctx;
    char got[20000];
    size_t at = 0, n;
    SSL *ssl = client_connect(fd, answer->version);
    write_all(ssl, "x", 1);
    if (answer->slowly)
        usleep(20000); // until the answer fills the sockets; nothing depends on it
    for (; SSL_read_ex(ssl, got, sizeof got, &n) == 1; at += n) {
        answer->first = at == 0 ? n : answer->first;
        for (size_t i = 0; i < n; i++)
            CHECK(got[i] == owner_pattern(at + i));
    }
    CHECK(SSL_get_error(ssl, 0) == SSL_ERROR_ZERO_RETURN); // the server's close_notify
    CHECK(at == answer->len);
    client_close(ssl, fd);
}

static void test_long_answer(void **state)
{
    (void)state;
    for (size_t v = 0; v < 2; v++) {
        struct answer answer = {versions[v], (size_t)2 << 20, true, 0};
        struct owner owner = make_owner(100, OWNER_DRAINS);
        owner.answer_len = answer.len;
        owner.shut_down = true;
        owner_run(&owner, client_reads_answer, &answer);
        assert_int_equal(owner.end, STREAM_EOF);
        assert_int_equal(owner.answered, answer.len);
        assert_true(owner.wakes > 2);
    }
}

static void test_small_parts_share_a_record(void **state)
{
    (void)state;
    for (size_t v = 0; v < 2; v++) {
        struct answer answer = {versions[v], 5000, false, 0};
        struct owner owner = make_owner(100, OWNER_DRAINS);
        owner.answer_len = answer.len;
        owner.shut_down = true;
        owner_run(&owner, client_reads_answer, &answer);
        assert_int_equal(answer.first, 5000);
    }
}

// The answer is all in the socket and leaves no room for the close_notify behind it.
static sem_t shut_down;

static void leave_no_room(struct owner *owner, bool done)
{
    const int least = 1;
    struct pollfd room = {.fd = owner->fd, .events = POLLOUT};
    if (!done)
        setsockopt(owner->fd, SOL_SOCKET, SO_SNDBUF, &least, sizeof least);
    CHECK(poll(&room, 1, 0) == 0);
    if (done)
        sem_post(&shut_down);
}

static void client_reads_after_shutdown(int fd, void *ctx)
{
    char got[16000];
    SSL *ssl = client_connect(fd, *(int *)ctx);
    write_all(ssl, "x", 1);
    sem_wait(&shut_down);
    read_all(ssl, got, sizeof got);
    client_close(ssl, fd);
}

static void test_close_notify_waits_for_room(void **state)
{
    (void)state;
    sem_init(&shut_down, 0, 0);
    for (size_t v = 0; v < 2; v++) {
        int version = versions[v];
        struct owner owner = make_owner(100, OWNER_DRAINS);
        owner.answer_len = 16000;
        owner.shut_down = true;
        owner.around_shutdown = leave_no_room;
        owner.family = AF_UNIX; // where the writer's buffer is full until the reader has read
        owner_run(&owner, client_reads_after_shutdown, &version);
        assert_int_equal(owner.end, STREAM_EOF);
        assert_int_equal(owner.answered, 16000);
    }
    sem_destroy(&shut_down);
}

static void client_listens_first(int fd, void *ctx)
{
    char got[3000];
    SSL *ssl = client_connect(fd, *(int *)ctx);
    write_all(ssl, "x", 1);
    read_all(ssl, got, sizeof got);
    client_close(ssl, fd);
}

// The handshake runs inside writes too, and what the client sends meanwhile is not forgotten.
static void test_owner_speaks_first(void **state)
{
    (void)state;
    for (size_t v = 0; v < 2; v++) {
        int version = versions[v];
        struct owner owner = make_owner(100, OWNER_DRAINS);
        owner.answer_len = 3000;
        owner.speaks_first = true;
        owner_run(&owner, client_listens_first, &version);
        assert_int_equal(owner.end, STREAM_EOF);
        assert_int_equal(owner.received, 1);
    }
}

static void client_updates_keys(int fd, void *ctx)
{
    (void)ctx;
    char sent[3000], got[sizeof sent];
    SSL *ssl = client_connect(fd, TLS1_3_VERSION);
    fill(sent, sizeof sent);
    for (int i = 0; i < 5; i++) {
        CHECK(SSL_key_update(ssl, i % 2 ? SSL_KEY_UPDATE_REQUESTED : SSL_KEY_UPDATE_NOT_REQUESTED) == 1);
        write_all(ssl, sent, sizeof sent);
        read_all(ssl, got, sizeof got);
        CHECK(memcmp(sent, got, sizeof sent) == 0);
    }
    client_close(ssl, fd);
}

static void test_key_update(void **state)
{
    (void)state;
    struct owner owner = make_owner(1000, OWNER_DRAINS);
    owner.echo = true;
    owner_run(&owner, client_updates_keys, NULL);
    assert_int_equal(owner.end, STREAM_EOF);
    assert_int_equal(owner.received, 5 * 3000);
}

// ---- Handshakes

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
    write_all(ssl, &byte, 1);
    read_all(ssl, &byte, 1); // TLS 1.3 hands out its tickets before this
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
            struct owner owner = make_owner(100, OWNER_DRAINS);
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
        {(const unsigned char *)"\x02h2", 3, true, NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof offers / sizeof *offers; i++) {
        struct owner owner = make_owner(100, OWNER_DRAINS);
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
        {client_that_distrusts, -EPROTO, 1, "sslv3 alert bad certificate"},
        {client_of_http, -EPROTO, 1, "http request"},
        {client_that_says_goodbye, -ECONNRESET, 1, NULL},
        {client_that_leaves, -ECONNRESET, 1, NULL},
        {client_that_only_looks, -ECONNRESET, 0, NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        counter before = counter_get(&net_stats.handshake_failures);
        struct owner owner = make_owner(100, OWNER_DRAINS);
        owner_run(&owner, rows[i].client, NULL);
        assert_int_equal(owner.end, rows[i].end);
        assert_false(owner.handshake_done);
        assert_int_equal(counter_get(&net_stats.handshake_failures) - before, rows[i].counted);
        if (rows[i].reason == NULL)
            assert_null(owner.reason);
        else
            assert_string_equal(owner.reason, rows[i].reason);
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
    write_all(ssl, &byte, 1);
    read_all(ssl, &byte, 1);
    client_close(ssl, fd);
}

static void test_slow_handshake(void **state)
{
    (void)state;
    struct owner owner = make_owner(100, OWNER_DRAINS);
    owner.echo = true;
    owner_run(&owner, client_that_stalls, NULL);
    assert_int_equal(owner.end, STREAM_EOF);
    assert_int_equal(owner.received, 1);
}

// ---- Ends

static void client_cuts_off(int fd, void *ctx)
{
    SSL *ssl = client_connect(fd, *(int *)ctx);
    char byte = 'x';
    write_all(ssl, &byte, 1);
    read_all(ssl, &byte, 1);
    SSL_free(ssl);
    close(fd); // no close_notify
}

static void client_breaks_a_record(int fd, void *ctx)
{
    SSL *ssl = client_connect(fd, *(int *)ctx);
    char byte = 'x';
    write_all(ssl, &byte, 1);
    read_all(ssl, &byte, 1);
    CHECK(send(fd, "\x17\x03\x03\x00\x20 and thirty-two bytes of nonsense.", 38, 0) == 38);
    CHECK(SSL_read(ssl, &byte, 1) <= 0);
    SSL_free(ssl);
    close(fd);
}

static void test_lost_connections(void **state)
{
    (void)state;
    for (size_t v = 0; v < 2; v++) {
        int version = versions[v];
        struct owner cut = make_owner(100, OWNER_DRAINS), broken = cut;
        cut.echo = broken.echo = true;
        owner_run(&cut, client_cuts_off, &version);
        assert_int_equal(cut.end, -ECONNRESET);
        assert_int_equal(cut.received, 1);
        owner_run(&broken, client_breaks_a_record, &version);
        assert_int_equal(broken.end, -EPROTO);
        assert_string_equal(broken.reason, "decryption failed or bad record mac");
        assert_int_equal(ERR_peek_error(), 0);
    }
}

static void client_leaves_amid_the_answer(int fd, void *ctx)
{
    SSL *ssl = client_connect(fd, *(int *)ctx);
    char got[100];
    write_all(ssl, "x", 1);
    read_all(ssl, got, sizeof got);
    SSL_free(ssl);
    close(fd);
}

static void test_no_sigpipe(void **state)
{
    (void)state;
    for (size_t v = 0; v < 2; v++) {
        int version = versions[v];
        struct owner owner = make_owner(100, OWNER_DRAINS);
        owner.answer_len = 1 << 20;
        owner.family = AF_UNIX;
        owner_run(&owner, client_leaves_amid_the_answer, &version);
        assert_true(owner.end == -EPIPE || owner.end == -ECONNRESET);
    }
}

// ---- Threads

#define THREADS 4

static void *run_connections(void *ctx)
{
    (void)ctx;
    for (int i = 0; i < 5; i++) {
        struct echo echo = {versions[i % 2], 5000, 700};
        struct owner owner = make_owner(3000, OWNER_DRAINS);
        owner.echo = true;
        owner_run(&owner, client_echo, &echo);
        CHECK(owner.end == STREAM_EOF && owner.received == 10000);
    }
    return NULL;
}

static void test_many_threads_share_a_server(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, run_connections, NULL), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(net_stats.connections, 0);
}

int main(void)
{
    alarm(240);               // a lost wake-up ends the test
    signal(SIGPIPE, SIG_DFL); // streams raise none; the clients never write to a stream that has gone
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_echo),
        cmocka_unit_test(test_read_ahead_does_not_stall),
        cmocka_unit_test(test_half_a_record),
        cmocka_unit_test(test_long_answer),
        cmocka_unit_test(test_small_parts_share_a_record),
        cmocka_unit_test(test_close_notify_waits_for_room),
        cmocka_unit_test(test_owner_speaks_first),
        cmocka_unit_test(test_key_update),
        cmocka_unit_test(test_sessions_resume),
        cmocka_unit_test(test_alpn),
        cmocka_unit_test(test_failed_handshakes),
        cmocka_unit_test(test_slow_handshake),
        cmocka_unit_test(test_lost_connections),
        cmocka_unit_test(test_no_sigpipe),
        cmocka_unit_test(test_many_threads_share_a_server),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
