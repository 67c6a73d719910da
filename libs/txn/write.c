#include "txn_internal.h"

static int check_mutation(struct bb_ctx *ctx, const struct bb_txn *txn)
{
    if (!txn->options.is_mutation) {
        return bb_fail(ctx, BB_READ_ONLY,
                       "A query cannot write. Make the function a mutation, or call one.");
    }
    return BB_OK;
}

/* A document that is small needs no look at its keys: a key form at most doubles what it encodes.
 */
static int check_keys(struct bb_ctx *ctx, const struct txn_doc *doc, struct bb_slice document)
{
    struct bb_buf key;
    int rc = BB_OK;

    if (document.size * 2 * doc->table->field_count_max + 64 <= BB_KEY_MAX)
        return BB_OK;
    bb_buf_init(&key);
    for (size_t i = 1; i < doc->table->index_count && rc == BB_OK; i++) {
        const struct txn_index *index = &doc->table->indexes[i];
        if (index->is_failed)
            continue;
        bb_buf_clear(&key);
        (void)txn_index_key(doc->table, index, &doc->id, document, &key);
        if (key.size > BB_KEY_MAX) {
            rc = bb_fail(
                ctx, BB_KEY_TOO_LARGE,
                "Document for \"%.*s\": its key in index %.*s.%.*s has %zu bytes, the limit "
                "is %d. Index a shorter field, for example a hash of the long one.",
                BB_SLICE_ARG(doc->table->name), BB_SLICE_ARG(doc->table->name),
                BB_SLICE_ARG(index->name), key.size, BB_KEY_MAX);
        }
    }
    bb_buf_fini(&key);
    return rc;
}

static int count_write(struct bb_ctx *ctx, struct bb_txn *txn, const struct txn_doc *doc,
                       uint64_t bytes)
{
    const struct bb_txn_limits *limits = &txn->options.limits;

    if (txn->write_bytes + bytes > limits->write_bytes) {
        return bb_fail(
            ctx, BB_WRITE_LIMIT,
            "This call has written more than %" PRIu64
            " bytes (the last ones to \"%.*s\"), the limit of one transaction. Split the "
            "work over several mutations.",
            limits->write_bytes, BB_SLICE_ARG(doc->table->name));
    }
    if (!doc->is_listed && txn->written_count >= limits->write_documents) {
        return bb_fail(ctx, BB_WRITE_LIMIT,
                       "This call has written more than %" PRIu64
                       " documents (the last one to \"%.*s\"), the limit of one transaction. Split "
                       "the work over several mutations.",
                       limits->write_documents, BB_SLICE_ARG(doc->table->name));
    }
    txn->write_bytes += bytes;
    return BB_OK;
}

/* Makes `value` (empty: absent) the document's state and remembers how to undo that. */
static void change(struct bb_txn *txn, struct txn_doc *doc, struct bb_slice value)
{
    struct bb_slice copy = value.size == 0 ? BB_SLICE_EMPTY : txn_dup(txn, value);

    txn->undo = txn_grow(txn, txn->undo, &txn->undo_capacity, txn->undo_count, sizeof *txn->undo);
    txn->undo[txn->undo_count++] =
        (struct txn_undo){ .doc = doc, .was_dirty = doc->is_dirty, .old = doc->current };
    if (!doc->is_listed) {
        doc->is_listed = true;
        txn->written =
            txn_grow(txn, txn->written, &txn->written_capacity, txn->written_count, sizeof(doc));
        txn->written[txn->written_count++] = doc;
    }
    txn_doc_set(txn, doc, true, copy);
}

/* Stores what txn_document left in the scratch. */
static int store(struct bb_ctx *ctx, struct bb_txn *txn, struct txn_doc *doc)
{
    struct bb_slice document = bb_buf_slice(&txn->scratch);
    struct bb_slice before = txn_doc_now(doc);

    if (before.data != NULL && bb_slice_equal(before, document))
        return BB_OK;
    int rc = check_keys(ctx, doc, document);
    if (rc == BB_OK)
        rc = count_write(ctx, txn, doc, document.size);
    if (rc == BB_OK)
        change(txn, doc, document);
    return rc;
}

static void append_id(const struct txn_doc *doc, struct bb_buf *to)
{
    char text[BB_ID_TEXT_MAX];

    bb_buf_append(to, text, bb_id_text(doc->table->number, &doc->id, text));
}

