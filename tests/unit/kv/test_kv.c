/* The promises of bb/kv.h that do not need long keys: commits, reads, errors, care. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <lmdb.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <unistd.h>

#include "bb/kv.h"

#include "folder.h"

#define S(text) bb_slice_str(text)

static struct bb_kv *open_kv(const struct folder *folder)
{
    struct bb_ctx ctx = { 0 };
    struct bb_kv *kv = NULL;
    struct bb_kv_options options = { .dir = folder->path, .map_bytes = 1u << 30 };
    int rc = bb_kv_open(&ctx, &options, &kv);
    cr_assert_eq(rc, BB_OK, "%s", ctx.error);
    return kv;
}

static void put(struct bb_kv *kv, const char *key, const char *value)
{
    struct bb_ctx ctx = { 0 };
    struct bb_kv_batch *batch;
    cr_assert_eq(bb_kv_begin(&ctx, kv, &batch), BB_OK);
    cr_assert_eq(bb_kv_put(&ctx, batch, S(key), S(value)), BB_OK);
    cr_assert_eq(bb_kv_commit(&ctx, batch), BB_OK);
}

static bool value_is(const struct bb_kv_read *read, const char *key, const char *value)
{
    struct bb_ctx ctx = { 0 };
    struct bb_slice found;
    return bb_kv_get(&ctx, read, S(key), &found) == BB_OK && bb_slice_equal_str(found, value);
}

static struct bb_kv_read *open_read(struct bb_kv *kv)
{
    struct bb_ctx ctx = { 0 };
    struct bb_kv_read *read = NULL;
    cr_assert_eq(bb_kv_read_open(&ctx, kv, &read), BB_OK, "%s", ctx.error);
    return read;
}

Test(kv, a_read_keeps_the_commit_that_it_was_opened_at)
{
    struct folder folder;
    folder_make(&folder, NULL);
    struct bb_ctx ctx = { 0 };
    struct bb_slice value;
    struct bb_kv *kv = open_kv(&folder);
    put(kv, "a", "one");
    struct bb_kv_read *first = open_read(kv), *twin = open_read(kv);
    put(kv, "a", "two");
    put(kv, "b", "new");
    struct bb_kv_read *second = open_read(kv);
    cr_assert(value_is(first, "a", "one"));
    cr_assert_eq(bb_kv_get(&ctx, first, S("b"), &value), BB_NOT_FOUND);
    cr_assert(value_is(second, "a", "two"));
    cr_assert(value_is(second, "b", "new"));
    cr_assert_eq(bb_kv_read_version(first), bb_kv_read_version(twin));
    cr_assert_lt(bb_kv_read_version(first), bb_kv_read_version(second));
    bb_kv_read_close(first);
    bb_kv_read_close(twin);
    bb_kv_read_close(second);
    bb_kv_close(kv);
    folder_remove(&folder);
}

Test(kv, an_aborted_batch_leaves_nothing_behind)
{
    struct folder folder;
    folder_make(&folder, NULL);
    struct bb_ctx ctx = { 0 };
    struct bb_slice value;
    struct bb_kv_batch *batch;
    struct bb_kv *kv = open_kv(&folder);
    put(kv, "kept", "x");
    cr_assert_eq(bb_kv_begin(&ctx, kv, &batch), BB_OK);
    cr_assert_eq(bb_kv_put(&ctx, batch, S("gone"), S("x")), BB_OK);
    cr_assert_eq(bb_kv_delete(&ctx, batch, S("kept")), BB_OK);
    cr_assert_eq(bb_kv_put_meta(&ctx, batch, "state", S("x")), BB_OK);
    bb_kv_abort(batch);
    struct bb_kv_read *read = open_read(kv);
    cr_assert_eq(bb_kv_get(&ctx, read, S("gone"), &value), BB_NOT_FOUND);
    cr_assert_eq(bb_kv_get_meta(&ctx, read, "state", &value), BB_NOT_FOUND);
    cr_assert(value_is(read, "kept", "x"));
    bb_kv_read_close(read);
    bb_kv_close(kv);
    folder_remove(&folder);
}

Test(kv, the_meta_record_travels_with_the_data_and_apart_from_it)
{
    struct folder folder;
    folder_make(&folder, NULL);
    struct bb_ctx ctx = { 0 };
    struct bb_slice value;
    struct bb_kv_batch *batch;
    struct bb_kv *kv = open_kv(&folder);
    cr_assert_eq(bb_kv_begin(&ctx, kv, &batch), BB_OK);
    cr_assert_eq(bb_kv_put(&ctx, batch, S("state"), S("data")), BB_OK);
    cr_assert_eq(bb_kv_put_meta(&ctx, batch, "state", S("meta")), BB_OK);
    cr_assert_eq(bb_kv_delete(&ctx, batch, S("never there")), BB_OK);
    cr_assert_eq(bb_kv_commit(&ctx, batch), BB_OK);
    cr_assert_eq(bb_kv_sync(&ctx, kv), BB_OK);
    bb_kv_close(kv);
    kv = open_kv(&folder);
    struct bb_kv_read *read = open_read(kv);
    cr_assert_eq(bb_kv_get_meta(&ctx, read, "state", &value), BB_OK);
    cr_assert(bb_slice_equal_str(value, "meta"));
    cr_assert(value_is(read, "state", "data"));
    struct bb_kv_stat stat;
    cr_assert_eq(bb_kv_stat(&ctx, kv, &stat), BB_OK);
    cr_assert_eq(stat.entries, 1);
    cr_assert_gt(stat.used_bytes, 4096);
    cr_assert_eq(bb_kv_reader_check(&ctx, kv), BB_OK);
    bb_kv_read_close(read);
    bb_kv_close(kv);
    folder_remove(&folder);
}

Test(kv, empty_and_oversized_keys_are_refused)
{
    struct folder folder;
    folder_make(&folder, NULL);
    struct bb_ctx ctx = { 0 };
    struct bb_slice value;
    struct bb_kv_batch *batch;
    static uint8_t big[BB_KV_KEY_MAX + 1];
    struct bb_kv *kv = open_kv(&folder);
    cr_assert_eq(bb_kv_begin(&ctx, kv, &batch), BB_OK);
    cr_assert_eq(bb_kv_put(&ctx, batch, BB_SLICE_EMPTY, S("x")), BB_TOO_LARGE);
    cr_assert_eq(bb_kv_put(&ctx, batch, bb_slice(big, sizeof(big)), S("x")), BB_TOO_LARGE);
    cr_assert_eq(bb_kv_put(&ctx, batch, bb_slice(big, BB_KV_KEY_MAX), S("x")), BB_OK);
    cr_assert_eq(bb_kv_commit(&ctx, batch), BB_OK);
    struct bb_kv_read *read = open_read(kv);
    cr_assert_eq(bb_kv_get(&ctx, read, BB_SLICE_EMPTY, &value), BB_NOT_FOUND);
    cr_assert_eq(bb_kv_get(&ctx, read, bb_slice(big, sizeof(big)), &value), BB_NOT_FOUND);
    cr_assert_eq(bb_kv_get(&ctx, read, bb_slice(big, BB_KV_KEY_MAX), &value), BB_OK);
    bb_kv_read_close(read);
    bb_kv_close(kv);
    folder_remove(&folder);
}

Test(kv, a_copy_opens_with_the_same_content)
{
    struct folder folder, target;
    folder_make(&folder, NULL);
    folder_make(&target, NULL);
    struct bb_ctx ctx = { 0 };
    char path[256];
    struct bb_kv *kv = open_kv(&folder);
    put(kv, "a", "one");
    put(kv, "b", "two");
    (void)snprintf(path, sizeof(path), "%s/data.mdb", target.path);
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    cr_assert_eq(bb_kv_copy(&ctx, kv, fd), BB_OK, "%s", ctx.error);
    (void)close(fd);
    struct bb_kv *copy = open_kv(&target);
    struct bb_kv_read *read = open_read(copy);
    cr_assert(value_is(read, "a", "one"));
    cr_assert(value_is(read, "b", "two"));
    bb_kv_read_close(read);
    bb_kv_close(copy);
    bb_kv_close(kv);
    folder_remove(&folder);
    folder_remove(&target);
}

/* ---- what can go wrong ---- */

