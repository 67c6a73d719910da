#include "txn_internal.h"

/* Position of the first row whose key is >= `key`. */
static size_t first_not_below(const struct txn_overlay *overlay, struct bb_slice key)
{
    size_t low = 0;
    size_t high = overlay->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (bb_slice_compare(overlay->rows[middle].key, key) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static void add_row(struct bb_txn *txn, struct txn_overlay *overlay, struct bb_slice key,
                    struct txn_doc *doc)
{
    size_t at = first_not_below(overlay, key);

    overlay->rows =
        txn_grow(txn, overlay->rows, &overlay->capacity, overlay->count, sizeof *overlay->rows);
    memmove(&overlay->rows[at + 1], &overlay->rows[at],
            (overlay->count - at) * sizeof *overlay->rows);
    overlay->rows[at] = (struct txn_overlay_row){ .key = key, .doc = doc };
    overlay->count++;
}

static void remove_row(struct txn_overlay *overlay, struct bb_slice key)
{
    size_t at = first_not_below(overlay, key);

    bb_assert(at < overlay->count && bb_slice_equal(overlay->rows[at].key, key));
    overlay->count--;
    memmove(&overlay->rows[at], &overlay->rows[at + 1],
            (overlay->count - at) * sizeof *overlay->rows);
}

/* The document's key in the overlay's index, in txn->scratch; false when it has no row there. */
static bool key_now(struct bb_txn *txn, const struct txn_overlay *overlay,
                    const struct txn_doc *doc)
{
    bb_buf_clear(&txn->scratch);
    struct bb_slice now = txn_doc_now(doc);
    return txn_doc_is_overlaid(doc) && now.data != NULL &&
           txn_index_key(doc->table, overlay->index, &doc->id, now, &txn->scratch);
}

static void add_doc(struct bb_txn *txn, struct txn_overlay *overlay, struct txn_doc *doc)
{
    if (doc->table == overlay->table && key_now(txn, overlay, doc))
        add_row(txn, overlay, txn_dup(txn, bb_buf_slice(&txn->scratch)), doc);
}

struct txn_overlay *txn_overlay(struct bb_txn *txn, const struct txn_table *table,
                                const struct txn_index *index)
{
    struct txn_overlay *overlay;

    for (overlay = txn->overlays; overlay != NULL; overlay = overlay->next) {
        if (overlay->index == index)
            return overlay;
    }
    overlay = bb_arena_zero(txn->arena, 1, sizeof *overlay);
    overlay->table = table;
    overlay->index = index;
    overlay->next = txn->overlays;
    txn->overlays = overlay;
    for (size_t i = 0; i < txn->inherited_count; i++)
        add_doc(txn, overlay, txn->inherited[i]);
    for (size_t i = 0; i < txn->written_count; i++) {
        if (!txn->written[i]->is_inherited)
            add_doc(txn, overlay, txn->written[i]);
    }
    return overlay;
}

static bool is_inside(const struct txn_scan *scan, struct bb_slice key)
{
    return bb_slice_compare(key, scan->low) >= 0 && bb_slice_compare(key, scan->high) < 0;
}

const struct txn_overlay_row *txn_overlay_after(const struct txn_overlay *overlay,
                                                const struct txn_scan *scan)
{
    bool has_position = scan->position.data != NULL;
    size_t at;

    if (scan->is_descending) {
        at = first_not_below(overlay, has_position ? scan->position : scan->high);
        if (at == 0)
            return NULL;
        at--;
    } else {
        at = first_not_below(overlay, has_position ? scan->position : scan->low);
        if (has_position && at < overlay->count &&
            bb_slice_equal(overlay->rows[at].key, scan->position))
            at++;
        if (at == overlay->count)
            return NULL;
    }
    return is_inside(scan, overlay->rows[at].key) ? &overlay->rows[at] : NULL;
}

void txn_doc_set(struct bb_txn *txn, struct txn_doc *doc, bool is_dirty, struct bb_slice value)
{
    for (struct txn_overlay *overlay = txn->overlays; overlay != NULL; overlay = overlay->next) {
        if (overlay->table == doc->table && key_now(txn, overlay, doc))
            remove_row(overlay, bb_buf_slice(&txn->scratch));
    }
    doc->is_dirty = is_dirty;
    doc->current = value;
    for (struct txn_overlay *overlay = txn->overlays; overlay != NULL; overlay = overlay->next)
        add_doc(txn, overlay, doc);
}
