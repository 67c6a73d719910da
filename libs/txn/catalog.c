#include <stdlib.h>

#include "txn_internal.h"

enum {
    BUILT_IN_COUNT = 3
};

/* Indexes of system tables beyond the built-in ones; a row's place is its number. */
static const struct system_index {
    uint32_t table;
    const char *name, *fields[2];
} system_indexes[] = {
    { BB_TABLE_JOBS, "by_state_due", { "state", "due" } },
    { BB_TABLE_JOBS, "by_cron", { "cron", NULL } },
    { BB_TABLE_JOBS, "by_ended", { "ended", NULL } },
    { BB_TABLE_JOBS, "by_lane", { "lane", "wake" } },
    { BB_TABLE_CRONS, "by_next", { "next", NULL } },
};

static void set_built_in(struct bb_arena *arena, struct txn_index *index, enum txn_index_kind kind,
                         const char *name, uint32_t id, const char *field)
{
    struct bb_slice *fields = bb_arena_zero(arena, 1, sizeof *fields);

    fields[0] = bb_slice_str(field);
    *index = (struct txn_index){ .name = bb_slice_str(name),
                                 .id = id,
                                 .kind = kind,
                                 .is_ready = true,
                                 .fields = fields,
                                 .field_count = 1 };
}

static size_t system_index_count(uint32_t table)
{
    size_t count = 0;

    for (size_t i = 0; i < BB_COUNT_OF(system_indexes); i++)
        count += system_indexes[i].table == table;
    return count;
}

static void set_system_index(struct bb_arena *arena, struct txn_index *index, size_t place)
{
    const struct system_index *from = &system_indexes[place];
    size_t count = from->fields[1] == NULL ? 1 : 2;
    struct bb_slice *fields = bb_arena_zero(arena, count, sizeof *fields);

    for (size_t i = 0; i < count; i++)
        fields[i] = bb_slice_str(from->fields[i]);
    *index = (struct txn_index){ .name = bb_slice_str(from->name),
                                 .id = BB_INDEX_SYSTEM + (uint32_t)place,
                                 .kind = TXN_DECLARED,
                                 .is_ready = true,
                                 .fields = fields,
                                 .field_count = count };
}

void txn_point_set(struct txn_point *point, uint32_t table, const struct bb_id *id)
{
    bb_put_be32(point->key, BB_INDEX_BY_ID(table));
    memcpy(point->key + 4, id->bytes, sizeof id->bytes);
    point->key[TXN_DOC_KEY_SIZE] = 0;
}

/* Of the row that a system table has under this key. */
static void set_point(struct txn_point *point, uint32_t table, struct bb_slice key)
{
    struct bb_id id;

    bb_id_of_key(table, key, &id);
    txn_point_set(point, table, &id);
}

/* Room for `declared_count` more indexes behind the built-in ones. */
static struct txn_index *set_table(struct bb_arena *arena, struct txn_table *table,
                                   struct bb_slice name, uint32_t number, size_t declared_count)
{
    struct txn_index *indexes =
        bb_arena_zero(arena, BUILT_IN_COUNT + declared_count, sizeof *indexes);

    set_built_in(arena, &indexes[0], TXN_BY_ID, "by_id", BB_INDEX_BY_ID(number), "_id");
    set_built_in(arena, &indexes[1], TXN_BY_CREATION_TIME, "by_creation_time",
                 BB_INDEX_BY_CREATION_TIME(number), "_creationTime");
    set_built_in(arena, &indexes[2], TXN_BY_KEY, "by_key", BB_INDEX_BY_KEY(number), "_key");
    *table = (struct txn_table){ .name = name,
                                 .number = number,
                                 .indexes = indexes,
                                 .index_count = BUILT_IN_COUNT + declared_count,
                                 .field_count_max = 1 };
    set_point(&table->version, BB_TABLE_TABLES, name);
    return indexes;
}

static void set_system_table(struct bb_arena *arena, struct txn_table *table, uint32_t number)
{
    size_t count = system_index_count(number);
    struct txn_index *next =
        set_table(arena, table, bb_slice_str(bb_system_table_name(number)), number, count) +
        BUILT_IN_COUNT;

    for (size_t i = 0; i < BB_COUNT_OF(system_indexes); i++) {
        if (system_indexes[i].table == number)
            set_system_index(arena, next++, i);
    }
    table->field_count_max = count > 0 ? 2 : 1;
}

