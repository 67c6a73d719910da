/* What the database must show: keys, values, and the steps of a transaction run on them. */
#include <stdlib.h>

#include "checkers.h"

static size_t lower_bound(const struct check_model *model, struct bb_slice key)
{
    size_t low = 0;
    size_t high = model->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (bb_slice_compare(model->pairs[middle].key, key) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

struct bb_slice check_model_get(const struct check_model *model, struct bb_slice key)
{
    size_t at = lower_bound(model, key);

    return at < model->count && bb_slice_equal(model->pairs[at].key, key) ? model->pairs[at].value
                                                                          : BB_SLICE_EMPTY;
}

void check_model_put(struct check_model *model, struct bb_slice key, struct bb_slice value)
{
    size_t at = lower_bound(model, key);
    bool is_there = at < model->count && bb_slice_equal(model->pairs[at].key, key);
    size_t behind = model->count - at;

    if (is_there && value.data != NULL) {
        model->pairs[at].value = value;
    } else if (is_there) {
        memmove(model->pairs + at, model->pairs + at + 1, (behind - 1) * sizeof *model->pairs);
        model->count--;
    } else if (value.data != NULL) {
        if (model->count == model->capacity) {
            model->capacity = model->capacity == 0 ? 64 : model->capacity * 2;
            model->pairs = bb_realloc(model->pairs, model->capacity * sizeof *model->pairs);
        }
        memmove(model->pairs + at + 1, model->pairs + at, behind * sizeof *model->pairs);
        model->pairs[at] = (struct check_pair){ .key = key, .value = value };
        model->count++;
    }
}

void check_model_copy(const struct check_model *from, struct check_model *to)
{
    *to = (struct check_model){ .count = from->count, .capacity = from->count };
    to->pairs = bb_alloc((from->count + 1) * sizeof *to->pairs);
    if (from->count > 0)
        memcpy(to->pairs, from->pairs, from->count * sizeof *to->pairs);
}

void check_model_free(struct check_model *model)
{
    bb_free(model->pairs);
    *model = (struct check_model){ .count = 0 };
}

/* ---- comparing ---- */

static void tell(struct bb_buf *why, struct bb_slice step, struct bb_slice right)
{
    bb_buf_append_str(why, "told ");
    bb_json_encode(step, BB_JSON_CLEAN, why);
    bb_buf_append_str(why, ", it was ");
    if (right.data == NULL) {
        bb_buf_append_str(why, "not there");
    } else {
        bb_json_encode(right, BB_JSON_CLEAN, why);
    }
}

static bool is_same(struct bb_slice told, struct bb_slice right)
{
    if (right.data == NULL)
        return bb_value_tag(told) == BB_TAG_NULL;
    return bb_slice_equal(told, right);
}

struct rows {
    const struct check_pair **pairs;
    size_t count;
};

static bool is_between(struct bb_slice value, struct bb_slice low, struct bb_slice high)
{
    return bb_value_compare(value, low) >= 0 && bb_value_compare(value, high) < 0;
}

/* Rows by key between two texts. */
static void rows_by_key(const struct check_model *model, struct bb_slice low, struct bb_slice high,
                        struct rows *rows)
{
    for (size_t i = lower_bound(model, bb_value_bytes(low));
         i < model->count && bb_slice_compare(model->pairs[i].key, bb_value_bytes(high)) < 0; i++)
        rows->pairs[rows->count++] = &model->pairs[i];
}

/* By value; ties have an order of their own, so both sides are sorted by key before they are
 * compared. */
static void rows_by_value(const struct check_model *model, struct bb_slice low,
                          struct bb_slice high, struct rows *rows)
{
    for (size_t i = 0; i < model->count; i++) {
        if (is_between(model->pairs[i].value, low, high))
            rows->pairs[rows->count++] = &model->pairs[i];
    }
}

static const struct check_pair *row_at(const struct rows *rows, size_t i, bool is_descending)
{
    return rows->pairs[is_descending ? rows->count - 1 - i : i];
}

static bool holds(struct bb_slice told, const struct check_pair *pair)
{
    return bb_slice_equal(bb_value_bytes(bb_value_at(told, 0)), pair->key) &&
           bb_slice_equal(bb_value_at(told, 1), pair->value);
}

static bool same_in_order(struct bb_slice told, const struct rows *rows, bool is_descending)
{
    for (size_t i = 0; i < bb_value_count(told); i++) {
        if (!holds(bb_value_at(told, i), row_at(rows, i, is_descending)))
            return false;
    }
    return true;
}

static bool same_as_set(struct bb_slice told, const struct rows *rows)
{
    for (size_t i = 0; i < rows->count; i++) {
        size_t found = 0;
        for (size_t k = 0; k < bb_value_count(told); k++)
            found += holds(bb_value_at(told, k), rows->pairs[i]);
        if (found != 1)
            return false;
    }
    return true;
}

/* Lives with the builder. */
static struct bb_slice rows_value(const struct rows *rows, bool is_descending,
                                  struct bb_value_builder *builder)
{
    bb_value_begin_array(builder);
    for (size_t i = 0; i < rows->count; i++) {
        bb_value_begin_array(builder);
        bb_value_put_string(builder, row_at(rows, i, is_descending)->key);
        bb_value_put_value(builder, row_at(rows, i, is_descending)->value);
        bb_value_end_array(builder);
    }
    bb_value_end_array(builder);
    return bb_value_finish(builder);
}

/* [name, low, high, limit, isDescending, rows] */
static bool check_scan(const struct check_model *model, struct bb_slice step, bool is_by_value,
                       struct bb_buf *why)
{
    struct bb_slice told = bb_value_at(step, 5);
    size_t limit = (size_t)bb_value_float64(bb_value_at(step, 3));
    bool is_descending = bb_value_bool(bb_value_at(step, 4));
    const struct check_pair **pairs = bb_alloc((model->count + 1) * sizeof(void *));
    struct rows rows = { .pairs = pairs };

    if (is_by_value) {
        rows_by_value(model, bb_value_at(step, 1), bb_value_at(step, 2), &rows);
    } else {
        rows_by_key(model, bb_value_at(step, 1), bb_value_at(step, 2), &rows);
    }
    if (limit != 0 && rows.count > limit) {
        if (is_descending)
            rows.pairs += rows.count - limit;
        rows.count = limit;
    }
    bool is_right = bb_value_count(told) == rows.count;
    if (is_right)
        is_right =
            is_by_value ? same_as_set(told, &rows) : same_in_order(told, &rows, is_descending);
    if (!is_right) {
        struct bb_value_builder *builder = bb_value_builder_new();
        tell(why, step, rows_value(&rows, is_descending, builder));
        bb_value_builder_free(builder);
    }
    bb_free(pairs);
    return is_right;
}

static bool check_read_by_index(const struct check_model *model, struct bb_slice step,
                                struct bb_buf *why)
{
    struct bb_slice key = bb_value_bytes(bb_value_at(step, 1));
    struct bb_slice rows = bb_value_at(step, 2);
    struct bb_slice right = check_model_get(model, key);
    bool is_right = right.data == NULL
                        ? bb_value_count(rows) == 0
                        : bb_value_count(rows) == 1 &&
                              bb_slice_equal(bb_value_at(bb_value_at(rows, 0), 1), right);

    if (!is_right)
        tell(why, step, right);
    return is_right;
}

static bool run_step(struct check_model *model, struct bb_slice step, struct bb_buf *why)
{
    struct bb_slice name = bb_value_bytes(bb_value_at(step, 0));
    struct bb_slice key =
        bb_value_count(step) > 1 && bb_value_tag(bb_value_at(step, 1)) == BB_TAG_STRING
            ? bb_value_bytes(bb_value_at(step, 1))
            : BB_SLICE_EMPTY;

    if (bb_slice_equal_str(name, "r")) {
        struct bb_slice right = check_model_get(model, key);
        if (is_same(bb_value_at(step, 2), right))
            return true;
        tell(why, step, right);
        return false;
    }
    if (bb_slice_equal_str(name, "ri"))
        return check_read_by_index(model, step, why);
    if (bb_slice_equal_str(name, "scan"))
        return check_scan(model, step, false, why);
    if (bb_slice_equal_str(name, "vscan"))
        return check_scan(model, step, true, why);
    if (bb_slice_equal_str(name, "w"))
        check_model_put(model, key, bb_value_at(step, 2));
    if (bb_slice_equal_str(name, "d"))
        check_model_put(model, key, BB_SLICE_EMPTY);
    return true;
}

bool check_model_run(struct check_model *model, struct bb_slice log, struct bb_buf *why)
{
    bool is_right = true;

    for (size_t i = 0; log.size > 0 && i < bb_value_count(log); i++)
        is_right &= run_step(model, bb_value_at(log, i), why);
    return is_right;
}
