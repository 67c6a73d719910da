/* A folder of format 1, which had no runs: made here with LMDB alone, as that format says. */
#include <criterion/criterion.h>
#include <lmdb.h>

#include "bb/kv.h"

#include "folder.h"

#define S(text) bb_slice_str(text)

enum {
    ENTRIES = 2000
};

static MDB_val val(const void *data, size_t size)
{
    union {
        const void *in;
        void *out;
    } cast = { .in = data };
    return (MDB_val){ .mv_size = size, .mv_data = cast.out };
}

static MDB_env *open_raw(const struct folder *folder)
{
    MDB_env *env;
    cr_assert_eq(mdb_env_create(&env), 0);
    cr_assert_eq(mdb_env_set_maxdbs(env, 100), 0);
    cr_assert_eq(mdb_env_set_mapsize(env, 1u << 30), 0);
    cr_assert_eq(mdb_env_open(env, folder->path, 0, 0600), 0);
    return env;
}

static void make_folder(struct folder *folder, uint32_t format)
{
    MDB_txn *txn;
    MDB_dbi meta, data;
    uint8_t number[4], key[8], bytes[100];
    folder_make(folder, NULL);
    MDB_env *env = open_raw(folder);
    cr_assert_eq(mdb_txn_begin(env, NULL, 0, &txn), 0);
    cr_assert_eq(mdb_dbi_open(txn, "meta", MDB_CREATE, &meta), 0);
    cr_assert_eq(mdb_dbi_open(txn, "data", MDB_CREATE, &data), 0);
    bb_put_le32(number, format);
    MDB_val name = val("format", 6), value = val(number, sizeof(number));
    cr_assert_eq(mdb_put(txn, meta, &name, &value, 0), 0);
    name = val("state", 5), value = val("where it stands", 15);
    cr_assert_eq(mdb_put(txn, meta, &name, &value, 0), 0);
    for (uint64_t i = 0; i < ENTRIES; i++) {
        bb_put_be64(key, i);
        memset(bytes, (int)(i % 251), sizeof(bytes));
        name = val(key, sizeof(key)), value = val(bytes, sizeof(bytes));
        cr_assert_eq(mdb_put(txn, data, &name, &value, 0), 0);
    }
    cr_assert_eq(mdb_txn_commit(txn), 0);
    mdb_env_close(env);
}

/* The format in the file, and how many databases it has. */
static void look_raw(const struct folder *folder, uint32_t *format, size_t *databases)
{
    MDB_txn *txn;
    MDB_dbi names, meta;
    MDB_stat stat;
    MDB_val name = val("format", 6), value;
    MDB_env *env = open_raw(folder);
    cr_assert_eq(mdb_txn_begin(env, NULL, MDB_RDONLY, &txn), 0);
    cr_assert_eq(mdb_dbi_open(txn, NULL, 0, &names), 0);
    cr_assert_eq(mdb_stat(txn, names, &stat), 0);
    cr_assert_eq(mdb_dbi_open(txn, "meta", 0, &meta), 0);
    cr_assert_eq(mdb_get(txn, meta, &name, &value), 0);
    cr_assert_eq(value.mv_size, 4);
    *format = bb_get_le32(value.mv_data);
    *databases = stat.ms_entries;
    mdb_txn_abort(txn);
    mdb_env_close(env);
}

static bool file_has(const struct folder *folder, uint32_t format, size_t databases)
{
    uint32_t has_format;
    size_t has_databases;
    look_raw(folder, &has_format, &has_databases);
    return has_format == format && has_databases == databases;
}

static int open_kv(struct bb_ctx *ctx, const struct folder *folder, bool is_read_only,
                   struct bb_kv **kv)
{
    struct bb_kv_options options = { .dir = folder->path,
                                     .map_bytes = 1u << 30,
                                     .is_read_only = is_read_only };
    *kv = NULL;
    return bb_kv_open(ctx, &options, kv);
}

static void check_data(const struct bb_kv_read *read)
{
    struct bb_ctx ctx = { 0 };
    struct bb_kv_cursor *cursor;
    struct bb_slice value;
    uint64_t count = 0;
    cr_assert_eq(bb_kv_get_meta(&ctx, read, "state", &value), BB_OK);
    cr_assert(bb_slice_equal_str(value, "where it stands"));
    cr_assert_eq(bb_kv_cursor_open(&ctx, read, &cursor), BB_OK);
    int rc = bb_kv_seek(&ctx, cursor, BB_SLICE_EMPTY);
    for (; rc == BB_OK; rc = bb_kv_next(&ctx, cursor)) {
        value = bb_kv_cursor_value(cursor);
        cr_assert_eq(bb_get_be64(bb_kv_cursor_key(cursor).data), count);
        cr_assert(value.size == 100 && value.data[99] == count % 251);
        count++;
    }
    cr_assert_eq(rc, BB_NOT_FOUND);
    cr_assert_eq(count, ENTRIES);
    bb_kv_cursor_close(cursor);
}

