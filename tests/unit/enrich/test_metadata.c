// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "enrich/metadata.h"

#include <string.h>

#include "base/mem.h"
#include "mmdb_build.h"

// Metadata that is right but for what a row changes.
enum change {
    NONE,
    NODE_COUNT_ZERO,
    NODE_COUNT_ONE_MORE, // the last node would be the separator and what follows
    NODE_COUNT_WRAPS,    // times six is small in 32 bits
    NODE_COUNT_AS_UINT16,
    NODE_COUNT_TWICE,
    RECORD_SIZE_ODD,
    IP_VERSION_ODD,
    MAJOR_VERSION_3,
    BUILD_EPOCH_ZERO,
    TYPE_MISSING,
    TYPE_NUMBER,
    LANGUAGES_TEXT,
    LANGUAGES_OF_NUMBERS,
    LANGUAGES_DEEP, // libmaxminddb follows it
    LANGUAGES_MANY,
    DESCRIPTION_OF_MAPS,
    NOT_A_MAP,
    KEY_NUMBER,
    UNKNOWN_KEY,      // fine
    UNKNOWN_KEY_DEEP, // libmaxminddb 1.7 recurses into it
    MEMBER_MISSING,
};

static void put_number(struct buf *out, const char *key, enum mmdb_type type, uint64_t value)
{
    build_text(out, key);
    build_uint(out, type, value);
}

static void put_languages(struct buf *out, enum change change)
{
    build_text(out, "languages");
    switch (change) {
    case LANGUAGES_TEXT:
        build_text(out, "en");
        break;
    case LANGUAGES_OF_NUMBERS:
        build_head(out, VALUE_ARRAY, 1);
        build_uint(out, VALUE_UINT16, 1);
        break;
    case LANGUAGES_DEEP:
        build_head(out, VALUE_ARRAY, 1);
        build_head(out, VALUE_ARRAY, 1);
        build_text(out, "en");
        break;
    case LANGUAGES_MANY:
        build_head(out, VALUE_ARRAY, 1000);
        for (int i = 0; i < 1000; i++)
            build_text(out, "en");
        break;
    default:
        build_head(out, VALUE_ARRAY, 2);
        build_text(out, "de");
        build_text(out, "en");
        break;
    }
}

static void put_extras(struct buf *out, enum change change)
{
    if (change == KEY_NUMBER) {
        build_uint(out, VALUE_UINT16, 7);
        build_text(out, "seven");
    }
    if (change == UNKNOWN_KEY) {
        build_text(out, "sources");
        build_head(out, VALUE_ARRAY, 1);
        build_text(out, "somewhere");
    }
    if (change == UNKNOWN_KEY_DEEP) {
        build_text(out, "sources");
        for (int i = 0; i < 60000; i++)
            build_head(out, VALUE_ARRAY, 1);
        build_text(out, "bottom");
    }
    if (change == NODE_COUNT_TWICE)
        put_number(out, "node_count", VALUE_UINT32, 1);
}

static void put_metadata(struct buf *out, enum change change)
{
    bool extra = change == KEY_NUMBER || change == UNKNOWN_KEY || change == UNKNOWN_KEY_DEEP ||
                 change == NODE_COUNT_TWICE || change == MEMBER_MISSING;
    uint64_t nodes = change == NODE_COUNT_ZERO       ? 0
                     : change == NODE_COUNT_ONE_MORE ? 26
                     : change == NODE_COUNT_WRAPS    ? 0x2aaaaaab
                                                     : 24;
    if (change == NOT_A_MAP) {
        build_head(out, VALUE_ARRAY, 0);
        return;
    }
    build_head(out, VALUE_MAP, (change == TYPE_MISSING ? 8 : 9) + extra);
    put_extras(out, change);
    put_number(out, "binary_format_major_version", VALUE_UINT16, change == MAJOR_VERSION_3 ? 3 : 2);
    put_number(out, "binary_format_minor_version", VALUE_UINT16, 0);
    put_number(out, "build_epoch", VALUE_UINT64, change == BUILD_EPOCH_ZERO ? 0 : 1700000000);
    if (change == TYPE_NUMBER)
        put_number(out, "database_type", VALUE_UINT16, 1);
    else if (change != TYPE_MISSING)
        build_key_text(out, "database_type", "Test");
    build_text(out, "description");
    build_head(out, VALUE_MAP, 1);
    build_text(out, "en");
    if (change == DESCRIPTION_OF_MAPS)
        build_head(out, VALUE_MAP, 0);
    else
        build_text(out, "made by a test");
    put_number(out, "ip_version", VALUE_UINT16, change == IP_VERSION_ODD ? 5 : 4);
    put_languages(out, change);
    put_number(out, "node_count", change == NODE_COUNT_AS_UINT16 ? VALUE_UINT16 : VALUE_UINT32, nodes);
    put_number(out, "record_size", VALUE_UINT16, change == RECORD_SIZE_ODD ? 25 : 24);
}

