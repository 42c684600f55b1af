// SPDX-License-Identifier: Apache-2.0

#include "mmdb_build.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "enrich/metadata.h"

struct node {
    int64_t side[2];
};

static int64_t add_node(struct mmdb_build *build, int64_t both)
{
    struct node node = {{both, both}};
    buf_append(&build->tree, &node, sizeof node);
    return (int64_t)(build->tree.len / sizeof node) - 1;
}

static struct node *node_at(const struct mmdb_build *build, int64_t index)
{
    return (struct node *)build->tree.data + index;
}

void build_init(struct mmdb_build *build, unsigned ip_version, unsigned record_bits, const char *type)
{
    *build = (struct mmdb_build){.ip_version = ip_version, .record_bits = record_bits, .type = type, .languages = "en"};
    add_node(build, BUILD_EMPTY);
}

void build_fini(struct mmdb_build *build)
{
    buf_fini(&build->data);
    buf_fini(&build->tree);
}

uint32_t build_here(const struct mmdb_build *build)
{
    return (uint32_t)build->data.len;
}

static void put_be(struct buf *out, uint64_t value, int bytes)
{
    while (bytes-- > 0)
        buf_char(out, (char)(value >> (8 * bytes)));
}

void build_head(struct buf *out, enum mmdb_type type, uint32_t size)
{
    int more = size < 29 ? 0 : size < 285 ? 1 : size < 65821 ? 2 : 3;
    uint32_t bias[] = {0, 29, 285, 65821};
    buf_char(out, (char)((type <= 7 ? type << 5 : 0) | (more == 0 ? size : 28U + (unsigned)more)));
    if (type > 7)
        buf_char(out, (char)(type - 7));
    put_be(out, size - bias[more], more);
}

void build_bytes(struct buf *out, enum mmdb_type type, const void *bytes, uint32_t size)
{
    build_head(out, type, size);
    buf_append(out, bytes, size);
}

void build_text(struct buf *out, const char *text)
{
    build_bytes(out, VALUE_TEXT, text, (uint32_t)strlen(text));
}

void build_uint(struct buf *out, enum mmdb_type type, uint64_t value)
{
    int bytes = 0;
    while (bytes < 8 && value >> (8 * bytes) != 0)
        bytes++;
    build_head(out, type, (uint32_t)bytes);
    put_be(out, value, bytes);
}

void build_double(struct buf *out, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    build_head(out, VALUE_DOUBLE, 8);
    put_be(out, bits, 8);
}

void build_float(struct buf *out, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    build_head(out, VALUE_FLOAT, 4);
    put_be(out, bits, 4);
}

void build_pointer(struct buf *out, uint32_t target)
{
    const uint32_t bias[] = {0, 2048, 526336, 0};
    int form = target < 2048 ? 0 : target < 526336 ? 1 : target < 134744064 ? 2 : 3;
    uint32_t value = target - bias[form];
    uint32_t high = form < 3 ? value >> (8 * (form + 1)) : 0;
    buf_char(out, (char)(VALUE_POINTER << 5 | (unsigned)form << 3 | high));
    put_be(out, value, form + 1);
}

void build_key_text(struct buf *out, const char *key, const char *text)
{
    build_text(out, key);
    build_text(out, text);
}

void build_names(struct buf *out, const char *english)
{
    build_text(out, "names");
    build_head(out, VALUE_MAP, 1);
    build_key_text(out, "en", english);
}

void build_network(struct mmdb_build *build, const char *network, uint32_t offset)
{
    char address[64];
    unsigned bits;
    uint8_t bytes[16] = {0};
    if (sscanf(network, "%63[^/]/%u", address, &bits) != 2)
        abort();
    if (strchr(address, ':') != NULL) {
        if (inet_pton(AF_INET6, address, bytes) != 1)
            abort();
    } else {
        if (inet_pton(AF_INET, address, build->ip_version == 6 ? bytes + 12 : bytes) != 1)
            abort();
        bits += build->ip_version == 6 ? 96 : 0;
    }

    int64_t at = 0;
    for (unsigned i = 0; i < bits; i++) {
        unsigned side = bytes[i / 8] >> (7 - i % 8) & 1;
        int64_t next = node_at(build, at)->side[side];
        if (i == bits - 1) {
            next = BUILD_RECORD(offset);
        } else if (next < 0) {
            next = add_node(build, next); // what stood for the whole stands for both halves
        }
        node_at(build, at)->side[side] = next;
        at = next;
    }
}

static void put_node(struct buf *out, unsigned record_bits, const uint32_t record[2])
{
    if (record_bits == 28) {
        put_be(out, record[0] & 0xffffff, 3);
        put_be(out, record[0] >> 24 << 4 | record[1] >> 24, 1);
        put_be(out, record[1] & 0xffffff, 3);
    } else {
        put_be(out, record[0], (int)record_bits / 8);
        put_be(out, record[1], (int)record_bits / 8);
    }
}

