#include <stdlib.h>

#include "common.pb-c.h"

#include "txn_internal.h"

enum {
    VALUE_KEPT_MAX = 64 * 1024
};

static ProtobufCBinaryData pb(struct bb_slice slice)
{
    union {
        const uint8_t *in;
        uint8_t *out;
    } cast = { .in = slice.data };

    return (ProtobufCBinaryData){ .len = slice.size, .data = cast.out };
}

/* ---- read ranges ---- */

static int compare_ranges(const void *a, const void *b)
{
    return bb_slice_compare(((const struct bb_txn_range *)a)->low,
                            ((const struct bb_txn_range *)b)->low);
}

/* All that was read, sorted, with what overlaps or touches made one. */
static void merge_ranges(struct bb_txn *txn, struct bb_txn_output *output)
{
    size_t count = 0;

    for (size_t i = 0; i < txn->scan_count; i++) {
        struct bb_txn_range range;
        if (txn_scan_range(txn, txn->scans[i], &range))
            txn_range_add(txn, range.low, range.high);
    }
    if (txn->range_count > 0)
        qsort(txn->ranges, txn->range_count, sizeof *txn->ranges, compare_ranges);
    for (size_t i = 0; i < txn->range_count; i++) {
        struct bb_txn_range *last = count == 0 ? NULL : &txn->ranges[count - 1];
        if (last == NULL || bb_slice_compare(txn->ranges[i].low, last->high) > 0) {
            txn->ranges[count++] = txn->ranges[i];
        } else if (bb_slice_compare(txn->ranges[i].high, last->high) > 0) {
            last->high = txn->ranges[i].high;
        }
    }
    txn->range_count = count;
    output->ranges = txn->ranges;
    output->range_count = count;
}

/* ---- the body ---- */

struct body {
    struct bb_txn *txn;
    Bb__Proto__Write **writes;
    size_t count, capacity;
};

static Bb__Proto__Write *add_write(struct body *body, const struct txn_doc *doc,
                                   size_t key_count_max)
{
    struct bb_arena *arena = body->txn->arena;
    Bb__Proto__Write *write = bb_arena_alloc(arena, sizeof *write);

    body->writes = txn_grow(body->txn, body->writes, &body->capacity, body->count, sizeof(write));
    body->writes[body->count++] = write;
    bb__proto__write__init(write);
    write->table = doc->table->number;
    write->doc_key = pb(txn_doc_key(doc));
    write->id = pb(bb_slice(doc->id.bytes, sizeof doc->id.bytes));
    write->keys = bb_arena_alloc(arena, (key_count_max + 1) * sizeof *write->keys);
    return write;
}

static void add_key(struct bb_txn *txn, Bb__Proto__Write *write, struct bb_slice key,
                    Bb__Proto__KeyOp op)
{
    Bb__Proto__IndexKey *entry = bb_arena_alloc(txn->arena, sizeof *entry);

    bb__proto__index_key__init(entry);
    entry->key = pb(key);
    entry->op = op;
    write->keys[write->n_keys++] = entry;
}

static bool key_of(struct bb_txn *txn, const struct txn_doc *doc, const struct txn_index *index,
                   struct bb_slice document, struct bb_slice *key)
{
    bb_buf_clear(&txn->scratch);
    if (document.data == NULL ||
        !txn_index_key(doc->table, index, &doc->id, document, &txn->scratch))
        return false;
    *key = txn_dup(txn, bb_buf_slice(&txn->scratch));
    return true;
}

static int compare_keys(const void *a, const void *b)
{
    const Bb__Proto__IndexKey *left = *(Bb__Proto__IndexKey *const *)a;
    const Bb__Proto__IndexKey *right = *(Bb__Proto__IndexKey *const *)b;

    return bb_slice_compare(bb_slice(left->key.data, left->key.len),
                            bb_slice(right->key.data, right->key.len));
}

/* Every old and every new key of the document in all indexes but by_id. */
static void add_keys(struct bb_txn *txn, Bb__Proto__Write *write, const struct txn_doc *doc)
{
    for (size_t i = 1; i < doc->table->index_count; i++) {
        const struct txn_index *index = &doc->table->indexes[i];
        if (index->is_failed)
            continue;
        struct bb_slice old = BB_SLICE_EMPTY;
        struct bb_slice new = BB_SLICE_EMPTY;
        bool has_old = key_of(txn, doc, index, doc->base, &old);
        bool has_new = key_of(txn, doc, index, doc->current, &new);
        if (has_old && has_new && bb_slice_equal(old, new)) {
            /* An index that is being filled may lack the old entry. */
            add_key(txn, write, new,
                    index->is_ready ? BB__PROTO__KEY_OP__KEY_TOUCH : BB__PROTO__KEY_OP__KEY_PUT);
            continue;
        }
        if (has_old)
            add_key(txn, write, old, BB__PROTO__KEY_OP__KEY_REMOVE);
        if (has_new)
            add_key(txn, write, new, BB__PROTO__KEY_OP__KEY_PUT);
    }
    if (write->n_keys > 1)
        qsort(write->keys, write->n_keys, sizeof(Bb__Proto__IndexKey *), compare_keys);
}

