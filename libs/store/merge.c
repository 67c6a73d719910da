/*
 * One key or range at one moment: chunks over runs over the data, the newest source wins. Decisions
 * only.
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

/* ---- runs ---- */

static int run_cursor(struct bb_ctx *ctx, struct bb_store_snapshot *snapshot, size_t i,
                      struct bb_kv_cursor **cursor)
{
    const struct store_generation *generation = snapshot->generation;
    if (snapshot->run_cursors == NULL) {
        snapshot->run_cursors =
            bb_arena_zero(ctx->arena, generation->runs.count, sizeof(snapshot->run_cursors[0]));
        if (snapshot->run_cursors == NULL) {
            return bb_fail(ctx, BB_TOO_LARGE, "no memory is left for this request");
        }
    }
    int rc = BB_OK;
    if (snapshot->run_cursors[i] == NULL) {
        rc = bb_kv_run_cursor_open(ctx, generation->reads[snapshot->reader_index],
                                   generation->runs.run[i].number, &snapshot->run_cursors[i]);
    }
    *cursor = snapshot->run_cursors[i];
    return rc;
}

void store_merge_cursors_close(struct bb_store_snapshot *snapshot)
{
    bb_kv_cursor_close(snapshot->cursor);
    for (size_t i = 0; snapshot->run_cursors != NULL && i < snapshot->generation->runs.count; i++) {
        bb_kv_cursor_close(snapshot->run_cursors[i]);
    }
}

/* Whether the run stands inside the range; BB_NOT_FOUND: it has no more there. */
static int run_arrived(const struct store_merge *merge, const struct bb_kv_cursor *cursor, int rc)
{
    return rc == BB_OK && !is_inside(merge->op, bb_kv_cursor_key(cursor)) ? BB_NOT_FOUND : rc;
}

static int seek_runs(struct bb_ctx *ctx, struct store_merge *merge,
                     struct bb_store_snapshot *snapshot)
{
    const struct bb_store_op *op = merge->op;
    const struct store_runs *runs = &snapshot->generation->runs;
    for (size_t i = 0; i < runs->count; i++) {
        struct bb_kv_cursor *cursor = NULL;
        if (!store_run_reaches(&runs->run[i], op->low, op->high)) {
            continue;
        }
        int rc = run_cursor(ctx, snapshot, i, &cursor);
        if (rc != BB_OK) {
            return rc;
        }
        rc = run_arrived(merge, cursor,
                         op->is_descending ? bb_kv_seek_before(ctx, cursor, op->high)
                                           : bb_kv_seek(ctx, cursor, op->low));
        if (rc == BB_OK) {
            merge->runs[merge->run_count++] = cursor;
        } else if (rc != BB_NOT_FOUND) {
            return rc;
        }
    }
    return BB_OK;
}

/* ---- all of them ---- */

int store_merge_begin(struct bb_ctx *ctx, struct store_merge *merge,
                      struct bb_store_snapshot *snapshot, const struct bb_store_op *op)
{
    merge->op = op;
    merge->chunk_count = snapshot->chunk_count;
    merge->run_count = 0;
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
    int rc = seek_runs(ctx, merge, snapshot);
    if (rc == BB_OK && snapshot->cursor == NULL) {
        rc = bb_kv_cursor_open(ctx, snapshot->generation->reads[snapshot->reader_index],
                               &snapshot->cursor);
    }
    if (rc != BB_OK) {
        return rc;
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
    for (size_t i = 0; i < merge->run_count; i++) {
        struct bb_slice other = bb_kv_cursor_key(merge->runs[i]);
        if (!has || comes_first(merge->op, bb_slice_compare(other, *key))) {
            *key = other;
            has = true;
        }
    }
    return has;
}

static int pass_run(struct bb_ctx *ctx, struct store_merge *merge, size_t i)
{
    struct bb_kv_cursor *cursor = merge->runs[i];
    int rc =
        run_arrived(merge, cursor,
                    merge->op->is_descending ? bb_kv_prev(ctx, cursor) : bb_kv_next(ctx, cursor));
    if (rc == BB_NOT_FOUND) {
        merge->run_count--;
        memmove(merge->runs + i, merge->runs + i + 1,
                (merge->run_count - i) * sizeof(merge->runs[0]));
    }
    return rc;
}

/* The same as pass_key for the runs. */
static int pass_key_in_runs(struct bb_ctx *ctx, struct store_merge *merge, struct bb_slice key,
                            bool *is_decided, bool *exists)
{
    for (size_t i = 0; i < merge->run_count;) {
        if (!bb_slice_equal(bb_kv_cursor_key(merge->runs[i]), key)) {
            i++;
            continue;
        }
        int rc = BB_OK;
        if (!*is_decided) {
            enum bb_mvcc_kind kind = BB_MVCC_REMOVE;
            rc = store_run_entry(ctx, bb_kv_cursor_value(merge->runs[i]), &kind, &merge->value);
            *is_decided = true;
            *exists = kind != BB_MVCC_REMOVE;
        }
        if (rc == BB_OK) {
            rc = pass_run(ctx, merge, i);
            i += rc == BB_OK;
        }
        if (rc != BB_OK && rc != BB_NOT_FOUND) {
            return rc;
        }
    }
    return BB_OK;
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
    int rc = pass_key_in_runs(ctx, merge, key, &is_decided, exists);
    if (rc != BB_OK || !merge->has_kv || !bb_slice_equal(bb_kv_cursor_key(merge->kv), key)) {
        return rc;
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

/* BB_NOT_FOUND without `is_decided`: no run has it. */
static int lookup_in_runs(struct bb_ctx *ctx, const struct bb_store_snapshot *snapshot,
                          struct bb_slice key, bool *is_decided, struct bb_slice *value)
{
    const struct store_generation *generation = snapshot->generation;
    const struct store_runs *runs = &generation->runs;
    uint64_t with = store_runs_with(generation->base, runs, key);
    for (size_t i = 0; with != 0; i++) {
        uint64_t bit = (uint64_t)1 << runs->run[i].number;
        struct bb_slice stored;
        enum bb_mvcc_kind kind = BB_MVCC_REMOVE;
        if ((with & bit) == 0) {
            continue;
        }
        with &= ~bit;
        int rc = bb_kv_run_get(ctx, generation->reads[snapshot->reader_index], runs->run[i].number,
                               key, &stored);
        if (rc == BB_OK) {
            *is_decided = true;
            rc = store_run_entry(ctx, stored, &kind, value);
            return rc == BB_OK && kind == BB_MVCC_REMOVE ? BB_NOT_FOUND : rc;
        }
        if (rc != BB_NOT_FOUND) {
            return rc;
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
    bool is_decided = false;
    int rc = lookup_in_runs(ctx, snapshot, key, &is_decided, value);
    if (rc != BB_NOT_FOUND || is_decided) {
        return rc;
    }
    return bb_kv_get(ctx, snapshot->generation->reads[snapshot->reader_index], key, value);
}
