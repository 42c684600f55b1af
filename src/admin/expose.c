// SPDX-License-Identifier: Apache-2.0

#include "admin/expose.h"

#include <math.h>

#include "json/write.h"

static const char *const type_names[] = {
    [EXPOSE_COUNTER] = "counter",
    [EXPOSE_GAUGE] = "gauge",
    [EXPOSE_HISTOGRAM] = "histogram",
};

void expose_family(struct buf *out, const char *name, enum expose_type type, const char *help)
{
    buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type_names[type]);
}

static void write_number(struct buf *out, double value)
{
    if (isnan(value) || isinf(value))
        buf_str(out, isnan(value) ? "NaN" : value > 0 ? "+Inf" : "-Inf");
    else
        json_write_double(out, value);
}

// The format escapes backslash, quote and line feed in label values, and nothing else.
static void write_label_value(struct buf *out, const char *value)
{
    for (; *value != '\0'; value++) {
        if (*value == '\n') {
            buf_str(out, "\\n");
            continue;
        }
        if (*value == '\\' || *value == '"')
            buf_char(out, '\\');
        buf_char(out, *value);
    }
}

void expose_sample(struct buf *out, const char *name, const char *const *labels, double value)
{
    buf_str(out, name);
    if (labels != NULL && labels[0] != NULL) {
        for (size_t i = 0; labels[i] != NULL; i += 2) {
            buf_char(out, i == 0 ? '{' : ',');
            buf_str(out, labels[i]);
            buf_str(out, "=\"");
            write_label_value(out, labels[i + 1]);
            buf_char(out, '"');
        }
        buf_char(out, '}');
    }
    buf_char(out, ' ');
    write_number(out, value);
    buf_char(out, '\n');
}

void expose_histogram_add(struct histogram *sum, const struct histogram *part)
{
    for (size_t i = 0; i <= HISTOGRAM_BUCKETS; i++)
        sum->buckets[i] += counter_get(&part->buckets[i]);
    sum->sum += counter_get(&part->sum);
}

void expose_histogram(struct buf *out, const char *name, const char *help, const struct histogram *sum,
                      const uint64_t bounds[HISTOGRAM_BUCKETS], double unit)
{
    uint64_t count = 0;

    expose_family(out, name, EXPOSE_HISTOGRAM, help);
    for (size_t i = 0; i <= HISTOGRAM_BUCKETS; i++) {
        count += sum->buckets[i];
        buf_printf(out, "%s_bucket{le=\"", name);
        write_number(out, i < HISTOGRAM_BUCKETS ? (double)bounds[i] / unit : INFINITY);
        buf_printf(out, "\"} %llu\n", (unsigned long long)count);
    }
    buf_printf(out, "%s_sum ", name);
    write_number(out, (double)sum->sum / unit);
    buf_printf(out, "\n%s_count %llu\n", name, (unsigned long long)count);
}
