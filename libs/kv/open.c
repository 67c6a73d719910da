/*
 * Opening a store and caring for it as a whole: format, sync, copy, numbers.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "kv.h"

/* Address space costs nothing; the file grows to what is used. */
#define MAP_BYTES_DEFAULT (256ull << 30)
#define READERS_DEFAULT   1024u
static const char format_name[] = "format";
/* Format 1 had no runs; it becomes 2 when it is opened to be written. */
#define FORMAT_WITHOUT_RUNS 1u

static unsigned flags_of(const struct bb_kv_options *options)
{
    /* NOTLS: a read belongs to an object, not to a thread. NOMETASYNC: the last commit may be lost
     * in a power cut and comes again from the log; the file stays whole. */
    unsigned flags = MDB_NOTLS;
    if (options->is_read_only) {
        return flags | MDB_RDONLY | MDB_NOLOCK;
    }
    flags |= options->is_volatile ? MDB_NOSYNC : MDB_NOMETASYNC;
    if (options->is_larger_than_memory) {
        flags |= MDB_NORDAHEAD;
    }
    return flags;
}

/* A folder that is not ours must not be touched: the first bytes of the file tell before LMDB
 * opens. 0: it is new. */
static int check_version(struct bb_ctx *ctx, struct bb_kv *kv, MDB_txn *txn, uint32_t *format)
{
    MDB_val key = kv_val(bb_slice_str(format_name)), value;
    int rc = mdb_get(txn, kv->meta, &key, &value);
    *format = 0;
    if (rc == MDB_NOTFOUND) {
        return BB_OK;
    }
    if (rc != 0) {
        return kv_fail(ctx, kv, rc, "reading the format");
    }
    *format = value.mv_size == 4 ? bb_get_le32(value.mv_data) : 0;
    if (*format != BB_KV_FORMAT && *format != FORMAT_WITHOUT_RUNS) {
        return bb_fail(ctx, BB_WRONG_VERSION,
                       "%s holds data of format %" PRIu32 ", this program reads format %" PRIu32
                       ": start the version that wrote it, or name an empty folder",
                       kv->dir, *format, BB_KV_FORMAT);
    }
    return BB_OK;
}

static int open_runs(struct bb_ctx *ctx, struct bb_kv *kv, MDB_txn *txn, unsigned flags)
{
    int rc = 0;
    for (unsigned i = 0; i < BB_KV_RUNS && rc == 0; i++) {
        char name[] = { 'r', 'u', 'n', (char)('0' + i / 10), (char)('0' + i % 10), 0 };
        rc = mdb_dbi_open(txn, name, flags, &kv->runs[i]);
    }
    kv->has_runs = rc == 0;
    return kv_fail(ctx, kv, rc == MDB_NOTFOUND ? MDB_INVALID : rc, "opening the runs");
}

/* Of a store that only is looked at. */
static int find_databases(struct bb_ctx *ctx, struct bb_kv *kv)
{
    MDB_txn *txn = NULL;
    uint32_t format = 0;
    int rc = mdb_txn_begin(kv->env, NULL, MDB_RDONLY, &txn);
    if (rc != 0) {
        return kv_fail(ctx, kv, rc, "begin");
    }
    rc = mdb_dbi_open(txn, "meta", 0, &kv->meta);
    if (rc == 0) {
        rc = mdb_dbi_open(txn, "data", 0, &kv->data);
    }
    int status = kv_fail(ctx, kv, rc == MDB_NOTFOUND ? MDB_INVALID : rc, "opening the data");
    if (status == BB_OK) {
        status = check_version(ctx, kv, txn, &format);
    }
    if (status == BB_OK && format == BB_KV_FORMAT) {
        status = open_runs(ctx, kv, txn, 0);
    }
    if (status != BB_OK) {
        mdb_txn_abort(txn);
        return status;
    }
    return kv_fail(ctx, kv, mdb_txn_commit(txn), "opening the data");
}

