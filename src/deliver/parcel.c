// SPDX-License-Identifier: Apache-2.0
#include "deliver/parcel.h"

#include "base/mem.h"

#define SPARE_MAX       16
#define SPARE_LINES_MAX (64 * 1024) // letters larger than this are not kept for the next

void parcels_init(struct parcels *parcels)
{
    *parcels = (struct parcels){.last = &parcels->first};
}

void parcels_push(struct parcels *parcels, struct parcel *parcel)
{
    parcel->next = NULL;
    *parcels->last = parcel;
    parcels->last = &parcel->next;
    parcels->count++;
}

struct parcel *parcels_take_due(struct parcels *parcels, int64_t now_ns)
{
    for (struct parcel **at = &parcels->first; *at != NULL; at = &(*at)->next) {
        struct parcel *parcel = *at;
        if (parcel->due_ns > now_ns)
            continue;
        *at = parcel->next;
        if (*at == NULL)
            parcels->last = at;
        parcels->count--;
        return parcel;
    }
    return NULL;
}

int64_t parcels_next_due_ns(const struct parcels *parcels)
{
    int64_t due_ns = INT64_MAX;
    for (const struct parcel *parcel = parcels->first; parcel != NULL; parcel = parcel->next)
        due_ns = parcel->due_ns < due_ns ? parcel->due_ns : due_ns;
    return due_ns;
}

static void parcel_free(struct parcel *parcel)
{
    items_fini(&parcel->items);
    items_fini(&parcel->retry);
    items_fini(&parcel->rejected);
    letters_fini(&parcel->letters);
    mem_free(parcel);
}

struct parcel *parcel_get(struct parcels *spare)
{
    struct parcel *parcel = parcels_take_due(spare, INT64_MAX);
    return parcel != NULL ? parcel : mem_zalloc(sizeof *parcel);
}

void parcel_put(struct parcels *spare, struct parcel *parcel)
{
    if (spare->count >= SPARE_MAX) {
        parcel_free(parcel);
        return;
    }
    if (parcel->letters.lines.cap > SPARE_LINES_MAX)
        letters_fini(&parcel->letters);
    items_clear(&parcel->items);
    items_clear(&parcel->retry);
    items_clear(&parcel->rejected);
    letters_clear(&parcel->letters);
    *parcel = (struct parcel){
        .items = parcel->items, .retry = parcel->retry, .rejected = parcel->rejected, .letters = parcel->letters};
    parcels_push(spare, parcel);
}

void parcels_fini(struct parcels *parcels)
{
    struct parcel *parcel;
    while ((parcel = parcels_take_due(parcels, INT64_MAX)) != NULL)
        parcel_free(parcel);
}

void parcel_turn_round(struct parcel *parcel)
{
    struct items spare = parcel->items;
    parcel->items = parcel->retry;
    parcel->retry = spare;
    items_clear(&parcel->retry);
}

struct parcel *parcel_halve(struct parcel *parcel, struct parcels *spare)
{
    struct parcel *second = parcel_get(spare);
    struct items first = {0};

    items_split(&parcel->items, parcel->items.events / 2, &first, &second->items);
    items_fini(&parcel->items);
    parcel->items = first;
    second->tries = parcel->tries;
    second->failures = parcel->failures;
    second->progress = parcel->progress;
    second->due_ns = parcel->due_ns;
    second->alone = parcel->alone;
    second->lettered = parcel->lettered;
    return second;
}
