/* The application: one table of keys and values, and transactions given as lists of small steps. */
#include "script.h"

#include <stdio.h>

#define TABLE     "kv"
#define SCAN_WANT 7
#define LIST_MAX  100 /* it is a key of an index too */

static struct bb_slice str(const char *text)
{
    return bb_slice_str(text);
}

static bool is_number(struct bb_slice value)
{
    return value.data != NULL && bb_value_tag(value) == BB_TAG_FLOAT64;
}

static double number_of(struct bb_slice value, double otherwise)
{
    return is_number(value) ? bb_value_float64(value) : otherwise;
}

static struct bb_slice arg(struct bb_slice step, size_t at)
{
    return at < bb_value_count(step) ? bb_value_at(step, at) : BB_SLICE_EMPTY;
}

static struct bb_slice text_arg(struct bb_slice step, size_t at)
{
    struct bb_slice value = arg(step, at);

    return value.data != NULL && bb_value_tag(value) == BB_TAG_STRING ? bb_value_bytes(value)
                                                                      : BB_SLICE_EMPTY;
}

/* ---- the log ---- */

static void note_begin(struct script *script, const char *what, struct bb_slice key)
{
    bb_value_begin_array(script->log);
    bb_value_put_string(script->log, str(what));
    if (key.data != NULL)
        bb_value_put_string(script->log, key);
}

static void note_value(struct script *script, struct bb_slice value)
{
    if (value.data == NULL) {
        bb_value_null(script->log);
    } else {
        bb_value_put_value(script->log, value);
    }
}

static void note(struct script *script, const char *what, struct bb_slice key,
                 struct bb_slice value)
{
    note_begin(script, what, key);
    note_value(script, value);
    bb_value_end_array(script->log);
}

/* ---- reading ---- */

static void range_bound(struct bb_value_builder *builder, const char *op, const char *field,
                        struct bb_slice value)
{
    bb_value_begin_array(builder);
    bb_value_put_string(builder, str(op));
    bb_value_put_string(builder, str(field));
    bb_value_put_value(builder, value);
    bb_value_end_array(builder);
}

struct scan {
    const char *index, *field;
    struct bb_slice low, high; /* values: low <= field < high; high.data NULL: field == low */
    bool is_descending;
    uint32_t limit; /* 0: all */
};

static int open_scan(struct script *script, const struct scan *scan, uint32_t *opened)
{
    struct bb_value_builder *builder = script->doc;

    bb_value_builder_clear(builder);
    bb_value_begin_array(builder);
    range_bound(builder, scan->high.data == NULL ? "eq" : "gte", scan->field, scan->low);
    if (scan->high.data != NULL)
        range_bound(builder, "lt", scan->field, scan->high);
    bb_value_end_array(builder);
    struct bb_txn_scan_options options = { .table = str(TABLE),
                                           .index = str(scan->index),
                                           .range = bb_arena_dup(script->ctx->arena,
                                                                 bb_value_finish(builder)),
                                           .is_descending = scan->is_descending };
    return bb_txn_scan_open(script->ctx, script->txn, &options, opened);
}

static int next_page(struct script *script, uint32_t scan, uint32_t want, struct bb_slice *page,
                     bool *is_done)
{
    uint32_t count = 0;

    bb_value_builder_clear(script->doc);
    bb_value_begin_array(script->doc);
    int rc =
        bb_txn_scan_next(script->ctx, script->txn, scan, want, want, script->doc, &count, is_done);
    if (rc != BB_OK)
        return rc;
    bb_value_end_array(script->doc);
    *page = bb_arena_dup(script->ctx->arena, bb_value_finish(script->doc));
    *is_done |= count == 0;
    return BB_OK;
}

/* Appends [k, v] of each row to an array that is open in the log. */
static int scan_rows(struct script *script, const struct scan *scan, uint32_t *count)
{
    uint32_t opened;
    bool is_done = false;
    int rc = open_scan(script, scan, &opened);

    *count = 0;
    while (rc == BB_OK && !is_done && (scan->limit == 0 || *count < scan->limit)) {
        uint32_t left = scan->limit == 0 ? SCAN_WANT : scan->limit - *count;
        struct bb_slice page = BB_SLICE_EMPTY;
        await(rc, script,
              next_page(script, opened, left < SCAN_WANT ? left : SCAN_WANT, &page, &is_done));
        for (size_t i = 0; rc == BB_OK && i < bb_value_count(page); i++) {
            struct bb_slice row = bb_value_at(page, i);
            bb_value_begin_array(script->log);
            bb_value_put_value(script->log, bb_value_field_str(row, "k"));
            bb_value_put_value(script->log, bb_value_field_str(row, "v"));
            bb_value_end_array(script->log);
            (*count)++;
        }
    }
    return rc;
}

