// SPDX-License-Identifier: Apache-2.0
//
// One SSL_CTX for all connections: TLS 1.2 with forward secrecy and AEAD only, and TLS 1.3.
//
// - ALPN: "http/1.1". A client that offers only other protocols is refused with no_application_protocol, as RFC 7301,
//   3.2 demands: it would not speak HTTP/1.1, and a strict answer is what stops cross-protocol attacks (ALPACA). One
//   without ALPN is served.
// - Tickets carry the sessions (their key lives and dies with the tls_server), so there is no session cache to lock.
// - Read-ahead takes many records from the socket at once; RELEASE_BUFFERS gives that buffer back while a connection
//   is idle. A connection then takes about 14 KiB of memory instead of 49, for 1 to 5 us of CPU a request.

#include "net/tls.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>

#include "base/mem.h"
#include "net/tls_context.h"

// What one read takes from the socket. A batch of 50 events is two or three records.
#define READ_AHEAD_BYTES (32 * 1024)

// Shared and frozen. Streams hold references of their own to the SSL_CTX, so they may outlive it.
struct tls_server {
    SSL_CTX *ctx;
};

SSL_CTX *tls_server_context(const struct tls_server *server)
{
    return server->ctx;
}

// Fills *err with what is wrong with a file and OpenSSL's reason, if it has one; leaves OpenSSL's error queue empty.
static int tls_error(struct err *err, const char *file, const char *what)
{
    unsigned long code = ERR_peek_last_error();
    const char *reason = code != 0 ? ERR_reason_error_string(code) : NULL;
    ERR_clear_error();
    return reason != NULL ? err_set(err, ERR_TLS, "%s: %s (%s)", file, what, reason)
                          : err_set(err, ERR_TLS, "%s: %s", file, what);
}

static bool last_error_is(int lib, int reason)
{
    unsigned long code = ERR_peek_last_error();
    return ERR_GET_LIB(code) == lib && ERR_GET_REASON(code) == reason;
}

// PEM_read_bio_* fails at the end of a file as it does on a broken block; only the reason differs.
static bool at_end_of_pem(void)
{
    return last_error_is(ERR_LIB_PEM, PEM_R_NO_START_LINE);
}

static int open_pem(const char *file, BIO **out, struct err *err)
{
    FILE *stream = fopen(file, "re");
    if (stream == NULL) {
        int code = -errno;
        return err_set(err, code, "%s: %s", file, err_text(code));
    }
    BIO *bio = BIO_new_fp(stream, BIO_CLOSE);
    if (bio == NULL) {
        fclose(stream);
        return tls_error(err, file, "can't be read");
    }
    int first = fgetc(stream); // a directory opens, and only reading it fails
    if (first == EOF) {
        int code = ferror(stream) ? -errno : ERR_TLS;
        BIO_free(bio);
        return code == ERR_TLS ? err_set(err, code, "%s: the file is empty", file)
                               : err_set(err, code, "%s: %s", file, err_text(code));
    }
    ungetc(first, stream);
    *out = bio;
    return 0;
}

// ---- Private key

// Called when the key is encrypted. Without it OpenSSL would ask on the terminal.
static int on_passphrase(char *out, int size, int for_writing, void *ctx)
{
    (void)out;
    (void)size;
    (void)for_writing;
    *(bool *)ctx = true;
    return -1;
}

static int load_key(const char *file, EVP_PKEY **out, struct err *err)
{
    BIO *bio = NULL;
    int rc = open_pem(file, &bio, err);
    if (rc != 0)
        return rc;

    bool encrypted = false;
    *out = PEM_read_bio_PrivateKey(bio, NULL, on_passphrase, &encrypted);
    if (*out == NULL && encrypted)
        rc = err_set(err, ERR_TLS,
                     "%s: the key is protected by a passphrase, which Loom does not ask for: store it without one",
                     file);
    else if (*out == NULL) // OpenSSL's reason is "unsupported", whatever was wrong
        rc = err_set(err, ERR_TLS, "%s: holds no usable private key in PEM form", file);
    ERR_clear_error();
    BIO_free(bio);
    return rc;
}

// ---- Certificates

// The server's own certificate and those that lead from it to one that clients know, in the order of the file.
static int load_chain(const char *file, STACK_OF(X509) * chain, struct err *err)
{
    BIO *bio = NULL;
    int rc = open_pem(file, &bio, err);
    if (rc != 0)
        return rc;

    for (X509 *cert; (cert = PEM_read_bio_X509_AUX(bio, NULL, NULL, NULL)) != NULL;)
        if (sk_X509_push(chain, cert) == 0) {
            X509_free(cert);
            rc = err_set(err, -ENOMEM, "%s: %s", file, err_text(-ENOMEM));
            goto out;
        }
    int count = sk_X509_num(chain);
    if (!at_end_of_pem()) {
        char what[64];
        snprintf(what, sizeof what, "certificate %d can't be read", count + 1);
        rc = tls_error(err, file, what);
    } else if (count == 0)
        rc = err_set(err, ERR_TLS, "%s: holds no certificate in PEM form", file);
out:
    ERR_clear_error();
    BIO_free(bio);
    return rc;
}