/* 14 bytes of the call's generator (SHA-256 of seed and counter), 2 of the day. */
static void new_id(struct bb_txn *txn, struct bb_id *id)
{
    struct bb_sha256 sha;
    uint8_t digest[32];
    uint8_t counter[8];
    uint64_t day = txn->options.now_ms / 86400000;

    bb_put_le64(counter, txn->id_count++);
    bb_sha256_init(&sha);
    bb_sha256_update(&sha, "id", 2);
    bb_sha256_update(&sha, txn->options.seed, sizeof txn->options.seed);
    bb_sha256_update(&sha, counter, sizeof counter);
    bb_sha256_final(&sha, digest);
    memcpy(id->bytes, digest, 14);
    id->bytes[14] = (uint8_t)(day >> 8);
    id->bytes[15] = (uint8_t)day;
}

int bb_txn_insert(struct bb_ctx *ctx, struct bb_txn *txn, enum bb_txn_access access,
                  struct bb_slice name, struct bb_slice document, struct bb_buf *text)
{
    const struct txn_table *table;
    struct bb_id id;
    int rc = check_mutation(ctx, txn);

    if (rc == BB_OK)
        rc = txn_table(ctx, txn, access, name, &table);
    if (rc == BB_OK)
        rc = txn_check_writable(ctx, access, table);
    if (rc != BB_OK)
        return rc;
    new_id(txn, &id);
    struct txn_doc *doc = txn_doc(txn, table, &id);
    rc = txn_document(ctx, txn, TXN_INSERT, doc, document, BB_SLICE_EMPTY);
    if (rc != BB_OK)
        return rc;
    /* Nobody has this id; that nobody had it when the transaction commits is in the read ranges. */
    doc->is_known = true;
    txn_range_point(txn, doc);
    rc = store(ctx, txn, doc);
    if (rc == BB_OK)
        append_id(doc, text);
    return rc;
}

/* The document that a write is about, known and there. */
static int find_present(struct bb_ctx *ctx, struct bb_txn *txn, enum bb_txn_access access,
                        struct bb_slice name, struct bb_slice id, const char *what,
                        struct txn_doc **doc)
{
    int rc = check_mutation(ctx, txn);

    if (rc == BB_OK)
        rc = txn_doc_by_id(ctx, txn, access, name, id, doc);
    if (rc == BB_OK && *doc != NULL)
        rc = txn_check_writable(ctx, access, (*doc)->table);
    if (rc == BB_OK && *doc != NULL)
        rc = txn_doc_read(ctx, txn, *doc, true);
    if (rc != BB_OK)
        return rc;
    if (*doc == NULL || txn_doc_now(*doc).data == NULL) {
        return bb_fail(
            ctx, BB_DOCUMENT_NOT_FOUND,
            "%s on nonexistent document ID %.*s%s%.*s%s: it was deleted, or never there.", what,
            BB_SLICE_ARG(id), *doc == NULL ? "" : " of table \"",
            *doc == NULL ? 0 : (int)(*doc)->table->name.size,
            *doc == NULL ? "" : (const char *)(*doc)->table->name.data, *doc == NULL ? "" : "\"");
    }
    return BB_OK;
}

int bb_txn_patch(struct bb_ctx *ctx, struct bb_txn *txn, enum bb_txn_access access,
                 struct bb_slice table, struct bb_slice id, struct bb_slice changes)
{
    struct txn_doc *doc;
    int rc = find_present(ctx, txn, access, table, id, "Update", &doc);

    if (rc == BB_OK)
        rc = txn_document(ctx, txn, TXN_PATCH, doc, changes, BB_SLICE_EMPTY);
    return rc == BB_OK ? store(ctx, txn, doc) : rc;
}

int bb_txn_replace(struct bb_ctx *ctx, struct bb_txn *txn, enum bb_txn_access access,
                   struct bb_slice table, struct bb_slice id, struct bb_slice document)
{
    struct txn_doc *doc;
    int rc = find_present(ctx, txn, access, table, id, "Replace", &doc);

    if (rc == BB_OK)
        rc = txn_document(ctx, txn, TXN_REPLACE, doc, document, BB_SLICE_EMPTY);
    return rc == BB_OK ? store(ctx, txn, doc) : rc;
}

static int remove_doc(struct bb_ctx *ctx, struct bb_txn *txn, struct txn_doc *doc)
{
    int rc = count_write(ctx, txn, doc, 0);

    if (rc == BB_OK)
        change(txn, doc, BB_SLICE_EMPTY);
    return rc;
}

int bb_txn_delete(struct bb_ctx *ctx, struct bb_txn *txn, enum bb_txn_access access,
                  struct bb_slice table, struct bb_slice id)
{
    struct txn_doc *doc;
    int rc = find_present(ctx, txn, access, table, id, "Delete", &doc);

