// SPDX-License-Identifier: Apache-2.0
//
// Streams over TLS, against OpenSSL's own client on a blocking socket.
#include "net/tls_session.h"

#include <poll.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>
#include <openssl/bio.h>
#include <openssl/err.h>

#include "client.h"
#include "net/stats.h"
#include "support.h"

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
    client_fill(sent, echo->len);
    for (int i = 0; i < 2; i++) {
        for (size_t at = 0; at < echo->len; at += echo->write_size)
            client_write(ssl, sent + at, echo->len - at < echo->write_size ? echo->len - at : echo->write_size);
        client_read(ssl, got, echo->len);
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
                for (int way = 0; way < 4; way++) {
                    struct echo echo = {client_versions[v], sizes[i].len, sizes[i].write_size};
                    struct owner owner = client_owner(read_sizes[j], way < 2 ? OWNER_DRAINS : OWNER_READS_ONE);
                    owner.echo = true;
                    owner.message_len = way % 2 == 0 ? 0 : echo.len; // what is expected too much never comes
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
    client_fill(sent, sizeof sent);
    for (int i = 0; i < 20; i++)
        client_write(ssl, sent + i * 500, 500);
    char *data;
    long len = BIO_get_mem_data(records, &data);
    CHECK(send(fd, data, (size_t)len, 0) == len);
    client_read(ssl, got, sizeof got);
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
                int version = client_versions[v];
                struct owner owner = client_owner(read_sizes[j], (enum owner_style)style);
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
    client_fill(got, sizeof got);
    client_write(ssl, got, sizeof got);
    char *data;
    long len = BIO_get_mem_data(records, &data);
    CHECK(send(fd, data, 300, 0) == 300);
    usleep(100000); // an owner that is woken without end would count thousands of wake-ups
    CHECK(send(fd, data + 300, (size_t)len - 300, 0) == len - 300);
    client_read(ssl, got, sizeof got);
    SSL_set0_wbio(ssl, BIO_new_socket(fd, BIO_NOCLOSE));
    client_close(ssl, fd);
}

// The owner knows how much is to come, and OpenSSL has some of it: the socket must not wait for that once more.
static void client_sends_a_message_in_pieces(int fd, void *ctx)
{
    const struct owner *owner = ctx;
    static char sent[10 + 16384], got[sizeof sent];
    SSL *ssl = client_connect(fd, 0);
    BIO *records = BIO_new(BIO_s_mem());
    SSL_set0_wbio(ssl, records);
    client_fill(sent, sizeof sent);
    client_write(ssl, sent, 10);
    client_write(ssl, sent + 10, 16384);
    char *data;
    long len = BIO_get_mem_data(records, &data);
    CHECK(send(fd, data, 8000, 0) == 8000);
    while (__atomic_load_n(&owner->waits_for, __ATOMIC_ACQUIRE) != sizeof sent - 10)
        usleep(1000);
    CHECK(send(fd, data + 8000, (size_t)len - 8000, 0) == len - 8000);
    client_read(ssl, got, sizeof got);
    CHECK(memcmp(sent, got, sizeof sent) == 0);
    SSL_set0_wbio(ssl, BIO_new_socket(fd, BIO_NOCLOSE));
    client_close(ssl, fd);
}

static void test_half_a_record_is_expected_once(void **state)
{
    (void)state;
    struct owner owner = client_owner(65536, OWNER_DRAINS);
    owner.echo = true;
    owner.message_len = 10 + 16384;
    owner_run(&owner, client_sends_a_message_in_pieces, &owner);
    assert_int_equal(owner.end, STREAM_EOF);
    assert_int_equal(owner.received, 10 + 16384);
}

static void test_half_a_record(void **state)
{
    (void)state;
    for (size_t v = 0; v < 2; v++)
        for (int style = OWNER_DRAINS; style <= OWNER_PAUSES; style++) {
            int version = client_versions[v];
            struct owner owner = client_owner(65536, (enum owner_style)style);
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
    client_write(ssl, "x", 1);
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
        struct answer answer = {client_versions[v], (size_t)2 << 20, true, 0};
        struct owner owner = client_owner(100, OWNER_DRAINS);
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
        struct answer answer = {client_versions[v], 5000, false, 0};
        struct owner owner = client_owner(100, OWNER_DRAINS);
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
    client_write(ssl, "x", 1);
    sem_wait(&shut_down);
    client_read(ssl, got, sizeof got);
    client_close(ssl, fd);
}

static void test_close_notify_waits_for_room(void **state)
{
    (void)state;
    sem_init(&shut_down, 0, 0);
    for (size_t v = 0; v < 2; v++) {
        int version = client_versions[v];
        struct owner owner = client_owner(100, OWNER_DRAINS);
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
    client_write(ssl, "x", 1);
    client_read(ssl, got, sizeof got);
    client_close(ssl, fd);
}

// The handshake runs inside writes too, and what the client sends meanwhile is not forgotten.
static void test_owner_speaks_first(void **state)
{
    (void)state;
    for (size_t v = 0; v < 2; v++) {
        int version = client_versions[v];
        struct owner owner = client_owner(100, OWNER_DRAINS);
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
    client_fill(sent, sizeof sent);
    for (int i = 0; i < 5; i++) {
        CHECK(SSL_key_update(ssl, i % 2 ? SSL_KEY_UPDATE_REQUESTED : SSL_KEY_UPDATE_NOT_REQUESTED) == 1);
        client_write(ssl, sent, sizeof sent);
        client_read(ssl, got, sizeof got);
        CHECK(memcmp(sent, got, sizeof sent) == 0);
    }
    client_close(ssl, fd);
}

static void test_key_update(void **state)
{
    (void)state;
    struct owner owner = client_owner(1000, OWNER_DRAINS);
    owner.echo = true;
    owner_run(&owner, client_updates_keys, NULL);
    assert_int_equal(owner.end, STREAM_EOF);
    assert_int_equal(owner.received, 5 * 3000);
}

// ---- Ends

static void client_cuts_off(int fd, void *ctx)
{
    SSL *ssl = client_connect(fd, *(int *)ctx);
    char byte = 'x';
    client_write(ssl, &byte, 1);
    client_read(ssl, &byte, 1);
    SSL_free(ssl);
    close(fd); // no close_notify
}

static void client_breaks_a_record(int fd, void *ctx)
{
    SSL *ssl = client_connect(fd, *(int *)ctx);
    char byte = 'x';
    client_write(ssl, &byte, 1);
    client_read(ssl, &byte, 1);
    CHECK(send(fd, "\x17\x03\x03\x00\x20 and thirty-two bytes of nonsense.", 38, 0) == 38);
    CHECK(SSL_read(ssl, &byte, 1) <= 0);
    SSL_free(ssl);
    close(fd);
}

static void test_lost_connections(void **state)
{
    (void)state;
    for (size_t v = 0; v < 2; v++) {
        int version = client_versions[v];
        struct owner cut = client_owner(100, OWNER_DRAINS), broken = cut;
        cut.echo = broken.echo = true;
        owner_run(&cut, client_cuts_off, &version);
        assert_int_equal(cut.end, -ECONNRESET);
        assert_int_equal(cut.received, 1);
        owner_run(&broken, client_breaks_a_record, &version);
        assert_int_equal(broken.end, -EPROTO);
        assert_non_null(
            broken.reason); // "decryption failed or bad record mac"; "record layer failure" since OpenSSL 3.2
        assert_int_equal(ERR_peek_error(), 0);
    }
}

static void client_leaves_amid_the_answer(int fd, void *ctx)
{
    SSL *ssl = client_connect(fd, *(int *)ctx);
    char got[100];
    client_write(ssl, "x", 1);
    client_read(ssl, got, sizeof got);
    SSL_free(ssl);
    close(fd);
}

static void test_no_sigpipe(void **state)
{
    (void)state;
    for (size_t v = 0; v < 2; v++) {
        int version = client_versions[v];
        struct owner owner = client_owner(100, OWNER_DRAINS);
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
        struct echo echo = {client_versions[i % 2], 5000, 700};
        struct owner owner = client_owner(3000, OWNER_DRAINS);
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
        cmocka_unit_test(test_half_a_record_is_expected_once),
        cmocka_unit_test(test_long_answer),
        cmocka_unit_test(test_small_parts_share_a_record),
        cmocka_unit_test(test_close_notify_waits_for_room),
        cmocka_unit_test(test_owner_speaks_first),
        cmocka_unit_test(test_key_update),
        cmocka_unit_test(test_lost_connections),
        cmocka_unit_test(test_no_sigpipe),
        cmocka_unit_test(test_many_threads_share_a_server),
    };
    return cmocka_run_group_tests(tests, client_set_up, client_tear_down);
}
