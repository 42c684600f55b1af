// SPDX-License-Identifier: Apache-2.0
#pragma once

// What touches secrets: a keyed digest to look tokens up by, and a comparison whose time depends on nothing. Any
// thread, but a hasher is of one at a time.

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SECRET_DIGEST_LEN 32

struct secret_key {
    uint8_t bytes[32];
};
void secret_key_random(struct secret_key *key); // aborts when the system has no randomness

// HMAC-SHA-256 under the process's key: the same length whatever the secret's, and useless to who reads a core file.
struct secret_hasher;
struct secret_hasher *secret_hasher_new(const struct secret_key *key); // the key is not needed afterwards
void secret_hasher_free(struct secret_hasher *hasher);                 // NULL is fine
void secret_digest(struct secret_hasher *hasher, const void *secret, size_t len, uint8_t out[SECRET_DIGEST_LEN]);
bool secret_equal(const uint8_t a[SECRET_DIGEST_LEN], const uint8_t b[SECRET_DIGEST_LEN]); // constant time
