// SPDX-License-Identifier: Apache-2.0
#pragma once

// What a database record says, in the terms of ECS. The table in record.c maps the names of MaxMind's schema (which
// DB-IP shares) to these fields; another schema is more rows there.

#include <stdbool.h>
#include <stdint.h>

#include "base/text.h"
#include "enrich/decode.h"

enum record_field {
    RECORD_CONTINENT_CODE,
    RECORD_CONTINENT_NAME,
    RECORD_COUNTRY_CODE,
    RECORD_COUNTRY_NAME,
    RECORD_REGION_CODE, // of the subdivision alone: "QC"
    RECORD_REGION_NAME,
    RECORD_CITY_NAME,
    RECORD_POSTAL_CODE,
    RECORD_TIMEZONE,
    RECORD_AS_ORGANIZATION, // those before it are of `geo`
    RECORD_TEXT_COUNT
};

// A longer text is left out: Elasticsearch would not index it either (ignore_above of ECS), and no event is to carry
// it.
#define RECORD_TEXT_MAX 1024

struct record {
    struct text text[RECORD_TEXT_COUNT]; // in the database's bytes, not necessarily UTF-8; length 0: not there
    uint32_t as_number;                  // 0 (reserved by RFC 7607): not there
    bool has_location;
    double latitude;
    double longitude;
};

// Reads the record at an offset of the data section; names in `language`, else in English. A field of another type
// than the schema's is as good as not there. 0, or -EBADMSG: the record is broken.
int record_read(struct mmdb_reader *reader, uint32_t offset, struct text language, struct record *record);

bool record_has_as(const struct record *record);
bool record_has_geo(const struct record *record);
