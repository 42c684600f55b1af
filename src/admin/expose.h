// SPDX-License-Identifier: Apache-2.0
#pragma once

// Writing Prometheus' text format. Private to admin/.

#include "base/buf.h"
#include "base/metric.h"

enum expose_type { EXPOSE_COUNTER, EXPOSE_GAUGE, EXPOSE_HISTOGRAM };

// The HELP and TYPE lines that stand before the samples of a family.
void expose_family(struct buf *out, const char *name, enum expose_type type, const char *help);

// One sample: name{label="value",...} number. Labels are pairs of strings ended by NULL.
void expose_sample(struct buf *out, const char *name, const char *const *labels, double value);

// Family and samples of one histogram over several threads' parts. `unit`: how many of the values make one base unit (1e9: ns
// to s).
void expose_histogram(struct buf *out, const char *name, const char *help, const struct histogram *sum,
                      const uint64_t bounds[HISTOGRAM_BUCKETS], double unit);

// Adds `part` to `sum`.
void expose_histogram_add(struct histogram *sum, const struct histogram *part);
