// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "enrich/mmdb.h"

#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <maxminddb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "enrich/metadata.h"
#include "mmdb_build.h"

static struct ip ip_of(const char *text)
{
    struct ip ip;
    assert_true(ip_parse(text_of(text), &ip));
    return ip;
}

static struct mmdb *open_build(const struct mmdb_build *build)
{
    struct buf file = build_finish(build);
    struct mmdb *db = NULL;
    struct err err = {0};
    if (mmdb_open_bytes("test", file.data, file.len, &db, &err) != 0)
        fail_msg("%s", err.text);
    buf_fini(&file);
    return db;
}

static void assert_refused(const char *path, const char *reason)
{
    struct mmdb *db = NULL;
    struct err err = {0};
    char expected[ERR_TEXT_MAX];
    snprintf(expected, sizeof expected, "%s: %s", path, reason);
    assert_true(mmdb_open(path, &db, &err) < 0);
    assert_string_equal(err.text, expected);
    assert_null(db);
}

static void what_is_no_database_is_refused_with_path_and_reason(void **state)
{
    (void)state;
    assert_refused("/nonexistent/city.mmdb", "No such file or directory");
    assert_refused("/tmp", "Is a directory");
    assert_refused("/dev/null", "is not a regular file");

    char folder[] = "/tmp/loom-test-XXXXXX";
    assert_non_null(mkdtemp(folder));
    char fifo[64];
    snprintf(fifo, sizeof fifo, "%s/fifo", folder);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    assert_refused(fifo, "is not a regular file"); // and is not waited for
    unlink(fifo);
    rmdir(folder);

    char *path = build_write("", 0);
    assert_refused(path, "is empty");
    assert_int_equal(truncate(path, (off_t)MMDB_FILE_MAX + 1), 0); // a hole: takes no space
    assert_refused(path, "is larger than 4 GiB");
    unlink(path);
    mem_free(path);

    path = build_write("{\"no\":\"database\"}", 17);
    assert_refused(path, "this is no MMDB file, or its end is missing");
    unlink(path);
    mem_free(path);

    struct buf file = build_city_file();
    path = build_write(file.data + 10, file.len - 10); // its beginning is missing
    assert_refused(path, "node 0 of the search tree leads out of the file");
    unlink(path);
    mem_free(path);
    buf_fini(&file);
}

static void every_width_and_version_is_looked_up(void **state)
{
    (void)state;
    static const unsigned widths[] = {24, 28, 32}, versions[] = {4, 6};
    for (size_t i = 0; i < 6; i++) {
        struct mmdb_build build;
        build_init(&build, versions[i % 2], widths[i / 2], "Test");
        build_text(&build.data, "a");
        uint32_t second = build_here(&build);
        build_text(&build.data, "b");
        build_network(&build, "192.0.2.0/24", 0);
        build_network(&build, "192.0.2.128/25", second);
        build_network(&build, "0.0.0.0/32", second);
        if (versions[i % 2] == 6)
            build_network(&build, "2001:db8::/32", second);
        struct mmdb *db = open_build(&build);
        assert_int_equal(mmdb_info(db)->ip_version, versions[i % 2]);
        assert_int_equal(mmdb_info(db)->build_epoch, 1700000000);
        assert_int_equal(mmdb_find(db, ip_of("192.0.2.0")), 1);
        assert_int_equal(mmdb_find(db, ip_of("192.0.2.127")), 1);
        assert_int_equal(mmdb_find(db, ip_of("::ffff:192.0.2.127")), 1);
        assert_int_equal(mmdb_find(db, ip_of("192.0.2.128")), second + 1);
        assert_int_equal(mmdb_find(db, ip_of("0.0.0.0")), second + 1);
        assert_int_equal(mmdb_find(db, ip_of("0.0.0.1")), MMDB_ENTRY_NONE);
        assert_int_equal(mmdb_find(db, ip_of("192.0.3.0")), MMDB_ENTRY_NONE);
        assert_int_equal(mmdb_find(db, ip_of("::192.0.2.127")), MMDB_ENTRY_NONE); // not mapped, so not IPv4
        assert_int_equal(mmdb_find(db, ip_of("::c000:27f")), MMDB_ENTRY_NONE);
        assert_int_equal(mmdb_find(db, ip_of("::")), MMDB_ENTRY_NONE);
        assert_int_equal(mmdb_find(db, ip_of("2001:db8::1")), versions[i % 2] == 6 ? second + 1 : MMDB_ENTRY_NONE);
        assert_int_equal(mmdb_find(db, ip_of("2001:db9::1")), MMDB_ENTRY_NONE);

        struct mmdb_reader reader = mmdb_reader(db);
        struct mmdb_value value;
        assert_int_equal(mmdb_read(&reader, second, &value), 0);
        assert_true(text_eq(mmdb_text(&reader, &value), TEXT("b")));
        mmdb_close(db);
        build_fini(&build);
    }
}

