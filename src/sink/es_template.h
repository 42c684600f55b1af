// SPDX-License-Identifier: Apache-2.0
#pragma once

// The index template that Loom keeps in the cluster: types for the ECS fields that sensors send and Loom adds, so that
// addresses are addresses and a header that nobody has seen before makes no new field. Pure functions on JSON text.

#include <stdbool.h>

#include "base/buf.h"
#include "base/text.h"
#include "sink/es_name.h"

#define ES_TEMPLATE_VERSION 1 // of the content below; a newer Loom replaces an older one's template

// Appends the template's name: "loom-" and the index or data stream. One for each: two Looms with different targets don't meet.
void es_template_name(const struct es_name *name, struct buf *out);

// Appends the template as JSON, indented for a person. With opensearch, maps with free keys are flat_object, else flattened.
void es_template_print(const struct es_name *name, bool opensearch, struct buf *out);

enum es_template_state {
    ES_TEMPLATE_OURS,    // as we would write it
    ES_TEMPLATE_OLDER,   // a Loom's, as it was written: to be replaced
    ES_TEMPLATE_NEWER,   // a newer Loom's
    ES_TEMPLATE_CHANGED, // somebody else's, or changed since a Loom wrote it
    ES_TEMPLATE_UNREADABLE,
};
// What the cluster's answer to GET /_index_template/<name> (200) says.
enum es_template_state es_template_compare(const struct es_name *name, bool opensearch, struct text answer);

// Whether the answer to GET / is an OpenSearch's. False too where it does not tell.
bool es_template_is_opensearch(struct text answer);
