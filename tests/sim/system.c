/* The functions of services/worker/runtime/80_system.js that the suite itself calls: deploy,
 * backfill and forget. */
#include "script.h"

#include <stdio.h>

#define INDEX_FIRST 0x80000000ll

static struct bb_slice str(const char *text)
{
    return bb_slice_str(text);
}

static void put_text(struct bb_value_builder *to, const char *name, const char *value)
{
    bb_value_field_name(to, str(name));
    if (value == NULL) {
        bb_value_null(to);
    } else {
        bb_value_put_string(to, str(value));
    }
}

static void put_int(struct bb_value_builder *to, const char *name, int64_t value)
{
    bb_value_field_name(to, str(name));
    bb_value_put_int64(to, value);
}

static int put_row(struct script *script, const char *table, const char *key)
{
    struct bb_buf id;
    int rc;

    bb_value_end_object(script->doc);
    struct bb_slice row = bb_arena_dup(script->ctx->arena, bb_value_finish(script->doc));
    bb_buf_init(&id);
    await(rc, script,
          bb_txn_put(script->ctx, script->txn, BB_TXN_PRIVILEGED, str(table), str(key), row, true,
                     &id));
    bb_buf_fini(&id);
    return rc;
}

static void begin_row(struct script *script)
{
    bb_value_builder_clear(script->doc);
    bb_value_begin_object(script->doc);
}

static int get_row(struct script *script, const char *table, const char *key, struct bb_slice *row)
{
    int rc;

    await(
        rc, script,
        bb_txn_get_by_key(script->ctx, script->txn, BB_TXN_PRIVILEGED, str(table), str(key), row));
    return rc;
}

static int64_t int_of(struct bb_slice row, const char *field, int64_t otherwise)
{
    struct bb_slice value = row.data == NULL ? BB_SLICE_EMPTY : bb_value_field_str(row, field);

    return value.data != NULL && bb_value_tag(value) == BB_TAG_INT64 ? bb_value_int64(value)
                                                                     : otherwise;
}

/* ---- deploy: table kv with by_k and by_v; "extra" declares one index more ---- */

static int put_function(struct script *script, const char *path, const char *kind)
{
    begin_row(script);
    put_text(script->doc, "path", path);
    put_text(script->doc, "module", "kv.js");
    put_text(script->doc, "name", strchr(path, ':') + 1);
    put_text(script->doc, "kind", kind);
    put_text(script->doc, "visibility", "public");
    put_text(script->doc, "args", NULL);
    put_text(script->doc, "returns", NULL);
    return put_row(script, "_functions", path);
}

static int put_index(struct script *script, const char *name, int64_t id, bool is_filled)
{
    char key[64];
    char field[2] = { name[3], '\0' };
    struct bb_slice old = BB_SLICE_EMPTY;

    (void)snprintf(key, sizeof key, "kv.%s", name);
    int rc = get_row(script, "_indexes", key, &old);
    if (rc != BB_OK || old.data != NULL)
        return rc;
    begin_row(script);
    put_text(script->doc, "table", "kv");
    put_text(script->doc, "name", name);
    put_int(script->doc, "id", id);
    bb_value_field_name(script->doc, str("fields"));
    bb_value_begin_array(script->doc);
    bb_value_put_string(script->doc, str(field));
    bb_value_end_array(script->doc);
    put_text(script->doc, "state", is_filled ? "ready" : "backfilling");
    put_int(script->doc, "done", 0);
    put_int(script->doc, "total", 0);
    put_text(script->doc, "cursor", NULL);
    return put_row(script, "_indexes", key);
}

static int put_module(struct script *script, int64_t version)
{
    char hash[32];

    (void)snprintf(hash, sizeof hash, "hash-%lld", (long long)version);
    begin_row(script);
    put_text(script->doc, "path", "kv.js");
    put_text(script->doc, "hash", hash);
    bb_value_field_name(script->doc, str("source"));
    bb_value_put_bytes(script->doc, str("module"));
    put_text(script->doc, "map", NULL);
    return put_row(script, "_modules", "kv.js");
}

