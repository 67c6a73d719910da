#include <criterion/criterion.h>

#include "bb/value.h"

#include "catalog.h"

struct rows {
    struct bb_arena *arena;
    struct read_entry entries[16];
    size_t count;
};

static void row(struct rows *rows, const char *const *fields)
{
    struct bb_value_builder *to = bb_value_builder_new();
    bb_value_begin_object(to);
    for (size_t i = 0; fields[i] != NULL; i += 2) {
        bb_value_field_name(to, bb_slice_str(fields[i]));
        bb_value_put_string(to, bb_slice_str(fields[i + 1]));
    }
    bb_value_end_object(to);
    rows->entries[rows->count++].value = bb_arena_dup(rows->arena, bb_value_finish(to));
    bb_value_builder_free(to);
}

static struct catalog *load(struct catalogs *set, uint64_t snapshot, bool is_newest)
{
    struct bb_ctx ctx = { 0 };
    struct rows tables = { .arena = bb_arena_new(0) };
    struct rows indexes = { .arena = tables.arena };
    struct rows functions = { .arena = tables.arena };
    struct rows deployment = { .arena = tables.arena };
    struct rows environment = { .arena = tables.arena };
    row(&environment,
        (const char *[]){ "_key", "API_KEY", "name", "API_KEY", "value", "abc", NULL });
    row(&deployment, (const char *[]){ "_key", "current", NULL });
    row(&tables, (const char *[]){ "_key", "messages", "name", "messages", NULL });
    row(&indexes, (const char *[]){ "table", "messages", "name", "by_a", "state", "ready", NULL });
    row(&indexes,
        (const char *[]){ "table", "messages", "name", "by_b", "state", "backfilling", NULL });
    row(&indexes, (const char *[]){ "table", "messages", "name", "by_c", "state", "failed", "error",
                                    "too long", NULL });
    row(&indexes,
        (const char *[]){ "table", "messages", "name", "by_b", "state", "removing", NULL });
    row(&functions, (const char *[]){ "_key", "messages:list", "kind", "query", NULL });
    row(&functions, (const char *[]){ "_key", "messages:send", "kind", "mutation", NULL });
    row(&functions, (const char *[]){ "_key", "a/b:purge", "kind", "mutation", "visibility",
                                      "internal", NULL });
    row(&functions, (const char *[]){ "_key", "hello", "kind", "query", NULL });
    struct cache_read reads[CATALOG_READS];
    worker_catalog_reads(tables.arena, snapshot, reads);
    struct rows *all[CATALOG_READS] = { &deployment, &tables, &indexes, &functions, &environment };
    for (size_t i = 0; i < CATALOG_READS; i++) {
        reads[i].entries = all[i]->entries;
        reads[i].entry_count = all[i]->count;
    }
    struct catalog *catalog = NULL;
    cr_assert_eq(worker_catalogs_add(&ctx, set, snapshot, is_newest, reads, &catalog), BB_OK);
    bb_arena_free(tables.arena);
    return catalog;
}

Test(catalog, finds_functions_in_every_spelling)
{
    struct catalogs *set = worker_catalogs_new();
    struct catalog *catalog = load(set, 10, true);
    const struct function *list = worker_catalog_find(catalog, bb_slice_str("messages:list"));
    cr_assert(list != NULL && list->kind == FUNCTION_QUERY && !list->is_internal);
    cr_assert_eq(worker_catalog_find(catalog, bb_slice_str("messages.js:list")), list);
    const struct function *purge = worker_catalog_find(catalog, bb_slice_str("a/b:purge"));
    cr_assert(purge != NULL && purge->kind == FUNCTION_MUTATION && purge->is_internal);
    cr_assert_not_null(worker_catalog_find(catalog, bb_slice_str("hello")));
    cr_assert_not_null(worker_catalog_find(catalog, bb_slice_str("hello:default")));
    cr_assert_null(worker_catalog_find(catalog, bb_slice_str("messages:none")));
    worker_catalogs_free(set);
}

Test(catalog, names_near_misses_and_no_internal_function)
{
    struct catalogs *set = worker_catalogs_new();
    struct catalog *catalog = load(set, 10, true);
    struct bb_buf near;
    bb_buf_init(&near);
    worker_catalog_near(catalog, bb_slice_str("messages:lst"), &near);
    cr_assert(bb_slice_equal_str(bb_buf_slice(&near), "messages:list"));
    bb_buf_clear(&near);
    worker_catalog_near(catalog, bb_slice_str("a/b:purg"), &near);
    cr_assert_eq(near.size, 0);
    bb_buf_fini(&near);
    worker_catalogs_free(set);
}

Test(catalog, lists_tables_for_slots_and_the_indexes_to_fill_and_to_clean)
{
    struct catalogs *set = worker_catalogs_new();
    struct catalog *catalog = load(set, 10, true);
    struct bb_slice tables = bb_value_field_str(catalog->value, "tables");
    cr_assert_eq(bb_value_count(tables), 1);
    struct bb_slice indexes = bb_value_field_str(bb_value_at(tables, 0), "indexes");
    cr_assert_eq(bb_value_count(indexes), 3, "one that is removed is not listed");
    struct bb_slice error = bb_value_field_str(bb_value_at(indexes, 2), "error");
    cr_assert(bb_slice_equal_str(bb_value_bytes(error), "too long"));
    cr_assert_null(bb_value_field_str(bb_value_at(indexes, 1), "error").data);
    cr_assert(bb_slice_equal_str(catalog->backfill_index, "by_b"));
    cr_assert(bb_slice_equal_str(catalog->clean_index, "by_b"));
    worker_catalogs_free(set);
}

Test(catalog, a_write_to_a_system_table_ends_its_validity)
{
    struct catalogs *set = worker_catalogs_new();
    struct catalog *first = load(set, 10, true);
    cr_assert_eq(worker_catalogs_at(set, 9), NULL);
    cr_assert_eq(worker_catalogs_at(set, 1000), first);
    worker_catalogs_written(set, 50, 1u << BB_TABLE_REQUESTS); /* not part of it */
    cr_assert_eq(worker_catalogs_at(set, 1000), first);
    worker_catalogs_written(set, 50, 1u << BB_TABLE_INDEXES);
    cr_assert_eq(worker_catalogs_at(set, 49), first);
    cr_assert_eq(worker_catalogs_at(set, 50), NULL);
    struct catalog *second = load(set, 60, true);
    cr_assert_eq(worker_catalogs_at(set, 60), second);
    cr_assert_eq(worker_catalogs_at(set, 49), first);
    cr_assert_eq(second->code, first->code); /* no module was written */
    cr_assert_neq(second->id, first->id);
    worker_catalogs_written(set, 70, 1u << BB_TABLE_MODULES);
    struct catalog *third = load(set, 70, true);
    cr_assert_neq(third->code, first->code);
    worker_catalogs_free(set);
}

Test(catalog, one_that_was_overtaken_while_it_loaded_holds_for_its_moment_only)
{
    struct catalogs *set = worker_catalogs_new();
    worker_catalogs_written(set, 50, 1u << BB_TABLE_TABLES);
    struct catalog *late = load(set, 40, true);
    cr_assert_eq(worker_catalogs_at(set, 40), late);
    cr_assert_eq(worker_catalogs_at(set, 41), NULL);
    worker_catalogs_forget(set);
    cr_assert_eq(worker_catalogs_at(set, 40), NULL);
    worker_catalogs_free(set);
}
