// SPDX-License-Identifier: Apache-2.0
#include "net/secret.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

// The expected digests come from Python: hmac.new(bytes(range(32)), secret, "sha256").hexdigest().
static void test_digest_is_hmac_sha256(void **state)
{
    static const struct {
        const char *secret;
        uint8_t first[8];
    } rows[] = {
        {"", {0xd3, 0x8b, 0x42, 0x09, 0x6d, 0x80, 0xf4, 0x5f}},
        {"token", {0x79, 0x9e, 0xf3, 0x5a, 0xcf, 0x21, 0xda, 0x61}},
        {"a token that is longer than one block of SHA-256, which is sixty-four bytes, and so takes two of them",
         {0x28, 0x60, 0x2f, 0xe9, 0x85, 0x21, 0xf5, 0x55}},
    };
    (void)state;
    struct secret_key key;
    for (size_t i = 0; i < sizeof key.bytes; i++)
        key.bytes[i] = (uint8_t)i;
    struct secret_hasher *hasher = secret_hasher_new(&key);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint8_t digest[SECRET_DIGEST_LEN];
        secret_digest(hasher, rows[i].secret, strlen(rows[i].secret), digest);
        assert_memory_equal(digest, rows[i].first, sizeof rows[i].first);
    }
    secret_hasher_free(hasher);
}

static void test_keys_differ(void **state)
{
    (void)state;
    struct secret_key a = {0}, b = {0};
    uint8_t of_a[SECRET_DIGEST_LEN], of_b[SECRET_DIGEST_LEN], again[SECRET_DIGEST_LEN];
    secret_key_random(&a);
    secret_key_random(&b);
    assert_memory_not_equal(a.bytes, b.bytes, sizeof a.bytes);
    struct secret_hasher *with_a = secret_hasher_new(&a), *with_b = secret_hasher_new(&b);
    secret_digest(with_a, "token", 5, of_a);
    secret_digest(with_b, "token", 5, of_b);
    secret_digest(with_a, "token", 5, again);
    secret_hasher_free(with_a);
    secret_hasher_free(with_b);
    assert_true(secret_equal(of_a, again));
    assert_false(secret_equal(of_a, of_b));
}

static void test_equal_looks_at_every_bit(void **state)
{
    (void)state;
    uint8_t a[SECRET_DIGEST_LEN], b[SECRET_DIGEST_LEN];
    memset(a, 0x5a, sizeof a);
    memcpy(b, a, sizeof b);
    assert_true(secret_equal(a, b));
    for (size_t bit = 0; bit < 8 * sizeof a; bit++) {
        b[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_false(secret_equal(a, b));
        b[bit / 8] = a[bit / 8];
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_digest_is_hmac_sha256),
        cmocka_unit_test(test_keys_differ),
        cmocka_unit_test(test_equal_looks_at_every_bit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
