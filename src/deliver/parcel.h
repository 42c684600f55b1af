// SPDX-License-Identifier: Apache-2.0
#pragma once

// A hand-over and what the pump knows about it: what came back of it, how often that has happened, and when it is to go
// again. The pump's thread.

#include <stdbool.h>
#include <stdint.h>

#include "deliver/dead_letters.h"
#include "deliver/items.h"
#include "sink/sink.h"

struct parcel {
    struct handover handover; // first: this is what the sink knows
    struct parcel *next;
    struct items items;    // handed over, or to be
    struct items retry;    // came back
    struct items rejected; // have a letter, which is to be written before they are settled; in the letters' order
    struct letters letters;
    uint64_t unreported; // events without a verdict while it is handed over
    uint64_t settled;    // events with a final verdict, of this hand-over
    int64_t began_ns;    // was handed over
    int64_t due_ns;      // goes again, not earlier

    // Of what goes again.
    unsigned tries;    // so often its events were given back one by one
    unsigned failures; // so often the output failed on it as a whole
    uint64_t progress; // the pump's count of hand-overs that went well, when it last failed
    bool alone;        // goes as it is, and not with others
    bool prober;       // the one that may be halved while nothing goes well
    bool lettered;     // its events wait for the dead letters
};

struct parcels { // a queue
    struct parcel *first;
    struct parcel **last;
    size_t count;
};

void parcels_init(struct parcels *parcels);
void parcels_push(struct parcels *parcels, struct parcel *parcel);
struct parcel *parcels_take_due(struct parcels *parcels, int64_t now_ns); // the first that is due, or NULL
int64_t parcels_next_due_ns(const struct parcels *parcels);               // INT64_MAX: there is none

struct parcel *parcel_get(struct parcels *spare); // empty, new or out of those
void parcel_put(struct parcels *spare, struct parcel *parcel);
void parcels_fini(struct parcels *parcels);

// Makes what came back what is handed over next.
void parcel_turn_round(struct parcel *parcel);
// A parcel with the second half of its events; the first half stays. It has at least two.
struct parcel *parcel_halve(struct parcel *parcel, struct parcels *spare);
