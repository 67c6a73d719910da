#include "txn_internal.h"

static bool has_undefined(struct bb_slice value)
{
    enum bb_tag tag = bb_value_tag(value);

    if (tag == BB_TAG_UNDEFINED)
        return true;
    if (tag != BB_TAG_ARRAY && tag != BB_TAG_OBJECT)
        return false;
    size_t count = bb_value_count(value);
    for (size_t i = 0; i < count; i++) {
        if (has_undefined(bb_value_at(value, i)))
            return true;
    }
    return false;
}

/* A copy in which fields that are undefined are missing. Elements of arrays stay as they are: the
 * check of the document refuses them. */
static void put_defined(struct bb_value_builder *to, struct bb_slice value)
{
    enum bb_tag tag = bb_value_tag(value);

    if ((tag != BB_TAG_OBJECT && tag != BB_TAG_ARRAY) || !has_undefined(value)) {
        bb_value_put_value(to, value);
        return;
    }
    size_t count = bb_value_count(value);
    if (tag == BB_TAG_ARRAY) {
        bb_value_begin_array(to);
        for (size_t i = 0; i < count; i++)
            put_defined(to, bb_value_at(value, i));
        bb_value_end_array(to);
        return;
    }
    bb_value_begin_object(to);
    for (size_t i = 0; i < count; i++) {
        struct bb_slice field = bb_value_at(value, i);
        if (bb_value_tag(field) == BB_TAG_UNDEFINED)
            continue;
        bb_value_field_name(to, bb_value_name_at(value, i));
        put_defined(to, field);
    }
    bb_value_end_object(to);
}

static bool is_system_field(struct bb_slice name)
{
    return bb_slice_equal_str(name, "_id") || bb_slice_equal_str(name, "_creationTime") ||
           bb_slice_equal_str(name, "_key");
}

/* What the caller gave as a system field: fine when it changes nothing. */
static int check_system_field(struct bb_ctx *ctx, const struct txn_doc *doc, struct bb_slice name,
                              struct bb_slice given, struct bb_slice expected)
{
    if (bb_value_tag(given) == BB_TAG_UNDEFINED ||
        (expected.data != NULL && bb_slice_equal(given, expected)))
        return BB_OK;
    if (bb_slice_equal_str(name, "_key")) {
        return bb_fail(ctx, BB_NOT_ENCODABLE,
                       "Document for \"%.*s\": the field _key cannot be set or changed. Use "
                       "ctx.db.put(table, key, document) to store it under a key.",
                       BB_SLICE_ARG(doc->table->name));
    }
    return bb_fail(ctx, BB_NOT_ENCODABLE,
                   "Document for \"%.*s\": the field %.*s is given by the system and cannot be set "
                   "or changed. Leave it out.",
                   BB_SLICE_ARG(doc->table->name), BB_SLICE_ARG(name));
}

struct system_fields {
    struct bb_slice id, creation_time, key; /* BBV; key may be missing */
};

static bool has_special(struct bb_slice given)
{
    size_t count = bb_value_count(given);

    for (size_t i = 0; i < count; i++) {
        struct bb_slice name = bb_value_name_at(given, i);
        if (name.size > 0 && name.data[0] == '_')
            return true;
    }
    return has_undefined(given);
}

/* Modules are documents of a system table and may be larger than those of users. */
static uint64_t size_limit(const struct bb_txn *txn, const struct txn_doc *doc)
{
    return txn_table_is_system(doc->table) ? txn->options.limits.write_bytes
                                           : txn->options.limits.document_bytes;
}

/* Checks the caller's part: without system fields that change nothing, without undefined fields. */
static int check_given(struct bb_ctx *ctx, struct bb_txn *txn, const struct txn_doc *doc,
                       struct bb_slice given, const struct system_fields *system)
{
    struct bb_slice plain = given;
    int rc;

    if (has_special(given)) {
        size_t count = bb_value_count(given);
        bb_value_builder_clear(txn->builder);
        bb_value_begin_object(txn->builder);
        for (size_t i = 0; i < count; i++) {
            struct bb_slice name = bb_value_name_at(given, i);
            struct bb_slice field = bb_value_at(given, i);
            if (is_system_field(name)) {
                struct bb_slice expected = bb_slice_equal_str(name, "_id") ? system->id
                                           : bb_slice_equal_str(name, "_key")
                                               ? system->key
                                               : system->creation_time;
                rc = check_system_field(ctx, doc, name, field, expected);
                if (rc != BB_OK)
                    return rc;
                continue;
            }
            if (bb_value_tag(field) == BB_TAG_UNDEFINED)
                continue;
            bb_value_field_name(txn->builder, name);
            put_defined(txn->builder, field);
        }
        bb_value_end_object(txn->builder);
        plain = bb_value_finish(txn->builder);
    }
    rc = bb_document_check(ctx, plain, size_limit(txn, doc));
    if (rc != BB_OK) {
        return bb_fail(ctx, rc, "Document for \"%.*s\": %s", BB_SLICE_ARG(doc->table->name),
                       ctx == NULL ? "" : ctx->error);
    }
    return BB_OK;
}

