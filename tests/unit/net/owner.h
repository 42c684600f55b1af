// SPDX-License-Identifier: Apache-2.0
#pragma once

// An owner of a stream, for tests: reads as it is told to, and echoes or answers. The client at the other end is a
// function that runs on a thread of its own with a blocking socket.

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/stream.h"

enum owner_style {
    OWNER_DRAINS,    // reads until STREAM_AGAIN, as stream.h asks
    OWNER_READS_ONE, // reads once, then waits, although more may be there
    OWNER_PAUSES,    // reads once, waits for nothing for a moment, then waits to read
};

struct owner {
    // What it is to do.
    struct tls_server *tls;
    size_t read_size;
    enum owner_style style;
    bool echo;
    size_t message_len; // not 0: it knows that so much comes before the client waits for anything, and says so
    size_t answer_len;  // not 0: what it writes once the first byte has come, of owner_pattern
    bool speaks_first;  // writes the answer at once instead
    bool shut_down;     // and then it ends its side
    void (*around_shutdown)(struct owner *owner, bool done); // called before and after
    int family;                                              // AF_INET or AF_UNIX

    // What came of it.
    struct loop *loop;
    struct stream *stream;
    int fd;
    size_t received;
    uint64_t hash; // of what was received, as owner_hash
    size_t answered;
    bool answering;
    unsigned wakes;
    size_t waits_for; // of a message; __atomic
    bool handshake_done;
    const char *reason;
    int end; // STREAM_EOF or the code with which the stream ended

    struct loop_timer pause;
    char out[65536]; // the rest of the echo
    size_t out_at, out_len;
};

// The byte that stands at `at` in an answer.
static inline char owner_pattern(size_t at)
{
    return (char)(at * 31 + at / 251);
}
uint64_t owner_hash(uint64_t hash, const char *data, size_t len); // FNV-1a; begins with OWNER_HASH
#define OWNER_HASH UINT64_C(14695981039346656037)

typedef void owner_client(int fd, void *ctx); // closes fd

void owner_tcp_pair(int pair[2]); // connected, blocking
// Connects the two, runs both until the stream has ended and the client has returned.
void owner_run(struct owner *owner, owner_client *client, void *ctx);
