// SPDX-License-Identifier: Apache-2.0
//
// What a cluster, or something in its place, says to a bulk request. The first byte is the number of events, what follows the reply.
// Whatever it is: one verdict for each event or none at all, and none that the reply does not hold.

#include <stdint.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "sink/es_reply.h"

#define EVENTS_MAX 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_within(struct text text, const struct buf *reply)
{
    return text.len == 0 || (text.at >= reply->data && text.at + text.len <= reply->data + reply->len);
}

static void check_item(const struct es_item *item, const struct buf *reply)
{
    INVARIANT(item->verdict >= ES_DELIVERED && item->verdict <= ES_TROUBLE);
    INVARIANT(item->status < 1000);
    INVARIANT(item->verdict == ES_RETRY || item->status >= 200);
    INVARIANT(item->verdict != ES_DELIVERED || item->status / 100 == 2 || item->status == 409);
    INVARIANT(item->verdict != ES_REJECTED || item->status / 100 == 4);
    INVARIANT(is_within(item->type, reply) && is_within(item->reason, reply) && is_within(item->cause, reply));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    size_t count = data[0] % EVENTS_MAX + 1;
    struct es_item items[EVENTS_MAX + 1];
    struct buf reply = BUF_EMPTY;
    const char *why = NULL;

    memset(items, 0xee, sizeof items);
    buf_append(&reply, data + 1, size - 1);
    int rc = es_reply_read(&reply, count, items, &why);
    INVARIANT(rc == 0 || why != NULL);
    for (size_t i = 0; rc == 0 && i < count; i++)
        check_item(&items[i], &reply);
    const unsigned char *beyond = (const unsigned char *)&items[count];
    INVARIANT(beyond[0] == 0xee && beyond[sizeof items[0] - 1] == 0xee);

    reply.len = 0;
    buf_append(&reply, data + 1, size - 1);
    struct text type = es_reply_error_type(&reply);
    INVARIANT(type.len == 0 || (es_reply_is_word(type) && is_within(type, &reply)));
    buf_fini(&reply);
    return 0;
}