// 24 nodes, one record of three bytes.
static struct buf tree_and_data(void)
{
    struct mmdb_build build;
    build_init(&build, 4, 24, "");
    build_text(&build.data, "hi");
    build_network(&build, "192.0.2.0/24", 0);
    struct buf file = build_finish_bare(&build);
    build_fini(&build);
    return file;
}

static int read_in_exact_block(const struct buf *file, struct mmdb_metadata *metadata, struct err *err)
{
    uint8_t *bytes = mem_alloc(file->len + 1);
    memcpy(bytes, file->data, file->len);
    int code = mmdb_metadata_read(bytes, file->len, metadata, err);
    metadata->type = (struct text){0}; // pointed into the block
    mem_free(bytes);
    return code;
}

static void metadata_is_checked(void **state)
{
    (void)state;
    static const struct {
        enum change change;
        const char *reason; // NULL: fine
    } rows[] = {
        {NONE, NULL},
        {UNKNOWN_KEY, NULL},
        {NODE_COUNT_ZERO, "the search tree is empty"},
        {NODE_COUNT_ONE_MORE, "the search tree is larger than the file: bytes are missing"},
        {NODE_COUNT_WRAPS, "the search tree is larger than the file: bytes are missing"},
        {NODE_COUNT_AS_UINT16, "node_count of the metadata is broken"},
        {NODE_COUNT_TWICE, "the metadata has node_count twice"},
        {RECORD_SIZE_ODD, "a record size of 25 bits is not 24, 28 or 32"},
        {IP_VERSION_ODD, "an IP version of 5 is not 4 or 6"},
        {MAJOR_VERSION_3, "format version 3 is not known, only 2"},
        {BUILD_EPOCH_ZERO, "the metadata has no build time"},
        {TYPE_MISSING, "the metadata has no database_type"},
        {TYPE_NUMBER, "database_type of the metadata is broken"},
        {LANGUAGES_TEXT, "languages of the metadata is broken"},
        {LANGUAGES_OF_NUMBERS, "languages of the metadata is broken"},
        {LANGUAGES_DEEP, "languages of the metadata is broken"},
        {LANGUAGES_MANY, "languages of the metadata is broken"},
        {DESCRIPTION_OF_MAPS, "description of the metadata is broken"},
        {NOT_A_MAP, "the metadata is broken"},
        {KEY_NUMBER, "the metadata is broken"},
        {UNKNOWN_KEY_DEEP, "the metadata is broken"},
        {MEMBER_MISSING, "the metadata is broken"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct buf file = tree_and_data();
        buf_str(&file, BUILD_MARKER);
        put_metadata(&file, rows[i].change);
        struct mmdb_metadata metadata;
        struct err err = {0};
        int code = read_in_exact_block(&file, &metadata, &err);
        assert_string_equal(err.text, rows[i].reason != NULL ? rows[i].reason : "");
        assert_int_equal(code, rows[i].reason != NULL ? ERR_DATABASE : 0);
        if (code == 0) {
            assert_int_equal(metadata.node_count, 24);
            assert_int_equal(metadata.tree_bytes, 24 * 6);
            assert_int_equal(metadata.data_bytes, 3);
            assert_int_equal(metadata.build_epoch, 1700000000);
        }
        buf_fini(&file);
    }
}

static void marker_is_the_last_within_128_kib(void **state)
{
    (void)state;
    struct mmdb_metadata metadata;
    struct err err = {0};
    struct buf file = tree_and_data();
    assert_int_equal(read_in_exact_block(&file, &metadata, &err), ERR_DATABASE);
    assert_string_equal(err.text, "this is no MMDB file, or its end is missing");

    buf_str(&file, BUILD_MARKER); // in the data section
    size_t data_bytes = 3 + strlen(BUILD_MARKER);
    buf_str(&file, BUILD_MARKER);
    size_t end_of_marker = file.len;
    put_metadata(&file, NONE);
    assert_int_equal(read_in_exact_block(&file, &metadata, &err), 0);
    assert_int_equal(metadata.data_bytes, data_bytes);

    struct buf zeros = BUF_EMPTY; // what follows the metadata is nobody's
    buf_reserve(&zeros, 128 * 1024);
    memset(zeros.data, 0, 128 * 1024);
    size_t furthest = 128 * 1024 - (file.len - end_of_marker) - strlen(BUILD_MARKER);
    buf_append(&file, zeros.data, furthest);
    assert_int_equal(read_in_exact_block(&file, &metadata, &err), 0);
    buf_char(&file, '\0');
    assert_int_equal(read_in_exact_block(&file, &metadata, &err), ERR_DATABASE);
    buf_fini(&zeros);

    file.len = end_of_marker; // the file ends with its marker
    assert_int_equal(read_in_exact_block(&file, &metadata, &err), ERR_DATABASE);
    assert_string_equal(err.text, "the metadata is broken");
    buf_fini(&file);
}

static void tree_stays_within_the_file(void **state)
{
    (void)state;
    static const struct {
        uint32_t record; // of the 24 nodes, 16 bytes of separator and 3 bytes of data
        bool fine;
    } rows[] = {{0, true},  {23, true}, {24, true},  {25, false},      {39, false},
                {40, true}, {42, true}, {43, false}, {0xffffff, false}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct buf file = tree_and_data();
        buf_str(&file, BUILD_MARKER);
        put_metadata(&file, NONE);
        for (int b = 0; b < 3; b++) // left record of node 7
            file.data[7 * 6 + b] = (char)(rows[i].record >> (16 - 8 * b));
        struct mmdb_metadata metadata;
        struct err err = {0};
        int code = read_in_exact_block(&file, &metadata, &err);
        assert_int_equal(code, rows[i].fine ? 0 : ERR_DATABASE);
        assert_string_equal(err.text, rows[i].fine ? "" : "node 7 of the search tree leads out of the file");
        buf_fini(&file);
    }
}

static void records_of_every_width_are_read(void **state)
{
    (void)state;
    static const uint8_t narrow[] = {0, 0, 0, 0, 0, 0, 0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xff}; // and a byte behind
    static const uint8_t middle[] = {0, 0, 0, 0, 0, 0, 0, 0x12, 0x34, 0x56, 0xab, 0x78, 0x9a, 0xbc};
    static const uint8_t wide[] = {0, 0, 0, 0, 0, 0, 0, 0, 0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde, 0xf0};
    struct mmdb_metadata metadata = {.record_bits = 24};
    assert_int_equal(mmdb_tree_record(narrow, &metadata, 1, 0), 0x123456);
    assert_int_equal(mmdb_tree_record(narrow, &metadata, 1, 1), 0x789abc);
    metadata.record_bits = 28;
    assert_int_equal(mmdb_tree_record(middle, &metadata, 1, 0), 0xa123456);
    assert_int_equal(mmdb_tree_record(middle, &metadata, 1, 1), 0xb789abc);
    metadata.record_bits = 32;
    assert_int_equal(mmdb_tree_record(wide, &metadata, 1, 0), 0x12345678);
    assert_int_equal(mmdb_tree_record(wide, &metadata, 1, 1), 0x9abcdef0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(metadata_is_checked),
        cmocka_unit_test(marker_is_the_last_within_128_kib),
        cmocka_unit_test(tree_stays_within_the_file),
        cmocka_unit_test(records_of_every_width_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
