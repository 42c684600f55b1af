// SPDX-License-Identifier: Apache-2.0
#pragma once

// One MMDB file in private memory: its bytes are copied into a sealed memfd, so that writing to the file, truncating it
// or removing it later changes nothing here. Frozen after mmdb_open; look-ups from any thread.
//
// libmaxminddb opens the file; the way down its search tree is taken here. MMDB_lookup_sockaddr calls a function for each
// bit of an address and checks the record each time; here mmdb_open has checked all records, and a table, 256 KiB a database,
// knows where the first 16 bits of an IPv4 address lead.

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "enrich/decode.h"
#include "enrich/ip.h"

// Offsets of the format and the arithmetic of libmaxminddb before 1.13 have 32 bits.
#define MMDB_FILE_MAX UINT32_MAX

struct mmdb;

// 0; or a negative code and "path: reason": what can't be read, is no MMDB, is cut off, or whose tree leads outside.
int mmdb_open(const char *path, struct mmdb **out, struct err *err);
// The same for bytes in memory; `name` stands for the path.
int mmdb_open_bytes(const char *name, const void *bytes, size_t size, struct mmdb **out, struct err *err);
void mmdb_close(struct mmdb *db); // NULL is fine

struct mmdb_info {
    char *path;
    char *type; // metadata's database_type, as printable ASCII
    uint64_t build_epoch;
    uint64_t bytes;
    unsigned ip_version; // 4 or 6
};
const struct mmdb_info *mmdb_info(const struct mmdb *db);

// Does it list its languages, without this one?
bool mmdb_lacks_language(const struct mmdb *db, struct text language);

// What stands for an address: the offset of its record in the data section plus one.
typedef uint32_t mmdb_entry;
#define MMDB_ENTRY_NONE   0
#define MMDB_ENTRY_BROKEN UINT32_MAX // the tree is deeper than an address is long

// IPv4 and its mapped form are looked up as IPv4, all else as IPv6.
mmdb_entry mmdb_find(const struct mmdb *db, struct ip ip);

// A reader of the data section, with steps for one record.
struct mmdb_reader mmdb_reader(const struct mmdb *db);

// Up to `max` entries, spread evenly over the search tree. Returns how many.
size_t mmdb_sample(const struct mmdb *db, mmdb_entry *entries, size_t max);