static int read_key(struct script *script, struct bb_slice key, struct bb_slice *value)
{
    struct bb_slice document = BB_SLICE_EMPTY;
    int rc;

    await(rc, script,
          bb_txn_get_by_key(script->ctx, script->txn, BB_TXN_USER, str(TABLE), key, &document));
    *value = BB_SLICE_EMPTY;
    if (rc != BB_OK)
        return rc;
    if (document.data != NULL)
        *value = bb_arena_dup(script->ctx->arena, bb_value_field_str(document, "v"));
    note(script, "r", key, *value);
    return BB_OK;
}

/* The same by the index: at most one row has the key. */
static int read_by_index(struct script *script, struct bb_slice step)
{
    struct scan scan = { .index = "by_k", .field = "k", .low = arg(step, 1) };
    uint32_t count;

    note_begin(script, "ri", text_arg(step, 1));
    bb_value_begin_array(script->log);
    int rc = scan_rows(script, &scan, &count);
    bb_value_end_array(script->log);
    bb_value_end_array(script->log);
    return rc;
}

/* ["scan", low, high, limit, isDescending] and ["vscan", low, high]: what was asked, then the rows.
 */
static int scan_step(struct script *script, struct bb_slice step, bool is_by_value, uint32_t *count)
{
    struct bb_slice direction = arg(step, 4);
    struct scan scan = { .index = is_by_value ? "by_v" : "by_k",
                         .field = is_by_value ? "v" : "k",
                         .low = arg(step, 1),
                         .high = arg(step, 2),
                         .limit = is_by_value ? 0 : (uint32_t)number_of(arg(step, 3), 0),
                         .is_descending =
                             direction.data != NULL && bb_value_tag(direction) == BB_TAG_TRUE };

    note_begin(script, is_by_value ? "vscan" : "scan", BB_SLICE_EMPTY);
    bb_value_put_value(script->log, scan.low);
    bb_value_put_value(script->log, scan.high);
    bb_value_put_float64(script->log, scan.limit);
    bb_value_put_bool(script->log, scan.is_descending);
    bb_value_begin_array(script->log);
    int rc = scan_rows(script, &scan, count);
    bb_value_end_array(script->log);
    bb_value_end_array(script->log);
    return rc;
}

/* ---- writing ---- */

static int write_key(struct script *script, struct bb_slice key, struct bb_slice value)
{
    struct bb_buf id;
    int rc;

    bb_value_builder_clear(script->doc);
    bb_value_begin_object(script->doc);
    bb_value_field_name(script->doc, str("k"));
    bb_value_put_string(script->doc, key);
    bb_value_field_name(script->doc, str("v"));
    bb_value_put_value(script->doc, value);
    if (script->filler != NULL) {
        bb_value_field_name(script->doc, str("f"));
        bb_value_put_bytes(script->doc, bb_slice(script->filler, script->filler_size));
    }
    bb_value_end_object(script->doc);
    struct bb_slice document = bb_arena_dup(script->ctx->arena, bb_value_finish(script->doc));
    bb_buf_init(&id);
    await(rc, script,
          bb_txn_put(script->ctx, script->txn, BB_TXN_USER, str(TABLE), key, document, true, &id));
    bb_buf_fini(&id);
    if (rc == BB_OK)
        note(script, "w", key, value);
    return rc;
}

/* The same with so many bytes beside the value that nobody looks at. */
static int fill_key(struct script *script, struct bb_slice key, struct bb_slice value, size_t bytes)
{
    script->filler = bb_arena_alloc(script->ctx->arena, bytes);
    if (script->filler == NULL)
        return bb_fail(script->ctx, BB_TOO_LARGE, "a filler of %zu bytes", bytes);
    memset(script->filler, 'x', bytes);
    script->filler_size = bytes;
    int rc = write_key(script, key, value);
    script->filler = NULL;
    return rc;
}

static int write_number(struct script *script, struct bb_slice key, double number)
{
    bb_value_builder_clear(script->doc);
    bb_value_put_float64(script->doc, number);
    struct bb_slice value = bb_arena_dup(script->ctx->arena, bb_value_finish(script->doc));

    return write_key(script, key, value);
}

static int delete_key(struct script *script, struct bb_slice key)
{
    uint64_t count;
    int rc;

    bb_value_builder_clear(script->doc);
    bb_value_begin_array(script->doc);
    bb_value_put_string(script->doc, key);
    bb_value_end_array(script->doc);
    struct bb_slice names = bb_arena_dup(script->ctx->arena, bb_value_finish(script->doc));
    await(rc, script,
          bb_txn_retract(script->ctx, script->txn, BB_TXN_USER, str(TABLE), true, names, &count));
    if (rc == BB_OK)
        note(script, "d", key, BB_SLICE_EMPTY);
    return rc;
}