static int open_databases(struct bb_ctx *ctx, struct bb_kv *kv)
{
    MDB_txn *txn = NULL;
    uint32_t format = 0;
    int rc = mdb_txn_begin(kv->env, NULL, 0, &txn);
    if (rc != 0) {
        return kv_fail(ctx, kv, rc, "begin");
    }
    /* Databases of a stranger: there are entries, and none is called "meta". */
    MDB_stat main_stat = { 0 };
    MDB_dbi main_dbi;
    rc = mdb_dbi_open(txn, NULL, 0, &main_dbi);
    if (rc == 0) {
        rc = mdb_stat(txn, main_dbi, &main_stat);
    }
    if (rc == 0) {
        rc = mdb_dbi_open(txn, "meta", main_stat.ms_entries == 0 ? MDB_CREATE : 0, &kv->meta);
        rc = rc == MDB_NOTFOUND ? MDB_INVALID : rc;
    }
    int status = kv_fail(ctx, kv, rc, "opening the data");
    if (status == BB_OK) {
        status = check_version(ctx, kv, txn, &format);
    }
    if (status == BB_OK) {
        status = open_runs(ctx, kv, txn, format == BB_KV_FORMAT ? 0 : MDB_CREATE);
    }
    if (status != BB_OK) {
        mdb_txn_abort(txn);
        return status;
    }
    rc = mdb_dbi_open(txn, "data", MDB_CREATE, &kv->data);
    if (rc == 0 && format != BB_KV_FORMAT) {
        uint8_t bytes[4];
        bb_put_le32(bytes, BB_KV_FORMAT);
        MDB_val key = kv_val(bb_slice_str(format_name));
        MDB_val value = kv_val(bb_slice(bytes, sizeof(bytes)));
        rc = mdb_put(txn, kv->meta, &key, &value, 0);
    }
    if (rc != 0) {
        mdb_txn_abort(txn);
        return kv_fail(ctx, kv, rc, "creating the data");
    }
    return kv_fail(ctx, kv, mdb_txn_commit(txn),
                   format == 0 ? "creating the data" : "opening the data");
}

/*
 * One process, once: LMDB itself would let a second one in. The lock is the kernel's and ends with
 * the process, however it ends.
 */
