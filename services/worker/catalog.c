#include "catalog.h"

#include "bb/value.h"

#define CATALOGS_KEPT 8u
/* Tables whose rows make up a catalog, and the one whose rows are the code. */
#define CATALOG_TABLES                                                           \
    (1u << BB_TABLE_TABLES | 1u << BB_TABLE_INDEXES | 1u << BB_TABLE_FUNCTIONS | \
     1u << BB_TABLE_MODULES | 1u << BB_TABLE_DEPLOYMENT | 1u << BB_TABLE_ENVIRONMENT)
#define CODE_TABLES (1u << BB_TABLE_MODULES)

struct catalogs {
    struct catalog *kept[CATALOGS_KEPT]; /* newest first; NULL at the end */
    uint64_t next_id, next_code;
    uint64_t code, code_from;       /* modules are `code` for all tx >= code_from; 0: not known */
    uint64_t written, code_written; /* newest tx that wrote a system table, or a module */
};

/* ---- reads ---- */

static struct cache_read table_read(struct bb_arena *arena, uint32_t table, uint64_t snapshot)
{
    uint8_t *keys = bb_arena_alloc(arena, 8);
    bb_assert(keys != NULL);
    bb_put_be32(keys, BB_INDEX_BY_ID(table));
    bb_put_be32(keys + 4, BB_INDEX_BY_ID(table) + 1);
    return (struct cache_read){ .arena = arena,
                                .low = bb_slice(keys, 4),
                                .high = bb_slice(keys + 4, 4),
                                .limit = UINT32_MAX,
                                .snapshot = snapshot };
}

void worker_catalog_reads(struct bb_arena *arena, uint64_t snapshot,
                          struct cache_read reads[CATALOG_READS])
{
    reads[0] = table_read(arena, BB_TABLE_DEPLOYMENT, snapshot);
    reads[1] = table_read(arena, BB_TABLE_TABLES, snapshot);
    reads[2] = table_read(arena, BB_TABLE_INDEXES, snapshot);
    reads[3] = table_read(arena, BB_TABLE_FUNCTIONS, snapshot);
    reads[4] = table_read(arena, BB_TABLE_ENVIRONMENT, snapshot);
}

struct cache_read worker_catalog_modules_read(struct bb_arena *arena, uint64_t snapshot)
{
    return table_read(arena, BB_TABLE_MODULES, snapshot);
}

/* ---- one catalog ---- */

static struct bb_slice text_field(struct bb_slice row, const char *name)
{
    struct bb_slice value = bb_value_field_str(row, name);
    bool is_text = value.data != NULL && bb_value_tag(value) == BB_TAG_STRING;
    return is_text ? bb_value_bytes(value) : BB_SLICE_EMPTY;
}

static int64_t number_field(struct bb_slice row, const char *name)
{
    struct bb_slice value = bb_value_field_str(row, name);
    if (value.data == NULL) {
        return 0;
    }
    enum bb_tag tag = bb_value_tag(value);
    return tag == BB_TAG_INT64     ? bb_value_int64(value)
           : tag == BB_TAG_FLOAT64 ? (int64_t)bb_value_float64(value)
                                   : 0;
}

static void put_text(struct bb_value_builder *to, const char *name, struct bb_slice text)
{
    bb_value_field_name(to, bb_slice_str(name));
    bb_value_put_string(to, text);
}

static void put_number(struct bb_value_builder *to, const char *name, int64_t number)
{
    bb_value_field_name(to, bb_slice_str(name));
    bb_value_put_int64(to, number);
}

static bool is_in_state(struct bb_slice row, const char *state)
{
    return bb_slice_equal_str(text_field(row, "state"), state);
}

static void put_index(struct bb_value_builder *to, struct bb_slice row)
{
    bb_value_begin_object(to);
    put_text(to, "name", text_field(row, "name"));
    put_number(to, "id", number_field(row, "id"));
    bb_value_field_name(to, bb_slice_str("fields"));
    struct bb_slice fields = bb_value_field_str(row, "fields");
    if (fields.data != NULL) {
        bb_value_put_value(to, fields);
    } else {
        bb_value_begin_array(to);
        bb_value_end_array(to);
    }
    put_text(to, "state", text_field(row, "state"));
    put_number(to, "done", number_field(row, "done"));
    put_number(to, "total", number_field(row, "total"));
    if (is_in_state(row, "failed")) {
        put_text(to, "error", text_field(row, "error"));
    }
    bb_value_end_object(to);
}

