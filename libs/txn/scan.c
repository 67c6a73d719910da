#include "txn_internal.h"

/*
 * A scan merges two ordered streams: the snapshot's rows, fetched page by page, without those of
 * documents that this transaction has written, and the rows that its own writes give the index.
 * What was consumed so far is all that counts: the read range ends there, and so does the cursor.
 */
enum {
    ROWS_MAX = 1000,
    COUNT_ROWS_MAX = 5000,
    ROWS_BYTES_MAX = 1 << 20
};

/* ---- opening ---- */

int txn_index_not_found(struct bb_ctx *ctx, const struct txn_table *table, struct bb_slice name)
{
    struct bb_buf list;
    int shown = (int)(name.size < 80 ? name.size : 80);
    int rc;

    bb_buf_init(&list);
    for (size_t i = 0; i < table->index_count && list.size < 200; i++)
        bb_buf_printf(&list, "%s%.*s", i == 0 ? "" : ", ", BB_SLICE_ARG(table->indexes[i].name));
    rc = bb_fail(ctx, BB_INDEX_NOT_FOUND,
                 "Index %.*s.%.*s is not declared. Table \"%.*s\" has the indexes %.*s. Declare it "
                 "in schema.ts with .index(\"%.*s\", [fields]), then deploy.",
                 BB_SLICE_ARG(table->name), shown, (const char *)name.data,
                 BB_SLICE_ARG(table->name), BB_SLICE_ARG(bb_buf_slice(&list)), shown,
                 (const char *)name.data);
    bb_buf_fini(&list);
    return rc;
}

static int find_index(struct bb_ctx *ctx, const struct txn_table *table, struct bb_slice name,
                      const struct txn_index **index)
{
    if (name.size == 0)
        name = bb_slice_str("by_creation_time");
    *index = txn_index_by_name(table, name);
    if (*index == NULL)
        return txn_index_not_found(ctx, table, name);
    if ((*index)->is_failed)
        return bb_fail(ctx, BB_INDEX_NOT_READY, "%.*s", BB_SLICE_ARG((*index)->error));
    if (!(*index)->is_ready) {
        return bb_fail(ctx, BB_INDEX_NOT_READY,
                       "Index %.*s.%.*s is being filled: %" PRId64 " of %s%" PRId64
                       " documents are done. It can be used when all are in it; try again later.",
                       BB_SLICE_ARG(table->name), BB_SLICE_ARG(name), (*index)->done,
                       (*index)->done > (*index)->total ? "more than " : "", (*index)->total);
    }
    return BB_OK;
}

static uint64_t hash_query(const struct txn_scan *scan, struct bb_slice filter)
{
    uint64_t hash = scan->is_descending ? 1 : 2;

    hash = bb_hash64(scan->low, hash);
    hash = bb_hash64(scan->high, hash);
    return bb_hash64(filter, hash);
}

void txn_scan_add(struct bb_txn *txn, struct txn_scan *scan, uint32_t *number)
{
    txn->scans = txn_grow(txn, txn->scans, &txn->scan_capacity, txn->scan_count, sizeof(scan));
    *number = (uint32_t)txn->scan_count;
    txn->scans[txn->scan_count++] = scan;
}

int bb_txn_scan_open(struct bb_ctx *ctx, struct bb_txn *txn,
                     const struct bb_txn_scan_options *options, uint32_t *number)
{
    struct txn_scan *scan = bb_arena_zero(txn->arena, 1, sizeof *scan);
    struct bb_buf low;
    struct bb_buf high;
    int rc;

    bb_buf_init(&low);
    bb_buf_init(&high);
    rc = txn_table(ctx, txn, options->access, options->table, &scan->table);
    if (rc != BB_OK)
        goto out;
    rc = find_index(ctx, scan->table, options->index, &scan->index);
    if (rc == BB_OK)
        rc = txn_index_range(ctx, scan->table, scan->index, options->range, &low, &high);
    if (rc == BB_OK && !options->is_untracked)
        rc = txn_count_range(ctx, txn, scan->table);
    if (rc != BB_OK)
        goto out;
    scan->low = txn_dup(txn, bb_buf_slice(&low));
    scan->high = txn_dup(txn, bb_buf_slice(&high));
    if (txn->options.is_traced)
        scan->asked = txn_dup(txn, options->range);
    scan->is_descending = options->is_descending;
    scan->is_keys_only = options->is_keys_only;
    scan->is_untracked = options->is_untracked && options->access == BB_TXN_PRIVILEGED;
    scan->query_hash = hash_query(scan, options->filter);
    rc = txn_cursor_apply(ctx, txn, scan, options);
    if (rc != BB_OK)
        goto out;
    if (bb_slice_compare(scan->low, scan->high) >= 0)
        scan->is_ended = true;
    txn_scan_add(txn, scan, number);
out:
    bb_buf_fini(&low);
    bb_buf_fini(&high);
    return rc;
}

/* ---- pages ---- */

