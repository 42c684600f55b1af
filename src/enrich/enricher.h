// SPDX-License-Identifier: Apache-2.0
#pragma once

// The inside of struct enricher, for the caches. Frozen after enricher_open.

#include "enrich/enrich.h"
#include "enrich/mmdb.h"

struct enricher {
    struct mmdb *db[ENRICH_DB_COUNT]; // NULL: not configured, or refused
    struct enrich_db_info info[ENRICH_DB_COUNT];
    char *language;
};
