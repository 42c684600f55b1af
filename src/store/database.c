// SPDX-License-Identifier: Apache-2.0
#include "store/database.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sqlite3.h>

#include "base/err.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "store/schema.h"

#define BUSY_MS 2000

// The checkpoint is called by who commits, after the answers are on their way; and a log that a burst has made long is cut.
#define LOG_KEPT_BYTES "16777216"
#ifdef LOOM_UNSAFE_NO_SYNC
#define SYNCHRONOUS "OFF"
#else
#define SYNCHRONOUS "FULL"
#endif

static const char schema[] =
    "CREATE TABLE rows(seq INTEGER PRIMARY KEY, arrived INTEGER NOT NULL, events INTEGER NOT NULL,"
    " batches INTEGER NOT NULL, data BLOB NOT NULL);"
    "CREATE TABLE settled(seq INTEGER PRIMARY KEY, events INTEGER NOT NULL, batches INTEGER NOT NULL, bits BLOB NOT "
    "NULL);"
    "CREATE TABLE damaged(seq INTEGER NOT NULL, at INTEGER NOT NULL, reason TEXT NOT NULL, bytes INTEGER NOT NULL,"
    " data BLOB, PRIMARY KEY(seq, at)) WITHOUT ROWID;"
    "PRAGMA application_id=1280266061; PRAGMA user_version=1;";

#define ROW_COLUMNS                                                                                                    \
    "SELECT rows.seq, arrived, rows.events, rows.batches, length(data), coalesce(settled.events, 0),"                  \
    " coalesce(settled.batches, 0) FROM rows LEFT JOIN settled ON settled.seq = rows.seq "

// Of a file that is to be salvaged each table stands for itself.
#define ROW_COLUMNS_ALONE "SELECT seq, arrived, events, batches, length(data), 0, 0 FROM rows "

static const char next_row[] = ROW_COLUMNS "WHERE rows.seq >= ?1 ORDER BY rows.seq LIMIT 1";

static const char *const statements[DATABASE_STATEMENTS] = {
    [DATABASE_BEGIN] = "BEGIN IMMEDIATE",
    [DATABASE_COMMIT] = "COMMIT",
    [DATABASE_ROLLBACK] = "ROLLBACK",
    [DATABASE_INSERT] = "INSERT INTO rows(seq, arrived, events, batches, data) VALUES(?1, ?2, ?3, ?4, ?5)",
    [DATABASE_DELETE] = "DELETE FROM rows WHERE seq = ?1",
    // Nothing for a row that is gone. The columns are those of `settled`, in order.
    [DATABASE_SET_BITS] = "REPLACE INTO settled SELECT ?1, ?2, ?3, ?4 WHERE EXISTS(SELECT 1 FROM rows WHERE seq = ?1)",
    [DATABASE_DELETE_BITS] = "DELETE FROM settled WHERE seq = ?1",
    [DATABASE_SET_ASIDE] = "INSERT OR IGNORE INTO damaged(seq, at, reason, bytes, data) VALUES(?1, ?2, ?3, ?4, ?5)",
    [DATABASE_NEXT] = next_row,
    [DATABASE_GET_BITS] = "SELECT bits FROM settled WHERE seq = ?1",
};

// ---- Errors

static int last_errno(sqlite3_file *file)
{
    int error = 0;
    if (file == NULL || file->pMethods == NULL ||
        file->pMethods->xFileControl(file, SQLITE_FCNTL_LAST_ERRNO, &error) != SQLITE_OK)
        return 0;
    return error;
}

// SQLite keeps the system's reason with the file that had the trouble, the log before all; the connection has it for some
// errors only.
static int system_error(struct database *db, int otherwise)
{
    if (db->handle == NULL)
        return otherwise;
    static const int files[] = {SQLITE_FCNTL_JOURNAL_POINTER, SQLITE_FCNTL_FILE_POINTER};
    int error = 0;
    for (size_t i = 0; error <= 0 && i < sizeof files / sizeof *files; i++) {
        sqlite3_file *file = NULL;
        if (sqlite3_file_control(db->handle, "main", files[i], &file) == SQLITE_OK)
            error = last_errno(file);
    }
    if (error <= 0)
        error = sqlite3_system_errno(db->handle);
    // -ENOENT says here that there is no row, or no table. SQLite leaves a stale one behind after a short read (3.46), and
    // a row that can't be read would end the reading.
    return error > 0 && error != ENOENT ? -error : otherwise;
}

