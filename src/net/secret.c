// SPDX-License-Identifier: Apache-2.0
#include "net/secret.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/rand.h>

#include "base/mem.h"

// Keyed once: to set a context up for each secret, as HMAC() does, takes five times the time of the digest.
struct secret_hasher {
    EVP_MAC_CTX *mac;
};

void secret_key_random(struct secret_key *key)
{
    INVARIANT(RAND_priv_bytes(key->bytes, sizeof key->bytes) == 1);
}

struct secret_hasher *secret_hasher_new(const struct secret_key *key)
{
    char sha256[] = "SHA256";
    const OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, sha256, 0), OSSL_PARAM_END};
    EVP_MAC *hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    struct secret_hasher *hasher = mem_alloc(sizeof *hasher);

    INVARIANT(hmac != NULL);
    hasher->mac = EVP_MAC_CTX_new(hmac);
    INVARIANT(hasher->mac != NULL && EVP_MAC_init(hasher->mac, key->bytes, sizeof key->bytes, params) == 1);
    EVP_MAC_free(hmac);
    return hasher;
}

void secret_hasher_free(struct secret_hasher *hasher)
{
    if (hasher == NULL)
        return;
    EVP_MAC_CTX_free(hasher->mac); // wiped by the library
    mem_free(hasher);
}

void secret_digest(struct secret_hasher *hasher, const void *secret, size_t len, uint8_t out[SECRET_DIGEST_LEN])
{
    size_t out_len = 0;
    // Without a key: that of before, from OpenSSL 3.0.3 on.
    INVARIANT(EVP_MAC_init(hasher->mac, NULL, 0, NULL) == 1 && EVP_MAC_update(hasher->mac, secret, len) == 1 &&
              EVP_MAC_final(hasher->mac, out, &out_len, SECRET_DIGEST_LEN) == 1 && out_len == SECRET_DIGEST_LEN);
}

bool secret_equal(const uint8_t a[SECRET_DIGEST_LEN], const uint8_t b[SECRET_DIGEST_LEN])
{
    return CRYPTO_memcmp(a, b, SECRET_DIGEST_LEN) == 0;
}