static int open_status(const struct folder *folder, struct bb_ctx *ctx)
{
    struct bb_kv *kv = NULL;
    struct bb_kv_options options = { .dir = folder->path, .map_bytes = 1u << 30 };
    int rc = bb_kv_open(ctx, &options, &kv);
    bb_kv_close(kv);
    return rc;
}

Test(kv, a_folder_that_is_open_is_busy)
{
    struct folder folder;
    folder_make(&folder, NULL);
    struct bb_ctx ctx = { 0 };
    struct bb_kv *kv = open_kv(&folder);
    cr_assert_eq(open_status(&folder, &ctx), BB_BUSY);
    cr_assert(strstr(ctx.error, "another process") != NULL, "%s", ctx.error);
    bb_kv_close(kv);
    cr_assert_eq(open_status(&folder, &ctx), BB_OK);
    folder_remove(&folder);
}

Test(kv, data_of_another_format_is_refused_with_advice)
{
    struct folder folder;
    folder_make(&folder, NULL);
    struct bb_ctx ctx = { 0 };
    struct bb_kv_batch *batch;
    struct bb_kv *kv = open_kv(&folder);
    uint8_t format[4] = { 99, 0, 0, 0 };
    cr_assert_eq(bb_kv_begin(&ctx, kv, &batch), BB_OK);
    cr_assert_eq(bb_kv_put_meta(&ctx, batch, "format", bb_slice(format, 4)), BB_OK);
    cr_assert_eq(bb_kv_commit(&ctx, batch), BB_OK);
    bb_kv_close(kv);
    cr_assert_eq(open_status(&folder, &ctx), BB_WRONG_VERSION);
    cr_assert(strstr(ctx.error, "format 99") != NULL, "%s", ctx.error);
    cr_assert(strstr(ctx.error, "start the version that wrote it") != NULL, "%s", ctx.error);
    folder_remove(&folder);
}

