// SPDX-License-Identifier: Apache-2.0
#include "net/tls_session.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "base/mem.h"
#include "net/loop.h"
#include "net/tls_context.h"

// The most that one record holds (RFC 8446, 5.1).
#define RECORD_MAX 16384

// ---- The BIO between OpenSSL and struct socket

static int bio_result(BIO *bio, ssize_t n, int retry)
{
    struct tls_session *session = BIO_get_data(bio);
    if (n > 0)
        return (int)n;
    if (n == -EAGAIN)
        BIO_set_flags(bio, retry | BIO_FLAGS_SHOULD_RETRY);
    else // the end without close_notify could be an attacker's doing: not the peer's word that it has finished
        session->lost = n == 0 ? -ECONNRESET : (int)n;
    return -1;
}

static int bio_read(BIO *bio, char *out, int len)
{
    struct tls_session *session = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    return bio_result(bio, socket_recv(session->socket, out, (size_t)len), BIO_FLAGS_READ);
}

static int bio_write(BIO *bio, const char *data, int len)
{
    struct tls_session *session = BIO_get_data(bio);
    const struct iovec part = {(void *)data, (size_t)len};
    BIO_clear_retry_flags(bio);
    return bio_result(bio, socket_sendv(session->socket, &part, 1), BIO_FLAGS_WRITE);
}

static long bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
    (void)bio;
    (void)number;
    (void)pointer;
    return command == BIO_CTRL_FLUSH ? 1 : 0; // nothing is kept back
}

static int bio_create(BIO *bio)
{
    BIO_set_init(bio, 1);
    return 1;
}

static BIO_METHOD *bio_method; // frozen after bio_method_once
static pthread_once_t bio_method_once = PTHREAD_ONCE_INIT;

static void bio_method_new(void)
{
    BIO_METHOD *method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "loom socket");
    if (method == NULL)
        return;
    BIO_meth_set_read(method, bio_read);
    BIO_meth_set_write(method, bio_write);
    BIO_meth_set_ctrl(method, bio_ctrl);
    BIO_meth_set_create(method, bio_create);
    bio_method = method;
}

// ---- The session

int tls_session_open(struct tls_session *session, struct tls_server *server, struct socket *socket)
{
    pthread_once(&bio_method_once, bio_method_new);
    BIO *bio = bio_method != NULL ? BIO_new(bio_method) : NULL;
    SSL *ssl = bio != NULL ? SSL_new(tls_server_context(server)) : NULL;
    if (ssl == NULL) {
        BIO_free(bio);
        ERR_clear_error();
        return -ENOMEM;
    }
    BIO_set_data(bio, session);
    SSL_set_bio(ssl, bio, bio); // takes the one reference for both directions
    SSL_set_accept_state(ssl);
    *session = (struct tls_session){.ssl = ssl, .socket = socket};
    return 0;
}

void tls_session_close(struct tls_session *session)
{
    tls_session_shutdown(session);
    SSL_free(session->ssl);
    session->ssl = NULL;
}

// What a call that did not succeed means: -EAGAIN, 0 for the peer's close_notify, or the code with which the
// connection ended.
static int session_result(struct tls_session *session, int rc, int *needs)
{
    switch (SSL_get_error(session->ssl, rc)) {
    case SSL_ERROR_WANT_READ:
        *needs = LOOP_READABLE;
        return -EAGAIN;
    case SSL_ERROR_WANT_WRITE:
        *needs = LOOP_WRITABLE;
        return -EAGAIN;
    case SSL_ERROR_ZERO_RETURN:
        return 0;
    case SSL_ERROR_SYSCALL:
        if (session->lost == 0)
            session->lost = -ECONNRESET;
        break;
    default:
        session->reason = ERR_reason_error_string(ERR_peek_last_error());
        session->lost = -EPROTO;
    }
    ERR_clear_error();
    return session->lost;
}

// SSL_get_error judges by the thread's error queue, where somebody else may have left something.
static void clear_queue(void)
{
    if (ERR_peek_error() != 0)
        ERR_clear_error();
}

