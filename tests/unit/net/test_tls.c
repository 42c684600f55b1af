// SPDX-License-Identifier: Apache-2.0
//
// What tls_server_open takes and refuses. test_tls_session.c has the connections.
#include "net/tls.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <openssl/err.h>

#include "net/tls_context.h"
#include "support.h"

static char dir[] = "/tmp/loom-tls-XXXXXX";
static struct identity root, own, other;
static const char *cert_file, *key_file;

static int make_files(void **state)
{
    (void)state;
    if (mkdtemp(dir) == NULL)
        return -1;
    root = identity_new("Test CA", NULL, -1, 30, 0);
    own = identity_new("localhost", &root, -1, 30, 0);
    other = identity_new("other", &root, -1, 30, 0);
    return 0;
}

static int remove_files(void **state)
{
    (void)state;
    char command[64];
    identity_free(&root);
    identity_free(&own);
    identity_free(&other);
    snprintf(command, sizeof command, "rm -r %s", dir);
    return system(command);
}

static int good_files(void **state)
{
    (void)state;
    cert_file = write_certs(dir, "cert.pem", (X509 *[]){own.cert, root.cert}, 2);
    key_file = write_key(dir, "key.pem", own.key, NULL);
    return 0;
}

// One line that names the file and says what is wrong with it.
static void refuse(const char *cert, const char *key, int code, const char *file, const char *says)
{
    struct tls_server *server = NULL;
    struct err err = {0};
    int rc = tls_server_open(cert, key, &server, NULL, &err);
    if (rc != code || strstr(err.text, file) == NULL || strstr(err.text, says) == NULL ||
        strchr(err.text, '\n') != NULL)
        fail_msg("%d: \"%s\" does not say \"%s\" of %s", rc, err.text, says, file);
    assert_null(server);
    assert_int_equal(err.code, code);
    assert_int_equal(ERR_peek_error(), 0);
}

static void test_good(void **state)
{
    (void)state;
    struct tls_server *server = NULL;
    struct err err = {0};
    ERR_raise(ERR_LIB_USER, ERR_R_INTERNAL_ERROR); // what somebody left behind is not this file's fault
    catch_log();
    int rc = tls_server_open(cert_file, key_file, &server, NULL, &err);
    const char *log = caught_log();
    if (rc != 0)
        fail_msg("%s", err.text);
    assert_string_equal(log, "");
    assert_int_equal(ERR_peek_error(), 0);

    STACK_OF(X509) *chain = NULL;
    SSL_CTX_get0_chain_certs(tls_server_context(server), &chain);
    assert_int_equal(sk_X509_num(chain), 1);
    assert_int_equal(X509_cmp(sk_X509_value(chain, 0), root.cert), 0);
    tls_server_close(server);
    tls_server_close(NULL);
}

static void test_files_that_cannot_be_read(void **state)
{
    (void)state;
    refuse("/no/such/cert.pem", key_file, -ENOENT, "/no/such/cert.pem", "No such file");
    refuse(cert_file, "/no/such/key.pem", -ENOENT, "/no/such/key.pem", "No such file");
    refuse(dir, key_file, -EISDIR, dir, "directory");
    refuse(cert_file, dir, -EISDIR, dir, "directory");
    if (geteuid() != 0) { // root reads it all the same
        chmod(key_file, 0);
        refuse(cert_file, key_file, -EACCES, key_file, "Permission denied");
        chmod(key_file, 0600);
    }
}

