// SPDX-License-Identifier: Apache-2.0
#include "sink/es_name.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "sink/es_time.h"

#define PART_MAX 100 // of a data stream's dataset and namespace

// Elasticsearch's rules for index names ("Create index API", Path parameters), which hold for data streams too.
static int check_rules(const char *key, const char *shown, struct text name, struct err *err)
{
    if (name.len == 0)
        return err_set(err, -EINVAL, "%s: is empty", key);
    if (text_eq(name, TEXT(".")) || text_eq(name, TEXT("..")))
        return err_set(err, -EINVAL, "%s: \"%s\" must not be . or ..", key, shown);
    if (memchr("-_+", name.at[0], 3) != NULL)
        return err_set(err, -EINVAL, "%s: \"%s\" must not begin with -, _ or +", key, shown);
    if (name.len > ES_NAME_MAX)
        return err_set(err, -EINVAL, "%s: longer than %d bytes", key, ES_NAME_MAX);
    for (size_t i = 0; i < name.len; i++) {
        unsigned char c = (unsigned char)name.at[i];
        if (c >= 'A' && c <= 'Z')
            return err_set(err, -EINVAL, "%s: \"%s\" must be lower case", key, shown);
        if (c <= ' ' || c == 0x7f || strchr("\\/*?\"<>|,#:", c) != NULL)
            return err_set(err, -EINVAL, "%s: \"%s\" must have none of \\ / * ? \" < > | , # : and no blank", key,
                           shown);
    }
    return 0;
}

// What a %-sign and the letter after it stand for: a field of the date, as digits.
static int date_field(char letter, const struct tm *utc, char out[8])
{
    switch (letter) {
    case 'Y':
        return snprintf(out, 8, "%04d", (utc->tm_year + 1900) % 10000);
    case 'm':
        return snprintf(out, 8, "%02d", (utc->tm_mon + 1) % 100);
    case 'd':
        return snprintf(out, 8, "%02d", utc->tm_mday % 100);
    case 'H':
        return snprintf(out, 8, "%02d", utc->tm_hour % 100);
    default:
        return -1;
    }
}

static int check_index(struct es_name *name, struct err *err)
{
    static const char key[] = "output.elasticsearch_index";
    struct buf sample = BUF_EMPTY;
    if (name->format[0] == '%') // the template's pattern would begin with * and take in the indices of others
        return err_set(err, -EINVAL, "%s: \"%s\" must begin with something else than a date part", key, name->format);
    for (const char *at = strchr(name->format, '%'); at != NULL; at = strchr(at + 2, '%')) {
        if (at[1] == '\0' || strchr("YmdH", at[1]) == NULL)
            return err_set(err, -EINVAL, "%s: \"%s\": after %% one of Y, m, d and H must follow", key, name->format);
        name->dated = true;
    }
    es_name_write(name, 0, &sample);
    int rc = check_rules(key, name->format, (struct text){sample.data, sample.len}, err);
    buf_fini(&sample);
    return rc;
}

// <type>-<dataset>-<namespace> ("An introduction to the Elastic data stream naming scheme").
static int check_data_stream(const char *format, struct err *err)
{
    static const char key[] = "output.elasticsearch_data_stream";
    int rc = check_rules(key, format, text_of(format), err);
    if (rc != 0)
        return rc;
    if (strchr(format, '%') != NULL)
        return err_set(err, -EINVAL, "%s: \"%s\" must have no %%: a data stream keeps its dates itself", key, format);
    unsigned parts = 1;
    for (const char *part = format;; parts++) {
        size_t len = strcspn(part, "-");
        if (len == 0 || len > PART_MAX)
            return err_set(err, -EINVAL, "%s: \"%s\": each part must have 1 to %d bytes", key, format, PART_MAX);
        if (part[len] == '\0')
            break;
        part += len + 1;
    }
    if (parts != 3)
        return err_set(err, -EINVAL,
                       "%s: \"%s\" is not of the form <type>-<dataset>-<namespace>, such as \"logs-loom.spip-default\"",
                       key, format);
    if (strncmp(format, ".ds", 3) == 0)
        return err_set(err, -EINVAL, "%s: \"%s\" must not begin with .ds", key, format);
    return 0;
}

int es_name_open(const struct conf_output *conf, struct es_name *out, struct err *err)
{
    bool data_stream = conf->elasticsearch_data_stream[0] != '\0';
    *out = (struct es_name){.format = data_stream ? conf->elasticsearch_data_stream : conf->elasticsearch_index,
                            .data_stream = data_stream};
    return data_stream ? check_data_stream(out->format, err) : check_index(out, err);
}

void es_name_write(const struct es_name *name, int64_t seconds, struct buf *out)
{
    if (!name->dated) {
        buf_str(out, name->format);
        return;
    }
    time_t time = (time_t)seconds;
    struct tm utc;
    gmtime_r(&time, &utc);
    for (const char *at = name->format; *at != '\0'; at++) {
        char digits[8];
        if (*at != '%') {
            buf_char(out, *at);
        } else {
            int len = date_field(*++at, &utc, digits);
            buf_append(out, digits, len > 0 ? (size_t)len : 0);
        }
    }
}

void es_name_pattern(const struct es_name *name, struct buf *out)
{
    for (const char *at = name->format; *at != '\0'; at++) {
        if (*at != '%') {
            buf_char(out, *at);
            continue;
        }
        at++;
        if (out->len == 0 || out->data[out->len - 1] != '*')
            buf_char(out, '*');
    }
}

void es_name_label(const struct es_name *name, struct buf *out)
{
    for (const char *at = name->format; *at != '\0'; at++) {
        if (*at != '%')
            buf_char(out, *at);
        else
            buf_str(out, *++at == 'Y' ? "yyyy" : *at == 'm' ? "mm" : *at == 'd' ? "dd" : "hh");
    }
}

void es_name_escape(struct text name, struct buf *out)
{
    for (size_t i = 0; i < name.len; i++) {
        char c = name.at[i];
        if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || strchr("-._~", c) != NULL)
            buf_char(out, c);
        else
            buf_printf(out, "%%%02X", (unsigned char)c);
    }
}

int64_t es_name_seconds(struct text event, int64_t arrived_real_ns)
{
    struct text value;
    int64_t seconds;
    if (es_time_find(event, &value) && es_time_read(value, &seconds))
        return seconds;
    return arrived_real_ns / NS_PER_S - (arrived_real_ns % NS_PER_S < 0 ? 1 : 0);
}