    return rc == BB_OK ? remove_doc(ctx, txn, doc) : rc;
}

int bb_txn_put(struct bb_ctx *ctx, struct bb_txn *txn, enum bb_txn_access access,
               struct bb_slice name, struct bb_slice key, struct bb_slice document, bool is_whole,
               struct bb_buf *text)
{
    const struct txn_table *table;
    struct bb_id id;
    int rc = check_mutation(ctx, txn);

    if (rc == BB_OK)
        rc = txn_table(ctx, txn, access, name, &table);
    if (rc == BB_OK)
        rc = txn_check_writable(ctx, access, table);
    if (rc != BB_OK)
        return rc;
    if (key.size == 0) {
        return bb_fail(ctx, BB_BAD_ID,
                       "put on \"%.*s\": the key must be a string that is not empty.",
                       BB_SLICE_ARG(table->name));
    }
    bb_id_of_key(table->number, key, &id);
    struct txn_doc *doc = txn_doc(txn, table, &id);
    rc = txn_doc_read(ctx, txn, doc, true);
    if (rc != BB_OK)
        return rc;
    enum txn_shape shape = txn_doc_now(doc).data == NULL ? TXN_INSERT
                           : is_whole                    ? TXN_REPLACE
                                                         : TXN_PATCH;
    rc = txn_document(ctx, txn, shape, doc, document, key);
    if (rc == BB_OK)
        rc = store(ctx, txn, doc);
    if (rc == BB_OK)
        append_id(doc, text);
    return rc;
}

static int name_to_doc(struct bb_ctx *ctx, struct bb_txn *txn, enum bb_txn_access access,
                       struct bb_slice table_name, bool is_key, struct bb_slice name,
                       struct txn_doc **doc)
{
    const struct txn_table *table;
    struct bb_id id;

    *doc = NULL;
    if (bb_value_tag(name) != BB_TAG_STRING) {
        return bb_fail(ctx, BB_BAD_ID, "retract: every %s must be a string.",
                       is_key ? "key" : "id");
    }
    if (!is_key)
        return txn_doc_by_id(ctx, txn, access, table_name, bb_value_bytes(name), doc);
    int rc = txn_table(ctx, txn, access, table_name, &table);
    if (rc != BB_OK)
        return rc;
    bb_id_of_key(table->number, bb_value_bytes(name), &id);
    *doc = txn_doc(txn, table, &id);
    return BB_OK;
}

int bb_txn_retract(struct bb_ctx *ctx, struct bb_txn *txn, enum bb_txn_access access,
                   struct bb_slice table, bool is_keys, struct bb_slice names, uint64_t *count)
{
    size_t name_count = bb_value_count(names);
    bool is_pending = false;
    struct txn_doc *doc;
    int rc = check_mutation(ctx, txn);

    *count = 0;
    for (size_t i = 0; i < name_count && rc == BB_OK; i++) {
        rc = name_to_doc(ctx, txn, access, table, is_keys, bb_value_at(names, i), &doc);
        if (rc == BB_OK && doc != NULL)
            rc = txn_check_writable(ctx, access, doc->table);
        if (rc == BB_OK && doc != NULL)
            rc = txn_doc_read(ctx, txn, doc, true);
        if (rc == BB_PENDING) {
            is_pending = true;
            rc = BB_OK;
        }
    }
    if (rc != BB_OK || is_pending)
        return rc != BB_OK ? rc : BB_PENDING;
    size_t mark = bb_txn_savepoint(txn);
    for (size_t i = 0; i < name_count && rc == BB_OK; i++) {
        rc = name_to_doc(ctx, txn, access, table, is_keys, bb_value_at(names, i), &doc);
        if (rc != BB_OK || doc == NULL || txn_doc_now(doc).data == NULL)
            continue;
        rc = remove_doc(ctx, txn, doc);
        ++*count;
    }
    if (rc != BB_OK)
        bb_txn_rollback(txn, mark);
    return rc;
}

size_t bb_txn_savepoint(const struct bb_txn *txn)
{
    return txn->undo_count;
}

void bb_txn_rollback(struct bb_txn *txn, size_t mark)
{
    bb_assert(mark <= txn->undo_count);
    while (txn->undo_count > mark) {
        const struct txn_undo *undo = &txn->undo[--txn->undo_count];
        txn_doc_set(txn, undo->doc, undo->was_dirty, undo->old);
    }
}
