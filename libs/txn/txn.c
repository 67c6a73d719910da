#include "txn_internal.h"

enum {
    BUCKETS_FIRST = 32, /* most calls look at a few documents */
    NAME_SHOWN_MAX = 80
};

void bb_txn_limits_default(struct bb_txn_limits *limits)
{
    *limits = (struct bb_txn_limits){ .document_bytes = 1u << 20,
                                      .read_bytes = 16u << 20,
                                      .read_documents = 32000,
                                      .read_ranges = 4096,
                                      .write_bytes = 16u << 20,
                                      .write_documents = 16000 };
}

struct bb_txn *bb_txn_new(void)
{
    struct bb_txn *txn = bb_alloc_zero(1, sizeof *txn);

    /* Without a limit of its own: what gets in here is counted by the limits of the options. */
    txn->arena = bb_arena_new(0);
    txn->builder = bb_value_builder_new();
    bb_buf_init(&txn->scratch);
    return txn;
}

static void release_pages(struct bb_txn *txn)
{
    for (struct txn_held *held = txn->held; held != NULL; held = held->next) {
        if (held->page != NULL)
            txn_page_release(held->page);
    }
    txn->held = txn->unread = NULL;
}

void bb_txn_free(struct bb_txn *txn)
{
    if (txn == NULL)
        return;
    release_pages(txn);
    bb_arena_free(txn->arena);
    bb_value_builder_free(txn->builder);
    bb_buf_fini(&txn->scratch);
    bb_free(txn);
}

void bb_txn_begin(struct bb_txn *txn, const struct bb_txn_options *options)
{
    struct bb_txn fresh = {
        .arena = txn->arena, .builder = txn->builder, .scratch = txn->scratch, .options = *options
    };

    release_pages(txn);
    bb_arena_reset(txn->arena);
    *txn = fresh;
    txn->bucket_count = BUCKETS_FIRST;
    txn->buckets = bb_arena_zero(txn->arena, txn->bucket_count, sizeof(struct txn_doc *));
    txn->used_tables =
        bb_arena_zero(txn->arena, options->catalog->table_count, sizeof *txn->used_tables);
    txn->used_variables = bb_arena_zero(txn->arena, options->catalog->variable_count + 1,
                                        sizeof *txn->used_variables);
}

/* What the transaction that has ended wrote is what the next one finds. */
static void inherit(struct bb_txn *txn, struct txn_doc *doc)
{
    doc->base = doc->current;
    doc->is_known = true;
    if (doc->is_inherited)
        return;
    doc->is_inherited = true;
    txn->inherited =
        txn_grow(txn, txn->inherited, &txn->inherited_capacity, txn->inherited_count, sizeof(doc));
    txn->inherited[txn->inherited_count++] = doc;
}

void bb_txn_begin_after(struct bb_txn *txn, const struct bb_txn_options *options)
{
    bb_assert(txn->has_ended && options->catalog == txn->options.catalog);
    for (size_t i = 0; i < txn->written_count && !txn->is_rolled_back; i++) {
        if (txn->written[i]->is_dirty)
            inherit(txn, txn->written[i]);
    }
    if (txn->request_row != NULL)
        inherit(txn, txn->request_row);
    struct bb_txn next = {
        .arena = txn->arena,
        .builder = txn->builder,
        .scratch = txn->scratch,
        .options = *options,
        .buckets = txn->buckets,
        .bucket_count = txn->bucket_count,
        .doc_count = txn->doc_count,
        .held = txn->held,
        .unread = txn->unread,
        .inherited = txn->inherited,
        .inherited_count = txn->inherited_count,
        .inherited_capacity = txn->inherited_capacity,
        .used_tables = txn->used_tables,
        .used_variables = txn->used_variables,
    };
    memset(next.used_tables, 0, options->catalog->table_count * sizeof *next.used_tables);
    memset(next.used_variables, 0, options->catalog->variable_count * sizeof *next.used_variables);
    for (size_t i = 0; i < next.bucket_count; i++) {
        for (struct txn_doc *doc = next.buckets[i]; doc != NULL; doc = doc->next) {
            doc->is_wanted = doc->is_point = doc->is_dirty = doc->is_listed = false;
            doc->current = BB_SLICE_EMPTY;
        }
    }
    *txn = next;
}

