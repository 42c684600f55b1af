// SPDX-License-Identifier: Apache-2.0
#include "net/address.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// The longest name of the DNS, and its zero.
#define HOST_MAX    256
#define UNIX_PREFIX "unix:"

static int parse_unix(const char *text, struct address *out, struct err *err)
{
    struct sockaddr_un *sun = (struct sockaddr_un *)&out->sa;
    const char *path = text + strlen(UNIX_PREFIX);
    size_t len = strlen(path);

    if (path[0] != '/')
        return err_set(err, ERR_CONFIG, "%s: a unix socket is written with its whole path, as in unix:/run/loom.sock",
                       text);
    if (len >= sizeof sun->sun_path)
        return err_set(err, ERR_CONFIG, "%s: the path of a unix socket can't be longer than %zu bytes", text,
                       sizeof sun->sun_path - 1);
    sun->sun_family = AF_UNIX;
    memcpy(sun->sun_path, path, len + 1);
    out->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + 1);
    return 0;
}

// "host:port", "[host]:port", ":port" into its two parts.
static int split(const char *text, char host[HOST_MAX], const char **port, struct err *err)
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
    if ((size_t)(end - at) >= HOST_MAX)
        return err_set(err, ERR_CONFIG, "the host name in a listen address is longer than %d bytes", HOST_MAX - 1);
    if (text[0] == '[' && end == at)
        return err_set(err, ERR_CONFIG, "%s: the brackets are empty; all addresses are written [::]%s", text, colon);
    memcpy(host, at, (size_t)(end - at));
    host[end - at] = '\0';
    *port = colon + 1;
    return 0;
}

static int parse_port(const char *text, const char *port, struct err *err)
{
    size_t len = strlen(port);
    // The length first: strtoul would take a sign, spaces and any number of digits.
    if (len == 0 || len > 5 || strspn(port, "0123456789") != len || strtoul(port, NULL, 10) > UINT16_MAX)
        return err_set(err, ERR_CONFIG, "%s: the port must be a number from 0 to 65535", text);
    return 0;
}

int address_parse(const char *text, struct address *out, struct err *err)
{
    *out = (struct address){0};
    if (strncmp(text, UNIX_PREFIX, strlen(UNIX_PREFIX)) == 0)
        return parse_unix(text, out, err);

    char host[HOST_MAX];
    const char *port = NULL;
    int rc = split(text, host, &port, err);
    if (rc == 0)
        rc = parse_port(text, port, err);
    if (rc != 0)
        return rc;

    const struct addrinfo hints = {
        .ai_socktype = SOCK_STREAM,
        .ai_flags = AI_PASSIVE | AI_NUMERICSERV | (text[0] == '[' ? AI_NUMERICHOST : 0),
    };
    struct addrinfo *found = NULL;
    rc = getaddrinfo(host[0] != '\0' ? host : "::", port, &hints, &found);
    if (rc == EAI_SYSTEM)
        return err_set(err, -errno, "%s: %s: %s", text, host, err_text(-errno));
    if (rc != 0)
        return err_set(err, ERR_CONFIG, "%s: %s: %s", text, host, gai_strerror(rc));
    memcpy(&out->sa, found->ai_addr, found->ai_addrlen);
    out->len = found->ai_addrlen;
    freeaddrinfo(found);
    return 0;
}

static void text_in6(const struct sockaddr_in6 *sin6, char out[ADDRESS_TEXT_MAX])
{
    char ip[INET6_ADDRSTRLEN];
    unsigned port = ntohs(sin6->sin6_port);
    if (IN6_IS_ADDR_V4MAPPED(&sin6->sin6_addr)) {
        inet_ntop(AF_INET, &sin6->sin6_addr.s6_addr[12], ip, sizeof ip);
        snprintf(out, ADDRESS_TEXT_MAX, "%s:%u", ip, port);
        return;
    }
    inet_ntop(AF_INET6, &sin6->sin6_addr, ip, sizeof ip);
    if (sin6->sin6_scope_id != 0) // a link-local address means nothing without its link
        snprintf(out, ADDRESS_TEXT_MAX, "[%s%%%u]:%u", ip, (unsigned)sin6->sin6_scope_id, port);
    else
        snprintf(out, ADDRESS_TEXT_MAX, "[%s]:%u", ip, port);
}

const char *address_text(const struct address *address, char out[ADDRESS_TEXT_MAX])
{
    switch (address->sa.ss_family) {
    case AF_INET: {
        const struct sockaddr_in *sin = (const struct sockaddr_in *)&address->sa;
        char ip[INET_ADDRSTRLEN];
        inet_ntop(AF_INET, &sin->sin_addr, ip, sizeof ip);
        snprintf(out, ADDRESS_TEXT_MAX, "%s:%u", ip, (unsigned)ntohs(sin->sin_port));
        break;
    }
    case AF_INET6:
        text_in6((const struct sockaddr_in6 *)&address->sa, out);
        break;
    case AF_UNIX: {
        // A client's socket has no name as a rule. A path need not end in a zero.
        const struct sockaddr_un *sun = (const struct sockaddr_un *)&address->sa;
        size_t room = address->len > offsetof(struct sockaddr_un, sun_path)
                          ? address->len - offsetof(struct sockaddr_un, sun_path)
                          : 0;
        bool named = room > 0 && sun->sun_path[0] != '\0';
        snprintf(out, ADDRESS_TEXT_MAX, "unix%s%.*s", named ? ":" : "", named ? (int)room : 0, sun->sun_path);
        break;
    }
    default:
        snprintf(out, ADDRESS_TEXT_MAX, "unknown");
    }
    return out;
}
