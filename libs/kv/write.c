/*
 * Writing: one batch, one LMDB transaction, one cursor that profits from sorted keys.
 */
#include "kv.h"

struct bb_kv_batch {
    struct bb_kv *kv;
    MDB_txn *txn;
    MDB_cursor *cursor;
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

int bb_kv_put(struct bb_ctx *ctx, struct bb_kv_batch *batch, struct bb_slice key,
              struct bb_slice value)
{
    if (key.size == 0 || key.size > BB_KV_KEY_MAX) {
        return bb_fail(ctx, BB_TOO_LARGE, "a key has 1 to %d bytes, this one has %zu",
                       BB_KV_KEY_MAX, key.size);
    }
    struct kv_stored_key stored;
    kv_key_store(&stored, key);
    MDB_val at = kv_val(stored.bytes), to = kv_val(value);
    if (!stored.is_long) {
        return kv_fail(ctx, batch->kv, mdb_cursor_put(batch->cursor, &at, &to, 0), "writing");
    }
    size_t header = kv_long_header_size(key.size);
    to = (MDB_val){ .mv_size = header + value.size };
    int rc = mdb_cursor_put(batch->cursor, &at, &to, MDB_RESERVE);
    if (rc == 0) {
        kv_long_header_put(to.mv_data, key);
        if (value.size > 0) {
            memcpy((uint8_t *)to.mv_data + header, value.data, value.size);
        }
    }
    return kv_fail(ctx, batch->kv, rc, "writing");
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

int bb_kv_commit(struct bb_ctx *ctx, struct bb_kv_batch *batch)
{
    struct bb_kv *kv = batch->kv;
    mdb_cursor_close(batch->cursor);
    int rc = mdb_txn_commit(batch->txn); /* frees the transaction also when it fails */
    bb_free(batch);
    return kv_fail(ctx, kv, rc, "committing");
}

void bb_kv_abort(struct bb_kv_batch *batch)
{
    if (batch == NULL) {
        return;
    }
    mdb_cursor_close(batch->cursor);
    mdb_txn_abort(batch->txn);
    bb_free(batch);
}