static bool is_string(struct bb_slice value)
{
    return value.data != NULL && bb_value_tag(value) == BB_TAG_STRING;
}

static bool is_int64(struct bb_slice value)
{
    return value.data != NULL && bb_value_tag(value) == BB_TAG_INT64;
}

static bool is_array(struct bb_slice value)
{
    return value.data != NULL && bb_value_tag(value) == BB_TAG_ARRAY;
}

static int64_t int64_or_zero(struct bb_slice value)
{
    return is_int64(value) ? bb_value_int64(value) : 0;
}

static int parse_index(struct bb_ctx *ctx, struct bb_arena *arena, struct bb_slice from,
                       struct txn_index *index)
{
    struct bb_slice name = bb_value_field_str(from, "name");
    struct bb_slice id = bb_value_field_str(from, "id");
    struct bb_slice fields = bb_value_field_str(from, "fields");
    struct bb_slice state = bb_value_field_str(from, "state");
    struct bb_slice error = bb_value_field_str(from, "error");

    if (!is_string(name) || !is_int64(id) || !is_array(fields) || !is_string(state))
        return bb_fail(ctx, BB_CORRUPT, "catalog: an index lacks name, id, fields or state");
    if (bb_value_int64(id) < (int64_t)BB_INDEX_DECLARED || bb_value_int64(id) > UINT32_MAX)
        return bb_fail(ctx, BB_CORRUPT, "catalog: index id %" PRId64, bb_value_int64(id));
    size_t count = bb_value_count(fields);
    struct bb_slice *paths = bb_arena_zero(arena, count == 0 ? 1 : count, sizeof *paths);
    for (size_t i = 0; i < count; i++) {
        struct bb_slice path = bb_value_at(fields, i);
        if (!is_string(path))
            return bb_fail(ctx, BB_CORRUPT, "catalog: an index field is not a string");
        paths[i] = bb_value_bytes(path);
    }
    *index = (struct txn_index){ .name = bb_value_bytes(name),
                                 .id = (uint32_t)bb_value_int64(id),
                                 .kind = TXN_DECLARED,
                                 .is_ready = bb_slice_equal_str(bb_value_bytes(state), "ready"),
                                 .is_failed = bb_slice_equal_str(bb_value_bytes(state), "failed"),
                                 .error = is_string(error) ? bb_value_bytes(error) : BB_SLICE_EMPTY,
                                 .done = int64_or_zero(bb_value_field_str(from, "done")),
                                 .total = int64_or_zero(bb_value_field_str(from, "total")),
                                 .fields = paths,
                                 .field_count = count };
    return BB_OK;
}

static int parse_table(struct bb_ctx *ctx, struct bb_arena *arena, struct bb_slice from,
                       struct txn_table *table)
{
    struct bb_slice name = bb_value_field_str(from, "name");
    struct bb_slice number = bb_value_field_str(from, "number");
    struct bb_slice indexes = bb_value_field_str(from, "indexes");

    if (!is_string(name) || !is_int64(number) || !is_array(indexes))
        return bb_fail(ctx, BB_CORRUPT, "catalog: a table lacks name, number or indexes");
    int64_t n = bb_value_int64(number);
    if (n < (int64_t)BB_TABLE_USER_MIN || n >= (int64_t)(BB_INDEX_DECLARED / 4))
        return bb_fail(ctx, BB_CORRUPT, "catalog: table number %" PRId64, n);
    size_t count = bb_value_count(indexes);
    struct txn_index *all = set_table(arena, table, bb_value_bytes(name), (uint32_t)n, count);
    for (size_t i = 0; i < count; i++) {
        struct bb_slice index = bb_value_at(indexes, i);
        if (bb_value_tag(index) != BB_TAG_OBJECT)
            return bb_fail(ctx, BB_CORRUPT, "catalog: an index is not an object");
        int rc = parse_index(ctx, arena, index, &all[BUILT_IN_COUNT + i]);
        if (rc != BB_OK)
            return rc;
        if (all[BUILT_IN_COUNT + i].field_count > table->field_count_max)
            table->field_count_max = all[BUILT_IN_COUNT + i].field_count;
    }
    return BB_OK;
}