static void put_fields(struct bb_value_builder *to, struct bb_slice object, struct bb_slice but)
{
    size_t count = object.data == NULL ? 0 : bb_value_count(object);

    for (size_t i = 0; i < count; i++) {
        struct bb_slice name = bb_value_name_at(object, i);
        struct bb_slice field = bb_value_at(object, i);
        if (is_system_field(name) || bb_value_tag(field) == BB_TAG_UNDEFINED)
            continue;
        if (but.data != NULL && bb_value_field(but, name).data != NULL)
            continue;
        bb_value_field_name(to, name);
        put_defined(to, field);
    }
}

static double next_creation_time(struct bb_txn *txn)
{
    double now = (double)txn->options.now_ms;

    /* A step that float64 holds exactly at today's milliseconds. */
    txn->creation_time = txn->creation_time < now ? now : txn->creation_time + 1.0 / 1024;
    return txn->creation_time;
}

/* The system fields of a new document, in the transaction's memory. */
static void make_system_fields(struct bb_txn *txn, const struct txn_doc *doc, struct bb_slice key,
                               struct system_fields *fields)
{
    char text[BB_ID_TEXT_MAX];
    size_t size = bb_id_text(doc->table->number, &doc->id, text);

    bb_value_builder_clear(txn->builder);
    bb_value_put_string(txn->builder, bb_slice(text, size));
    fields->id = txn_dup(txn, bb_value_finish(txn->builder));
    bb_value_builder_clear(txn->builder);
    bb_value_put_float64(txn->builder, next_creation_time(txn));
    fields->creation_time = txn_dup(txn, bb_value_finish(txn->builder));
    fields->key = BB_SLICE_EMPTY;
    if (key.size > 0) {
        bb_value_builder_clear(txn->builder);
        bb_value_put_string(txn->builder, key);
        fields->key = txn_dup(txn, bb_value_finish(txn->builder));
    }
}

int txn_document(struct bb_ctx *ctx, struct bb_txn *txn, enum txn_shape shape,
                 const struct txn_doc *doc, struct bb_slice given, struct bb_slice key)
{
    struct bb_slice before = shape == TXN_INSERT ? BB_SLICE_EMPTY : txn_doc_now(doc);
    struct system_fields system;
    struct bb_value_builder *builder = txn->builder;

    if (given.size == 0 || bb_value_tag(given) != BB_TAG_OBJECT) {
        return bb_fail(ctx, BB_NOT_ENCODABLE, "Document for \"%.*s\": it must be an object.",
                       BB_SLICE_ARG(doc->table->name));
    }
    if (shape == TXN_INSERT) {
        make_system_fields(txn, doc, key, &system);
    } else {
        system =
            (struct system_fields){ .id = bb_value_field_str(before, "_id"),
                                    .creation_time = bb_value_field_str(before, "_creationTime"),
                                    .key = bb_value_field_str(before, "_key") };
    }
    int rc = check_given(ctx, txn, doc, given, &system);
    if (rc != BB_OK)
        return rc;
    bb_value_builder_clear(builder);
    bb_value_begin_object(builder);
    if (shape == TXN_PATCH)
        put_fields(builder, before, given);
    put_fields(builder, given, BB_SLICE_EMPTY);
    bb_value_field_name(builder, bb_slice_str("_id"));
    bb_value_put_value(builder, system.id);
    bb_value_field_name(builder, bb_slice_str("_creationTime"));
    bb_value_put_value(builder, system.creation_time);
    if (system.key.data != NULL) {
        bb_value_field_name(builder, bb_slice_str("_key"));
        bb_value_put_value(builder, system.key);
    }
    bb_value_end_object(builder);
    struct bb_slice whole = bb_value_finish(builder);
    uint64_t limit = size_limit(txn, doc);
    /* The stored form is never smaller than the accounted size. */
    if (whole.size > limit && bb_value_accounted_size(whole) > limit) {
        return bb_fail(ctx, BB_DOCUMENT_TOO_LARGE,
                       "Document for \"%.*s\": it would have %" PRIu64
                       " bytes, the limit is %" PRIu64
                       ". Split it, or keep large content in files.",
                       BB_SLICE_ARG(doc->table->name), bb_value_accounted_size(whole), limit);
    }
    if (shape == TXN_PATCH && bb_value_count(whole) > 1024 + 3) {
        return bb_fail(ctx, BB_NOT_ENCODABLE,
                       "Document for \"%.*s\": it would have %zu fields, the limit is 1024.",
                       BB_SLICE_ARG(doc->table->name), bb_value_count(whole));
    }
    bb_buf_clear(&txn->scratch);
    bb_buf_append_slice(&txn->scratch, whole);
    return BB_OK;
}