struct bb_slice txn_dup(struct bb_txn *txn, struct bb_slice from)
{
    if (from.size == 0)
        return bb_slice("", 0);
    return bb_arena_dup(txn->arena, from);
}

struct bb_slice txn_next_key(struct bb_txn *txn, struct bb_slice key)
{
    uint8_t *copy = bb_arena_alloc(txn->arena, key.size + 1);

    memcpy(copy, key.data, key.size);
    copy[key.size] = 0;
    return bb_slice(copy, key.size + 1);
}

void *txn_grow(struct bb_txn *txn, void *array, size_t *capacity, size_t count, size_t item_size)
{
    if (count < *capacity)
        return array;
    *capacity = *capacity == 0 ? 16 : *capacity * 2;
    void *wider = bb_arena_alloc(txn->arena, *capacity * item_size);
    if (count > 0)
        memcpy(wider, array, count * item_size);
    return wider;
}

/* ---- documents ---- */

static size_t bucket_of(const struct bb_txn *txn, const struct bb_id *id)
{
    /* Ids are random or a hash: their bytes spread by themselves. */
    return (bb_get_le32(id->bytes) ^ bb_get_le32(id->bytes + 8)) & (txn->bucket_count - 1);
}

static void widen_buckets(struct bb_txn *txn)
{
    size_t old_count = txn->bucket_count;
    struct txn_doc **old = txn->buckets;

    txn->bucket_count = old_count * 4;
    txn->buckets = bb_arena_zero(txn->arena, txn->bucket_count, sizeof(struct txn_doc *));
    for (size_t i = 0; i < old_count; i++) {
        for (struct txn_doc *doc = old[i], *next; doc != NULL; doc = next) {
            size_t bucket = bucket_of(txn, &doc->id);
            next = doc->next;
            doc->next = txn->buckets[bucket];
            txn->buckets[bucket] = doc;
        }
    }
}

struct txn_doc *txn_doc_find(const struct bb_txn *txn, const struct txn_table *table,
                             const struct bb_id *id)
{
    for (struct txn_doc *doc = txn->buckets[bucket_of(txn, id)]; doc != NULL; doc = doc->next) {
        if (doc->table == table && memcmp(&doc->id, id, sizeof *id) == 0)
            return doc;
    }
    return NULL;
}

static struct txn_doc *add_doc(struct bb_txn *txn, const struct txn_table *table,
                               const struct bb_id *id)
{
    struct txn_doc *doc = txn_doc_find(txn, table, id);

    if (doc != NULL)
        return doc;
    if (txn->doc_count >= txn->bucket_count)
        widen_buckets(txn);
    size_t bucket = bucket_of(txn, id);
    doc = bb_arena_zero(txn->arena, 1, sizeof *doc);
    doc->table = table;
    doc->id = *id;
    txn_point_set(&doc->point, table->number, id);
    doc->next = txn->buckets[bucket];
    txn->buckets[bucket] = doc;
    txn->doc_count++;
    return doc;
}

/* Most scans are read and no more: what they say of single documents is looked up when a document
 * is asked for by itself. */
static void read_pages(struct bb_txn *txn)
{
    while (txn->unread != NULL) {
        const struct txn_held *held = txn->unread;
        txn->unread = held->next_unread;
        for (size_t i = 0; i < held->count; i++) {
            struct bb_id id = txn_id_of_key(held->rows[i].key);
            struct txn_doc *doc = add_doc(txn, held->table, &id);
            if (!doc->is_known) {
                doc->is_known = true;
                doc->base = held->rows[i].value;
            }
        }
    }
}

struct txn_doc *txn_doc(struct bb_txn *txn, const struct txn_table *table, const struct bb_id *id)
{
    read_pages(txn);
    return add_doc(txn, table, id);
}

void txn_hold(struct bb_txn *txn, const struct txn_scan *scan, struct txn_page *page)
{
    struct txn_held *held = bb_arena_alloc(txn->arena, sizeof *held);

    *held = (struct txn_held){ .next = txn->held,
                               .page = page,
                               .table = scan->table,
                               .rows = scan->rows,
                               .count = scan->row_count };
    if (page != NULL)
        page->refs++;
    txn->held = held;
    if (!scan->is_keys_only) {
        held->next_unread = txn->unread;
        txn->unread = held;
    }
}