Test(kv, a_file_that_is_no_store_is_refused_with_advice)
{
    struct folder folder;
    folder_make(&folder, NULL);
    struct bb_ctx ctx = { 0 };
    char path[256];
    (void)snprintf(path, sizeof(path), "%s/data.mdb", folder.path);
    FILE *file = fopen(path, "wb");
    for (int i = 0; i < 20000; i++) {
        (void)fputc('x', file);
    }
    (void)fclose(file);
    cr_assert_eq(open_status(&folder, &ctx), BB_WRONG_VERSION);
    cr_assert(strstr(ctx.error, "first pages of data.mdb are damaged") != NULL, "%s", ctx.error);
    cr_assert(strstr(ctx.error, "restore the folder from a backup") != NULL, "%s", ctx.error);
    folder_remove(&folder);
}

Test(kv, the_lmdb_file_of_a_stranger_is_left_alone)
{
    struct folder folder;
    folder_make(&folder, NULL);
    struct bb_ctx ctx = { 0 };
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi dbi;
    MDB_val key = { 5, (char[]){ "theirs" } }, value = key;
    cr_assert_eq(mdb_env_create(&env), 0);
    cr_assert_eq(mdb_env_open(env, folder.path, 0, 0600), 0);
    cr_assert_eq(mdb_txn_begin(env, NULL, 0, &txn), 0);
    cr_assert_eq(mdb_dbi_open(txn, NULL, 0, &dbi), 0);
    cr_assert_eq(mdb_put(txn, dbi, &key, &value, 0), 0);
    cr_assert_eq(mdb_txn_commit(txn), 0);
    mdb_env_close(env);
    cr_assert_eq(open_status(&folder, &ctx), BB_WRONG_VERSION, "%s", ctx.error);
    cr_assert_eq(mdb_env_create(&env), 0);
    cr_assert_eq(mdb_env_open(env, folder.path, MDB_RDONLY, 0600), 0);
    cr_assert_eq(mdb_txn_begin(env, NULL, MDB_RDONLY, &txn), 0);
    MDB_stat stat;
    cr_assert_eq(mdb_dbi_open(txn, NULL, 0, &dbi), 0);
    cr_assert_eq(mdb_stat(txn, dbi, &stat), 0);
    cr_assert_eq(stat.ms_entries, 1, "nothing was added");
    mdb_txn_abort(txn);
    mdb_env_close(env);
    folder_remove(&folder);
}

static int fill_until_full(struct bb_ctx *ctx, struct bb_kv *kv, uint64_t *committed)
{
    static uint8_t value[4096];
    for (uint64_t i = 0; i < 100000; i++) {
        struct bb_kv_batch *batch = NULL;
        uint8_t key[8];
        bb_put_be64(key, i);
        int rc = bb_kv_begin(ctx, kv, &batch);
        if (rc == BB_OK) {
            rc = bb_kv_put(ctx, batch, bb_slice(key, 8), bb_slice(value, sizeof(value)));
            if (rc != BB_OK) {
                bb_kv_abort(batch);
            }
        }
        if (rc == BB_OK) {
            rc = bb_kv_commit(ctx, batch);
        }
        if (rc != BB_OK) {
            return rc;
        }
        *committed = i + 1;
    }
    return BB_OK;
}