static void a_tree_without_end_is_broken(void **state)
{
    (void)state;
    struct mmdb_build build;
    build_init(&build, 4, 24, "Test");
    build_text(&build.data, "a");
    build_network(&build, "192.0.2.0/24", 0);
    struct buf file = build_finish(&build);
    file.data[2] = 0; // the left record of the root is the root again
    file.data[1] = 0;
    file.data[0] = 0;
    struct mmdb *db;
    assert_int_equal(mmdb_open_bytes("test", file.data, file.len, &db, NULL), 0);
    assert_int_equal(mmdb_find(db, ip_of("0.0.0.0")), MMDB_ENTRY_BROKEN);
    assert_int_equal(mmdb_find(db, ip_of("192.0.2.1")), 1);
    mmdb_close(db);
    buf_fini(&file);
    build_fini(&build);
}

static void the_file_may_change_afterwards(void **state)
{
    (void)state;
    struct buf file = build_city_file();
    char *path = build_write(file.data, file.len);
    struct mmdb *db;
    assert_int_equal(mmdb_open(path, &db, NULL), 0);
    mmdb_entry entry = mmdb_find(db, ip_of("81.2.69.160"));
    assert_int_not_equal(entry, MMDB_ENTRY_NONE);

    int fd = open(path, O_WRONLY);
    char *garbage = mem_alloc(file.len);
    memset(garbage, 0xff, file.len);
    assert_int_equal(write(fd, garbage, file.len), file.len);
    assert_int_equal(mmdb_find(db, ip_of("81.2.69.160")), entry);
    assert_int_equal(ftruncate(fd, 0), 0);
    assert_int_equal(mmdb_find(db, ip_of("81.2.69.160")), entry);
    struct mmdb_reader reader = mmdb_reader(db);
    uint32_t offset = entry - 1;
    assert_int_equal(mmdb_skip(&reader, &offset, 1), 0);

    close(fd);
    unlink(path);
    mem_free(garbage);
    mem_free(path);
    mmdb_close(db);
    buf_fini(&file);
}

static unsigned open_descriptors(void)
{
    unsigned count = 0;
    for (int fd = 0; fd < 256; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

static void no_descriptor_stays_open(void **state)
{
    (void)state;
    struct buf file = build_city_file();
    unsigned before = open_descriptors();
    struct mmdb *db;
    assert_int_equal(mmdb_open_bytes("test", file.data, file.len, &db, NULL), 0);
    assert_int_equal(open_descriptors(), before);
    mmdb_close(db);
    struct err err;
    assert_true(mmdb_open_bytes("test", file.data, 30, &db, &err) < 0);
    assert_int_equal(open_descriptors(), before);
    mmdb_close(NULL);
    buf_fini(&file);
}

static void samples_are_entries_from_all_over_the_tree(void **state)
{
    (void)state;
    struct mmdb_build build;
    build_init(&build, 4, 24, "Test");
    char network[32];
    for (unsigned i = 0; i < 256; i++) {
        uint32_t here = build_here(&build);
        build_uint(&build.data, VALUE_UINT16, i);
        snprintf(network, sizeof network, "%u.0.0.0/8", i);
        build_network(&build, network, here);
    }
    struct mmdb *db = open_build(&build);
    mmdb_entry entries[1000];
    assert_int_equal(mmdb_sample(db, entries, 1000), 256);
    size_t count = mmdb_sample(db, entries, 10);
    assert_in_range(count, 3, 10);
    for (size_t i = 0; i < count; i++) {
        struct mmdb_reader reader = mmdb_reader(db);
        struct mmdb_value value;
        assert_int_equal(mmdb_read(&reader, entries[i] - 1, &value), 0);
        assert_int_equal(value.type, VALUE_UINT16);
    }
    mmdb_close(db);
    build_fini(&build);
}

static void type_is_made_printable(void **state)
{
    (void)state;
    struct mmdb_build build;
    build_init(&build, 4, 24, "a\nb\x7f\xff\"c");
    build_text(&build.data, "a");
    build_network(&build, "192.0.2.0/24", 0);
    build.languages = "de en";
    struct mmdb *db = open_build(&build);
    assert_string_equal(mmdb_info(db)->type, "a?b??\"c");
    assert_string_equal(mmdb_info(db)->path, "test");
    assert_false(mmdb_lacks_language(db, TEXT("de")));
    assert_true(mmdb_lacks_language(db, TEXT("fr")));
    mmdb_close(db);
    build.languages = "";
    db = open_build(&build);
    assert_false(mmdb_lacks_language(db, TEXT("fr"))); // it lists none: who knows
    mmdb_close(db);
    build_fini(&build);
}

static uint32_t random_below(uint64_t *state, uint32_t limit)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)((*state >> 32) * limit >> 32);
}

