// SPDX-License-Identifier: Apache-2.0
#include "place.h"

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "enrich/mmdb_build.h"
#include "net/support.h"
#include "store/durable.h"

static void write_file(const char *path, const void *data, size_t len)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, len, file), len);
    assert_int_equal(fclose(file), 0);
}

static void write_databases(const struct place *place)
{
    struct buf city = build_city_file(), asn = build_asn_file();
    write_file(place->city, city.data, city.len);
    write_file(place->asn, asn.data, asn.len);
    write_file(place->no_db, "no database", 11);
    buf_fini(&city);
    buf_fini(&asn);
}

static void write_certificates(const struct place *place)
{
    struct identity identity = identity_new("localhost", NULL, -1, 30, 0);
    struct identity other = identity_new("localhost", NULL, -30, -1, 0);
    write_certs(place->dir, "tls.crt", &identity.cert, 1);
    write_key(place->dir, "tls.key", identity.key, NULL);
    write_certs(place->dir, "other.crt", &other.cert, 1);
    write_key(place->dir, "other.key", other.key, NULL);
    identity_free(&identity);
    identity_free(&other);
}

int place_set_up(void **state)
{
    struct place *place = mem_zalloc(sizeof *place);

    snprintf(place->dir, sizeof place->dir, "/tmp/loom-test-XXXXXX");
    assert_non_null(mkdtemp(place->dir));
    snprintf(place->config, sizeof place->config, "%s/loom.toml", place->dir);
    snprintf(place->cert, sizeof place->cert, "%s/tls.crt", place->dir);
    snprintf(place->key, sizeof place->key, "%s/tls.key", place->dir);
    snprintf(place->other_cert, sizeof place->other_cert, "%s/other.crt", place->dir);
    snprintf(place->other_key, sizeof place->other_key, "%s/other.key", place->dir);
    snprintf(place->city, sizeof place->city, "%s/city.mmdb", place->dir);
    snprintf(place->asn, sizeof place->asn, "%s/asn.mmdb", place->dir);
    snprintf(place->no_db, sizeof place->no_db, "%s/none.mmdb", place->dir);
    snprintf(place->tokens, sizeof place->tokens, "%s/tokens", place->dir);
    snprintf(place->socket, sizeof place->socket, "%s/socket", place->dir);
    write_databases(place);
    write_certificates(place);
    write_file(place->tokens, "token-file,file-sensor\n", 23);
    assert_int_equal(chmod(place->tokens, 0600), 0);
    clearenv();
    *state = place;
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

int place_tear_down(void **state)
{
    struct place *place = *state;
    nftw(place->dir, remove_one, 4, FTW_DEPTH | FTW_PHYS);
    buf_fini(&place->out);
    buf_fini(&place->err);
    mem_free(place);
    return 0;
}

void place_config(struct place *place, const char *format, ...)
{
    va_list args;
    FILE *file = fopen(place->config, "w");
    assert_non_null(file);
    va_start(args, format);
    assert_true(vfprintf(file, format, args) >= 0);
    va_end(args);
    assert_int_equal(fclose(file), 0);
}

void place_later_outbox(char *dir)
{
    enum { AT_USER_VERSION = 63 }; // its last byte
    const struct conf_outbox conf = {.dir = dir, .max_bytes = 1000000, .when_full = (char *)"reject"};
    struct store *store;
    struct err err;
    char path[96];
    assert_int_equal(store_durable_open(&conf, &store, &err), 0);
    store->ops->close(store);
    snprintf(path, sizeof path, "%s/outbox.db", dir);
    FILE *file = fopen(path, "r+");
    assert_non_null(file);
    assert_int_equal(fseek(file, AT_USER_VERSION, SEEK_SET), 0);
    assert_int_equal(fputc(2, file), 2);
    assert_int_equal(fclose(file), 0);
}

static void read_back(FILE *file, struct buf *out)
{
    char block[4096];
    out->len = 0;
    rewind(file);
    for (size_t n; (n = fread(block, 1, sizeof block, file)) > 0;)
        buf_append(out, block, n);
    fclose(file);
    text_in(out);
}

int place_captured(struct place *place, int (*run)(const char *config))
{
    FILE *files[2] = {tmpfile(), tmpfile()};
    int real[2] = {dup(STDOUT_FILENO), dup(STDERR_FILENO)};

    fflush(NULL);
    for (int i = 0; i < 2; i++) {
        assert_non_null(files[i]);
        assert_int_equal(dup2(fileno(files[i]), STDOUT_FILENO + i), STDOUT_FILENO + i);
    }
    int rc = run(place->config);
    fflush(NULL);
    for (int i = 0; i < 2; i++) {
        dup2(real[i], STDOUT_FILENO + i);
        close(real[i]);
    }
    read_back(files[0], &place->out);
    read_back(files[1], &place->err);
    return rc;
}

unsigned count_lines(const struct buf *text)
{
    unsigned count = 0;
    for (size_t i = 0; i < text->len; i++)
        count += text->data[i] == '\n';
    assert_true(text->len == 0 || text->data[text->len - 1] == '\n');
    return count;
}

const char *text_in(struct buf *text)
{
    buf_char(text, '\0');
    text->len--;
    return text->data;
}