static int failed(struct database *db, int rc)
{
    db->fault = DATABASE_REOPEN;
    switch (rc & 0xff) {
    case SQLITE_FULL:
        db->fault = DATABASE_RETRY;
        return -ENOSPC;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_PROTOCOL:
        db->fault = DATABASE_RETRY;
        return -EBUSY;
    case SQLITE_NOMEM:
        db->fault = DATABASE_RETRY;
        return -ENOMEM;
    case SQLITE_TOOBIG:
        db->fault = DATABASE_RETRY;
        return -EFBIG;
    case SQLITE_IOERR:
        if (rc == SQLITE_IOERR_NOMEM) {
            db->fault = DATABASE_RETRY;
            return -ENOMEM;
        }
        return system_error(db, -EIO);
    case SQLITE_READONLY:
        return -EROFS;
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return system_error(db, -EACCES);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_FORMAT:
    case SQLITE_ERROR: // a table or a column that is not there
    case SQLITE_CONSTRAINT:
    case SQLITE_MISMATCH:
    case SQLITE_RANGE:
        db->fault = DATABASE_DAMAGED;
        return -EBADMSG;
    default:
        return -EIO;
    }
}

static int exec(struct database *db, const char *sql)
{
    int rc = sqlite3_exec(db->handle, sql, NULL, NULL, NULL);
    return rc == SQLITE_OK ? 0 : failed(db, rc);
}

// For statements of one result. -ENOENT without one.
static int ask(struct database *db, const char *sql, int64_t *out)
{
    sqlite3_stmt *statement = NULL;
    int rc = sqlite3_prepare_v2(db->handle, sql, -1, &statement, NULL);
    if (rc != SQLITE_OK)
        return failed(db, rc);
    rc = sqlite3_step(statement);
    *out = rc == SQLITE_ROW ? sqlite3_column_int64(statement, 0) : 0;
    sqlite3_finalize(statement);
    return rc == SQLITE_ROW ? 0 : rc == SQLITE_DONE ? -ENOENT : failed(db, rc);
}

// Runs a statement whose values are bound, and lets go of both.
static int run(struct database *db, enum database_statement which)
{
    sqlite3_stmt *statement = db->statements[which];
    int rc = sqlite3_step(statement);
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    return rc == SQLITE_DONE || rc == SQLITE_ROW ? 0 : failed(db, rc);
}

// ---- Opening

static int on_commit(void *ctx, sqlite3 *handle, const char *name, int pages)
{
    (void)handle, (void)name;
    ((struct database *)ctx)->wal_pages = (uint32_t)pages;
    return SQLITE_OK;
}

// SQLite gives its other files the mode of this one.
static int make_file(struct database *db, const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        db->fault = DATABASE_REOPEN;
        return -errno;
    }
    close(fd);
    return 0;
}

static int make_tables(struct database *db)
{
    int rc =
        exec(db, "PRAGMA page_size=16384; PRAGMA auto_vacuum=INCREMENTAL; PRAGMA journal_mode=WAL; BEGIN IMMEDIATE");
    if (rc == 0)
        rc = exec(db, schema);
    if (rc == 0)
        rc = exec(db, "COMMIT");
    return rc;
}

static int check_schema(struct database *db)
{
    int64_t id = 0, version = 0, tables = 0;
    int rc = ask(db, "PRAGMA application_id", &id);
    if (rc == 0)
        rc = ask(db, "PRAGMA user_version", &version);
    if (rc == 0 && schema_is_later(id, version)) { // before its tables are looked at: they may be beyond this SQLite
        db->fault = DATABASE_REOPEN;
        return ERR_LATER;
    }
    if (rc == 0)
        rc = ask(db, "SELECT count(*) FROM sqlite_schema", &tables);
    if (rc != 0)
        return rc;
    if (id == 0 && version == 0 && tables == 0)
        return -ENOENT;
    if (id == SCHEMA_APPLICATION_ID && version == SCHEMA_VERSION)
        return 0;
    db->fault = DATABASE_DAMAGED;
    return -EBADMSG;
}