struct bb_id txn_id_of_key(struct bb_slice key)
{
    struct bb_id id;

    memcpy(id.bytes, key.data + key.size - sizeof id.bytes, sizeof id.bytes);
    return id;
}

static int check_row(struct bb_ctx *ctx, const struct txn_scan *scan,
                     const struct bb_txn_read *read, const struct bb_txn_entry *entry,
                     struct bb_slice previous)
{
    int order = previous.data == NULL ? 0 : bb_slice_compare(entry->key, previous);

    if (entry->key.size < 4 + sizeof(struct bb_id) || bb_slice_compare(entry->key, read->low) < 0 ||
        bb_slice_compare(entry->key, read->high) >= 0 ||
        (previous.data != NULL && (scan->is_descending ? order >= 0 : order <= 0)))
        return bb_fail(ctx, BB_BAD_REQUEST, "the answer of a scan is out of range or order");
    if (!scan->is_keys_only && entry->value.size == 0) {
        return bb_fail(ctx, BB_CORRUPT, "index %.*s.%.*s has an entry without a document",
                       BB_SLICE_ARG(scan->table->name), BB_SLICE_ARG(scan->index->name));
    }
    return BB_OK;
}

/* A page is asked for only when the one before is used up. */
static void use_page(struct bb_txn *txn, struct txn_scan *scan, const struct txn_page_row *rows,
                     size_t count, bool is_complete)
{
    bb_assert(scan->row_at == scan->row_count);
    scan->rows = rows;
    scan->row_at = 0;
    scan->row_count = count;
    scan->is_snapshot_done = is_complete;
    if (count > 0) {
        struct bb_slice last = rows[count - 1].key;
        scan->covered = scan->is_descending ? last : txn_next_key(txn, last);
    }
}

int txn_scan_feed(struct bb_ctx *ctx, struct bb_txn *txn, struct txn_scan *scan,
                  const struct bb_txn_read *read, const struct bb_txn_entry *entries,
                  size_t entry_count, bool is_complete)
{
    struct bb_slice previous = BB_SLICE_EMPTY;
    struct txn_page_row *rows = bb_arena_alloc(txn->arena, (entry_count + 1) * sizeof *rows);

    for (size_t i = 0; i < entry_count; i++) {
        int rc = check_row(ctx, scan, read, &entries[i], previous);
        if (rc != BB_OK)
            return rc;
        previous = entries[i].key;
        rows[i].key = txn_dup(txn, entries[i].key);
        rows[i].value = scan->is_keys_only ? BB_SLICE_EMPTY : txn_dup(txn, entries[i].value);
    }
    use_page(txn, scan, rows, entry_count, is_complete);
    txn_hold(txn, scan, NULL);
    return BB_OK;
}

void txn_scan_feed_page(struct bb_txn *txn, struct txn_scan *scan, struct txn_page *page,
                        size_t count, bool is_complete)
{
    scan->is_wanted = false;
    use_page(txn, scan, page->rows, count, is_complete);
    txn_hold(txn, scan, page);
}

/* ---- consuming ---- */

/* What an own write may have made of the row. */
static struct txn_doc *row_doc(const struct bb_txn *txn, const struct txn_scan *scan,
                               const struct txn_page_row *row)
{
    if (txn->written_count + txn->inherited_count == 0)
        return NULL;
    struct bb_id id = txn_id_of_key(row->key);
    return txn_doc_find(txn, scan->table, &id);
}

/* Whether the snapshot's rows are known up to `key`. */
static bool is_covered(const struct txn_scan *scan, struct bb_slice key)
{
    if (scan->is_snapshot_done)
        return true;
    if (scan->covered.data == NULL)
        return false;
    int order = bb_slice_compare(key, scan->covered);
    return scan->is_descending ? order >= 0 : order < 0;
}

/* The next row in order; not consumed yet. BB_OK with key.data == NULL: the end. */
static int peek(struct bb_txn *txn, struct txn_scan *scan, uint32_t fetch, struct txn_row *row)
{
    const struct txn_overlay_row *own = NULL;

    while (scan->row_at < scan->row_count) {
        const struct txn_doc *doc = row_doc(txn, scan, &scan->rows[scan->row_at]);
        if (doc == NULL || !txn_doc_is_overlaid(doc))
            break;
        scan->row_at++;
    }
    if (txn->written_count + txn->inherited_count > 0)
        own = txn_overlay_after(txn_overlay(txn, scan->table, scan->index), scan);
    if (scan->row_at == scan->row_count) {
        if (!scan->is_snapshot_done && (own == NULL || !is_covered(scan, own->key))) {
            txn_want_page(txn, scan, fetch);
            return BB_PENDING;
        }
        *row = own == NULL ? (struct txn_row){ .doc = NULL }
                           : (struct txn_row){ .key = own->key, .doc = own->doc };
        return BB_OK;
    }
    *row = (struct txn_row){ .key = scan->rows[scan->row_at].key,
                             .value = scan->rows[scan->row_at].value };
    if (own != NULL) {
        int order = bb_slice_compare(own->key, row->key);
        if (scan->is_descending ? order > 0 : order < 0)
            *row = (struct txn_row){ .key = own->key, .doc = own->doc };
    }
    return BB_OK;
}

