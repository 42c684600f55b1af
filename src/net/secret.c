// SPDX-License-Identifier: Apache-2.0
#include "net/secret.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include "base/mem.h"

void secret_key_random(struct secret_key *key)
{
    INVARIANT(RAND_priv_bytes(key->bytes, sizeof key->bytes) == 1);
}

void secret_digest(const struct secret_key *key, const void *secret, size_t len, uint8_t out[SECRET_DIGEST_LEN])
{
    unsigned out_len = 0;
    const unsigned char *done = HMAC(EVP_sha256(), key->bytes, sizeof key->bytes, secret, len, out, &out_len);
    INVARIANT(done != NULL && out_len == SECRET_DIGEST_LEN);
}

bool secret_equal(const uint8_t a[SECRET_DIGEST_LEN], const uint8_t b[SECRET_DIGEST_LEN])
{
    return CRYPTO_memcmp(a, b, SECRET_DIGEST_LEN) == 0;
}