/* [{name, value}], in the order of the rows' keys. */
static void put_environment(struct bb_value_builder *to, const struct cache_read *rows)
{
    bb_value_field_name(to, bb_slice_str("environment"));
    bb_value_begin_array(to);
    for (size_t i = 0; i < rows->entry_count; i++) {
        bb_value_begin_object(to);
        put_text(to, "name", text_field(rows->entries[i].value, "name"));
        put_text(to, "value", text_field(rows->entries[i].value, "value"));
        bb_value_end_object(to);
    }
    bb_value_end_array(to);
}

/* {tables: [{name, number, indexes: [..]}], environment: [..]}, in the order of the rows' keys. */
static void build_value(struct catalog *catalog, const struct cache_read *tables,
                        const struct cache_read *indexes, const struct cache_read *environment)
{
    struct bb_value_builder *to = bb_value_builder_new();
    bb_value_begin_object(to);
    put_environment(to, environment);
    bb_value_field_name(to, bb_slice_str("tables"));
    bb_value_begin_array(to);
    for (size_t t = 0; t < tables->entry_count; t++) {
        struct bb_slice row = tables->entries[t].value;
        struct bb_slice name = text_field(row, "name");
        bb_value_begin_object(to);
        put_text(to, "name", name);
        put_number(to, "number", number_field(row, "number"));
        bb_value_field_name(to, bb_slice_str("indexes"));
        bb_value_begin_array(to);
        for (size_t i = 0; i < indexes->entry_count; i++) {
            struct bb_slice index = indexes->entries[i].value;
            if (bb_slice_equal(text_field(index, "table"), name) &&
                !is_in_state(index, "removing")) {
                put_index(to, index);
            }
        }
        bb_value_end_array(to);
        bb_value_end_object(to);
    }
    bb_value_end_array(to);
    bb_value_end_object(to);
    catalog->value = bb_arena_dup(catalog->arena, bb_value_finish(to));
    bb_value_builder_free(to);
}

/* The first index to fill and the first one to clean. */
static void find_work(struct catalog *catalog, const struct cache_read *indexes)
{
    for (size_t i = 0; i < indexes->entry_count; i++) {
        struct bb_slice row = indexes->entries[i].value;
        if (catalog->backfill_table.data == NULL && is_in_state(row, "backfilling")) {
            catalog->backfill_table = bb_arena_dup(catalog->arena, text_field(row, "table"));
            catalog->backfill_index = bb_arena_dup(catalog->arena, text_field(row, "name"));
            catalog->backfill_done = (uint64_t)number_field(row, "done");
        }
        if (catalog->clean_table.data == NULL && is_in_state(row, "removing")) {
            catalog->clean_table = bb_arena_dup(catalog->arena, text_field(row, "table"));
            catalog->clean_index = bb_arena_dup(catalog->arena, text_field(row, "name"));
            catalog->clean_id = number_field(row, "id");
        }
    }
}

/* "a/b.js:f" -> "a/b:f"; "a/b" -> "a/b:default". */
static void canonical_path(struct bb_slice path, struct bb_buf *to)
{
    const uint8_t *colon = path.size == 0 ? NULL : memchr(path.data, ':', path.size);
    size_t module = colon == NULL ? path.size : (size_t)(colon - path.data);
    size_t bare = module > 3 && memcmp(path.data + module - 3, ".js", 3) == 0 ? module - 3 : module;
    bb_buf_append(to, path.data, bare);
    if (colon == NULL) {
        bb_buf_append_str(to, ":default");
    } else {
        bb_buf_append(to, colon, path.size - module);
    }
}

