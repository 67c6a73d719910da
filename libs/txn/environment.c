/* Environment variables: what the catalog says, and which of them the transaction looked at. */
#include <stdlib.h>

#include "txn_internal.h"

enum {
    REDACTED_MIN = 8 /* shorter values ("true", "8080") are in texts by chance */
};

static bool is_string(struct bb_slice value)
{
    return value.data != NULL && bb_value_tag(value) == BB_TAG_STRING;
}

static int compare_variables(const void *a, const void *b)
{
    return bb_slice_compare(((const struct txn_variable *)a)->name,
                            ((const struct txn_variable *)b)->name);
}

int txn_variables_parse(struct bb_ctx *ctx, struct bb_txn_catalog *catalog, struct bb_slice from)
{
    if (from.data == NULL)
        return BB_OK;
    if (bb_value_tag(from) != BB_TAG_ARRAY)
        return bb_fail(ctx, BB_CORRUPT, "catalog: the environment is not a list");
    catalog->variable_count = bb_value_count(from);
    catalog->variables =
        bb_arena_zero(catalog->arena, catalog->variable_count + 1, sizeof *catalog->variables);
    for (size_t i = 0; i < catalog->variable_count; i++) {
        struct bb_slice variable = bb_value_at(from, i);
        if (bb_value_tag(variable) != BB_TAG_OBJECT)
            return bb_fail(ctx, BB_CORRUPT, "catalog: a variable is not an object");
        struct bb_slice name = bb_value_field_str(variable, "name");
        struct bb_slice value = bb_value_field_str(variable, "value");
        if (!is_string(name) || !is_string(value))
            return bb_fail(ctx, BB_CORRUPT, "catalog: a variable lacks name or value");
        catalog->variables[i] =
            (struct txn_variable){ .name = bb_value_bytes(name), .value = bb_value_bytes(value) };
    }
    qsort(catalog->variables, catalog->variable_count, sizeof *catalog->variables,
          compare_variables);
    return BB_OK;
}

int bb_txn_environment(struct bb_ctx *ctx, struct bb_txn *txn, struct bb_slice name,
                       struct bb_slice *value)
{
    const struct bb_txn_catalog *catalog = txn->options.catalog;
    const struct txn_table *table = txn_table_by_number(catalog, BB_TABLE_ENVIRONMENT);
    struct txn_variable key = { .name = name };
    struct bb_id id;
    const struct txn_variable *found =
        catalog->variable_count == 0 ? NULL
                                     : bsearch(&key, catalog->variables, catalog->variable_count,
                                               sizeof key, compare_variables);

    *value = found == NULL ? BB_SLICE_EMPTY : found->value;
    if (found != NULL)
        txn->used_variables[found - catalog->variables] = true;
    bb_id_of_key(BB_TABLE_ENVIRONMENT, name, &id);
    struct txn_doc *row = txn_doc(txn, table, &id);
    if (row->is_point)
        return BB_OK;
    txn_range_point(txn, row);
    return txn_count_range(ctx, txn, table);
}

void bb_txn_environment_names(struct bb_txn *txn, struct bb_value_builder *to)
{
    const struct bb_txn_catalog *catalog = txn->options.catalog;

    if (!txn->is_environment_listed) {
        uint8_t *keys = bb_arena_alloc(txn->arena, 8);
        bb_put_be32(keys, BB_INDEX_BY_ID(BB_TABLE_ENVIRONMENT));
        bb_put_be32(keys + 4, BB_INDEX_BY_ID(BB_TABLE_ENVIRONMENT) + 1);
        txn_range_add(txn, bb_slice(keys, 4), bb_slice(keys + 4, 4));
        txn->is_environment_listed = true;
    }
    for (size_t i = 0; i < catalog->variable_count; i++)
        bb_value_put_string(to, catalog->variables[i].name);
}

/* The first place at which the value begins in `text`, as much of it as a search takes for it. */
static const uint8_t *find(struct bb_slice text, struct bb_slice value)
{
    return text.size < REDACTED_MIN ? NULL : memmem(text.data, text.size, value.data, REDACTED_MIN);
}

/* How much of the value is here: all of it, or what is left of it where the text was cut; else 0.
 */
static size_t match(struct bb_slice text, struct bb_slice value)
{
    size_t size = 0;

    while (size < text.size && size < value.size && text.data[size] == value.data[size])
        size++;
    bool is_cut =
        size == text.size || (text.size - size >= 3 && memcmp(text.data + size, "...", 3) == 0);
    return size == value.size || is_cut ? size : 0;
}

static void replace_all(struct bb_buf *to, struct bb_slice text, const struct txn_variable *by)
{
    for (;;) {
        const uint8_t *found = find(text, by->value);
        size_t before = found == NULL ? text.size : (size_t)(found - text.data);
        bb_buf_append(to, text.data, before);
        if (found == NULL)
            return;
        text = bb_slice(found, text.size - before);
        size_t size = match(text, by->value);
        if (size > 0)
            bb_buf_printf(to, "[%.*s]", BB_SLICE_ARG(by->name));
        else
            bb_buf_append(to, text.data, size = 1);
        text = bb_slice(text.data + size, text.size - size);
    }
}

struct bb_slice bb_txn_redact(const struct bb_txn *txn, struct bb_arena *arena,
                              struct bb_slice text)
{
    const struct bb_txn_catalog *catalog = txn->options.catalog;

    for (size_t i = 0; catalog != NULL && i < catalog->variable_count; i++) {
        const struct txn_variable *variable = &catalog->variables[i];
        if (!txn->used_variables[i] || variable->value.size < REDACTED_MIN ||
            find(text, variable->value) == NULL)
            continue;
        struct bb_buf made;
        bb_buf_init(&made);
        replace_all(&made, text, variable);
        text = bb_arena_dup(arena, bb_buf_slice(&made));
        bb_buf_fini(&made);
    }
    return text;
}
