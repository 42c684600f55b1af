// SPDX-License-Identifier: Apache-2.0
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

void check_failed(const char *condition, const char *file, int line)
{
    fprintf(stderr, "%s:%d: check failed: %s\n", file, line, condition);
    ERR_print_errors_fp(stderr);
    abort();
}

// ---- Log

static FILE *log_file;
static int real_stderr = -1;

void catch_log(void)
{
    log_file = tmpfile();
    CHECK(log_file != NULL);
    real_stderr = dup(2);
    CHECK(real_stderr >= 0 && dup2(fileno(log_file), 2) == 2);
}

const char *caught_log(void)
{
    static char text[8192];
    dup2(real_stderr, 2);
    close(real_stderr);
    rewind(log_file);
    text[fread(text, 1, sizeof text - 1, log_file)] = '\0';
    fclose(log_file);
    return text;
}

// ---- Certificates

static void add_extension(X509 *cert, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx_nodb(&ctx);
    X509V3_set_ctx(&ctx, cert, cert, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    CHECK(extension != NULL && X509_add_ext(cert, extension, -1) == 1);
    X509_EXTENSION_free(extension);
}

struct identity identity_new(const char *name, const struct identity *issuer, int from_days, int to_days,
                             unsigned rsa_bits)
{
    static long serial = 1;
    struct identity identity = {X509_new(), rsa_bits != 0 ? EVP_RSA_gen(rsa_bits) : EVP_EC_gen("P-256")};
    X509 *cert = identity.cert;
    CHECK(cert != NULL && identity.key != NULL);
    if (issuer == NULL)
        issuer = &identity;

    X509_set_version(cert, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), serial++);
    X509_gmtime_adj(X509_getm_notBefore(cert), from_days * 86400L);
    X509_gmtime_adj(X509_getm_notAfter(cert), to_days * 86400L);
    X509_set_pubkey(cert, identity.key);
    CHECK(X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC, (const unsigned char *)name, -1,
                                     -1, 0) == 1);
    CHECK(X509_set_issuer_name(cert, X509_get_subject_name(issuer->cert)) == 1);
    add_extension(cert, NID_basic_constraints, strstr(name, "CA") != NULL ? "critical,CA:TRUE" : "critical,CA:FALSE");
    add_extension(cert, NID_subject_alt_name, "DNS:localhost,IP:127.0.0.1");
    CHECK(X509_sign(cert, issuer->key, EVP_sha256()) > 0);
    return identity;
}

void identity_free(struct identity *identity)
{
    X509_free(identity->cert);
    EVP_PKEY_free(identity->key);
}

// ---- Files

static FILE *open_in(const char *dir, const char *name, const char **path)
{
    static char paths[8][256];
    static unsigned next;
    char *at = paths[next++ % 8];
    snprintf(at, sizeof paths[0], "%s/%s", dir, name);
    *path = at;
    FILE *file = fopen(at, "w");
    CHECK(file != NULL);
    return file;
}

const char *write_certs(const char *dir, const char *name, X509 *const *certs, size_t count)
{
    const char *path;
    FILE *file = open_in(dir, name, &path);
    for (size_t i = 0; i < count; i++)
        CHECK(PEM_write_X509(file, certs[i]) == 1);
    fclose(file);
    return path;
}

const char *write_key(const char *dir, const char *name, EVP_PKEY *key, const char *passphrase)
{
    const char *path;
    FILE *file = open_in(dir, name, &path);
    CHECK(PEM_write_PKCS8PrivateKey(file, key, passphrase != NULL ? EVP_aes_128_cbc() : NULL, passphrase,
                                    passphrase != NULL ? (int)strlen(passphrase) : 0, NULL, NULL) == 1);
    fclose(file);
    return path;
}

const char *write_text(const char *dir, const char *name, const char *text)
{
    const char *path;
    FILE *file = open_in(dir, name, &path);
    CHECK(fwrite(text, 1, strlen(text), file) == strlen(text));
    fclose(file);
    return path;
}

// ---- Client

SSL_CTX *client_context(X509 *root)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    CHECK(ctx != NULL && X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), root) == 1);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    return ctx;
}