static struct function *bucket_of(const struct catalog *catalog, struct bb_slice canonical)
{
    uint64_t hash = bb_hash64(canonical, 0);
    size_t mask = catalog->bucket_count - 1;
    for (size_t at = hash & mask;; at = (at + 1) & mask) {
        struct function *function = &catalog->functions[at];
        bool is_it = function->path.data != NULL && function->hash == hash &&
                     bb_slice_equal(function->path, canonical);
        if (function->path.data == NULL || is_it) {
            return function;
        }
    }
}

static enum function_kind kind_of(struct bb_slice text)
{
    return bb_slice_equal_str(text, "query")      ? FUNCTION_QUERY
           : bb_slice_equal_str(text, "mutation") ? FUNCTION_MUTATION
                                                  : FUNCTION_ACTION;
}

static int add_functions(struct bb_ctx *ctx, struct catalog *catalog, const struct cache_read *rows)
{
    catalog->bucket_count = 16;
    while (catalog->bucket_count < rows->entry_count * 2) {
        catalog->bucket_count *= 2;
    }
    catalog->functions =
        bb_arena_zero(catalog->arena, catalog->bucket_count, sizeof(struct function));
    struct bb_buf path;
    bb_buf_init(&path);
    int rc = BB_OK;
    for (size_t i = 0; i < rows->entry_count && rc == BB_OK; i++) {
        struct bb_slice row = rows->entries[i].value;
        struct bb_slice name = text_field(row, "_key");
        if (name.size == 0) {
            rc = bb_fail(ctx, BB_CORRUPT, "a row of _functions has no _key");
            break;
        }
        bb_buf_clear(&path);
        canonical_path(name, &path);
        struct function *function = bucket_of(catalog, bb_buf_slice(&path));
        catalog->function_count += function->path.data == NULL;
        *function = (struct function){
            .path = bb_arena_dup(catalog->arena, bb_buf_slice(&path)),
            .kind = kind_of(text_field(row, "kind")),
            .is_internal = bb_slice_equal_str(text_field(row, "visibility"), "internal"),
            .hash = bb_hash64(bb_buf_slice(&path), 0),
        };
    }
    bb_buf_fini(&path);
    return rc;
}

struct catalog *worker_catalog_retain(struct catalog *catalog)
{
    catalog->references++;
    return catalog;
}

void worker_catalog_release(struct catalog *catalog)
{
    if (catalog != NULL && --catalog->references == 0) {
        bb_arena_free(catalog->arena);
        bb_free(catalog);
    }
}

const struct function *worker_catalog_find(const struct catalog *catalog, struct bb_slice path)
{
    struct bb_buf canonical;
    bb_buf_init(&canonical);
    canonical_path(path, &canonical);
    const struct function *function = bucket_of(catalog, bb_buf_slice(&canonical));
    bb_buf_fini(&canonical);
    return function->path.data == NULL ? NULL : function;
}

/* Edits between two short texts (Levenshtein, one row); `limit` when it is that or more. */
static size_t distance(struct bb_slice a, struct bb_slice b, size_t limit)
{
    enum {
        WIDTH = 64
    };
    size_t row[WIDTH + 1];
    if (a.size >= WIDTH || b.size >= WIDTH) {
        return limit;
    }
    for (size_t i = 0; i <= b.size; i++) {
        row[i] = i;
    }
    for (size_t i = 0; i < a.size; i++) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t k = 0; k < b.size; k++) {
            size_t best = diagonal + (a.data[i] != b.data[k]);
            diagonal = row[k + 1];
            best = row[k] + 1 < best ? row[k] + 1 : best;
            row[k + 1] = diagonal + 1 < best ? diagonal + 1 : best;
        }
    }
    return row[b.size] < limit ? row[b.size] : limit;
}

void worker_catalog_near(const struct catalog *catalog, struct bb_slice path, struct bb_buf *to)
{
    enum {
        SHOWN = 3,
        LIMIT = 4,
        LOOKED_AT = 4096
    };
    struct bb_buf canonical;
    bb_buf_init(&canonical);
    canonical_path(path, &canonical);
    size_t shown = 0;
    for (size_t near = 0; near < LIMIT && shown < SHOWN; near++) {
        for (size_t i = 0; i < catalog->bucket_count && i < LOOKED_AT && shown < SHOWN; i++) {
            const struct function *function = &catalog->functions[i];
            if (function->path.data != NULL && !function->is_internal &&
                distance(function->path, bb_buf_slice(&canonical), LIMIT) == near) {
                bb_buf_printf(to, "%s%.*s", shown == 0 ? "" : ", ", BB_SLICE_ARG(function->path));
                shown++;
            }
        }
    }
    bb_buf_fini(&canonical);
}