static void add_document(struct body *body, const struct txn_doc *doc)
{
    bool is_same = doc->base.data == NULL
                       ? doc->current.data == NULL
                       : doc->current.data != NULL && bb_slice_equal(doc->base, doc->current);

    if (!doc->is_dirty || is_same)
        return;
    Bb__Proto__Write *write = add_write(body, doc, 2 * doc->table->index_count);
    write->doc_op = doc->base.data == NULL      ? BB__PROTO__KEY_OP__KEY_PUT
                    : doc->current.data == NULL ? BB__PROTO__KEY_OP__KEY_REMOVE
                                                : BB__PROTO__KEY_OP__KEY_TOUCH;
    if (doc->current.data != NULL)
        write->doc = pb(doc->current);
    if (doc->base.data != NULL)
        write->before = pb(doc->base);
    add_keys(body->txn, write, doc);
}

static void add_index_only(struct body *body, const struct txn_index_only *entry)
{
    Bb__Proto__Write *write = add_write(body, entry->doc, 1);

    write->is_index_only = true;
    write->doc_op = BB__PROTO__KEY_OP__KEY_TOUCH;
    add_key(body->txn, write, entry->key,
            entry->is_removal ? BB__PROTO__KEY_OP__KEY_REMOVE : BB__PROTO__KEY_OP__KEY_PUT);
}

/* The outcome under the client's key: an ordinary new document of _requests. */
static int add_request_row(struct bb_ctx *ctx, struct body *body,
                           const struct bb_txn_finish *finish)
{
    struct bb_txn *txn = body->txn;
    const struct txn_table *table = txn_table_by_number(txn->options.catalog, BB_TABLE_REQUESTS);
    struct bb_id id;
    char text[BB_ID_TEXT_MAX];

    if (finish->client_key.size < sizeof id.bytes)
        return bb_fail(ctx, BB_BAD_REQUEST, "a client key of %zu bytes", finish->client_key.size);
    memcpy(id.bytes, finish->client_key.data, sizeof id.bytes);
    struct txn_doc *doc = txn_doc(txn, table, &id);
    if (doc->is_inherited && doc->base.data != NULL)
        return bb_fail(ctx, BB_CONFLICT, "the client key was used by the transaction before");
    txn_range_point(txn, doc);
    bb_value_builder_clear(txn->builder);
    bb_value_begin_object(txn->builder);
    bb_value_field_name(txn->builder, bb_slice_str("_creationTime"));
    bb_value_put_float64(txn->builder, (double)txn->options.now_ms);
    bb_value_field_name(txn->builder, bb_slice_str("_id"));
    bb_value_put_string(txn->builder, bb_slice(text, bb_id_text(table->number, &id, text)));
    bb_value_field_name(txn->builder, bb_slice_str("digest"));
    bb_value_put_bytes(txn->builder, finish->client_digest);
    bb_value_field_name(txn->builder, bb_slice_str("path"));
    bb_value_put_string(txn->builder, finish->function);
    if (finish->value.size > 0 && finish->value.size <= VALUE_KEPT_MAX) {
        bb_value_field_name(txn->builder, bb_slice_str("value"));
        bb_value_put_value(txn->builder, finish->value);
    }
    bb_value_end_object(txn->builder);
    doc->is_known = true;
    doc->base = BB_SLICE_EMPTY;
    txn_doc_set(txn, doc, true, txn_dup(txn, bb_value_finish(txn->builder)));
    txn->request_row = doc;
    add_document(body, doc);
    return BB_OK;
}

static void pack_body(struct bb_txn *txn, const struct body *body,
                      const struct bb_txn_finish *finish, struct bb_txn_output *output)
{
    Bb__Proto__TxBody message;
    char *function = bb_arena_str(txn->arena, finish->function);

    bb__proto__tx_body__init(&message);
    message.n_writes = body->count;
    message.writes = body->writes;
    message.request_id = pb(finish->request_id);
    message.function = function;
    message.identity = pb(finish->identity);
    if (finish->value.size <= VALUE_KEPT_MAX)
        message.value = pb(finish->value);
    message.now_ms = txn->options.now_ms;
    size_t size = bb__proto__tx_body__get_packed_size(&message);
    uint8_t *bytes = bb_arena_alloc(txn->arena, size);
    (void)bb__proto__tx_body__pack(&message, bytes);
    output->body = bb_slice(bytes, size);
}

int bb_txn_end(struct bb_ctx *ctx, struct bb_txn *txn, const struct bb_txn_finish *finish,
               struct bb_txn_output *output)
{
    struct body body = { .txn = txn };

    *output = (struct bb_txn_output){ .rows = txn->read_documents, .bytes = txn->read_bytes };
    txn->has_ended = true;
    txn->is_rolled_back = finish->is_rolled_back;
    /* Every call depends on the deployment that it runs. */
    txn_range_add_point(txn, &txn->options.catalog->deployment);
    if (!finish->is_rolled_back) {
        for (size_t i = 0; i < txn->written_count; i++)
            add_document(&body, txn->written[i]);
        for (size_t i = 0; i < txn->index_only_count; i++)
            add_index_only(&body, &txn->index_only[i]);
    }
    if (body.count > 0 && finish->client_key.size > 0) {
        int rc = add_request_row(ctx, &body, finish);
        if (rc != BB_OK) {
            txn->is_rolled_back = true;
            return rc;
        }
    }
    merge_ranges(txn, output);
    if (body.count > 0)
        pack_body(txn, &body, finish, output);
    return BB_OK;
}
