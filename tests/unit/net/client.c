// SPDX-License-Identifier: Apache-2.0
#include "client.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "support.h"

struct tls_server *client_server;
static SSL_CTX *context;
const int client_versions[2] = {TLS1_2_VERSION, TLS1_3_VERSION};

int client_set_up(void **state)
{
    (void)state;
    char dir[] = "/tmp/loom-session-XXXXXX", command[64];
    struct err err = {0};
    if (mkdtemp(dir) == NULL)
        return -1;
    struct identity root = identity_new("Test CA", NULL, -1, 30, 0);
    struct identity middle = identity_new("Middle CA", &root, -1, 30, 0);
    struct identity own = identity_new("localhost", &middle, -1, 30, 0);
    const char *cert = write_certs(dir, "cert.pem", (X509 *[]){own.cert, middle.cert}, 2);
    const char *key = write_key(dir, "key.pem", own.key, NULL);
    if (tls_server_open(cert, key, &client_server, NULL, &err) != 0)
        fprintf(stderr, "%s\n", err.text);
    context = client_context(root.cert); // knows the root only: the chain must be sent
    identity_free(&root);
    identity_free(&middle);
    identity_free(&own);
    snprintf(command, sizeof command, "rm -r %s", dir);
    return system(command) != 0 || client_server == NULL;
}

int client_tear_down(void **state)
{
    (void)state;
    SSL_CTX_free(context);
    tls_server_close(client_server);
    return 0;
}

SSL *client_ssl(int fd, int version)
{
    SSL *ssl = SSL_new(context);
    CHECK(ssl != NULL && SSL_set_fd(ssl, fd) == 1);
    if (version != 0)
        CHECK(SSL_set_min_proto_version(ssl, version) == 1 && SSL_set_max_proto_version(ssl, version) == 1);
    CHECK(SSL_set1_host(ssl, "localhost") == 1);
    return ssl;
}

SSL *client_connect(int fd, int version)
{
    SSL *ssl = client_ssl(fd, version);
    CHECK(SSL_connect(ssl) == 1);
    return ssl;
}

void client_write(SSL *ssl, const char *data, size_t len)
{
    size_t n;
    CHECK(SSL_write_ex(ssl, data, len, &n) == 1 && n == len);
}

void client_read(SSL *ssl, char *out, size_t len)
{
    for (size_t n; len > 0; out += n, len -= n)
        CHECK(SSL_read_ex(ssl, out, len, &n) == 1);
}

// Ends its side, sees the other side end with close_notify.
void client_close(SSL *ssl, int fd)
{
    char byte;
    SSL_shutdown(ssl);
    CHECK(SSL_read(ssl, &byte, 1) == 0 && SSL_get_error(ssl, 0) == SSL_ERROR_ZERO_RETURN);
    SSL_free(ssl);
    close(fd);
}

void client_fill(char *data, size_t len)
{
    for (size_t i = 0; i < len; i++)
        data[i] = owner_pattern(i);
}

struct owner client_owner(size_t read_size, enum owner_style style)
{
    return (struct owner){.tls = client_server, .read_size = read_size, .style = style, .family = AF_INET};
}