static void test_files_that_are_no_pem(void **state)
{
    (void)state;
    const char *empty = write_text(dir, "empty.pem", "");
    const char *words = write_text(dir, "words.pem", "hello\n");
    const char *broken =
        write_text(dir, "broken.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    const char *cut = write_text(dir, "cut.pem", "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49\n");
    refuse(empty, key_file, ERR_TLS, empty, "the file is empty");
    refuse(cert_file, empty, ERR_TLS, empty, "the file is empty");
    refuse(words, key_file, ERR_TLS, words, "no certificate in PEM form");
    refuse(cert_file, words, ERR_TLS, words, "no usable private key in PEM form");
    refuse(key_file, key_file, ERR_TLS, key_file, "no certificate in PEM form"); // the two exchanged
    refuse(cert_file, cert_file, ERR_TLS, cert_file, "no usable private key in PEM form");
    refuse(broken, key_file, ERR_TLS, broken, "certificate 1 can't be read");
    refuse(cert_file, cut, ERR_TLS, cut, "no usable private key in PEM form");
}

static void test_a_broken_certificate_in_the_chain(void **state)
{
    (void)state;
    FILE *file = fopen(cert_file, "a");
    assert_non_null(file);
    fputs("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", file);
    fclose(file);
    refuse(cert_file, key_file, ERR_TLS, cert_file, "certificate 3 can't be read");
}

static void test_key_of_another_certificate(void **state)
{
    (void)state;
    const char *wrong = write_key(dir, "other.pem", other.key, NULL);
    refuse(cert_file, wrong, ERR_TLS, wrong, "the key is not that of the certificate in");

    struct identity rsa = identity_new("rsa", NULL, -1, 30, 2048);
    wrong = write_key(dir, "rsa.pem", rsa.key, NULL);
    refuse(cert_file, wrong, ERR_TLS, wrong, "the key is not that of the certificate in");
    identity_free(&rsa);

    const char *order = write_certs(dir, "order.pem", (X509 *[]){root.cert, own.cert}, 2);
    refuse(order, key_file, ERR_TLS, order, "is number 2, but it must stand first");
}

static void test_encrypted_key(void **state)
{
    (void)state;
    const char *locked = write_key(dir, "locked.pem", own.key, "open sesame");
    refuse(cert_file, locked, ERR_TLS, locked, "passphrase");
}

static void test_weak_key(void **state)
{
    (void)state;
    struct identity weak = identity_new("weak", NULL, -1, 30, 1024);
    const char *cert = write_certs(dir, "weak.pem", &weak.cert, 1);
    const char *key = write_key(dir, "weak-key.pem", weak.key, NULL);
    refuse(cert, key, ERR_TLS, cert, "ee key too small");
    identity_free(&weak);
}

static void test_dates_are_warnings(void **state)
{
    static const struct {
        int from_days, to_days;
        const char *says;
    } rows[] = {
        {-30, -1, " has expired on 2"},
        {1, 30, " is not valid before 2"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct identity dated = identity_new("localhost", &root, rows[i].from_days, rows[i].to_days, 0);
        const char *cert = write_certs(dir, "dated.pem", &dated.cert, 1);
        const char *key = write_key(dir, "dated-key.pem", dated.key, NULL);
        struct tls_server *server = NULL;
        struct err err = {0};
        struct buf warnings = BUF_EMPTY;
        catch_log();
        int rc = tls_server_open(cert, key, &server, &warnings, &err);
        assert_string_equal(caught_log(), ""); // it is not set up yet
        assert_int_equal(rc, 0);
        buf_char(&warnings, '\0');
        assert_non_null(strstr(warnings.data, rows[i].says));
        assert_non_null(strstr(warnings.data, cert));
        assert_ptr_equal(strchr(warnings.data, '\n'), warnings.data + warnings.len - 2); // one line
        tls_server_close(server);
        buf_fini(&warnings);
        identity_free(&dated);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, good_files)
    const struct CMUnitTest tests[] = {
        TEST(test_good),
        TEST(test_files_that_cannot_be_read),
        TEST(test_files_that_are_no_pem),
        TEST(test_a_broken_certificate_in_the_chain),
        TEST(test_key_of_another_certificate),
        TEST(test_encrypted_key),
        TEST(test_weak_key),
        TEST(test_dates_are_warnings),
    };
    return cmocka_run_group_tests(tests, make_files, remove_files);
}