void txn_doc_know(struct bb_txn *txn, struct txn_doc *doc, struct bb_slice value)
{
    if (doc->is_known)
        return;
    doc->is_known = true;
    doc->base = value.size == 0 ? BB_SLICE_EMPTY : txn_dup(txn, value);
}

int txn_doc_read(struct bb_ctx *ctx, struct bb_txn *txn, struct txn_doc *doc, bool is_for_write)
{
    if (!doc->is_point) {
        int rc = is_for_write ? BB_OK : txn_count_range(ctx, txn, doc->table);
        if (rc != BB_OK)
            return rc;
        txn_range_point(txn, doc);
    }
    if (doc->is_known || doc->is_dirty)
        return BB_OK;
    if (doc->is_wanted)
        return BB_PENDING;
    /* Each answer will count. What is beyond the limit is not even asked for: reads that come
     * before writes are not counted as ranges, and one operation may name any number of documents.
     */
    if (txn->read_documents + txn->want_count >= txn->options.limits.read_documents)
        return txn_count_read(ctx, txn, doc->table, txn->want_count + 1, 0);
    doc->is_wanted = true;
    size_t capacity = txn->want_capacity;
    txn->reads = txn_grow(txn, txn->reads, &capacity, txn->want_count, sizeof *txn->reads);
    txn->wants =
        txn_grow(txn, txn->wants, &txn->want_capacity, txn->want_count, sizeof *txn->wants);
    txn->reads[txn->want_count] = (struct bb_txn_read){ .low = txn_doc_key(doc), .limit = 1 };
    txn->wants[txn->want_count++] = (struct txn_want){ .doc = doc };
    return BB_PENDING;
}

/* ---- what is wanted ---- */

void txn_want_page(struct bb_txn *txn, struct txn_scan *scan, uint32_t limit)
{
    bool down = scan->is_descending;

    if (scan->is_wanted)
        return;
    scan->is_wanted = true;
    size_t capacity = txn->want_capacity;
    txn->reads = txn_grow(txn, txn->reads, &capacity, txn->want_count, sizeof *txn->reads);
    txn->wants =
        txn_grow(txn, txn->wants, &txn->want_capacity, txn->want_count, sizeof *txn->wants);
    /* Entries of by_id are the documents themselves: there is nothing to join. */
    bool is_joined = !scan->is_keys_only && scan->index->kind != TXN_BY_ID;
    txn->reads[txn->want_count] = (struct bb_txn_read){
        .low = !down && scan->covered.data != NULL ? scan->covered : scan->low,
        .high = down && scan->covered.data != NULL ? scan->covered : scan->high,
        .is_descending = down,
        .limit = limit,
        .doc_index = is_joined ? BB_INDEX_BY_ID(scan->table->number) : 0
    };
    txn->wants[txn->want_count++] = (struct txn_want){ .scan = scan };
}

size_t bb_txn_wanted(const struct bb_txn *txn, const struct bb_txn_read **reads)
{
    *reads = txn->reads;
    return txn->want_count;
}

static int feed_doc(struct bb_ctx *ctx, struct bb_txn *txn, struct txn_doc *doc,
                    const struct bb_txn_entry *entries, size_t entry_count)
{
    struct bb_slice value = BB_SLICE_EMPTY;

    if (entry_count > 1 || (entry_count == 1 && !bb_slice_equal(entries[0].key, txn_doc_key(doc))))
        return bb_fail(ctx, BB_BAD_REQUEST, "the answer of a get holds something else");
    if (entry_count == 1)
        value = entries[0].value;
    txn_doc_know(txn, doc, value);
    return txn_count_read(ctx, txn, doc->table, 1, value.size);
}

int bb_txn_feed(struct bb_ctx *ctx, struct bb_txn *txn, size_t index,
                const struct bb_txn_entry *entries, size_t entry_count, bool is_complete)
{
    bb_assert(index < txn->want_count);
    struct txn_want want = txn->wants[index];

    if (want.doc != NULL) {
        /* Not delivered, for want of room in the answer: is asked for again. */
        want.doc->is_wanted = false;
        if (entry_count == 0 && !is_complete)
            return BB_OK;
        return feed_doc(ctx, txn, want.doc, entries, entry_count);
    }
    want.scan->is_wanted = false;
    return txn_scan_feed(ctx, txn, want.scan, &txn->reads[index], entries, entry_count,
                         is_complete);
}

