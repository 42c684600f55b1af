// SPDX-License-Identifier: Apache-2.0
#pragma once

// What Elasticsearch and OpenSearch say to a bulk request, item by item. A reply is taken whole or not at all: one that is cut,
// that is no JSON or has not exactly one item for each event decides nothing. Pure functions; the texts borrow from the reply.

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

enum es_class {
    ES_DELIVERED, // it is there, now or before
    ES_RETRY,     // this one later: too busy, or failed inside
    ES_REJECTED,  // the document is at fault, for ever
    ES_TROUBLE,   // the index, the rights or the cluster's settings are at fault: nothing that the event can help
};

struct es_item {
    enum es_class verdict;
    unsigned status;    // 0: none that makes sense
    struct text type;   // error.type, "" when there is none; as in the JSON text, between its quotes
    struct text reason; // error.reason, the same; quotes the document, so it is not for the log
    struct text
        cause; // error.caused_by.reason, the same: an OpenSearch's reason is often no more than "failed to parse"
};

// Reads the reply to `count` events into items[0..count). 0, or -EINVAL: it is not one, and *why says so in a fixed text;
// -ENOMEM. The reply's bytes are changed.
int es_reply_read(struct buf *reply, size_t count, struct es_item *items, const char **why);

// For an answer that is no bulk reply (401, 403, ...): error.type where there is one that is a plain word, else "".
struct text es_reply_error_type(struct buf *reply);

// A type as the log may have it: letters, digits and _ alone, not too long.
bool es_reply_is_word(struct text type);

// The verdict on an item with that status, type and reason.
enum es_class es_reply_class(unsigned status, struct text type, struct text reason);