struct buf build_finish_bare(const struct mmdb_build *build)
{
    struct buf file = BUF_EMPTY;
    size_t count = build->tree.len / sizeof(struct node);
    for (size_t i = 0; i < count; i++) {
        uint32_t record[2];
        for (int side = 0; side < 2; side++) {
            int64_t to = node_at(build, (int64_t)i)->side[side];
            record[side] = to >= 0             ? (uint32_t)to
                           : to == BUILD_EMPTY ? (uint32_t)count
                                               : (uint32_t)(count + MMDB_SEPARATOR_BYTES + (uint64_t)BUILD_RECORD(to));
        }
        put_node(&file, build->record_bits, record);
    }
    for (int i = 0; i < MMDB_SEPARATOR_BYTES; i++)
        buf_char(&file, '\0');
    buf_append(&file, build->data.data, build->data.len);
    return file;
}

static void put_languages(struct buf *out, const char *languages)
{
    char *copy = mem_strdup(languages);
    uint32_t count = 0;
    struct buf texts = BUF_EMPTY;
    for (char *rest = copy, *one; (one = strsep(&rest, " ")) != NULL;) {
        if (*one == '\0')
            continue;
        build_text(&texts, one);
        count++;
    }
    build_head(out, VALUE_ARRAY, count);
    buf_append(out, texts.data, texts.len);
    buf_fini(&texts);
    mem_free(copy);
}

struct buf build_finish(const struct mmdb_build *build)
{
    struct buf file = build_finish_bare(build);
    buf_str(&file, BUILD_MARKER);
    build_head(&file, VALUE_MAP, 9);
    build_text(&file, "binary_format_major_version");
    build_uint(&file, VALUE_UINT16, 2);
    build_text(&file, "binary_format_minor_version");
    build_uint(&file, VALUE_UINT16, 0);
    build_text(&file, "build_epoch");
    build_uint(&file, VALUE_UINT64, 1700000000);
    build_text(&file, "database_type");
    build_text(&file, build->type);
    build_text(&file, "description");
    build_head(&file, VALUE_MAP, 1);
    build_key_text(&file, "en", "made by a test");
    build_text(&file, "ip_version");
    build_uint(&file, VALUE_UINT16, build->ip_version);
    build_text(&file, "languages");
    put_languages(&file, build->languages);
    build_text(&file, "node_count");
    build_uint(&file, VALUE_UINT32, build->tree.len / sizeof(struct node));
    build_text(&file, "record_size");
    build_uint(&file, VALUE_UINT16, build->record_bits);
    return file;
}

struct buf build_city_file(void)
{
    struct mmdb_build build;
    build_init(&build, 6, 24, "Test-City");
    build.languages = "de en";
    struct buf *data = &build.data;
    uint32_t country = build_here(&build); // shared, as in real files
    build_head(data, VALUE_MAP, 2);
    build_key_text(data, "iso_code", "GB");
    build_text(data, "names");
    build_head(data, VALUE_MAP, 2);
    build_key_text(data, "de", "Vereinigtes K\u00f6nigreich");
    build_key_text(data, "en", "United Kingdom");

    uint32_t record = build_here(&build);
    build_head(data, VALUE_MAP, 7);
    build_text(data, "city");
    build_head(data, VALUE_MAP, 1);
    build_names(data, "London");
    build_text(data, "continent");
    build_head(data, VALUE_MAP, 2);
    build_key_text(data, "code", "EU");
    build_names(data, "Europe");
    build_text(data, "country");
    build_pointer(data, country);
    build_text(data, "location");
    build_head(data, VALUE_MAP, 4);
    build_text(data, "accuracy_radius");
    build_uint(data, VALUE_UINT16, 10);
    build_text(data, "latitude");
    build_double(data, 51.5014);
    build_text(data, "longitude");
    build_double(data, -0.1419);
    build_key_text(data, "time_zone", "Europe/London");
    build_text(data, "postal");
    build_head(data, VALUE_MAP, 1);
    build_key_text(data, "code", "SW1A");
    build_text(data, "registered_country");
    build_pointer(data, country);
    build_text(data, "subdivisions");
    build_head(data, VALUE_ARRAY, 2);
    build_head(data, VALUE_MAP, 2);
    build_key_text(data, "iso_code", "ENG");
    build_names(data, "England");
    build_head(data, VALUE_MAP, 2);
    build_key_text(data, "iso_code", "WSM");
    build_names(data, "Westminster");

    build_network(&build, "81.2.69.0/24", record);
    build_network(&build, "2001:db8::/32", record);
    struct buf file = build_finish(&build);
    build_fini(&build);
    return file;
}

struct buf build_asn_file(void)
{
    struct mmdb_build build;
    build_init(&build, 4, 28, "Test-ASN");
    build_head(&build.data, VALUE_MAP, 2);
    build_text(&build.data, "autonomous_system_number");
    build_uint(&build.data, VALUE_UINT32, 64500);
    build_key_text(&build.data, "autonomous_system_organization", "Example Transit");
    build_network(&build, "81.2.69.0/24", 0);
    struct buf file = build_finish(&build);
    build_fini(&build);
    return file;
}

char *build_write(const void *bytes, size_t size)
{
    char path[] = "/tmp/loom-test-XXXXXX";
    int fd = mkstemp(path);
    if (fd < 0 || write(fd, bytes, size) != (ssize_t)size || close(fd) != 0) {
        perror(path);
        abort();
    }
    return mem_strdup(path);
}
