// SPDX-License-Identifier: Apache-2.0
#pragma once

// A record as members of the event's `source`. Both write nothing when the record has nothing for them: an object is
// never empty.

#include "base/buf.h"
#include "enrich/record.h"

void render_as(struct buf *out, const struct record *record);  // "as":{...}
void render_geo(struct buf *out, const struct record *record); // "geo":{...}
