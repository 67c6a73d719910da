#include "txn_internal.h"

/* Finding tables and documents by what callers name. */
enum {
    NAME_SHOWN_MAX = 80
};

static int shown(struct bb_slice name)
{
    return (int)(name.size < NAME_SHOWN_MAX ? name.size : NAME_SHOWN_MAX);
}

static bool is_readable_by_users(uint32_t table)
{
    return table == BB_TABLE_TABLES || table == BB_TABLE_INDEXES || table == BB_TABLE_FUNCTIONS ||
           table == BB_TABLE_DEPLOYMENT || table == BB_TABLE_JOBS || table == BB_TABLE_CRONS;
}

/* Read like a table of the application's own, and written by the system alone. */
static bool is_shown_to_users(uint32_t table)
{
    return table == BB_TABLE_JOBS;
}

static void use_table(struct bb_txn *txn, const struct txn_table *table)
{
    if (txn->used_tables[table->slot])
        return;
    txn->used_tables[table->slot] = true;
    if (!txn_table_is_system(table))
        txn_range_add_point(txn, &table->version);
}

int txn_table(struct bb_ctx *ctx, struct bb_txn *txn, enum bb_txn_access access,
              struct bb_slice name, const struct txn_table **table)
{
    const struct txn_table *found = txn_table_by_name(txn->options.catalog, name);

    *table = NULL;
    if (found == NULL && access == BB_TXN_SYSTEM) {
        return bb_fail(ctx, BB_TABLE_NOT_FOUND,
                       "There is no system table \"%.*s\". ctx.db.system reads _tables, _indexes, "
                       "_functions, _deployment, _jobs, _crons and _scheduled_functions.",
                       shown(name), (const char *)name.data);
    }
    if (found == NULL) {
        return bb_fail(ctx, BB_TABLE_NOT_FOUND,
                       "Table \"%.*s\" is not declared. Declare it in schema.ts: %.*s: "
                       "defineTable({ ... }), then deploy.",
                       shown(name), (const char *)name.data, shown(name), (const char *)name.data);
    }
    if (access == BB_TXN_USER && txn_table_is_system(found) && !is_shown_to_users(found->number)) {
        return bb_fail(ctx, BB_TABLE_NOT_FOUND,
                       "\"%.*s\" is a system table: it can be read through ctx.db.system only, and "
                       "functions cannot write to it.",
                       BB_SLICE_ARG(found->name));
    }
    if (access == BB_TXN_SYSTEM && !txn_table_is_system(found)) {
        return bb_fail(ctx, BB_TABLE_NOT_FOUND,
                       "ctx.db.system reads system tables; for \"%.*s\" use ctx.db.",
                       BB_SLICE_ARG(found->name));
    }
    if (access == BB_TXN_SYSTEM && !is_readable_by_users(found->number)) {
        return bb_fail(ctx, BB_TABLE_NOT_FOUND,
                       "System table \"%.*s\" cannot be read by functions. ctx.db.system reads "
                       "_tables, _indexes, _functions, _deployment, _jobs, _crons and "
                       "_scheduled_functions.",
                       BB_SLICE_ARG(found->name));
    }
    use_table(txn, found);
    *table = found;
    return BB_OK;
}

int txn_check_writable(struct bb_ctx *ctx, enum bb_txn_access access, const struct txn_table *table)
{
    if (access == BB_TXN_PRIVILEGED || !txn_table_is_system(table))
        return BB_OK;
    return bb_fail(
        ctx, BB_READ_ONLY,
        "\"%.*s\" is a system table: functions read it, and cannot write to it. Jobs are "
        "made and cancelled with ctx.scheduler.",
        BB_SLICE_ARG(table->name));
}

int txn_doc_by_id(struct bb_ctx *ctx, struct bb_txn *txn, enum bb_txn_access access,
                  struct bb_slice name, struct bb_slice text, struct txn_doc **doc)
{
    const struct txn_table *table;
    const struct txn_table *wanted = NULL;
    uint32_t number;
    struct bb_id id;
    int rc = BB_OK;

    *doc = NULL;
    if (name.size > 0)
        rc = txn_table(ctx, txn, access, name, &wanted);
    if (rc == BB_OK)
        rc = bb_id_parse(ctx, text, &number, &id);
    if (rc != BB_OK)
        return rc;
    const struct txn_table *found = txn_table_by_number(txn->options.catalog, number);
    if (wanted != NULL && found != wanted) {
        return bb_fail(ctx, BB_BAD_ID, "The id \"%.*s\" belongs to %s%.*s%s, not to \"%.*s\".",
                       BB_SLICE_ARG(text), found == NULL ? "a table that is not there" : "\"",
                       found == NULL ? 0 : (int)found->name.size,
                       found == NULL ? "" : (const char *)found->name.data,
                       found == NULL ? "" : "\"", BB_SLICE_ARG(wanted->name));
    }
    if (found == NULL)
        return BB_OK;
    rc = txn_table(ctx, txn, access, found->name, &table);
    if (rc == BB_OK)
        *doc = txn_doc(txn, table, &id);
    return rc;
}

int bb_txn_normalize_id(struct bb_ctx *ctx, struct bb_txn *txn, enum bb_txn_access access,
                        struct bb_slice name, struct bb_slice text, bool *is_id)
{
    const struct txn_table *table;
    uint32_t number = 0;
    struct bb_id id;
    int rc = txn_table(ctx, txn, access, name, &table);

    *is_id =
        rc == BB_OK && bb_id_parse(NULL, text, &number, &id) == BB_OK && number == table->number;
    return rc;
}
