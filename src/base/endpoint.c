// SPDX-License-Identifier: Apache-2.0
#include "base/endpoint.h"

#include <arpa/inet.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#define UNIX_PREFIX "unix:"

static int parse_unix(const char *text, struct endpoint *out, struct err *err)
{
    const size_t room = sizeof((struct sockaddr_un *)0)->sun_path;
    const char *path = text + strlen(UNIX_PREFIX);

    if (path[0] != '/')
        return err_set(err, ERR_CONFIG, "%s: a unix socket is written with its whole path, as in unix:/run/loom.sock",
                       text);
    if (strlen(path) >= room)
        return err_set(err, ERR_CONFIG, "%s: the path of a unix socket can't be longer than %zu bytes", text, room - 1);
    out->path = path;
    return 0;
}

// "host:port", "[host]:port", ":port" into its two parts.
static int split(const char *text, struct endpoint *out, struct err *err)
{
    const char *end, *colon;
    const char *at = text;
    if (text[0] == '[') {
        at++;
        end = strchr(at, ']');
        if (end == NULL)
            return err_set(err, ERR_CONFIG, "%s: the ] after the IPv6 address is missing", text);
        colon = end + 1;
    } else {
        end = colon = strchr(at, ':');
        if (colon != NULL && strchr(colon + 1, ':') != NULL)
            return err_set(err, ERR_CONFIG, "%s: an IPv6 address stands in brackets, as in [::1]:8443", text);
    }
    if (colon == NULL || *colon != ':')
        return err_set(err, ERR_CONFIG, "%s: a port is missing, as in :8443 or localhost:8443", text);
    if ((size_t)(end - at) >= ENDPOINT_HOST_MAX)
        return err_set(err, ERR_CONFIG, "the host name in a listen address is longer than %d bytes",
                       ENDPOINT_HOST_MAX - 1);
    if (text[0] == '[' && end == at)
        return err_set(err, ERR_CONFIG, "%s: the brackets are empty; all addresses are written [::]%s", text, colon);
    memcpy(out->host, at, (size_t)(end - at));
    out->numeric = text[0] == '[';
    out->port = colon + 1;
    return 0;
}

static int check_host(const char *text, const struct endpoint *endpoint, struct err *err)
{
    char host[ENDPOINT_HOST_MAX];
    unsigned char bytes[sizeof(struct in6_addr)];

    if (!endpoint->numeric)
        return 0;
    memcpy(host, endpoint->host, sizeof host);
    host[strcspn(host, "%")] = '\0'; // a link-local address with its link; which links there are is the system's
    if (inet_pton(AF_INET6, host, bytes) == 1 || inet_pton(AF_INET, host, bytes) == 1)
        return 0;
    return err_set(err, ERR_CONFIG, "%s: %s: what stands in brackets must be an IPv6 address", text, endpoint->host);
}

static int check_port(const char *text, const char *port, struct err *err)
{
    size_t len = strlen(port);
    // The length first: strtoul would take a sign, spaces and any number of digits.
    if (len == 0 || len > 5 || strspn(port, "0123456789") != len || strtoul(port, NULL, 10) > UINT16_MAX)
        return err_set(err, ERR_CONFIG, "%s: the port must be a number from 0 to 65535", text);
    return 0;
}

int endpoint_parse(const char *text, struct endpoint *out, struct err *err)
{
    *out = (struct endpoint){0};
    if (strncmp(text, UNIX_PREFIX, strlen(UNIX_PREFIX)) == 0)
        return parse_unix(text, out, err);
    int rc = split(text, out, err);
    if (rc == 0)
        rc = check_host(text, out, err);
    return rc == 0 ? check_port(text, out->port, err) : rc;
}
