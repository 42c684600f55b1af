// SPDX-License-Identifier: Apache-2.0
#pragma once

// What several tests of net share: log lines caught, certificates made, a TLS client.

#include <stdbool.h>
#include <stddef.h>

#include <openssl/ssl.h>

// From catch_log to caught_log, what is written to standard error goes to a file instead. caught_log returns its
// text, which stays until the next catch_log.
void catch_log(void);
const char *caught_log(void);

// A certificate and its key.
struct identity {
    X509 *cert;
    EVP_PKEY *key;
};
// Valid from `from_days` to `to_days` from now, signed by `issuer` (NULL: by itself). EC P-256; RSA of rsa_bits where
// not 0.
struct identity identity_new(const char *name, const struct identity *issuer, int from_days, int to_days,
                             unsigned rsa_bits);
void identity_free(struct identity *identity);

// Write PEM files into the folder `dir`; the path is static storage in a ring of 8.
const char *write_certs(const char *dir, const char *name, X509 *const *certs, size_t count);
const char *write_key(const char *dir, const char *name, EVP_PKEY *key, const char *passphrase);
const char *write_text(const char *dir, const char *name, const char *text);

// An SSL_CTX for clients that trusts `root`.
SSL_CTX *client_context(X509 *root);

// Inside a client's thread, where cmocka can't jump out: ends the program with a line on standard error.
#define CHECK(condition) ((condition) ? (void)0 : check_failed(#condition, __FILE__, __LINE__))
void check_failed(const char *condition, const char *file, int line) __attribute__((noreturn));