static int prepare(struct database *db, enum database_mode mode)
{
    for (int i = 0; i < DATABASE_STATEMENTS; i++) {
        if (mode != DATABASE_WRITE && i != DATABASE_NEXT && i != DATABASE_GET_BITS)
            continue;
        const char *sql = statements[i];
        if (i == DATABASE_NEXT && mode == DATABASE_SALVAGE)
            sql = ROW_COLUMNS_ALONE "WHERE seq >= ?1 ORDER BY seq LIMIT 1";
        int rc = sqlite3_prepare_v3(db->handle, sql, -1, SQLITE_PREPARE_PERSISTENT, &db->statements[i], NULL);
        if (rc != SQLITE_OK && !(i == DATABASE_GET_BITS && mode == DATABASE_SALVAGE))
            return failed(db, rc);
    }
    return 0;
}

static int set_up(struct database *db, enum database_mode mode)
{
    sqlite3_busy_timeout(db->handle, BUSY_MS);
    // What the file says is data and no program, and a close leaves the log to the next open, which checks.
    sqlite3_db_config(db->handle, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(db->handle, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    sqlite3_db_config(db->handle, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    // secure_delete is on where Debian has built SQLite: what is deleted would be written once more, as zeros.
    int rc = exec(db, "PRAGMA mmap_size=0; PRAGMA temp_store=MEMORY; PRAGMA cell_size_check=ON; "
                      "PRAGMA secure_delete=OFF");
    if (rc == 0 && mode != DATABASE_SALVAGE)
        rc = check_schema(db);
    if (rc == -ENOENT && mode == DATABASE_WRITE)
        rc = make_tables(db);
    if (rc == 0 && mode == DATABASE_WRITE)
        rc = exec(db, "PRAGMA journal_mode=WAL; PRAGMA synchronous=" SYNCHRONOUS
                      "; PRAGMA journal_size_limit=" LOG_KEPT_BYTES "; PRAGMA cache_size=-16384");
    if (rc == 0 && mode != DATABASE_WRITE)
        rc = exec(db, "PRAGMA query_only=ON");
    if (rc == 0 && mode == DATABASE_WRITE && sqlite3_db_readonly(db->handle, "main") == 1) {
        // make_file could write: it is the file that asks for a later SQLite.
        db->fault = DATABASE_DAMAGED;
        rc = -EBADMSG;
    }
    if (rc == 0)
        rc = prepare(db, mode);
    if (rc == 0)
        sqlite3_wal_hook(db->handle, on_commit, db); // also in the place of SQLite's own checkpoints
    return rc;
}

int database_open(struct database *db, const char *path, enum database_mode mode)
{
    *db = (struct database){0};
    int rc = mode == DATABASE_WRITE ? make_file(db, path) : 0;
    if (rc != 0)
        return rc;
    int flags = mode == DATABASE_INSPECT ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE;
    rc = sqlite3_open_v2(path, &db->handle, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE, NULL);
    if (rc == SQLITE_OK)
        sqlite3_extended_result_codes(db->handle, 1);
    rc = rc == SQLITE_OK ? set_up(db, mode) : failed(db, rc);
    if (rc != 0) {
        enum database_fault fault = db->fault;
        database_close(db);
        db->fault = fault;
    }
    return rc;
}

void database_close(struct database *db)
{
    for (int i = 0; i < DATABASE_STATEMENTS; i++)
        sqlite3_finalize(db->statements[i]);
    sqlite3_close(db->handle);
    *db = (struct database){0};
}

int database_check(struct database *db)
{
    sqlite3_stmt *statement = NULL;
    int rc = sqlite3_prepare_v2(db->handle, "PRAGMA quick_check(1)", -1, &statement, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(statement);
    const char *said = rc == SQLITE_ROW ? (const char *)sqlite3_column_text(statement, 0) : NULL;
    int result = said == NULL ? failed(db, rc) : 0;
    if (said != NULL && strcmp(said, "ok") != 0) {
        LOG(LOG_WARN, "outbox: the file is damaged", LOG_STR("detail", said));
        db->fault = DATABASE_DAMAGED;
        result = -EBADMSG;
    }
    sqlite3_finalize(statement);
    return result;
}

// ---- Transactions

int database_begin(struct database *db)
{
    return run(db, DATABASE_BEGIN);
}

int database_commit(struct database *db)
{
    return run(db, DATABASE_COMMIT);
}

// Some errors have rolled back already.
void database_rollback(struct database *db)
{
    enum database_fault fault = db->fault;
    if (db->handle != NULL && sqlite3_get_autocommit(db->handle) == 0)
        (void)run(db, DATABASE_ROLLBACK);
    db->fault = fault;
}

int database_insert(struct database *db, const struct database_row *row, const void *data)
{
    sqlite3_stmt *insert = db->statements[DATABASE_INSERT];
    sqlite3_bind_int64(insert, 1, (sqlite3_int64)row->seq);
    sqlite3_bind_int64(insert, 2, row->arrived_real_ns);
    sqlite3_bind_int64(insert, 3, row->events);
    sqlite3_bind_int64(insert, 4, row->batches);
    int rc = sqlite3_bind_blob64(insert, 5, data, row->bytes, SQLITE_STATIC);
    if (rc != SQLITE_OK) {
        sqlite3_clear_bindings(insert);
        return failed(db, rc);
    }
    return run(db, DATABASE_INSERT);
}

int database_delete(struct database *db, uint64_t seq)
{
    sqlite3_bind_int64(db->statements[DATABASE_DELETE], 1, (sqlite3_int64)seq);
    int rc = run(db, DATABASE_DELETE);
    if (rc != 0)
        return rc;
    sqlite3_bind_int64(db->statements[DATABASE_DELETE_BITS], 1, (sqlite3_int64)seq);
    return run(db, DATABASE_DELETE_BITS);
}

// The bits have a hash behind them, with the row's number in it: a flipped one would take an event for delivered.
static uint64_t bits_hash(uint64_t seq, const void *bits, size_t len)
{
    return hash64(bits, len, seq);
}

int database_set_settled(struct database *db, const struct database_row *row, const void *bits, size_t len)
{
    sqlite3_stmt *set = db->statements[DATABASE_SET_BITS];
    uint64_t hash = htole64(bits_hash(row->seq, bits, len));
    struct buf sealed = BUF_EMPTY;
    buf_append(&sealed, bits, len);
    buf_append(&sealed, &hash, sizeof hash);
    sqlite3_bind_int64(set, 1, (sqlite3_int64)row->seq);
    sqlite3_bind_int64(set, 2, row->settled_events);
    sqlite3_bind_int64(set, 3, row->settled_batches);
    sqlite3_bind_blob64(set, 4, sealed.data, sealed.len, SQLITE_STATIC);
    int rc = run(db, DATABASE_SET_BITS);
    buf_fini(&sealed);
    return rc;
}

int database_set_aside(struct database *db, uint64_t seq, uint64_t at, const char *reason, const void *data, size_t len,
                       bool *is_new)
{
    sqlite3_stmt *set = db->statements[DATABASE_SET_ASIDE];
    sqlite3_bind_int64(set, 1, (sqlite3_int64)seq);
    sqlite3_bind_int64(set, 2, (sqlite3_int64)at);
    sqlite3_bind_text(set, 3, reason, -1, SQLITE_STATIC);
    sqlite3_bind_int64(set, 4, (sqlite3_int64)len);
    if (data != NULL)
        sqlite3_bind_blob64(set, 5, data, len, SQLITE_STATIC);
    int rc = run(db, DATABASE_SET_ASIDE);
    *is_new = rc == 0 && sqlite3_changes(db->handle) > 0;
    return rc;
}

int database_probe(struct database *db)
{
    return exec(db, "PRAGMA user_version=1"); // writes the first page, though it says what it said
}

// ---- Reading

// Sums that were damaged are no reason to reserve or to report the impossible.
static uint32_t plausible(sqlite3_int64 value, uint64_t most)
{
    return value < 0 || (uint64_t)value > most || value > UINT32_MAX ? 0 : (uint32_t)value;
}

static void get_row(sqlite3_stmt *statement, struct database_row *out)
{
    out->seq = (uint64_t)sqlite3_column_int64(statement, 0);
    out->arrived_real_ns = sqlite3_column_int64(statement, 1);
    out->bytes = (uint64_t)sqlite3_column_int64(statement, 4);
    out->events = plausible(sqlite3_column_int64(statement, 2), out->bytes * 255);
    out->batches = plausible(sqlite3_column_int64(statement, 3), out->events);
    out->settled_events = plausible(sqlite3_column_int64(statement, 5), out->events);
    out->settled_batches = plausible(sqlite3_column_int64(statement, 6), out->batches);
}

static int find(struct database *db, sqlite3_stmt *statement, uint64_t seq, struct database_row *out)
{
    sqlite3_bind_int64(statement, 1, (sqlite3_int64)seq);
    int rc = sqlite3_step(statement);
    if (rc == SQLITE_ROW)
        get_row(statement, out);
    sqlite3_reset(statement);
    return rc == SQLITE_ROW ? 0 : rc == SQLITE_DONE ? -ENOENT : failed(db, rc);
}

int database_find(struct database *db, uint64_t seq, struct database_row *out)
{
    return find(db, db->statements[DATABASE_NEXT], seq, out);
}

int database_find_last(struct database *db, uint64_t seq, struct database_row *out)
{
    sqlite3_stmt *statement = NULL;
    int rc = sqlite3_prepare_v2(db->handle, ROW_COLUMNS_ALONE "WHERE seq <= ?1 ORDER BY seq DESC LIMIT 1", -1,
                                &statement, NULL);
    rc = rc == SQLITE_OK ? find(db, statement, seq, out) : failed(db, rc);
    sqlite3_finalize(statement);
    return rc;
}

// Straight into the buffer, a piece at a time: SQLite itself would need room for the whole of it once more.
int database_read_data(struct database *db, const struct database_row *row, struct buf *data)
{
    enum { PIECE = 256 * 1024 };
    data->len = 0;
    if (buf_try_reserve(data, row->bytes) != 0) {
        db->fault = DATABASE_RETRY;
        return -ENOMEM;
    }
    sqlite3_blob *blob = NULL;
    int rc = sqlite3_blob_open(db->handle, "main", "rows", "data", (sqlite3_int64)row->seq, 0, &blob);
    uint64_t bytes = rc == SQLITE_OK ? (uint64_t)sqlite3_blob_bytes(blob) : 0;
    bytes = bytes < row->bytes ? bytes : row->bytes;
    while (rc == SQLITE_OK && data->len < bytes) {
        uint64_t piece = bytes - data->len < PIECE ? bytes - data->len : PIECE;
        rc = sqlite3_blob_read(blob, data->data + data->len, (int)piece, (int)data->len);
        if (rc == SQLITE_OK)
            data->len += piece;
    }
    sqlite3_blob_close(blob);
    return rc == SQLITE_OK ? 0 : failed(db, rc);
}

// Without the hash; none when it is not right: then events are delivered once more, which is harmless.
static void open_bits(uint64_t seq, struct buf *bits)
{
    uint64_t hash = 0;
    size_t len = bits->len >= sizeof hash ? bits->len - sizeof hash : 0;
    if (len > 0)
        memcpy(&hash, bits->data + len, sizeof hash);
    bits->len = len > 0 && le64toh(hash) == bits_hash(seq, bits->data, len) ? len : 0;
}

int database_read_bits(struct database *db, uint64_t seq, struct buf *bits)
{
    sqlite3_stmt *get = db->statements[DATABASE_GET_BITS];
    bits->len = 0;
    if (get == NULL)
        return 0; // salvage, and the table is gone
    sqlite3_bind_int64(get, 1, (sqlite3_int64)seq);
    int rc = sqlite3_step(get);
    int result = rc == SQLITE_ROW || rc == SQLITE_DONE ? 0 : failed(db, rc);
    if (rc == SQLITE_ROW &&
        buf_try_append(bits, sqlite3_column_blob(get, 0), (size_t)sqlite3_column_bytes(get, 0)) != 0) {
        db->fault = DATABASE_RETRY;
        result = -ENOMEM;
    }
    sqlite3_reset(get);
    if (result == 0)
        open_bits(seq, bits);
    return result;
}

int database_read(struct database *db, uint64_t seq, struct database_row *out, struct buf *data, struct buf *bits)
{
    int rc = exec(db, "BEGIN");
    if (rc != 0)
        return rc;
    rc = database_find(db, seq, out);
    if (rc == 0)
        rc = database_read_data(db, out, data);
    if (rc == 0)
        rc = database_read_bits(db, out->seq, bits);
    enum database_fault fault = db->fault;
    if (sqlite3_get_autocommit(db->handle) == 0)
        (void)exec(db, "COMMIT");
    db->fault = fault;
    return rc;
}

int database_totals(struct database *db, struct database_totals *out)
{
    *out = (struct database_totals){0};
    sqlite3_stmt *statement = NULL;
    int rc = sqlite3_prepare_v2(db->handle, ROW_COLUMNS "ORDER BY rows.seq", -1, &statement, NULL);
    while (rc == SQLITE_OK || rc == SQLITE_ROW) {
        rc = sqlite3_step(statement);
        if (rc != SQLITE_ROW)
            break;
        struct database_row row;
        get_row(statement, &row);
        if (out->rows++ == 0) {
            out->first_seq = row.seq;
            out->oldest_real_ns = row.arrived_real_ns;
        }
        out->last_seq = row.seq;
        out->bytes += row.bytes;
        out->events += row.events - row.settled_events;
        out->batches += row.batches - row.settled_batches;
        out->settled_behind += row.settled_events;
    }
    sqlite3_finalize(statement);
    if (rc != SQLITE_DONE)
        return failed(db, rc);
    if (out->rows > 0 &&
        (out->first_seq == 0 || out->first_seq > DATABASE_SEQ_MAX || out->last_seq > DATABASE_SEQ_MAX)) {
        LOG(LOG_WARN, "outbox: the file is damaged", LOG_STR("detail", "the number of a row is not possible"));
        db->fault = DATABASE_DAMAGED;
        return -EBADMSG;
    }
    int64_t damaged = 0, last_damaged = 0;
    rc = ask(db, "SELECT count(*) FROM damaged", &damaged);
    if (rc == 0)
        rc = ask(db, "SELECT coalesce(max(seq), 0) FROM damaged", &last_damaged);
    out->damaged = (uint64_t)damaged;
    if (last_damaged > 0 && (uint64_t)last_damaged < DATABASE_SEQ_MAX)
        out->last_damaged_seq = (uint64_t)last_damaged;
    return rc;
}

// ---- Space

int database_checkpoint(struct database *db, enum database_checkpoint how)
{
    if (how == DATABASE_EMPTY_NOW)
        sqlite3_busy_timeout(db->handle, 0);
    int rc = sqlite3_wal_checkpoint_v2(
        db->handle, NULL, how == DATABASE_SOME ? SQLITE_CHECKPOINT_PASSIVE : SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
    if (how == DATABASE_EMPTY_NOW)
        sqlite3_busy_timeout(db->handle, BUSY_MS);
    if (rc == SQLITE_BUSY && how == DATABASE_SOME)
        return 0;
    if (rc == SQLITE_OK && how != DATABASE_SOME)
        db->wal_pages = 0;
    return rc == SQLITE_OK ? 0 : failed(db, rc);
}

int database_size(struct database *db, uint64_t *bytes)
{
    int64_t pages = 0;
    int rc = ask(db, "PRAGMA page_count", &pages);
    *bytes = (uint64_t)pages * DATABASE_PAGE_BYTES;
    return rc;
}

int database_shrink(struct database *db, uint32_t kept_pages, uint32_t step)
{
    int64_t unused = 0, pages = 0;
    char sql[64];
    int rc = ask(db, "PRAGMA freelist_count", &unused);
    if (rc == 0)
        rc = ask(db, "PRAGMA page_count", &pages);
    if (rc != 0 || unused <= kept_pages || (kept_pages > 0 && unused < pages / 2))
        return rc;
    snprintf(sql, sizeof sql, "PRAGMA incremental_vacuum(%u)", step);
    rc = exec(db, sql);
    return rc == 0 ? unused > (int64_t)kept_pages + step : rc;
}
