// SPDX-License-Identifier: Apache-2.0
#pragma once

// When an event happened: its top-level member @timestamp. Pure functions.

#include <stdbool.h>
#include <stdint.h>

#include "base/text.h"

// The value of the first top-level member of that name, however its key is spelt; false when there is none. `event` is valid
// JSON, an object. (A second one of the same name makes Elasticsearch refuse the event, so it does not matter.)
bool es_time_find(struct text event, struct text *value);

// Seconds since the epoch of a value as es_time_find gives it: RFC 3339 (the zone, the seconds, the time may be missing, as
// Elasticsearch's strict_date_optional_time has it; no zone is UTC), or milliseconds as a number or a string of digits. False
// for everything else, and for what is not in the years 0 to 9999.
bool es_time_read(struct text value, int64_t *seconds);
