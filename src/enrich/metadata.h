// SPDX-License-Identifier: Apache-2.0
#pragma once

// What an MMDB file says about itself, and whether its bytes can be what it says. Checked before libmaxminddb sees
// the file: Debian 12's version multiplies the file's numbers in 32 bits, recurses as deep as the metadata is nested
// and leaks on some refusals. What passes here, every version opens.

#include <endian.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/err.h"
#include "base/text.h"

// Between the search tree and the data section.
#define MMDB_SEPARATOR_BYTES 16

struct mmdb_metadata {
    uint32_t node_count;
    unsigned record_bits; // 24, 28 or 32; a node is two records
    unsigned ip_version;  // 4 or 6
    uint64_t build_epoch;
    struct text type; // in the file's bytes
    uint32_t tree_bytes;
    uint32_t data_bytes; // of the data section, which ends where the metadata's marker begins
};

// Reads and checks the metadata, the sizes and every record of the search tree. Fills *err with the reason alone.
int mmdb_metadata_read(const uint8_t *file, size_t size, struct mmdb_metadata *out, struct err *err);

// The record of a node of the tree, side 0 or 1. Reads four bytes where a record of 24 bits has three; the separator stands
// behind the tree. Here, to be inlined into the loop over an address's bits.
static inline uint32_t mmdb_tree_record(const uint8_t *file, const struct mmdb_metadata *metadata, uint32_t node,
                                        unsigned side)
{
    unsigned bits = metadata->record_bits;
    uint32_t word;
    memcpy(&word, file + (size_t)node * (bits / 4) + side * (bits / 8), sizeof word);
    word = be32toh(word);
    switch (bits) {
    case 24:
        return word >> 8;
    case 28: // the byte in the middle, last of the left four and first of the right ones, has the top bits of both
        return side == 0 ? word >> 8 | (word & 0xf0) << 20 : word & 0x0fffffff;
    default:
        return word;
    }
}
