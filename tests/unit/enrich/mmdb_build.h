// SPDX-License-Identifier: Apache-2.0
#pragma once

// Writes MMDB files for tests: small ones, odd ones and broken ones. Values are appended one after the other, in the
// order of the format; nothing checks that they make sense, because many tests want them not to.

#include "base/buf.h"
#include "enrich/decode.h"

#define BUILD_EMPTY          (-1)
#define BUILD_RECORD(offset) (-2 - (int64_t)(offset))

struct mmdb_build {
    struct buf data; // the data section
    struct buf tree; // nodes as pairs of int64_t: a node, or BUILD_EMPTY, or BUILD_RECORD(offset)
    unsigned ip_version;
    unsigned record_bits;
    const char *type;
    const char *languages; // separated by spaces
};

void build_init(struct mmdb_build *build, unsigned ip_version, unsigned record_bits, const char *type);
void build_fini(struct mmdb_build *build);

// Values. What is built "into" a buf may be the data section or a section of its own.
uint32_t build_here(const struct mmdb_build *build); // the offset of what is appended next
void build_head(struct buf *out, enum mmdb_type type, uint32_t size);
void build_text(struct buf *out, const char *text);
void build_bytes(struct buf *out, enum mmdb_type type, const void *bytes, uint32_t size);
void build_uint(struct buf *out, enum mmdb_type type, uint64_t value); // as few bytes as it takes
void build_double(struct buf *out, double value);
void build_float(struct buf *out, float value);
void build_pointer(struct buf *out, uint32_t target); // the shortest form
void build_key_text(struct buf *out, const char *key, const char *text);
void build_names(struct buf *out, const char *english); // "names": {"en": english}

// The record at `offset` for a network: "192.0.2.0/24", "2001:db8::/32". In an IPv6 file IPv4 stands in ::/96.
void build_network(struct mmdb_build *build, const char *network, uint32_t offset);

// The whole file, with metadata of build time 1700000000.
struct buf build_finish(const struct mmdb_build *build);
// Without metadata, for tests that write their own.
struct buf build_finish_bare(const struct mmdb_build *build);
#define BUILD_MARKER "\xab\xcd\xefMaxMind.com"

// A City file of one record, for 81.2.69.0/24 and 2001:db8::/32, with all that Loom reads.
struct buf build_city_file(void);
// An AS file of one record, for 81.2.69.0/24: 64500, "Example Transit".
struct buf build_asn_file(void);

// A new file of these bytes in the test's temporary folder. The caller removes it and frees the path.
char *build_write(const void *bytes, size_t size);