static int compare_tables(const void *a, const void *b)
{
    return bb_slice_compare(((const struct txn_table *)a)->name,
                            ((const struct txn_table *)b)->name);
}

static int parse_tables(struct bb_ctx *ctx, struct bb_txn_catalog *catalog, struct bb_slice tables)
{
    size_t count = tables.data == NULL ? 0 : bb_value_count(tables);
    size_t at = 0;

    catalog->table_count = count + BB_TABLE_COUNT_SYSTEM - 1;
    catalog->tables = bb_arena_zero(catalog->arena, catalog->table_count, sizeof *catalog->tables);
    for (uint32_t i = 1; i < BB_TABLE_COUNT_SYSTEM; i++) {
        set_system_table(catalog->arena, &catalog->tables[at++], i);
    }
    for (size_t i = 0; i < count; i++) {
        struct bb_slice table = bb_value_at(tables, i);
        if (bb_value_tag(table) != BB_TAG_OBJECT)
            return bb_fail(ctx, BB_CORRUPT, "catalog: a table is not an object");
        int rc = parse_table(ctx, catalog->arena, table, &catalog->tables[at++]);
        if (rc != BB_OK)
            return rc;
    }
    qsort(catalog->tables, catalog->table_count, sizeof *catalog->tables, compare_tables);
    for (size_t i = 0; i < catalog->table_count; i++)
        catalog->tables[i].slot = i;
    return BB_OK;
}

int bb_txn_catalog_new(struct bb_ctx *ctx, struct bb_slice from, struct bb_txn_catalog **out)
{
    struct bb_slice tables = BB_SLICE_EMPTY;
    struct bb_slice environment = BB_SLICE_EMPTY;
    struct bb_arena *arena = bb_arena_new(0);
    struct bb_txn_catalog *catalog = bb_arena_zero(arena, 1, sizeof *catalog);
    int rc = BB_OK;

    *out = NULL;
    catalog->arena = arena;
    set_point(&catalog->deployment, BB_TABLE_DEPLOYMENT, bb_slice_str("current"));
    if (from.size > 0) {
        struct bb_slice copy = bb_arena_dup(arena, from);
        rc = bb_value_validate(ctx, copy);
        if (rc != BB_OK) {
            rc = bb_fail(ctx, BB_CORRUPT, "catalog: not a BBV value");
            goto out;
        }
        if (bb_value_tag(copy) == BB_TAG_OBJECT) {
            tables = bb_value_field_str(copy, "tables");
            environment = bb_value_field_str(copy, "environment");
        }
        if (!is_array(tables)) {
            rc = bb_fail(ctx, BB_CORRUPT, "catalog: no list of tables");
            goto out;
        }
    }
    rc = parse_tables(ctx, catalog, tables);
    if (rc == BB_OK)
        rc = txn_variables_parse(ctx, catalog, environment);
out:
    if (rc == BB_OK) {
        *out = catalog;
    } else {
        bb_arena_free(arena);
    }
    return rc;
}

void bb_txn_catalog_free(struct bb_txn_catalog *catalog)
{
    if (catalog != NULL)
        bb_arena_free(catalog->arena);
}

const struct txn_table *txn_table_by_name(const struct bb_txn_catalog *catalog,
                                          struct bb_slice name)
{
    struct txn_table key = { .name = name };

    return bsearch(&key, catalog->tables, catalog->table_count, sizeof key, compare_tables);
}

const struct txn_table *txn_table_by_number(const struct bb_txn_catalog *catalog, uint32_t number)
{
    for (size_t i = 0; i < catalog->table_count; i++) {
        if (catalog->tables[i].number == number)
            return &catalog->tables[i];
    }
    return NULL;
}

const struct txn_index *txn_index_by_name(const struct txn_table *table, struct bb_slice name)
{
    for (size_t i = 0; i < table->index_count; i++) {
        if (bb_slice_equal(table->indexes[i].name, name))
            return &table->indexes[i];
    }
    return NULL;
}
