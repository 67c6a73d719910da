/*
 * Reading one key at one commit.
 */
#include "kv.h"

int bb_kv_read_open(struct bb_ctx *ctx, struct bb_kv *kv, struct bb_kv_read **out)
{
    MDB_txn *txn = NULL;
    int rc = mdb_txn_begin(kv->env, NULL, MDB_RDONLY, &txn);
    if (rc != 0) {
        return kv_fail(ctx, kv, rc, "beginning to read");
    }
    struct bb_kv_read *read = bb_alloc(sizeof(*read));
    *read = (struct bb_kv_read){ .kv = kv, .txn = txn };
    *out = read;
    return BB_OK;
}

void bb_kv_read_close(struct bb_kv_read *read)
{
    if (read == NULL) {
        return;
    }
    mdb_txn_abort(read->txn);
    bb_free(read);
}

uint64_t bb_kv_read_version(const struct bb_kv_read *read)
{
    return mdb_txn_id(read->txn);
}

static int get(struct bb_ctx *ctx, const struct bb_kv_read *read, MDB_dbi dbi, struct bb_slice key,
               struct bb_slice *value)
{
    if (key.size == 0 || key.size > BB_KV_KEY_MAX) {
        return BB_NOT_FOUND;
    }
    struct kv_stored_key stored;
    kv_key_store(&stored, key);
    MDB_val at = kv_val(stored.bytes), found;
    int rc = mdb_get(read->txn, dbi, &at, &found);
    if (rc == MDB_NOTFOUND) {
        return BB_NOT_FOUND;
    }
    if (rc != 0) {
        return kv_fail(ctx, read->kv, rc, "reading");
    }
    struct bb_slice found_key;
    if (!kv_entry_load(stored.bytes, kv_slice(found), &found_key, value)) {
        return kv_fail(ctx, read->kv, MDB_CORRUPTED, "reading a long key");
    }
    return !stored.is_long || bb_slice_equal(found_key, key) ? BB_OK : BB_NOT_FOUND;
}

int bb_kv_get(struct bb_ctx *ctx, const struct bb_kv_read *read, struct bb_slice key,
              struct bb_slice *value)
{
    return get(ctx, read, read->kv->data, key, value);
}

int bb_kv_run_get(struct bb_ctx *ctx, const struct bb_kv_read *read, unsigned run,
                  struct bb_slice key, struct bb_slice *stored)
{
    bb_assert(run < BB_KV_RUNS);
    return read->kv->has_runs ? get(ctx, read, read->kv->runs[run], key, stored) : BB_NOT_FOUND;
}

int bb_kv_get_meta(struct bb_ctx *ctx, const struct bb_kv_read *read, const char *name,
                   struct bb_slice *value)
{
    MDB_val key = kv_val(bb_slice_str(name)), found;
    int rc = mdb_get(read->txn, read->kv->meta, &key, &found);
    if (rc == MDB_NOTFOUND) {
        return BB_NOT_FOUND;
    }
    if (rc != 0) {
        return kv_fail(ctx, read->kv, rc, "reading the state");
    }
    *value = kv_slice(found);
    return BB_OK;
}
