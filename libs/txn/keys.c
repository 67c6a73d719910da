#include "txn_internal.h"

/*
 * Ends of ranges. A key form of a value can be the beginning of another's: "a" is 07 61 00, "a\0"
 * is 07 61 00 ff 00. What follows a whole value in a key is the tag of the next one (01..0a), never
 * ff, so the keys whose value equals v are exactly [form, form + ff). Where the raw id follows
 * (behind the creation time, of fixed size), it is the next key after all that start with the form.
 */
enum {
    AFTER_VALUE = 0xff
};

static struct bb_slice field_of(struct bb_slice document, const char *name)
{
    struct bb_slice value = bb_value_field_str(document, name);

    bb_assert(value.data != NULL);
    return value;
}

bool txn_index_key(const struct txn_table *table, const struct txn_index *index,
                   const struct bb_id *id, struct bb_slice document, struct bb_buf *key)
{
    if (index->kind == TXN_BY_ID) {
        bb_key_by_id(key, table->number, id);
        return true;
    }
    if (index->kind == TXN_BY_KEY && bb_value_field_str(document, "_key").data == NULL)
        return false;
    bb_key_append_u32(key, index->id);
    if (index->kind != TXN_BY_CREATION_TIME) {
        for (size_t i = 0; i < index->field_count; i++)
            bb_key_append_value(key, bb_value_path(document, index->fields[i]));
    }
    bb_key_append_float64(key, bb_value_float64(field_of(document, "_creationTime")));
    bb_buf_append(key, id->bytes, sizeof id->bytes);
    return true;
}

/* ---- ranges ---- */

struct bound {
    bool is_set, is_inclusive;
    struct bb_slice value;
};

struct range_parser {
    struct bb_ctx *ctx;
    const struct txn_table *table;
    const struct txn_index *index;
    struct bb_buf *prefix;
    size_t field_at; /* fields that an eq has fixed */
    bool is_open;    /* the field at field_at has a bound: no more eq */
    struct bound low, high;
};

/* The fields of the index, then _creationTime, which ends every index but by_id. */
static struct bb_slice field_name(const struct range_parser *parser, size_t at)
{
    if (at < parser->index->field_count)
        return parser->index->fields[at];
    if (at == parser->index->field_count &&
        (parser->index->kind == TXN_DECLARED || parser->index->kind == TXN_BY_KEY))
        return bb_slice_str("_creationTime");
    return BB_SLICE_EMPTY;
}

static bool is_before_id(const struct range_parser *parser)
{
    return bb_slice_equal_str(field_name(parser, parser->field_at), "_creationTime");
}

static int bad_range(const struct range_parser *parser, const char *what, struct bb_slice field)
{
    struct bb_buf fields;
    int rc;

    bb_buf_init(&fields);
    for (size_t i = 0; field_name(parser, i).data != NULL; i++) {
        bb_buf_printf(&fields, "%s\"%.*s\"", i == 0 ? "" : ", ",
                      BB_SLICE_ARG(field_name(parser, i)));
    }
    rc = bb_fail(parser->ctx, BB_BAD_QUERY,
                 "Range on index %.*s.%.*s: %s \"%.*s\". The index has the fields %.*s in this "
                 "order: use eq on the first ones, then at most one field with gt or gte and lt or "
                 "lte.",
                 BB_SLICE_ARG(parser->table->name), BB_SLICE_ARG(parser->index->name), what,
                 BB_SLICE_ARG(field), BB_SLICE_ARG(bb_buf_slice(&fields)));
    bb_buf_fini(&fields);
    return rc;
}

static int append_id(const struct range_parser *parser, struct bb_slice value, struct bb_buf *key)
{
    uint32_t number = 0;
    struct bb_id id;

    if (bb_value_tag(value) != BB_TAG_STRING) {
        return bb_fail(parser->ctx, BB_BAD_ID, "Range on index %.*s.by_id: _id must be an id.",
                       BB_SLICE_ARG(parser->table->name));
    }
    int rc = bb_id_parse(parser->ctx, bb_value_bytes(value), &number, &id);
    if (rc != BB_OK)
        return rc;
    if (number != parser->table->number) {
        return bb_fail(parser->ctx, BB_BAD_ID,
                       "Range on index %.*s.by_id: \"%.*s\" is the id of another table.",
                       BB_SLICE_ARG(parser->table->name), BB_SLICE_ARG(bb_value_bytes(value)));
    }
    bb_buf_append(key, id.bytes, sizeof id.bytes);
    return BB_OK;
}

static int append_field(const struct range_parser *parser, struct bb_slice value,
                        struct bb_buf *key)
{
    if (parser->index->kind == TXN_BY_ID)
        return append_id(parser, value, key);
    bb_key_append_value(key, value);
    return BB_OK;
}

