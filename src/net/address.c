// SPDX-License-Identifier: Apache-2.0
#include "net/address.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/endpoint.h"
#include "base/mem.h"

static void set_unix(const char *path, struct address *out)
{
    struct sockaddr_un *sun = (struct sockaddr_un *)&out->sa;
    size_t len = strlen(path);

    INVARIANT(len < sizeof sun->sun_path); // endpoint_parse
    sun->sun_family = AF_UNIX;
    memcpy(sun->sun_path, path, len + 1);
    out->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + 1);
}

int address_parse(const char *text, struct address *out, struct err *err)
{
    struct endpoint endpoint;

    *out = (struct address){0};
    int rc = endpoint_parse(text, &endpoint, err);
    if (rc != 0)
        return rc;
    if (endpoint.path != NULL) {
        set_unix(endpoint.path, out);
        return 0;
    }
    const struct addrinfo hints = {
        .ai_socktype = SOCK_STREAM,
        .ai_flags = AI_PASSIVE | AI_NUMERICSERV | (endpoint.numeric ? AI_NUMERICHOST : 0),
    };
    struct addrinfo *found = NULL;
    rc = getaddrinfo(endpoint.host[0] != '\0' ? endpoint.host : "::", endpoint.port, &hints, &found);
    if (rc == EAI_SYSTEM)
        return err_set(err, -errno, "%s: %s: %s", text, endpoint.host, err_text(-errno));
    if (rc != 0 || found == NULL)
        return err_set(err, ERR_CONFIG, "%s: %s: %s", text, endpoint.host, gai_strerror(rc != 0 ? rc : EAI_NONAME));
    // Of a name with several addresses the first IPv4 one: who configures "localhost:8443" does not expect ::1 only.
    const struct addrinfo *best = found;
    for (const struct addrinfo *next = found; next != NULL; next = next->ai_next) {
        if (next->ai_family == AF_INET) {
            best = next;
            break;
        }
    }
    memcpy(&out->sa, best->ai_addr, best->ai_addrlen);
    out->len = best->ai_addrlen;
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