int txn_scan_consume(struct bb_ctx *ctx, struct bb_txn *txn, struct txn_scan *scan,
                     const struct txn_row *row)
{
    size_t bytes = row->key.size;

    if (!scan->is_keys_only)
        bytes += txn_row_value(row).size;
    scan->position = row->key;
    if (scan->row_at < scan->row_count && scan->rows[scan->row_at].key.data == row->key.data)
        scan->row_at++;
    scan->rows_total++;
    scan->bytes_total += bytes;
    if (scan->is_untracked)
        return BB_OK;
    return txn_count_read(ctx, txn, scan->table, scan->is_keys_only ? 0 : 1, bytes);
}

/* Takes back the page that was asked for last. */
static void unwant_page(struct bb_txn *txn, struct txn_scan *scan)
{
    if (txn->want_count > 0 && txn->wants[txn->want_count - 1].scan == scan) {
        txn->want_count--;
        scan->is_wanted = false;
    }
}

int txn_scan_peek_more(struct bb_txn *txn, struct txn_scan *scan, uint32_t fetch, bool has_rows,
                       struct txn_row *row)
{
    int rc = peek(txn, scan, fetch, row);

    if (rc == BB_PENDING && has_rows) {
        /* What is there is given; the page that is missing is fetched when it is asked for. */
        unwant_page(txn, scan);
        row->key = BB_SLICE_EMPTY;
        return BB_OK;
    }
    if (rc == BB_OK && row->key.data == NULL)
        scan->is_ended = true;
    return rc;
}

bool bb_txn_has_scan(const struct bb_txn *txn, uint32_t number)
{
    return number < txn->scan_count && !txn->scans[number]->is_keys_only;
}

struct txn_scan *txn_scan(struct bb_txn *txn, uint32_t number)
{
    bb_assert(number < txn->scan_count);
    return txn->scans[number];
}

int bb_txn_scan_next(struct bb_ctx *ctx, struct bb_txn *txn, uint32_t number, uint32_t want,
                     uint32_t prefetch, struct bb_value_builder *to, uint32_t *row_count,
                     bool *is_done)
{
    struct txn_scan *scan = txn_scan(txn, number);
    size_t bytes = 0;

    *row_count = 0;
    if (want == 0 || want > ROWS_MAX)
        want = ROWS_MAX;
    if (prefetch > ROWS_MAX)
        prefetch = ROWS_MAX;
    scan->is_touched = scan->is_touched || !scan->is_ended;
    while (!scan->is_ended && *row_count < want && bytes < ROWS_BYTES_MAX) {
        uint32_t left = want - *row_count;
        struct txn_row row;
        int rc =
            txn_scan_peek_more(txn, scan, left > prefetch ? left : prefetch, *row_count > 0, &row);
        if (rc != BB_OK)
            return rc;
        if (row.key.data == NULL)
            break;
        rc = txn_scan_consume(ctx, txn, scan, &row);
        if (rc != BB_OK)
            return rc;
        struct bb_slice document = txn_row_value(&row);
        bb_value_put_value(to, document);
        bytes += document.size;
        ++*row_count;
    }
    *is_done = scan->is_ended;
    return BB_OK;
}

int bb_txn_scan_count(struct bb_ctx *ctx, struct bb_txn *txn, uint32_t number, uint64_t count_max,
                      uint64_t *count)
{
    struct txn_scan *scan = txn_scan(txn, number);

    scan->is_touched = scan->is_touched || !scan->is_ended;
    while (!scan->is_ended && scan->counted < count_max) {
        uint64_t left = count_max - scan->counted;
        struct txn_row row;
        uint32_t fetch = left < COUNT_ROWS_MAX ? (uint32_t)left : COUNT_ROWS_MAX;
        int rc = txn_scan_peek_more(txn, scan, fetch, false, &row);
        if (rc != BB_OK)
            return rc;
        if (row.key.data == NULL)
            break;
        rc = txn_scan_consume(ctx, txn, scan, &row);
        if (rc != BB_OK)
            return rc;
        scan->counted++;
    }
    *count = scan->counted;
    return BB_OK;
}

bool txn_scan_range(struct bb_txn *txn, const struct txn_scan *scan, struct bb_txn_range *range)
{
    if (!scan->is_touched || scan->is_untracked || bb_slice_compare(scan->low, scan->high) >= 0)
        return false;
    *range = (struct bb_txn_range){ .low = scan->low, .high = scan->high };
    if (scan->is_ended)
        return true;
    if (scan->rows_total == 0)
        return false;
    if (scan->is_descending) {
        range->low = scan->position;
    } else {
        range->high = txn_next_key(txn, scan->position);
    }
    return true;
}
