// SPDX-License-Identifier: Apache-2.0

#include "enrich/metadata.h"

#include <stdbool.h>
#include <string.h>

#include "enrich/decode.h"

static const char MARKER[] = "\xab\xcd\xefMaxMind.com";
#define MARKER_BYTES     (sizeof MARKER - 1)
#define METADATA_MAX     (128 * 1024) // the format: within the last 128 KiB
#define METADATA_STEPS   4096 // values in all, so also the depth to which libmaxminddb may recurse; usual: fifty
#define DESCRIPTIONS_MAX 256  // entries of the two lists that libmaxminddb copies

enum metadata_shape { SHAPE_UINT16, SHAPE_UINT32, SHAPE_UINT64, SHAPE_TEXT, SHAPE_TEXT_ARRAY, SHAPE_TEXT_MAP };

enum metadata_key {
    KEY_NODE_COUNT,
    KEY_RECORD_SIZE,
    KEY_IP_VERSION,
    KEY_DATABASE_TYPE,
    KEY_LANGUAGES,
    KEY_MAJOR_VERSION,
    KEY_MINOR_VERSION,
    KEY_BUILD_EPOCH,
    KEY_DESCRIPTION,
    KEY_COUNT
};

static const struct {
    const char *name;
    enum metadata_shape shape;
} keys[KEY_COUNT] = {
    [KEY_NODE_COUNT] = {"node_count", SHAPE_UINT32},
    [KEY_RECORD_SIZE] = {"record_size", SHAPE_UINT16},
    [KEY_IP_VERSION] = {"ip_version", SHAPE_UINT16},
    [KEY_DATABASE_TYPE] = {"database_type", SHAPE_TEXT},
    [KEY_LANGUAGES] = {"languages", SHAPE_TEXT_ARRAY},
    [KEY_MAJOR_VERSION] = {"binary_format_major_version", SHAPE_UINT16},
    [KEY_MINOR_VERSION] = {"binary_format_minor_version", SHAPE_UINT16},
    [KEY_BUILD_EPOCH] = {"build_epoch", SHAPE_UINT64},
    [KEY_DESCRIPTION] = {"description", SHAPE_TEXT_MAP},
};

// What the keys hold: numbers, and the text of database_type.
struct metadata_values {
    bool seen[KEY_COUNT];
    uint64_t number[KEY_COUNT];
    struct text type;
};

static const uint8_t *last_marker(const uint8_t *file, size_t size)
{
    const uint8_t *from = size > METADATA_MAX ? file + size - METADATA_MAX : file;
    const uint8_t *end = file + size;
    const uint8_t *found = NULL;
    for (const uint8_t *at; (at = memmem(from, (size_t)(end - from), MARKER, MARKER_BYTES)) != NULL;) {
        found = at;
        from = at + MARKER_BYTES;
    }
    return found;
}

static bool is_text_list(struct mmdb_reader *reader, const struct mmdb_value *list, unsigned texts_each)
{
    if (list->size > DESCRIPTIONS_MAX)
        return false;
    uint32_t offset = list->payload;
    for (uint32_t i = 0; i < list->size * texts_each; i++) {
        struct mmdb_value value;
        if (mmdb_read(reader, offset, &value) != 0 || value.type != VALUE_TEXT)
            return false;
        offset = value.next;
    }
    return true;
}

static bool take_value(struct mmdb_reader *reader, enum metadata_key key, const struct mmdb_value *value,
                       struct metadata_values *values)
{
    switch (keys[key].shape) {
    case SHAPE_UINT16:
        return value->type == VALUE_UINT16 && mmdb_uint(reader, value, &values->number[key]) == 0;
    case SHAPE_UINT32:
        return value->type == VALUE_UINT32 && mmdb_uint(reader, value, &values->number[key]) == 0;
    case SHAPE_UINT64:
        return value->type == VALUE_UINT64 && mmdb_uint(reader, value, &values->number[key]) == 0;
    case SHAPE_TEXT:
        values->type = mmdb_text(reader, value);
        return value->type == VALUE_TEXT;
    case SHAPE_TEXT_ARRAY:
        return value->type == VALUE_ARRAY && is_text_list(reader, value, 1);
    case SHAPE_TEXT_MAP:
        return value->type == VALUE_MAP && is_text_list(reader, value, 2);
    }
    return false;
}

static enum metadata_key find_key(struct text name)
{
    enum metadata_key key = 0;
    while (key < KEY_COUNT && !text_eq(name, text_of(keys[key].name)))
        key++;
    return key;
}