static int lock_folder(struct bb_ctx *ctx, struct bb_kv *kv, bool is_read_only)
{
    struct bb_buf path;
    bb_buf_init(&path);
    bb_buf_printf(&path, "%s/owner.lock", kv->dir);
    bb_buf_append_byte(&path, 0);
    int flags = is_read_only ? O_RDONLY : O_RDWR | O_CREAT;
    kv->lock_fd = open((const char *)path.data, flags | O_CLOEXEC, 0640);
    int error = errno;
    bb_buf_fini(&path);
    if (kv->lock_fd < 0 && is_read_only && error == ENOENT) {
        return BB_OK; /* a copy without it */
    }
    if (kv->lock_fd < 0) {
        return kv_fail(ctx, kv, error, "opening owner.lock");
    }
    if (flock(kv->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        return kv_fail(ctx, kv, errno, "locking");
    }
    return BB_OK;
}

/*
 * LMDB maps its table of readers from a sparse file and writes into the map: on a full disk that is
 * a SIGBUS. So the file gets its blocks before, where a full disk is an error with a name. LMDB
 * takes a larger table as it finds it.
 */
static int reserve_readers(struct bb_ctx *ctx, const struct bb_kv *kv, uint32_t readers)
{
    struct bb_buf path;
    bb_buf_init(&path);
    bb_buf_printf(&path, "%s/lock.mdb", kv->dir);
    bb_buf_append_byte(&path, 0);
    int fd = open((const char *)path.data, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    int error = errno;
    bb_buf_fini(&path);
    if (fd < 0) {
        return kv_fail(ctx, kv, error, "opening lock.mdb");
    }
    /* 64 bytes a reader and a header of less than a page. */
    off_t size = (off_t)((readers * 64u + 4096u + 4095u) & ~4095u);
    error = posix_fallocate(fd, 0, size);
    (void)close(fd); /* nothing was written through it */
    return kv_fail(ctx, kv, error, "reserving the table of readers");
}

static int open_env(struct bb_ctx *ctx, struct bb_kv *kv, const struct bb_kv_options *options)
{
    uint32_t readers = options->readers_max == 0 ? READERS_DEFAULT : options->readers_max;
    int status = options->is_read_only ? BB_OK : reserve_readers(ctx, kv, readers);
    if (status != BB_OK) {
        return status;
    }
    int rc = mdb_env_create(&kv->env);
    if (rc == 0) {
        rc = mdb_env_set_userctx(kv->env, kv->dir);
    }
    if (rc == 0) {
        rc = mdb_env_set_assert(kv->env, kv_damage_asserted);
    }
    if (rc == 0) {
        rc = mdb_env_set_maxdbs(kv->env, 2 + BB_KV_RUNS);
    }
    if (rc == 0) {
        rc = mdb_env_set_maxreaders(kv->env, readers);
    }
    if (rc == 0 && !options->is_read_only) {
        rc = mdb_env_set_mapsize(kv->env, kv->map_bytes);
    }
    if (rc == 0) {
        rc = mdb_env_open(kv->env, kv->dir, flags_of(options), 0640);
    }
    return kv_fail(ctx, kv, rc, "opening data.mdb");
}

/* The format is a leaf page's, and was committed when the databases were opened. */
static int find_map(struct bb_ctx *ctx, struct bb_kv *kv)
{
    MDB_txn *txn = NULL;
    MDB_stat stat;
    MDB_val key = kv_val(bb_slice_str(format_name)), value;
    int rc = mdb_env_stat(kv->env, &stat);
    if (rc == 0) {
        rc = mdb_txn_begin(kv->env, NULL, MDB_RDONLY, &txn);
    }
    if (rc == 0) {
        rc = mdb_get(txn, kv->meta, &key, &value);
    }
    if (rc == 0) {
        kv->page_bytes = stat.ms_psize;
        kv_map_find(kv, value.mv_data, stat.ms_psize);
    }
    if (txn != NULL) {
        mdb_txn_abort(txn);
    }
    return kv_fail(ctx, kv, rc, "finding the map");
}

int bb_kv_open(struct bb_ctx *ctx, const struct bb_kv_options *options, struct bb_kv **out)
{
    struct bb_kv *kv = bb_alloc_zero(1, sizeof(*kv));
    kv->dir = bb_strdup(options->dir);
    kv->map_bytes = options->map_bytes == 0 ? MAP_BYTES_DEFAULT : options->map_bytes;
    kv->lock_fd = -1;
    kv->is_volatile = options->is_volatile;
    int rc = lock_folder(ctx, kv, options->is_read_only);
    if (rc == BB_OK) {
        rc = open_env(ctx, kv, options);
    }
    if (rc == BB_OK && !options->is_read_only) {
        rc = bb_kv_reader_check(ctx, kv);
    }
    if (rc == BB_OK) {
        rc = options->is_read_only ? find_databases(ctx, kv) : open_databases(ctx, kv);
    }
    if (rc == BB_OK && !options->is_read_only) {
        rc = find_map(ctx, kv);
    }
    if (rc != BB_OK) {
        bb_kv_close(kv);
        return rc;
    }
    *out = kv;
    return BB_OK;
}

void bb_kv_close(struct bb_kv *kv)
{
    if (kv == NULL) {
        return;
    }
    if (kv->env != NULL) {
        mdb_env_close(kv->env);
    }
    if (kv->lock_fd >= 0) {
        (void)close(kv->lock_fd); /* gives up the lock; nothing was written through it */
    }
    bb_free(kv->dir);
    bb_free(kv);
}

int bb_kv_sync(struct bb_ctx *ctx, struct bb_kv *kv)
{
    return kv_fail(ctx, kv, mdb_env_sync(kv->env, 1), "sync");
}

int bb_kv_copy(struct bb_ctx *ctx, struct bb_kv *kv, int fd)
{
    return kv_fail(ctx, kv, mdb_env_copyfd2(kv->env, fd, MDB_CP_COMPACT), "copying");
}

int bb_kv_free_bytes(struct bb_ctx *ctx, struct bb_kv *kv, uint64_t *bytes)
{
    MDB_txn *txn = NULL;
    MDB_cursor *cursor = NULL;
    MDB_stat stat;
    MDB_val key, value;
    uint64_t pages = 0;
    int rc = mdb_env_stat(kv->env, &stat);
    if (rc == 0) {
        rc = mdb_txn_begin(kv->env, NULL, MDB_RDONLY, &txn);
    }
    if (rc == 0) {
        rc = mdb_cursor_open(txn, 0, &cursor); /* 0: LMDB's own list of free pages */
    }
    while (rc == 0 && (rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0) {
        pages += *(const size_t *)value.mv_data; /* each entry begins with how many it names */
    }
    if (cursor != NULL) {
        mdb_cursor_close(cursor);
    }
    if (txn != NULL) {
        mdb_txn_abort(txn);
    }
    *bytes = pages * stat.ms_psize;
    return kv_fail(ctx, kv, rc == MDB_NOTFOUND ? 0 : rc, "counting free pages");
}

int bb_kv_reader_check(struct bb_ctx *ctx, struct bb_kv *kv)
{
    int dead = 0;
    return kv_fail(ctx, kv, mdb_reader_check(kv->env, &dead), "looking for dead readers");
}

int bb_kv_stat(struct bb_ctx *ctx, struct bb_kv *kv, struct bb_kv_stat *stat)
{
    MDB_envinfo info;
    MDB_stat env_stat, data_stat;
    MDB_txn *txn = NULL;
    int rc = mdb_env_info(kv->env, &info);
    if (rc == 0) {
        rc = mdb_env_stat(kv->env, &env_stat);
    }
    if (rc == 0) {
        rc = mdb_txn_begin(kv->env, NULL, MDB_RDONLY, &txn);
    }
    if (rc == 0) {
        rc = mdb_stat(txn, kv->data, &data_stat);
        mdb_txn_abort(txn);
    }
    if (rc != 0) {
        return kv_fail(ctx, kv, rc, "reading numbers");
    }
    *stat = (struct bb_kv_stat){
        .used_bytes = ((uint64_t)info.me_last_pgno + 1) * env_stat.ms_psize,
        .map_bytes = info.me_mapsize,
        .entries = data_stat.ms_entries,
        .last_version = info.me_last_txnid,
        .readers = info.me_numreaders,
    };
    return BB_OK;
}