void bb_txn_fed(struct bb_txn *txn)
{
    txn->want_count = 0;
}

/* ---- read ranges and limits ---- */

void txn_range_add(struct bb_txn *txn, struct bb_slice low, struct bb_slice high)
{
    txn->ranges =
        txn_grow(txn, txn->ranges, &txn->range_capacity, txn->range_count, sizeof *txn->ranges);
    txn->ranges[txn->range_count++] = (struct bb_txn_range){ .low = low, .high = high };
}

void txn_range_add_point(struct bb_txn *txn, const struct txn_point *point)
{
    txn_range_add(txn, bb_slice(point->key, TXN_DOC_KEY_SIZE),
                  bb_slice(point->key, sizeof point->key));
}

void txn_range_point(struct bb_txn *txn, struct txn_doc *doc)
{
    if (doc->is_point)
        return;
    doc->is_point = true;
    txn_range_add_point(txn, &doc->point);
}

int txn_count_read(struct bb_ctx *ctx, struct bb_txn *txn, const struct txn_table *table,
                   uint64_t documents, uint64_t bytes)
{
    const struct bb_txn_limits *limits = &txn->options.limits;

    txn->read_documents += documents;
    txn->read_bytes += bytes;
    if (txn->read_documents > limits->read_documents) {
        return bb_fail(ctx, BB_READ_LIMIT,
                       "This call has read more than %" PRIu64
                       " documents (the last ones from \"%.*s\"), the limit of one transaction. "
                       "Read less: use a narrower index range, take(n) or paginate.",
                       limits->read_documents, BB_SLICE_ARG(table->name));
    }
    if (txn->read_bytes > limits->read_bytes) {
        return bb_fail(ctx, BB_READ_LIMIT,
                       "This call has read more than %" PRIu64
                       " bytes (the last ones from \"%.*s\"), the limit of one transaction. Read "
                       "less: use a narrower index range, take(n) or paginate.",
                       limits->read_bytes, BB_SLICE_ARG(table->name));
    }
    return BB_OK;
}

int txn_count_range(struct bb_ctx *ctx, struct bb_txn *txn, const struct txn_table *table)
{
    uint64_t limit = txn->options.limits.read_ranges;

    if (++txn->read_ranges > limit) {
        return bb_fail(ctx, BB_READ_LIMIT,
                       "This call has made more than %" PRIu64
                       " reads (gets and index ranges, the last one on \"%.*s\"), the limit of one "
                       "transaction. Read what belongs together by one index range, or split the "
                       "work over several calls.",
                       limit, BB_SLICE_ARG(table->name));
    }
    return BB_OK;
}

/* ---- gets ---- */

int bb_txn_get(struct bb_ctx *ctx, struct bb_txn *txn, enum bb_txn_access access,
               struct bb_slice table, struct bb_slice id, struct bb_slice *document)
{
    struct txn_doc *doc;
    int rc = txn_doc_by_id(ctx, txn, access, table, id, &doc);

    *document = BB_SLICE_EMPTY;
    if (rc != BB_OK || doc == NULL)
        return rc;
    rc = txn_doc_read(ctx, txn, doc, false);
    if (rc == BB_OK)
        *document = txn_doc_now(doc);
    return rc;
}

int bb_txn_get_by_key(struct bb_ctx *ctx, struct bb_txn *txn, enum bb_txn_access access,
                      struct bb_slice name, struct bb_slice key, struct bb_slice *document)
{
    const struct txn_table *table;
    struct bb_id id;
    int rc = txn_table(ctx, txn, access, name, &table);

    *document = BB_SLICE_EMPTY;
    if (rc != BB_OK)
        return rc;
    bb_id_of_key(table->number, key, &id);
    struct txn_doc *doc = txn_doc(txn, table, &id);
    rc = txn_doc_read(ctx, txn, doc, false);
    if (rc == BB_OK)
        *document = txn_doc_now(doc);
    return rc;
}
