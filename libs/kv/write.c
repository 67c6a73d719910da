/*
 * Writing: one batch, one LMDB transaction, one cursor that profits from sorted keys.
 */
#include "kv.h"

struct bb_kv_batch {
    struct bb_kv *kv;
    MDB_txn *txn;
    MDB_cursor *cursor;     /* of the data */
    MDB_cursor *run_cursor; /* NULL: nothing goes into a run */
    unsigned run;
};

int bb_kv_begin(struct bb_ctx *ctx, struct bb_kv *kv, struct bb_kv_batch **out)
{
    MDB_txn *txn = NULL;
    MDB_cursor *cursor = NULL;
    int rc = mdb_txn_begin(kv->env, NULL, 0, &txn);
    if (rc == 0) {
        rc = mdb_cursor_open(txn, kv->data, &cursor);
        if (rc != 0) {
            mdb_txn_abort(txn);
        }
    }
    if (rc != 0) {
        return kv_fail(ctx, kv, rc, "beginning to write");
    }
    struct bb_kv_batch *batch = bb_alloc(sizeof(*batch));
    *batch = (struct bb_kv_batch){ .kv = kv, .txn = txn, .cursor = cursor };
    *out = batch;
    return BB_OK;
}

static int check_key(struct bb_ctx *ctx, struct bb_slice key)
{
    if (key.size == 0 || key.size > BB_KV_KEY_MAX) {
        return bb_fail(ctx, BB_TOO_LARGE, "a key has 1 to %d bytes, this one has %zu",
                       BB_KV_KEY_MAX, key.size);
    }
    return BB_OK;
}

/* Room for `size` bytes under `key`, behind the key itself if it is a long one. */
static int reserve(MDB_cursor *cursor, struct bb_slice key, size_t size, unsigned flags,
                   uint8_t **room)
{
    struct kv_stored_key stored;
    kv_key_store(&stored, key);
    MDB_val at = kv_val(stored.bytes);
    size_t header = stored.is_long ? kv_long_header_size(key.size) : 0;
    MDB_val to = { .mv_size = header + size };
    int rc = mdb_cursor_put(cursor, &at, &to, flags | MDB_RESERVE);
    if (rc == 0) {
        if (stored.is_long) {
            kv_long_header_put(to.mv_data, key);
        }
        *room = (uint8_t *)to.mv_data + header;
    }
    return rc;
}

int bb_kv_put(struct bb_ctx *ctx, struct bb_kv_batch *batch, struct bb_slice key,
              struct bb_slice value)
{
    uint8_t *room = NULL;
    int rc = check_key(ctx, key);
    if (rc != BB_OK) {
        return rc;
    }
    rc = reserve(batch->cursor, key, value.size, 0, &room);
    if (rc == 0 && value.size > 0) {
        memcpy(room, value.data, value.size);
    }
    return kv_fail(ctx, batch->kv, rc, "writing");
}

static int open_run(struct bb_ctx *ctx, struct bb_kv_batch *batch, unsigned run)
{
    if (batch->run_cursor != NULL) {
        bb_assert(batch->run == run);
        return BB_OK;
    }
    bb_assert(run < BB_KV_RUNS);
    batch->run = run;
    int rc = mdb_cursor_open(batch->txn, batch->kv->runs[run], &batch->run_cursor);
    return kv_fail(ctx, batch->kv, rc, "beginning a run");
}

int bb_kv_run_put(struct bb_ctx *ctx, struct bb_kv_batch *batch, unsigned run, struct bb_slice key,
                  uint8_t mark, struct bb_slice value)
{
    int rc = check_key(ctx, key);
    if (rc == BB_OK) {
        rc = open_run(ctx, batch, run);
    }
    if (rc != BB_OK) {
        return rc;
    }
    /* Keys that agree in their first 450 bytes are stored in another order among themselves, and
     * those before and behind all of them are not. */
    unsigned flags = kv_key_in_group(key) ? 0 : MDB_APPEND;
    uint8_t *room = NULL;
    rc = reserve(batch->run_cursor, key, 1 + value.size, flags, &room);
    if (rc == 0) {
        room[0] = mark;
        if (value.size > 0) {
            memcpy(room + 1, value.data, value.size);
        }
    }
    return kv_fail(ctx, batch->kv, rc, "writing a run");
}

