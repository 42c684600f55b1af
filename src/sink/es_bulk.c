// SPDX-License-Identifier: Apache-2.0
#include "sink/es_bulk.h"

#include <stdio.h>

#include <zlib.h>

#include "base/clock.h"
#include "base/mem.h"
#include "sink/es_time.h"

#define KEEP_BYTES     (8 * 1024 * 1024) // of the uncompressed body, from request to request; a giant one's is given back
#define ACTION_MAX     (64 + ES_NAME_MAX + EVENT_ID_LEN)
#define ACTION_USUAL   64        // less would make the body grow by copying
#define GZIP_WINDOW    (15 + 16) // zlib: the largest window, in the gzip format
#define GZIP_LEVEL     1         // bulk bodies repeat themselves so much that more effort gains little
#define GZIP_MEM_LEVEL 9
#define TIMESTAMP_MAX  (CLOCK_RFC3339_MAX + 20)

struct es_bulk {
    const struct es_name *name;
    bool gzip;
    z_stream deflate;
    struct buf plain; // reused
};

struct es_bulk *es_bulk_new(const struct es_name *name, bool gzip)
{
    struct es_bulk *bulk = mem_zalloc(sizeof *bulk);
    bulk->name = name;
    bulk->gzip = gzip;
    if (gzip)
        INVARIANT(deflateInit2(&bulk->deflate, GZIP_LEVEL, Z_DEFLATED, GZIP_WINDOW, GZIP_MEM_LEVEL,
                               Z_DEFAULT_STRATEGY) == Z_OK);
    return bulk;
}

void es_bulk_free(struct es_bulk *bulk)
{
    if (bulk == NULL)
        return;
    if (bulk->gzip)
        deflateEnd(&bulk->deflate);
    buf_fini(&bulk->plain);
    mem_free(bulk);
}

// What waits for a shard gets its own answer, 503 for the document, before the client gives up on the whole request (45 s
// without a byte; the server's own time-out is a minute). filter_path keeps replies small and the position of each item, since each has a status.
static const char query[] =
    "_bulk?timeout=30s&filter_path=errors,items.*.status,items.*.error.type,items.*.error.reason,"
    "items.*.error.caused_by.reason";

void es_bulk_path(const struct es_name *name, struct buf *out)
{
    buf_char(out, '/');
    if (!name->dated) {
        es_name_escape(text_of(name->format), out);
        buf_char(out, '/');
    }
    buf_str(out, query);
}

static int append_action(struct es_bulk *bulk, const struct batch *batch, uint32_t event)
{
    struct buf *plain = &bulk->plain;
    int rc = buf_try_reserve(plain, ACTION_MAX);
    if (rc != 0)
        return rc;
    buf_text(plain, TEXT("{\"create\":{"));
    if (bulk->name->dated) {
        buf_text(plain, TEXT("\"_index\":\""));
        es_name_write(bulk->name, es_name_seconds(batch_event(batch, event), batch->arrived_real_ns), plain);
        buf_text(plain, TEXT("\","));
    }
    buf_text(plain, TEXT("\"_id\":\""));
    batch_event_id(batch, event, plain->data + plain->len);
    plain->len += EVENT_ID_LEN;
    buf_text(plain, TEXT("\"}}\n"));
    return 0;
}

static bool is_empty_object(struct text event)
{
    const char *at = event.at + 1, *end = event.at + event.len;
    while (at < end && (*at == ' ' || *at == '\t'))
        at++;
    return at < end && *at == '}';
}

static int append_event(struct es_bulk *bulk, const struct batch *batch, uint32_t event)
{
    struct text line = batch_event(batch, event), value;
    if (!bulk->name->data_stream || line.at[0] != '{' || es_time_find(line, &value))
        return buf_try_append(&bulk->plain, line.at, line.len);

    char time[CLOCK_RFC3339_MAX], head[TIMESTAMP_MAX];
    clock_rfc3339(batch->arrived_real_ns, time);
    int len = snprintf(head, sizeof head, "{\"@timestamp\":\"%s\"%s", time, is_empty_object(line) ? "" : ",");
    int rc = buf_try_append(&bulk->plain, head, (size_t)len);
    return rc != 0 ? rc : buf_try_append(&bulk->plain, line.at + 1, line.len - 1);
}

static int append_item(struct es_bulk *bulk, const struct sink_item *item)
{
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < item->count; i++) {
        rc = append_action(bulk, item->batch, item->first + i);
        if (rc == 0)
            rc = append_event(bulk, item->batch, item->first + i);
    }
    return rc;
}

// zlib counts in unsigned int: a body over 4 GiB is none that any server takes.
static int compress_body(struct es_bulk *bulk, struct buf *body)
{
    z_stream *deflater = &bulk->deflate;
    if (bulk->plain.len > UINT32_MAX / 2)
        return -ENOMEM;
    deflateReset(deflater);
    size_t bound = deflateBound(deflater, bulk->plain.len);
    int rc = buf_try_reserve(body, bound);
    if (rc != 0)
        return rc;
    deflater->next_in = (Bytef *)bulk->plain.data;
    deflater->avail_in = (uInt)bulk->plain.len;
    deflater->next_out = (Bytef *)body->data + body->len;
    deflater->avail_out = (uInt)bound;
    INVARIANT(deflate(deflater, Z_FINISH) == Z_STREAM_END); // the bound is one
    body->len += bound - deflater->avail_out;
    return 0;
}

// The bound that a compressed body was given is far more than it takes, and it stays for as long as its request.
static void shrink(struct buf *body)
{
    char *smaller = body->len > 0 ? mem_try_realloc(body->data, body->len) : NULL;
    if (smaller != NULL) {
        body->data = smaller;
        body->cap = body->len;
    }
}

int es_bulk_build(struct es_bulk *bulk, const struct handover *handover, struct buf *body)
{
    struct buf *plain = &bulk->plain;
    int rc = 0;
    plain->len = 0;
    body->len = 0;
    rc = buf_try_reserve(plain, handover->bytes + (uint64_t)handover->events * ACTION_USUAL + ACTION_MAX);
    for (size_t i = 0; rc == 0 && i < handover->count; i++)
        rc = append_item(bulk, &handover->items[i]);
    if (rc == 0 && bulk->gzip) {
        rc = compress_body(bulk, body);
        shrink(body);
    } else if (rc == 0) { // the request takes it, and the next one grows its own
        struct buf swap = *body;
        *body = *plain;
        *plain = swap;
    }
    if (plain->cap > KEEP_BYTES)
        buf_fini(plain);
    return rc;
}