static int put_deployment(struct script *script, int64_t version)
{
    char hash[32];

    (void)snprintf(hash, sizeof hash, "hash-%lld", (long long)version);
    begin_row(script);
    put_int(script->doc, "version", version);
    put_text(script->doc, "hash", hash);
    put_int(script->doc, "nextTable", 10002);
    put_int(script->doc, "nextIndex", INDEX_FIRST + 3);
    bb_value_field_name(script->doc, str("time"));
    bb_value_put_float64(script->doc, (double)script->now_ms);
    bb_value_field_name(script->doc, str("modules"));
    bb_value_begin_array(script->doc);
    bb_value_begin_object(script->doc);
    put_text(script->doc, "path", "kv.js");
    put_text(script->doc, "hash", hash);
    bb_value_end_object(script->doc);
    bb_value_end_array(script->doc);
    return put_row(script, "_deployment", "current");
}

static int put_table(struct script *script, int64_t version)
{
    begin_row(script);
    put_text(script->doc, "name", "kv");
    put_int(script->doc, "number", 10001);
    put_text(script->doc, "state", "declared");
    put_int(script->doc, "version", version);
    return put_row(script, "_tables", "kv");
}

static int deploy(struct script *script)
{
    struct bb_slice current = BB_SLICE_EMPTY;
    bool is_extra = bb_value_field_str(script->args, "extra").data != NULL;
    int rc = get_row(script, "_deployment", "current", &current);
    int64_t version = int_of(current, "version", 0) + 1;

    if (rc == BB_OK)
        rc = put_table(script, version);
    if (rc == BB_OK)
        rc = put_index(script, "by_k", INDEX_FIRST, true);
    if (rc == BB_OK && current.data == NULL)
        rc = put_index(script, "by_v", INDEX_FIRST + 1, true);
    if (rc == BB_OK && is_extra)
        rc = put_index(script, "by_v_extra", INDEX_FIRST + 2, false);
    if (rc == BB_OK)
        rc = put_function(script, "kv:run", "mutation");
    if (rc == BB_OK)
        rc = put_function(script, "kv:look", "query");
    if (rc == BB_OK)
        rc = put_module(script, version);
    return rc == BB_OK ? put_deployment(script, version) : rc;
}

/* ---- backfill: a few documents at a time ---- */

#define STEP 5

static int patch_index(struct script *script, struct bb_slice row, uint32_t rows, bool is_end,
                       struct bb_slice cursor)
{
    int64_t done = int_of(row, "done", 0) + rows;
    int rc;

    begin_row(script);
    put_int(script->doc, "done", done);
    put_int(script->doc, "total", done);
    put_text(script->doc, "state", is_end ? "ready" : "backfilling");
    bb_value_field_name(script->doc, str("cursor"));
    if (is_end) {
        bb_value_null(script->doc);
    } else {
        bb_value_put_string(script->doc, cursor);
    }
    bb_value_end_object(script->doc);
    struct bb_slice changes = bb_arena_dup(script->ctx->arena, bb_value_finish(script->doc));
    struct bb_slice id = bb_value_bytes(bb_value_field_str(row, "_id"));
    await(rc, script,
          bb_txn_patch(script->ctx, script->txn, BB_TXN_PRIVILEGED, str("_indexes"), id, changes));
    return rc;
}

static int wake_readers(struct script *script)
{
    struct bb_slice row = BB_SLICE_EMPTY;
    int rc = get_row(script, "_tables", "kv", &row);

    return rc == BB_OK ? put_table(script, int_of(row, "version", 0) + 1) : rc;
}

