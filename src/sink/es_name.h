// SPDX-License-Identifier: Apache-2.0
#pragma once

// Where events go in Elasticsearch: one index, an index a day (or hour, month, year), or a data stream. The date is a
// function of the event's bytes and of its arrival, which the store keeps with it, so it is the same at each try: a repeat
// finds the same id in the same index.

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "conf/conf.h"

#define ES_NAME_MAX 255

struct es_name {
    const char *format; // borrowed from the configuration
    bool data_stream;
    bool dated; // has %Y, %m, %d or %H
};

// From output.elasticsearch_data_stream, or else elasticsearch_index. -EINVAL with a text that names the key and the rule.
int es_name_open(const struct conf_output *conf, struct es_name *out, struct err *err);

// Appends the name for a time (seconds since the epoch, years 0 to 9999).
void es_name_write(const struct es_name *name, int64_t seconds, struct buf *out);
// Appends the name with "*" for each date part: "loom-*.*.*". For the patterns of an index template.
void es_name_pattern(const struct es_name *name, struct buf *out);
// The same with yyyy, mm, dd, hh: "loom-yyyy.mm.dd". For the name of the template.
void es_name_label(const struct es_name *name, struct buf *out);

// Appends a name as a segment of a URL's path (RFC 3986, 2.1).
void es_name_escape(struct text name, struct buf *out);

// The time that gives an event its index: of its @timestamp, else of its arrival.
int64_t es_name_seconds(struct text event, int64_t arrived_real_ns);