// Any tree that mmdb_open takes: records lead on, back, to themselves, to nothing or to data. Of a hundred, `nodes` are
// nodes, most of them further on, so that a path may be as long as an address, and longer.
static void build_random_tree(struct mmdb_build *build, uint64_t *random, unsigned nodes)
{
    uint32_t count = 1 + random_below(random, 600);
    build_bytes(&build->data, VALUE_BYTES, "0123456789", 10);
    build->tree.len = 0;
    for (uint32_t i = 0; i < 2 * count; i++) {
        int64_t record = BUILD_EMPTY;
        if (random_below(random, 100) < nodes) {
            uint32_t further = i / 2 + 1 + random_below(random, 4);
            record = random_below(random, 50) > 0 && further < count ? further : random_below(random, count);
        } else if (random_below(random, 4) > 0) {
            record = BUILD_RECORD(random_below(random, (uint32_t)build->data.len));
        }
        buf_append(&build->tree, &record, sizeof record);
    }
}

// What libmaxminddb finds.
static mmdb_entry find_by_library(const MMDB_s *lib, uint32_t data_bytes, struct ip ip)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } address = {0};
    if (ip_is_v4(ip)) {
        address.v4.sin_family = AF_INET;
        address.v4.sin_addr.s_addr = htonl((uint32_t)ip.low);
    } else {
        uint64_t words[2] = {htobe64(ip.high), htobe64(ip.low)};
        address.v6.sin6_family = AF_INET6;
        memcpy(&address.v6.sin6_addr, words, sizeof words);
    }
    int status;
    MMDB_lookup_result_s found = MMDB_lookup_sockaddr(lib, &address.any, &status);
    if (status != MMDB_SUCCESS)
        return MMDB_ENTRY_BROKEN;
    if (!found.found_entry)
        return MMDB_ENTRY_NONE;
    // Where the tree goes on after the last bit, older versions give an offset that has wrapped around.
    return found.entry.offset < data_bytes ? found.entry.offset + 1 : MMDB_ENTRY_BROKEN;
}

static void compare_with_library(const struct mmdb_build *build, uint64_t *random, unsigned seen[3])
{
    struct buf file = build_finish(build);
    char *path = build_write(file.data, file.len);
    struct mmdb *db = open_build(build);
    uint32_t data_bytes = mmdb_reader(db).size;
    MMDB_s lib;
    assert_int_equal(MMDB_open(path, MMDB_MODE_MMAP, &lib), MMDB_SUCCESS);
    for (unsigned i = 0; i < 1000; i++) {
        struct ip ip = {0, IP_MAPPED_PREFIX << 32 | random_below(random, UINT32_MAX)};
        if (build->ip_version == 6 && i % 2 > 0) {
            ip.high = (uint64_t)random_below(random, UINT32_MAX) << 32 | random_below(random, UINT32_MAX);
            ip.low = (uint64_t)random_below(random, UINT32_MAX) << 32 | random_below(random, UINT32_MAX);
        }
        mmdb_entry found = mmdb_find(db, ip);
        if (found != find_by_library(&lib, data_bytes, ip))
            fail_msg("%u bits, version %u, %#llx %#llx: %u", build->record_bits, build->ip_version,
                     (unsigned long long)ip.high, (unsigned long long)ip.low, found);
        seen[found == MMDB_ENTRY_NONE ? 0 : found == MMDB_ENTRY_BROKEN ? 1 : 2]++;
    }
    MMDB_close(&lib);
    mmdb_close(db);
    unlink(path);
    mem_free(path);
    buf_fini(&file);
}

static void look_ups_agree_with_the_library_in_any_tree(void **state)
{
    (void)state;
    uint64_t random = 1;
    static const unsigned versions[] = {4, 6};
    for (unsigned i = 0; i < 6; i++) {
        unsigned seen[3] = {0}; // nothing, broken, a record
        for (unsigned tree = 0; tree < 48; tree++) {
            static const unsigned nodes[] = {50, 90, 98, 100};
            struct mmdb_build build;
            build_init(&build, versions[i % 2], 24 + i / 2 * 4, "Test");
            build_random_tree(&build, &random, nodes[tree % 4]);
            compare_with_library(&build, &random, seen);
            build_fini(&build);
        }
        for (size_t kind = 0; kind < 3; kind++)
            assert_true(seen[kind] > 1000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_no_database_is_refused_with_path_and_reason),
        cmocka_unit_test(every_width_and_version_is_looked_up),
        cmocka_unit_test(a_tree_without_end_is_broken),
        cmocka_unit_test(the_file_may_change_afterwards),
        cmocka_unit_test(no_descriptor_stays_open),
        cmocka_unit_test(samples_are_entries_from_all_over_the_tree),
        cmocka_unit_test(type_is_made_printable),
        cmocka_unit_test(look_ups_agree_with_the_library_in_any_tree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