static int append(struct script *script, struct bb_slice key, struct bb_slice element)
{
    struct bb_slice old;
    int rc = read_key(script, key, &old);

    if (rc != BB_OK)
        return rc;
    bool is_list = old.data != NULL && bb_value_tag(old) == BB_TAG_ARRAY;
    if (is_list && bb_value_count(old) >= LIST_MAX)
        return BB_OK;
    bb_value_builder_clear(script->doc);
    bb_value_begin_array(script->doc);
    for (size_t i = 0; is_list && i < bb_value_count(old); i++)
        bb_value_put_value(script->doc, bb_value_at(old, i));
    bb_value_put_value(script->doc, element);
    bb_value_end_array(script->doc);
    struct bb_slice list = bb_arena_dup(script->ctx->arena, bb_value_finish(script->doc));
    return write_key(script, key, list);
}

static int add(struct script *script, struct bb_slice key, double by, double otherwise)
{
    struct bb_slice old;
    int rc = read_key(script, key, &old);

    return rc == BB_OK ? write_number(script, key, number_of(old, otherwise) + by) : rc;
}

/* Takes one from the first as long as both together have some: skew makes the sum negative. */
static int take_one(struct script *script, struct bb_slice a, struct bb_slice b)
{
    struct bb_slice left;
    struct bb_slice right;
    int rc = read_key(script, a, &left);

    if (rc == BB_OK)
        rc = read_key(script, b, &right);
    if (rc == BB_OK && number_of(left, 5) + number_of(right, 5) > 0)
        rc = write_number(script, a, number_of(left, 5) - 1);
    return rc;
}

/* Writes the key only while the range holds fewer than `max`: phantoms make it more. */
static int guard(struct script *script, struct bb_slice step)
{
    uint32_t count;
    int rc = scan_step(script, step, false, &count);

    if (rc == BB_OK && count < number_of(arg(step, 5), 0))
        rc = write_key(script, text_arg(step, 6), arg(step, 7));
    return rc;
}

/* ---- a transaction ---- */

static int run_step(struct script *script, struct bb_slice step)
{
    struct bb_slice name = text_arg(step, 0);
    struct bb_slice key = text_arg(step, 1);
    struct bb_slice value;
    uint32_t count;

    if (bb_slice_equal_str(name, "r"))
        return read_key(script, key, &value);
    if (bb_slice_equal_str(name, "ri"))
        return read_by_index(script, step);
    if (bb_slice_equal_str(name, "scan"))
        return scan_step(script, step, false, &count);
    if (bb_slice_equal_str(name, "vscan"))
        return scan_step(script, step, true, &count);
    if (bb_slice_equal_str(name, "w"))
        return write_key(script, key, arg(step, 2));
    if (bb_slice_equal_str(name, "fill"))
        return fill_key(script, key, arg(step, 2), (size_t)number_of(arg(step, 3), 0));
    if (bb_slice_equal_str(name, "d"))
        return delete_key(script, key);
    if (bb_slice_equal_str(name, "append"))
        return append(script, key, arg(step, 2));
    if (bb_slice_equal_str(name, "add"))
        return add(script, key, number_of(arg(step, 2), 1), 0);
    if (bb_slice_equal_str(name, "transfer")) {
        int rc = add(script, key, -number_of(arg(step, 3), 1), 100);
        return rc == BB_OK ? add(script, text_arg(step, 2), number_of(arg(step, 3), 1), 100) : rc;
    }
    if (bb_slice_equal_str(name, "take"))
        return take_one(script, key, text_arg(step, 2));
    if (bb_slice_equal_str(name, "guard"))
        return guard(script, step);
    if (bb_slice_equal_str(name, "throw"))
        return bb_fail(script->ctx, BB_USER_ERROR, "thrown on purpose");
    return bb_fail(script->ctx, BB_BAD_REQUEST, "an unknown step");
}

int sim_script_run(struct script *script, const char *path, struct bb_slice *value)
{
    if (strncmp(path, "_system:", 8) == 0)
        return sim_script_system(script, path, value);
    struct bb_slice steps = bb_value_field_str(script->args, "ops");
    struct bb_slice id = bb_value_field_str(script->args, "id");
    int rc = BB_OK;

    bb_value_builder_clear(script->log);
    bb_value_begin_array(script->log);
    note_begin(script, "id", BB_SLICE_EMPTY);
    note_value(script, id);
    bb_value_end_array(script->log);
    for (size_t i = 0; i < bb_value_count(steps) && rc == BB_OK; i++) {
        rc = run_step(script, bb_value_at(steps, i));
        sim_fiber_sleep(sim_below(80));
    }
    if (rc != BB_OK && rc != BB_USER_ERROR)
        return rc;
    bb_value_end_array(script->log);
    *value = bb_arena_dup(script->ctx->arena, bb_value_finish(script->log));
    return rc;
}