int bb_kv_run_clear(struct bb_ctx *ctx, struct bb_kv_batch *batch, unsigned run)
{
    bb_assert(run < BB_KV_RUNS && (batch->run_cursor == NULL || batch->run != run));
    int rc = mdb_drop(batch->txn, batch->kv->runs[run], 0);
    return kv_fail(ctx, batch->kv, rc, "emptying a run");
}

int bb_kv_leaves(struct bb_ctx *ctx, struct bb_kv_batch *batch, uint64_t *leaves)
{
    MDB_stat stat = { 0 };
    int rc = mdb_stat(batch->txn, batch->kv->data, &stat);
    *leaves = stat.ms_leaf_pages;
    return kv_fail(ctx, batch->kv, rc, "reading numbers");
}

/* The leaf page to which `key` belongs as far as the entry behind it says; 0: the last one. */
static int page_of(struct bb_ctx *ctx, struct bb_kv_batch *batch, struct bb_slice key,
                   uintptr_t *page)
{
    struct kv_stored_key stored;
    kv_key_store(&stored, key);
    MDB_val at = kv_val(stored.bytes), value;
    int rc = mdb_cursor_get(batch->cursor, &at, &value, MDB_SET_RANGE);
    *page = rc == 0 ? (uintptr_t)at.mv_data & ~(uintptr_t)(batch->kv->page_bytes - 1) : 0;
    return kv_fail(ctx, batch->kv, rc == MDB_NOTFOUND ? 0 : rc, "looking for a place");
}

int bb_kv_are_near(struct bb_ctx *ctx, struct bb_kv_batch *batch, struct bb_slice low,
                   struct bb_slice high, bool *are_near)
{
    uintptr_t first = 0, second = 0;
    int rc = page_of(ctx, batch, low, &first);
    if (rc == BB_OK) {
        rc = page_of(ctx, batch, high, &second);
    }
    *are_near = first == second;
    return rc;
}

int bb_kv_delete(struct bb_ctx *ctx, struct bb_kv_batch *batch, struct bb_slice key)
{
    if (key.size == 0 || key.size > BB_KV_KEY_MAX) {
        return BB_OK;
    }
    struct kv_stored_key stored;
    kv_key_store(&stored, key);
    MDB_val at = kv_val(stored.bytes), value;
    int rc = mdb_cursor_get(batch->cursor, &at, &value, MDB_SET);
    if (rc == 0) {
        rc = mdb_cursor_del(batch->cursor, 0);
    }
    return kv_fail(ctx, batch->kv, rc == MDB_NOTFOUND ? 0 : rc, "deleting");
}

int bb_kv_put_meta(struct bb_ctx *ctx, struct bb_kv_batch *batch, const char *name,
                   struct bb_slice value)
{
    bb_assert(strlen(name) > 0 && strlen(name) <= 64);
    MDB_val key = kv_val(bb_slice_str(name)), to = kv_val(value);
    return kv_fail(ctx, batch->kv, mdb_put(batch->txn, batch->kv->meta, &key, &to, 0),
                   "writing the state");
}

static void close_cursors(struct bb_kv_batch *batch)
{
    mdb_cursor_close(batch->cursor);
    if (batch->run_cursor != NULL) {
        mdb_cursor_close(batch->run_cursor);
    }
}

int bb_kv_commit(struct bb_ctx *ctx, struct bb_kv_batch *batch)
{
    struct bb_kv *kv = batch->kv;
    close_cursors(batch);
    int rc = mdb_txn_commit(batch->txn); /* frees the transaction also when it fails */
    bb_free(batch);
    return kv_fail(ctx, kv, rc, "committing");
}

void bb_kv_abort(struct bb_kv_batch *batch)
{
    if (batch == NULL) {
        return;
    }
    close_cursors(batch);
    mdb_txn_abort(batch->txn);
    bb_free(batch);
}
