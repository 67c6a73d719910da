#include "txn_internal.h"

/*
 * Entries of an index that are written without their documents: a new index gets them for the
 * documents that are there, a removed one loses them. What was consumed is in the read ranges, so
 * the conflict check decides between this and whoever changes the same documents.
 */
static void add_entry(struct bb_txn *txn, struct txn_doc *doc, struct bb_slice key, bool is_removal)
{
    txn->index_only = txn_grow(txn, txn->index_only, &txn->index_only_capacity,
                               txn->index_only_count, sizeof *txn->index_only);
    txn->index_only[txn->index_only_count++] =
        (struct txn_index_only){ .doc = doc, .key = key, .is_removal = is_removal };
}

static int key_too_large(struct bb_ctx *ctx, const struct txn_index *index,
                         const struct txn_doc *doc, size_t size)
{
    char id[BB_ID_TEXT_MAX];
    struct bb_slice text = bb_slice(id, bb_id_text(doc->table->number, &doc->id, id));

    return bb_fail(ctx, BB_KEY_TOO_LARGE,
                   "Index %.*s.%.*s cannot be filled: the key of document %.*s in it has %zu "
                   "bytes, the limit is %d. Make the indexed fields of that document shorter, or "
                   "index a shorter field, for example a hash; then deploy again.",
                   BB_SLICE_ARG(doc->table->name), BB_SLICE_ARG(index->name), BB_SLICE_ARG(text),
                   size, BB_KEY_MAX);
}

int bb_txn_backfill(struct bb_ctx *ctx, struct bb_txn *txn, uint32_t number, struct bb_slice name,
                    uint32_t want, uint32_t *row_count, bool *is_done)
{
    struct txn_scan *scan = txn_scan(txn, number);
    const struct txn_index *index = txn_index_by_name(scan->table, name);

    *row_count = 0;
    if (scan->index->kind != TXN_BY_ID || scan->is_keys_only)
        return bb_fail(ctx, BB_INTERNAL, "an index is filled from a scan of by_id");
    if (index == NULL)
        return txn_index_not_found(ctx, scan->table, name);
    scan->is_touched = scan->is_touched || !scan->is_ended;
    while (!scan->is_ended && *row_count < want &&
           (*row_count == 0 || txn->read_bytes < txn->options.limits.read_bytes / 2)) {
        struct txn_row row;
        int rc = txn_scan_peek_more(txn, scan, want - *row_count, *row_count > 0, &row);
        if (rc != BB_OK)
            return rc;
        if (row.key.data == NULL)
            break;
        struct bb_id id = txn_id_of_key(row.key);
        struct txn_doc *doc = txn_doc(txn, scan->table, &id);
        bb_buf_clear(&txn->scratch);
        (void)txn_index_key(scan->table, index, &id, txn_row_value(&row), &txn->scratch);
        if (txn->scratch.size > BB_KEY_MAX)
            return key_too_large(ctx, index, doc, txn->scratch.size);
        add_entry(txn, doc, txn_dup(txn, bb_buf_slice(&txn->scratch)), false);
        rc = txn_scan_consume(ctx, txn, scan, &row);
        if (rc != BB_OK)
            return rc;
        ++*row_count;
    }
    *is_done = scan->is_ended;
    return BB_OK;
}

int bb_txn_clean_open(struct bb_ctx *ctx, struct bb_txn *txn, uint32_t table, uint32_t index,
                      struct bb_slice after, uint32_t *number)
{
    struct txn_index *gone = bb_arena_zero(txn->arena, 1, sizeof *gone);
    struct txn_table *owner = bb_arena_zero(txn->arena, 1, sizeof *owner);
    struct txn_scan *scan = bb_arena_zero(txn->arena, 1, sizeof *scan);
    uint8_t *bounds = bb_arena_alloc(txn->arena, 8);

    if (table < BB_TABLE_USER_MIN || index < BB_INDEX_DECLARED || index == UINT32_MAX)
        return bb_fail(ctx, BB_BAD_REQUEST, "index %" PRIu32 " cannot be cleaned", index);
    bb_put_be32(bounds, index);
    bb_put_be32(bounds + 4, index + 1);
    if (after.size > 0 && (after.size < 4 || memcmp(after.data, bounds, 4) != 0))
        return bb_fail(ctx, BB_BAD_REQUEST, "a key of another index than %" PRIu32, index);
    *gone =
        (struct txn_index){ .name = bb_slice_str("(removed)"), .id = index, .kind = TXN_DECLARED };
    *owner = (struct txn_table){
        .name = bb_slice_str("(any)"), .number = table, .indexes = gone, .index_count = 1
    };
    scan->table = owner;
    scan->index = gone;
    scan->low = after.size == 0 ? bb_slice(bounds, 4) : txn_next_key(txn, after);
    scan->high = bb_slice(bounds + 4, 4);
    if (after.size > 0)
        scan->position = txn_dup(txn, after);
    scan->is_keys_only = true;
    txn_scan_add(txn, scan, number);
    return BB_OK;
}

int bb_txn_clean(struct bb_ctx *ctx, struct bb_txn *txn, uint32_t number, uint32_t want,
                 uint32_t *row_count, struct bb_slice *last, bool *is_done)
{
    struct txn_scan *scan = txn_scan(txn, number);

    *row_count = 0;
    scan->is_touched = scan->is_touched || !scan->is_ended;
    while (!scan->is_ended && *row_count < want &&
           (*row_count == 0 || txn->read_bytes < txn->options.limits.read_bytes / 2)) {
        struct txn_row row;
        int rc = txn_scan_peek_more(txn, scan, want - *row_count, *row_count > 0, &row);
        if (rc != BB_OK)
            return rc;
        if (row.key.data == NULL)
            break;
        struct bb_id id = txn_id_of_key(row.key);
        add_entry(txn, txn_doc(txn, scan->table, &id), row.key, true);
        rc = txn_scan_consume(ctx, txn, scan, &row);
        if (rc != BB_OK)
            return rc;
        ++*row_count;
    }
    *last = scan->position;
    *is_done = scan->is_ended;
    return BB_OK;
}