static void check_all(struct bb_kv *kv, uint64_t committed)
{
    struct bb_ctx ctx = { 0 };
    struct bb_slice value;
    struct bb_kv_read *read = open_read(kv);
    for (uint64_t i = 0; i <= committed; i++) {
        uint8_t key[8];
        bb_put_be64(key, i);
        cr_assert_eq(bb_kv_get(&ctx, read, bb_slice(key, 8), &value),
                     i < committed ? BB_OK : BB_NOT_FOUND);
    }
    bb_kv_read_close(read);
}

Test(kv, a_full_map_is_no_space_and_keeps_what_was_committed)
{
    struct folder folder;
    folder_make(&folder, NULL);
    struct bb_ctx ctx = { 0 };
    struct bb_kv *kv = NULL;
    struct bb_kv_options options = { .dir = folder.path, .map_bytes = 1u << 20 };
    uint64_t committed = 0;
    cr_assert_eq(bb_kv_open(&ctx, &options, &kv), BB_OK);
    cr_assert_eq(fill_until_full(&ctx, kv, &committed), BB_NO_SPACE);
    cr_assert(strstr(ctx.error, "reserved size") != NULL, "%s", ctx.error);
    cr_assert_gt(committed, 10);
    check_all(kv, committed);
    bb_kv_close(kv);
    folder_remove(&folder);
}

Test(kv, a_full_disk_is_no_space_and_keeps_what_was_committed)
{
    struct folder folder;
    folder_make(&folder, NULL);
    struct bb_ctx ctx = { 0 };
    struct bb_kv *kv = open_kv(&folder);
    struct rlimit old, small = { .rlim_cur = 1u << 20, .rlim_max = RLIM_INFINITY };
    uint64_t committed = 0;
    (void)signal(SIGXFSZ, SIG_IGN);
    cr_assert_eq(getrlimit(RLIMIT_FSIZE, &old), 0);
    small.rlim_max = old.rlim_max;
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
    int rc = fill_until_full(&ctx, kv, &committed);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &old), 0);
    cr_assert_eq(rc, BB_NO_SPACE, "%s", ctx.error);
    cr_assert(strstr(ctx.error, "limit of the size of files") != NULL, "%s", ctx.error);
    bb_kv_close(kv);
    kv = open_kv(&folder);
    check_all(kv, committed);
    bb_kv_close(kv);
    folder_remove(&folder);
}

/* A real file system that is full: LMDB meets writes that are cut short, and maps without blocks.
 */
Test(kv, a_small_file_system_is_no_space_at_every_size)
{
    struct folder mounted;
    folder_make(&mounted, NULL);
    for (int size_kb = 16; size_kb < 260; size_kb += 12) {
        char data[32];
        (void)snprintf(data, sizeof(data), "size=%dk", size_kb);
        if (mount("tmpfs", mounted.path, "tmpfs", 0, data) != 0) {
            cr_skip_test("mounting needs root");
        }
        struct bb_ctx ctx = { 0 };
        struct bb_kv *kv = NULL;
        struct bb_kv_options options = { .dir = mounted.path, .map_bytes = 1u << 30 };
        uint64_t committed = 0;
        int rc = bb_kv_open(&ctx, &options, &kv);
        if (rc == BB_OK) {
            rc = fill_until_full(&ctx, kv, &committed);
            check_all(kv, committed);
            bb_kv_close(kv);
        }
        cr_assert_eq(rc, BB_NO_SPACE, "%d KB: %s", size_kb, ctx.error);
        cr_assert(strstr(ctx.error, "free disk space") != NULL, "%s", ctx.error);
        cr_assert_eq(umount(mounted.path), 0);
    }
    folder_remove(&mounted);
}

Test(kv, a_full_disk_at_the_start_is_an_error_and_no_crash)
{
    struct folder folder;
    folder_make(&folder, NULL);
    struct bb_ctx ctx = { 0 };
    struct rlimit old, small = { .rlim_cur = 8192 };
    (void)signal(SIGXFSZ, SIG_IGN);
    cr_assert_eq(getrlimit(RLIMIT_FSIZE, &old), 0);
    small.rlim_max = old.rlim_max;
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
    int rc = open_status(&folder, &ctx);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &old), 0);
    cr_assert_eq(rc, BB_NO_SPACE, "%s", ctx.error);
    cr_assert_eq(open_status(&folder, &ctx), BB_OK, "and it starts when there is room: %s",
                 ctx.error);
    folder_remove(&folder);
}