/* ---- the set ---- */

struct catalogs *worker_catalogs_new(void)
{
    struct catalogs *set = bb_alloc_zero(1, sizeof(*set));
    set->next_id = set->next_code = 1;
    return set;
}

void worker_catalogs_forget(struct catalogs *set)
{
    for (size_t i = 0; i < CATALOGS_KEPT; i++) {
        worker_catalog_release(set->kept[i]);
        set->kept[i] = NULL;
    }
    set->code = 0;
    set->written = set->code_written = 0;
}

void worker_catalogs_free(struct catalogs *set)
{
    if (set != NULL) {
        worker_catalogs_forget(set);
        bb_free(set);
    }
}

struct catalog *worker_catalogs_at(struct catalogs *set, uint64_t snapshot)
{
    for (size_t i = 0; i < CATALOGS_KEPT && set->kept[i] != NULL; i++) {
        if (set->kept[i]->from <= snapshot && snapshot < set->kept[i]->to) {
            return set->kept[i];
        }
    }
    return NULL;
}

const struct catalog *worker_catalogs_newest(const struct catalogs *set)
{
    return set->kept[0];
}

void worker_catalogs_written(struct catalogs *set, uint64_t tx, uint32_t tables)
{
    if ((tables & CATALOG_TABLES) == 0) {
        return;
    }
    set->written = tx;
    for (size_t i = 0; i < CATALOGS_KEPT && set->kept[i] != NULL; i++) {
        if (set->kept[i]->to > tx) {
            set->kept[i]->to = tx;
        }
    }
    if ((tables & CODE_TABLES) != 0) {
        set->code_written = tx;
        set->code = 0;
    }
}

static void push(struct catalogs *set, struct catalog *catalog)
{
    worker_catalog_release(set->kept[CATALOGS_KEPT - 1]);
    memmove(set->kept + 1, set->kept, (CATALOGS_KEPT - 1) * sizeof(void *));
    set->kept[0] = catalog;
}

int worker_catalogs_add(struct bb_ctx *ctx, struct catalogs *set, uint64_t snapshot, bool is_newest,
                        const struct cache_read reads[CATALOG_READS], struct catalog **out)
{
    struct catalog *catalog = bb_alloc_zero(1, sizeof(*catalog));
    catalog->arena = bb_arena_new(0);
    catalog->references = 1;
    int rc = add_functions(ctx, catalog, &reads[3]);
    if (rc != BB_OK) {
        worker_catalog_release(catalog);
        return rc;
    }
    catalog->has_deployment = reads[0].entry_count > 0;
    build_value(catalog, &reads[1], &reads[2], &reads[4]);
    find_work(catalog, &reads[2]);
    catalog->id = set->next_id++;
    catalog->from = snapshot;
    bool is_current = is_newest && set->written <= snapshot;
    catalog->to = is_current ? UINT64_MAX : snapshot + 1;
    if (is_current && set->code != 0 && set->code_from <= snapshot) {
        catalog->code = set->code;
    } else {
        catalog->code = set->next_code++;
        if (is_current) {
            set->code = catalog->code;
            set->code_from = snapshot;
        }
    }
    if (is_current || set->kept[0] == NULL) {
        push(set, catalog);
    } else {
        /* An older moment: behind the newest one. */
        struct catalog *newest = set->kept[0];
        worker_catalog_release(set->kept[CATALOGS_KEPT - 1]);
        memmove(set->kept + 1, set->kept, (CATALOGS_KEPT - 1) * sizeof(void *));
        set->kept[0] = newest;
        set->kept[1] = catalog;
    }
    *out = catalog;
    return BB_OK;
}