static void warn_of_dates(const char *file, X509 *cert, struct buf *warnings)
{
    const char *message = NULL;
    const ASN1_TIME *date = NULL;
    if (X509_cmp_current_time(X509_get0_notAfter(cert)) < 0) {
        message = "has expired on";
        date = X509_get0_notAfter(cert);
    } else if (X509_cmp_current_time(X509_get0_notBefore(cert)) > 0) {
        message = "is not valid before";
        date = X509_get0_notBefore(cert);
    }
    struct tm tm;
    char text[32] = "";
    if (message == NULL || warnings == NULL)
        return;
    if (ASN1_TIME_to_tm(date, &tm) == 1)
        strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &tm);
    buf_printf(warnings, "server.cert_file: %s %s %s: clients will refuse it\n", file, message, text);
}

// Why a key does not go with the first certificate of a file.
static int mismatch(const char *cert_file, const char *key_file, STACK_OF(X509) * chain, EVP_PKEY *key, struct err *err)
{
    for (int i = 1; i < sk_X509_num(chain); i++)
        if (X509_check_private_key(sk_X509_value(chain, i), key) == 1) {
            ERR_clear_error();
            return err_set(err, ERR_TLS, "%s: the certificate of the key in %s is number %d, but it must stand first",
                           cert_file, key_file, i + 1);
        }
    ERR_clear_error();
    return err_set(err, ERR_TLS, "%s: the key is not that of the certificate in %s", key_file, cert_file);
}

static int use_certificate(SSL_CTX *ctx, const char *cert_file, const char *key_file, struct buf *warnings,
                           struct err *err)
{
    EVP_PKEY *key = NULL;
    STACK_OF(X509) *chain = sk_X509_new_null();
    INVARIANT(chain != NULL);

    int rc = load_chain(cert_file, chain, err);
    if (rc != 0)
        goto out;
    rc = load_key(key_file, &key, err);
    if (rc != 0)
        goto out;
    X509 *own = sk_X509_value(chain, 0);
    if (X509_check_private_key(own, key) != 1) {
        rc = mismatch(cert_file, key_file, chain, key, err);
        goto out;
    }
    if (SSL_CTX_use_certificate(ctx, own) != 1) { // too weak a key, for one
        rc = tls_error(err, cert_file, "the certificate can't be used");
        goto out;
    }
    if (SSL_CTX_use_PrivateKey(ctx, key) != 1) {
        rc = tls_error(err, key_file, "the key can't be used");
        goto out;
    }
    for (int i = 1; i < sk_X509_num(chain); i++)
        if (SSL_CTX_add1_chain_cert(ctx, sk_X509_value(chain, i)) != 1) {
            char what[64];
            snprintf(what, sizeof what, "certificate %d can't be used", i + 1);
            rc = tls_error(err, cert_file, what);
            goto out;
        }
    warn_of_dates(cert_file, own, warnings);
out:
    EVP_PKEY_free(key);
    sk_X509_pop_free(chain, X509_free);
    return rc;
}

// ---- The context

static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *offered,
                   unsigned offered_len, void *ctx)
{
    static const unsigned char served[] = "\x08http/1.1\x08http/1.0";
    unsigned char *chosen;
    (void)ssl;
    (void)ctx;
    if (SSL_select_next_proto(&chosen, out_len, served, sizeof served - 1, offered, offered_len) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

// False when this OpenSSL, or a policy of the system, does not know what is asked for.
static bool context_setup(SSL_CTX *ctx)
{
    // AES-128 first where the hardware has AES: a third less work than AES-256, and no attack is known on either. A
    // client that puts ChaCha20 first has no such hardware.
    static const char suites_13[] = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";
    static const char suites_12[] = "ECDHE+AESGCM+AES128:ECDHE+AESGCM:ECDHE+CHACHA20";
    static const unsigned char session_context[] = "loom";

    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA |
                                 SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(ctx,
                     SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_read_ahead(ctx, 1);
    SSL_CTX_set_default_read_buffer_len(ctx, READ_AHEAD_BYTES);
    SSL_CTX_set_alpn_select_cb(ctx, on_alpn, NULL);
    return SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) == 1 && SSL_CTX_set_ciphersuites(ctx, suites_13) == 1 &&
           SSL_CTX_set_cipher_list(ctx, suites_12) == 1 &&
           SSL_CTX_set_session_id_context(ctx, session_context, sizeof session_context - 1) == 1;
}

int tls_server_open(const char *cert_file, const char *key_file, struct tls_server **out, struct buf *warnings,
                    struct err *err)
{
    ERR_clear_error();
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    if (ctx == NULL || !context_setup(ctx)) {
        SSL_CTX_free(ctx);
        return tls_error(err, "OpenSSL", "can't be set up");
    }
    int rc = use_certificate(ctx, cert_file, key_file, warnings, err);
    if (rc != 0) {
        SSL_CTX_free(ctx);
        return rc;
    }
    struct tls_server *server = mem_alloc(sizeof *server);
    *server = (struct tls_server){.ctx = ctx};
    *out = server;
    return 0;
}

void tls_server_close(struct tls_server *server)
{
    if (server == NULL)
        return;
    SSL_CTX_free(server->ctx);
    mem_free(server);
}
