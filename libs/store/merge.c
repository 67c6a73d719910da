/*
 * One range at one moment: chunks over LMDB, the newest source wins. Decisions only.
 */
#include "store.h"

static bool is_inside(const struct bb_store_op *op, struct bb_slice key)
{
    return op->is_descending ? bb_slice_compare(key, op->low) >= 0
                             : bb_slice_compare(key, op->high) < 0;
}

static void chunk_arrived(struct store_merge *merge, size_t i, bool has)
{
    merge->has_chunk[i] = has && is_inside(merge->op, merge->chunks[i].version.key);
}

static int kv_arrived(struct store_merge *merge, int rc)
{
    merge->has_kv = rc == BB_OK && is_inside(merge->op, bb_kv_cursor_key(merge->kv));
    return rc == BB_NOT_FOUND ? BB_OK : rc;
}

int store_merge_begin(struct bb_ctx *ctx, struct store_merge *merge,
                      struct bb_store_snapshot *snapshot, const struct bb_store_op *op)
{
    merge->op = op;
    merge->chunk_count = snapshot->chunk_count;
    merge->has_kv = false;
    if (bb_slice_compare(op->low, op->high) >= 0) {
        merge->chunk_count = 0;
        return BB_OK;
    }
    for (size_t i = 0; i < merge->chunk_count; i++) {
        struct bb_mvcc_cursor *cursor = &merge->chunks[i];
        bb_mvcc_cursor_init(cursor, snapshot->chunks[i]->map, snapshot->at);
        chunk_arrived(merge, i,
                      op->is_descending ? bb_mvcc_seek_before(cursor, op->high)
                                        : bb_mvcc_seek(cursor, op->low));
    }
    if (snapshot->cursor == NULL) {
        int rc = bb_kv_cursor_open(ctx, snapshot->generation->reads[snapshot->reader_index],
                                   &snapshot->cursor);
        if (rc != BB_OK) {
            return rc;
        }
    }
    merge->kv = snapshot->cursor;
    return kv_arrived(merge, op->is_descending ? bb_kv_seek_before(ctx, merge->kv, op->high)
                                               : bb_kv_seek(ctx, merge->kv, op->low));
}

/* Does `key` come before `than` in the direction of the op? */
static bool comes_first(const struct bb_store_op *op, int order)
{
    return op->is_descending ? order > 0 : order < 0;
}

/* The next key over all sources; false: all are at their end. */
static bool next_key(const struct store_merge *merge, struct bb_slice *key)
{
    bool has = merge->has_kv;
    if (has) {
        *key = bb_kv_cursor_key(merge->kv);
    }
    for (size_t i = 0; i < merge->chunk_count; i++) {
        if (!merge->has_chunk[i]) {
            continue;
        }
        struct bb_slice other = merge->chunks[i].version.key;
        if (!has || comes_first(merge->op, bb_slice_compare(other, *key))) {
            *key = other;
            has = true;
        }
    }
    return has;
}

/*
 * Moves all sources that stand at `key` beyond it. `exists` says whether the newest of them has a
 * value there, which is then in merge->value.
 */
static int pass_key(struct bb_ctx *ctx, struct store_merge *merge, struct bb_slice key,
                    bool *exists)
{
    bool is_decided = false;
    bool is_descending = merge->op->is_descending;
    for (size_t i = 0; i < merge->chunk_count; i++) {
        struct bb_mvcc_cursor *cursor = &merge->chunks[i];
        if (!merge->has_chunk[i] || !bb_slice_equal(cursor->version.key, key)) {
            continue;
        }
        if (!is_decided) {
            is_decided = true;
            *exists = cursor->version.kind != BB_MVCC_REMOVE;
            merge->value = cursor->version.value;
        }
        chunk_arrived(merge, i, is_descending ? bb_mvcc_prev(cursor) : bb_mvcc_next(cursor));
    }
    if (!merge->has_kv || !bb_slice_equal(bb_kv_cursor_key(merge->kv), key)) {
        return BB_OK;
    }
    if (!is_decided) {
        *exists = true;
        merge->value = bb_kv_cursor_value(merge->kv);
    }
    return kv_arrived(merge,
                      is_descending ? bb_kv_prev(ctx, merge->kv) : bb_kv_next(ctx, merge->kv));
}

int store_merge_step(struct bb_ctx *ctx, struct store_merge *merge)
{
    struct bb_slice key = BB_SLICE_EMPTY;
    while (next_key(merge, &key)) {
        bool exists = false;
        int rc = pass_key(ctx, merge, key, &exists);
        if (rc != BB_OK) {
            return rc;
        }
        if (exists) {
            merge->key = key;
            return BB_OK;
        }
    }
    return BB_NOT_FOUND;
}

int store_lookup(struct bb_ctx *ctx, const struct bb_store_snapshot *snapshot, struct bb_slice key,
                 struct bb_slice *value)
{
    struct bb_mvcc_version version;
    for (size_t i = 0; i < snapshot->chunk_count; i++) {
        if (bb_mvcc_get(snapshot->chunks[i]->map, key, snapshot->at, &version)) {
            *value = version.value;
            return version.kind == BB_MVCC_REMOVE ? BB_NOT_FOUND : BB_OK;
        }
    }
    return bb_kv_get(ctx, snapshot->generation->reads[snapshot->reader_index], key, value);
}