static int read_values(struct mmdb_reader *reader, struct metadata_values *values, struct err *err)
{
    struct mmdb_value map;
    if (mmdb_read(reader, 0, &map) != 0 || map.type != VALUE_MAP)
        return err_set(err, ERR_DATABASE, "the metadata is broken");

    uint32_t offset = map.payload;
    for (uint32_t i = 0; i < map.size; i++) {
        struct mmdb_value name, value;
        if (mmdb_read(reader, offset, &name) != 0 || name.type != VALUE_TEXT)
            return err_set(err, ERR_DATABASE, "the metadata is broken");
        offset = name.next;
        enum metadata_key key = find_key(mmdb_text(reader, &name));
        if (key < KEY_COUNT) {
            if (values->seen[key])
                return err_set(err, ERR_DATABASE, "the metadata has %s twice", keys[key].name);
            if (mmdb_read(reader, offset, &value) != 0 || !take_value(reader, key, &value, values))
                return err_set(err, ERR_DATABASE, "%s of the metadata is broken", keys[key].name);
            values->seen[key] = true;
        }
        if (mmdb_skip(reader, &offset, 1) != 0)
            return err_set(err, ERR_DATABASE, "the metadata is broken");
    }
    for (int key = 0; key < KEY_COUNT; key++) {
        if (!values->seen[key])
            return err_set(err, ERR_DATABASE, "the metadata has no %s", keys[key].name);
    }
    return 0;
}

static int check_values(const struct metadata_values *values, struct err *err)
{
    const uint64_t *number = values->number;
    if (number[KEY_MAJOR_VERSION] != 2)
        return err_set(err, ERR_DATABASE, "format version %u is not known, only 2",
                       (unsigned)number[KEY_MAJOR_VERSION]);
    if (number[KEY_RECORD_SIZE] != 24 && number[KEY_RECORD_SIZE] != 28 && number[KEY_RECORD_SIZE] != 32)
        return err_set(err, ERR_DATABASE, "a record size of %u bits is not 24, 28 or 32",
                       (unsigned)number[KEY_RECORD_SIZE]);
    if (number[KEY_IP_VERSION] != 4 && number[KEY_IP_VERSION] != 6)
        return err_set(err, ERR_DATABASE, "an IP version of %u is not 4 or 6", (unsigned)number[KEY_IP_VERSION]);
    if (number[KEY_NODE_COUNT] == 0)
        return err_set(err, ERR_DATABASE, "the search tree is empty");
    if (number[KEY_BUILD_EPOCH] == 0)
        return err_set(err, ERR_DATABASE, "the metadata has no build time");
    return 0;
}

// A record is a node, or "nothing here" (node_count), or an offset in the data section.
static int check_tree(const uint8_t *file, const struct mmdb_metadata *metadata, struct err *err)
{
    uint64_t data_begin = (uint64_t)metadata->node_count + MMDB_SEPARATOR_BYTES;
    uint64_t data_end = data_begin + metadata->data_bytes;
    for (uint32_t node = 0; node < metadata->node_count; node++) {
        for (unsigned side = 0; side < 2; side++) {
            uint32_t record = mmdb_tree_record(file, metadata, node, side);
            if (record > metadata->node_count && (record < data_begin || record >= data_end))
                return err_set(err, ERR_DATABASE, "node %u of the search tree leads out of the file", node);
        }
    }
    return 0;
}

int mmdb_metadata_read(const uint8_t *file, size_t size, struct mmdb_metadata *out, struct err *err)
{
    const uint8_t *marker = last_marker(file, size);
    if (marker == NULL)
        return err_set(err, ERR_DATABASE, "this is no MMDB file, or its end is missing");

    const uint8_t *begin = marker + MARKER_BYTES;
    struct mmdb_reader reader = {begin, (uint32_t)(file + size - begin), METADATA_STEPS};
    struct metadata_values values = {0};
    int code = read_values(&reader, &values, err);
    if (code == 0)
        code = check_values(&values, err);
    if (code != 0)
        return code;

    uint64_t tree_bytes = values.number[KEY_NODE_COUNT] * values.number[KEY_RECORD_SIZE] / 4;
    uint64_t before_metadata = (uint64_t)(marker - file);
    if (tree_bytes + MMDB_SEPARATOR_BYTES >= before_metadata)
        return err_set(err, ERR_DATABASE, "the search tree is larger than the file: bytes are missing");
    *out = (struct mmdb_metadata){
        .node_count = (uint32_t)values.number[KEY_NODE_COUNT],
        .record_bits = (unsigned)values.number[KEY_RECORD_SIZE],
        .ip_version = (unsigned)values.number[KEY_IP_VERSION],
        .build_epoch = values.number[KEY_BUILD_EPOCH],
        .type = values.type,
        .tree_bytes = (uint32_t)tree_bytes,
        .data_bytes = (uint32_t)(before_metadata - tree_bytes - MMDB_SEPARATOR_BYTES),
    };
    return check_tree(file, out, err);
}