static void check_no_runs(const struct bb_kv_read *read)
{
    struct bb_ctx ctx = { 0 };
    for (unsigned run = 0; run < BB_KV_RUNS; run++) {
        struct bb_kv_cursor *cursor;
        struct bb_slice stored;
        cr_assert_eq(bb_kv_run_get(&ctx, read, run, S("format"), &stored), BB_NOT_FOUND, "%s",
                     ctx.error);
        cr_assert_eq(bb_kv_run_cursor_open(&ctx, read, run, &cursor), BB_OK, "%s", ctx.error);
        cr_assert_eq(bb_kv_seek(&ctx, cursor, BB_SLICE_EMPTY), BB_NOT_FOUND);
        cr_assert_eq(bb_kv_seek(&ctx, cursor, S("a")), BB_NOT_FOUND);
        cr_assert_eq(bb_kv_seek_before(&ctx, cursor, S("a")), BB_NOT_FOUND);
        cr_assert_eq(bb_kv_next(&ctx, cursor), BB_NOT_FOUND);
        cr_assert_eq(bb_kv_prev(&ctx, cursor), BB_NOT_FOUND);
        uint8_t key[500];
        memset(key, 'k', sizeof(key));
        cr_assert_eq(bb_kv_seek(&ctx, cursor, bb_slice(key, sizeof(key))), BB_NOT_FOUND);
        cr_assert_eq(bb_kv_seek_before(&ctx, cursor, bb_slice(key, sizeof(key))), BB_NOT_FOUND);
        bb_kv_cursor_close(cursor);
    }
}

static void check(struct bb_kv *kv)
{
    struct bb_ctx ctx = { 0 };
    struct bb_kv_read *read;
    cr_assert_eq(bb_kv_read_open(&ctx, kv, &read), BB_OK);
    check_data(read);
    check_no_runs(read);
    bb_kv_read_close(read);
}

Test(kv_upgrade, a_folder_without_runs_gets_them_when_it_is_written)
{
    struct folder folder;
    struct bb_ctx ctx = { 0 };
    struct bb_kv *kv;
    struct bb_kv_batch *batch;
    struct bb_kv_read *read;
    struct bb_slice stored;
    make_folder(&folder, 1);
    cr_assert(file_has(&folder, 1, 2));
    for (int round = 0; round < 2; round++) { /* the second time there is nothing to do */
        cr_assert_eq(open_kv(&ctx, &folder, false, &kv), BB_OK, "%s", ctx.error);
        check(kv);
        bb_kv_close(kv);
        cr_assert(file_has(&folder, 2, 2 + BB_KV_RUNS));
        cr_assert_eq(bb_kv_verify(&ctx, folder.path), BB_OK, "%s", ctx.error);
    }
    cr_assert_eq(open_kv(&ctx, &folder, false, &kv), BB_OK, "%s", ctx.error);
    cr_assert_eq(bb_kv_begin(&ctx, kv, &batch), BB_OK);
    cr_assert_eq(bb_kv_run_put(&ctx, batch, 63, S("a"), 1, S("x")), BB_OK, "%s", ctx.error);
    cr_assert_eq(bb_kv_commit(&ctx, batch), BB_OK, "%s", ctx.error);
    cr_assert_eq(bb_kv_read_open(&ctx, kv, &read), BB_OK);
    cr_assert_eq(bb_kv_run_get(&ctx, read, 63, S("a"), &stored), BB_OK);
    check_data(read);
    bb_kv_read_close(read);
    bb_kv_close(kv);
    folder_remove(&folder);
}

Test(kv_upgrade, a_folder_without_runs_that_is_looked_at_stays_as_it_is)
{
    struct folder folder;
    struct bb_ctx ctx = { 0 };
    struct bb_kv *kv;
    make_folder(&folder, 1);
    cr_assert_eq(open_kv(&ctx, &folder, true, &kv), BB_OK, "%s", ctx.error);
    check(kv);
    bb_kv_close(kv);
    cr_assert(file_has(&folder, 1, 2));
    folder_remove(&folder);
}

Test(kv_upgrade, a_newer_format_is_refused_and_stays_as_it_is)
{
    struct folder folder;
    struct bb_kv *kv;
    make_folder(&folder, 3);
    for (int is_read_only = 0; is_read_only < 2; is_read_only++) {
        struct bb_ctx ctx = { 0 };
        cr_assert_eq(open_kv(&ctx, &folder, is_read_only, &kv), BB_WRONG_VERSION);
        cr_assert(strstr(ctx.error, "format 3, this program reads format 2") != NULL, "%s",
                  ctx.error);
    }
    cr_assert(file_has(&folder, 3, 2));
    folder_remove(&folder);
}

/* Format 2 says that all runs are there. */
Test(kv_upgrade, a_folder_that_lacks_its_runs_is_refused_and_stays_as_it_is)
{
    struct folder folder;
    struct bb_kv *kv;
    make_folder(&folder, BB_KV_FORMAT);
    for (int is_read_only = 0; is_read_only < 2; is_read_only++) {
        struct bb_ctx ctx = { 0 };
        cr_assert_eq(open_kv(&ctx, &folder, is_read_only, &kv), BB_WRONG_VERSION, "%s", ctx.error);
        cr_assert(strstr(ctx.error, "opening the runs") != NULL, "%s", ctx.error);
    }
    cr_assert(file_has(&folder, BB_KV_FORMAT, 2));
    folder_remove(&folder);
}