static int backfill(struct script *script)
{
    struct bb_slice row = BB_SLICE_EMPTY;
    char name[64];
    char key[80];
    int rc;

    (void)snprintf(name, sizeof name, "%.*s",
                   BB_SLICE_ARG(bb_value_bytes(bb_value_field_str(script->args, "index"))));
    (void)snprintf(key, sizeof key, "kv.%s", name);
    rc = get_row(script, "_indexes", key, &row);
    if (rc != BB_OK || row.data == NULL ||
        !bb_slice_equal_str(bb_value_bytes(bb_value_field_str(row, "state")), "backfilling"))
        return rc;
    row = bb_arena_dup(script->ctx->arena, row);
    struct bb_slice from = bb_value_field_str(row, "cursor");
    struct bb_txn_scan_options options = { .access = BB_TXN_PRIVILEGED,
                                           .table = str("kv"),
                                           .index = str("by_id"),
                                           .cursor = bb_value_tag(from) == BB_TAG_STRING
                                                         ? bb_value_bytes(from)
                                                         : BB_SLICE_EMPTY };
    uint32_t scan;
    uint32_t rows = 0;
    bool is_done = false;
    bool is_end = false;
    struct bb_buf cursor;
    rc = bb_txn_scan_open(script->ctx, script->txn, &options, &scan);
    if (rc == BB_OK) {
        await(rc, script,
              bb_txn_backfill(script->ctx, script->txn, scan, str(name), STEP, &rows, &is_done));
    }
    bb_buf_init(&cursor);
    if (rc == BB_OK)
        rc = bb_txn_scan_cursor(script->ctx, script->txn, scan, &cursor, &is_end);
    if (rc == BB_OK)
        rc = patch_index(script, row, rows, is_done, bb_buf_slice(&cursor));
    if (rc == BB_OK && is_done)
        rc = wake_readers(script);
    bb_buf_fini(&cursor);
    return rc;
}

/* ---- forget: the oldest outcomes of client keys ---- */

#define FORGET_MAX 128

static int oldest_outcomes(struct script *script, uint32_t scan, struct bb_slice *rows)
{
    uint32_t count = 0;
    bool is_done = false;

    bb_value_builder_clear(script->doc);
    bb_value_begin_array(script->doc);
    int rc = bb_txn_scan_next(script->ctx, script->txn, scan, FORGET_MAX, FORGET_MAX, script->doc,
                              &count, &is_done);
    if (rc != BB_OK)
        return rc;
    bb_value_end_array(script->doc);
    *rows = bb_arena_dup(script->ctx->arena, bb_value_finish(script->doc));
    return BB_OK;
}

static int forget(struct script *script, size_t *removed)
{
    struct bb_slice rows = BB_SLICE_EMPTY;
    uint32_t scan;
    int rc;

    bb_value_builder_clear(script->doc);
    bb_value_begin_array(script->doc);
    bb_value_begin_array(script->doc);
    bb_value_put_string(script->doc, str("lt"));
    bb_value_put_string(script->doc, str("_creationTime"));
    bb_value_put_value(script->doc, bb_value_field_str(script->args, "before"));
    bb_value_end_array(script->doc);
    bb_value_end_array(script->doc);
    struct bb_txn_scan_options options = {
        .access = BB_TXN_PRIVILEGED,
        .table = str("_requests"),
        .index = str("by_creation_time"),
        .range = bb_arena_dup(script->ctx->arena, bb_value_finish(script->doc)),
    };
    rc = bb_txn_scan_open(script->ctx, script->txn, &options, &scan);
    if (rc == BB_OK)
        await(rc, script, oldest_outcomes(script, scan, &rows));
    *removed = rc == BB_OK ? bb_value_count(rows) : 0;
    for (size_t i = 0; i < *removed && rc == BB_OK; i++) {
        struct bb_slice id = bb_value_bytes(bb_value_field_str(bb_value_at(rows, i), "_id"));
        await(rc, script,
              bb_txn_delete(script->ctx, script->txn, BB_TXN_PRIVILEGED, str("_requests"), id));
    }
    return rc;
}

int sim_script_system(struct script *script, const char *path, struct bb_slice *value)
{
    int rc = BB_OK;
    size_t removed = SIZE_MAX;

    if (strcmp(path, "_system:deploy") == 0) {
        rc = deploy(script);
    } else if (strcmp(path, "_system:backfill") == 0) {
        rc = backfill(script);
    } else if (strcmp(path, "_system:forget") == 0) {
        rc = forget(script, &removed);
    } else if (strcmp(path, "_system:status") != 0) {
        rc = bb_fail(script->ctx, BB_FUNCTION_NOT_FOUND, "the simulator has no %s", path);
    }
    bb_value_builder_clear(script->doc);
    if (removed == SIZE_MAX) {
        bb_value_null(script->doc);
    } else {
        bb_value_begin_object(script->doc);
        bb_value_field_name(script->doc, str("removed"));
        bb_value_put_float64(script->doc, (double)removed);
        bb_value_end_object(script->doc);
    }
    *value = bb_arena_dup(script->ctx->arena, bb_value_finish(script->doc));
    return rc;
}