// 0 when the handshake is done; otherwise as session_result, where an early close_notify is a lost connection.
static int session_handshake(struct tls_session *session, int *needs)
{
    if (session->handshake_done)
        return 0;
    clear_queue();
    int rc = SSL_do_handshake(session->ssl);
    if (rc == 1) {
        session->handshake_done = true;
        session->dry = false; // the first request may have come with the last message of the handshake
        return 0;
    }
    rc = session_result(session, rc, needs);
    if (rc == 0)
        rc = session->lost = -ECONNRESET;
    session->dry = rc == -EAGAIN;
    return rc;
}

ssize_t tls_session_read(struct tls_session *session, void *out, size_t len, int *needs)
{
    if (session->lost != 0)
        return session->lost;
    int rc = session_handshake(session, needs);
    if (rc != 0)
        return rc;

    size_t n;
    clear_queue();
    rc = SSL_read_ex(session->ssl, out, len, &n);
    if (rc == 1) {
        session->dry = false;
        session->passed_on = SSL_has_pending(session->ssl) == 1 ? session->passed_on + n : session->socket->received;
        *needs = LOOP_READABLE;
        return (ssize_t)n;
    }
    rc = session_result(session, rc, needs);
    session->dry = true;
    return rc;
}

// What the next record carries: the first part itself where it fills a record or stands alone, else the parts copied
// together, because a record for each would cost its own header, tag and system call.
static const char *gather(const struct iovec *parts, int count, size_t skip, char flat[RECORD_MAX], size_t *len)
{
    *len = 0;
    for (int i = 0; i < count; i++) {
        const char *at = parts[i].iov_base;
        size_t left = parts[i].iov_len;
        if (skip >= left) {
            skip -= left;
            continue;
        }
        at += skip;
        left -= skip;
        skip = 0;
        if (*len == 0 && (left >= RECORD_MAX || i == count - 1)) {
            *len = left < RECORD_MAX ? left : RECORD_MAX;
            return at;
        }
        size_t n = left < RECORD_MAX - *len ? left : RECORD_MAX - *len;
        memcpy(flat + *len, at, n);
        *len += n;
        if (*len == RECORD_MAX)
            break;
    }
    return flat;
}

ssize_t tls_session_writev(struct tls_session *session, const struct iovec *parts, int count, int *needs)
{
    if (session->lost != 0)
        return session->lost;
    int rc = session_handshake(session, needs);
    if (rc != 0)
        return rc;

    char flat[RECORD_MAX];
    size_t written = 0;
    for (;;) {
        size_t len, n;
        const char *data = gather(parts, count, written, flat, &len);
        if (len == 0)
            return (ssize_t)written;
        clear_queue();
        rc = SSL_write_ex(session->ssl, data, len, &n);
        if (rc != 1)
            break;
        *needs = LOOP_WRITABLE;
        written += n;
    }
    rc = session_result(session, rc, needs);
    if (rc == 0) // the peer has sent close_notify before, and now it is gone
        rc = session->lost = session->lost != 0 ? session->lost : -ECONNRESET;
    return written > 0 ? (ssize_t)written : rc; // what went wrong, the next call tells
}

int tls_session_shutdown(struct tls_session *session)
{
    int needs;
    if (session->notified || session->lost != 0 || !session->handshake_done)
        return 0;
    clear_queue();
    int rc = SSL_shutdown(session->ssl);
    // SSL_SENT_SHUTDOWN would not do for `notified`: OpenSSL sets it before the alert has found room in the socket.
    session->notified = rc >= 0 || session_result(session, rc, &needs) != -EAGAIN;
    return session->notified ? 0 : -EAGAIN;
}

uint64_t tls_session_held(const struct tls_session *session)
{
    return session->socket->received - session->passed_on;
}

bool tls_session_buffered(const struct tls_session *session)
{
    return !session->dry && session->handshake_done && SSL_has_pending(session->ssl) == 1;
}