/* `key` ends with the field's value: make it the first key after all keys with that value. */
static void pass_value(const struct range_parser *parser, struct bb_buf *key)
{
    struct bb_buf end;

    if (parser->index->kind == TXN_BY_ID) {
        bb_buf_append_byte(key, 0);
        return;
    }
    if (!is_before_id(parser)) {
        bb_buf_append_byte(key, AFTER_VALUE);
        return;
    }
    bb_buf_init(&end);
    if (bb_key_prefix_end(bb_buf_slice(key), &end)) {
        bb_buf_clear(key);
        bb_buf_append_slice(key, bb_buf_slice(&end));
    }
    bb_buf_fini(&end);
}

static int parse_bound(struct range_parser *parser, struct bb_slice op, struct bb_slice field,
                       struct bb_slice value)
{
    bool is_low = bb_slice_equal_str(op, "gt") || bb_slice_equal_str(op, "gte");
    bool is_high = bb_slice_equal_str(op, "lt") || bb_slice_equal_str(op, "lte");
    struct bound *bound = is_low ? &parser->low : &parser->high;

    if (!is_low && !is_high)
        return bad_range(parser, "unknown operator for", field);
    if (bound->is_set)
        return bad_range(parser, is_low ? "two lower bounds on" : "two upper bounds on", field);
    *bound = (struct bound){ .is_set = true, .is_inclusive = op.size == 3, .value = value };
    parser->is_open = true;
    return BB_OK;
}

static int parse_step(struct range_parser *parser, struct bb_slice step)
{
    if (bb_value_tag(step) != BB_TAG_ARRAY || bb_value_count(step) != 3 ||
        bb_value_tag(bb_value_at(step, 0)) != BB_TAG_STRING ||
        bb_value_tag(bb_value_at(step, 1)) != BB_TAG_STRING) {
        return bb_fail(parser->ctx, BB_BAD_QUERY,
                       "Range on index %.*s.%.*s: a field name must be "
                       "a string.",
                       BB_SLICE_ARG(parser->table->name), BB_SLICE_ARG(parser->index->name));
    }
    struct bb_slice op = bb_value_bytes(bb_value_at(step, 0));
    struct bb_slice field = bb_value_bytes(bb_value_at(step, 1));
    struct bb_slice value = bb_value_at(step, 2);
    struct bb_slice expected = field_name(parser, parser->field_at);
    if (expected.data == NULL || !bb_slice_equal(field, expected))
        return bad_range(parser, "out of turn:", field);
    if (!bb_slice_equal_str(op, "eq"))
        return parse_bound(parser, op, field, value);
    if (parser->is_open)
        return bad_range(parser, "eq after gt, gte, lt or lte on", field);
    int rc = append_field(parser, value, parser->prefix);
    parser->field_at++;
    return rc;
}

int txn_index_range(struct bb_ctx *ctx, const struct txn_table *table,
                    const struct txn_index *index, struct bb_slice range, struct bb_buf *low,
                    struct bb_buf *high)
{
    struct range_parser parser = { .ctx = ctx, .table = table, .index = index, .prefix = low };
    size_t count = range.size == 0 ? 0 : bb_value_count(range);
    int rc = BB_OK;

    bb_key_append_u32(low, index->id);
    for (size_t i = 0; i < count; i++) {
        rc = parse_step(&parser, bb_value_at(range, i));
        if (rc != BB_OK)
            return rc;
    }
    bb_buf_append_slice(high, bb_buf_slice(low));
    if (parser.high.is_set) {
        rc = append_field(&parser, parser.high.value, high);
        if (rc == BB_OK && parser.high.is_inclusive)
            pass_value(&parser, high);
    } else if (parser.field_at == 0) {
        bb_put_be32(high->data, index->id + 1);
    } else {
        parser.field_at--; /* the end of what the last eq has fixed */
        pass_value(&parser, high);
        parser.field_at++;
    }
    if (rc == BB_OK && parser.low.is_set) {
        rc = append_field(&parser, parser.low.value, low);
        if (rc == BB_OK && !parser.low.is_inclusive)
            pass_value(&parser, low);
    }
    if (rc == BB_OK && (low->size > BB_KEY_MAX || high->size > BB_KEY_MAX)) {
        rc = bb_fail(ctx, BB_KEY_TOO_LARGE,
                     "Range on index %.*s.%.*s: its key has %zu bytes, the limit is %d. Compare "
                     "with shorter values.",
                     BB_SLICE_ARG(table->name), BB_SLICE_ARG(index->name),
                     low->size > high->size ? low->size : high->size, BB_KEY_MAX);
    }
    return rc;
}
