#include "bb/value.h"

#include <stdlib.h>

#include "value_internal.h"

/*
 * Values are appended to one buffer. When an array or object ends, the bytes of its children, which
 * lie at the end of the buffer, are replaced by the finished container: a copy per level of
 * nesting.
 */

struct item {
    size_t name, name_size;   /* in names */
    size_t value, value_size; /* in out */
    size_t order;             /* of writing: of two equal names the later one wins */
};

struct frame {
    bool is_object;
    size_t out_start, names_start, items_start;
};

struct bb_value_builder {
    struct bb_buf out, names, scratch;
    struct item *items;
    size_t item_count, item_capacity;
    struct frame frames[BB_VALUE_DEPTH_MAX + 2];
    size_t depth;
};

struct bb_value_builder *bb_value_builder_new(void)
{
    return bb_alloc_zero(1, sizeof(struct bb_value_builder));
}

void bb_value_builder_free(struct bb_value_builder *builder)
{
    if (builder == NULL)
        return;
    bb_buf_fini(&builder->out);
    bb_buf_fini(&builder->names);
    bb_buf_fini(&builder->scratch);
    bb_free(builder->items);
    bb_free(builder);
}

void bb_value_builder_clear(struct bb_value_builder *builder)
{
    bb_buf_clear(&builder->out);
    bb_buf_clear(&builder->names);
    builder->item_count = 0;
    builder->depth = 0;
}

static struct frame *top(struct bb_value_builder *builder)
{
    return builder->depth == 0 ? NULL : &builder->frames[builder->depth - 1];
}

static struct item *add_item(struct bb_value_builder *builder)
{
    if (builder->item_count == builder->item_capacity) {
        builder->item_capacity = builder->item_capacity == 0 ? 32 : builder->item_capacity * 2;
        builder->items = bb_realloc(builder->items, builder->item_capacity * sizeof(struct item));
    }
    struct item *item = &builder->items[builder->item_count];
    *item = (struct item){ .order = builder->item_count };
    builder->item_count++;
    return item;
}

/* A value starts: in an array it opens an item; in an object the name has opened one. */
static void value_starts(struct bb_value_builder *builder)
{
    struct frame *frame = top(builder);

    if (frame == NULL) {
        bb_assert(builder->out.size == 0);
        return;
    }
    struct item *item =
        frame->is_object ? &builder->items[builder->item_count - 1] : add_item(builder);
    bb_assert(builder->item_count > frame->items_start && item->value_size == 0);
    item->value = builder->out.size;
}

static void value_ended(struct bb_value_builder *builder)
{
    if (builder->depth == 0)
        return;
    struct item *item = &builder->items[builder->item_count - 1];
    item->value_size = builder->out.size - item->value;
}

static void put(struct bb_value_builder *builder, const void *bytes, size_t size)
{
    value_starts(builder);
    bb_buf_append(&builder->out, bytes, size);
    value_ended(builder);
}

static void put_tag(struct bb_value_builder *builder, enum bb_tag tag)
{
    uint8_t byte = (uint8_t)tag;

    put(builder, &byte, 1);
}

void bb_value_undefined(struct bb_value_builder *builder)
{
    put_tag(builder, BB_TAG_UNDEFINED);
}

void bb_value_null(struct bb_value_builder *builder)
{
    put_tag(builder, BB_TAG_NULL);
}

void bb_value_put_bool(struct bb_value_builder *builder, bool value)
{
    put_tag(builder, value ? BB_TAG_TRUE : BB_TAG_FALSE);
}

void bb_value_put_int64(struct bb_value_builder *builder, int64_t value)
{
    uint8_t bytes[9] = { BB_TAG_INT64 };

    bb_put_le64(bytes + 1, (uint64_t)value);
    put(builder, bytes, sizeof bytes);
}

void bb_value_put_float64(struct bb_value_builder *builder, double value)
{
    uint8_t bytes[9] = { BB_TAG_FLOAT64 };

    bb_put_le64(bytes + 1, value_float_bits(value));
    put(builder, bytes, sizeof bytes);
}

static void put_sized(struct bb_value_builder *builder, enum bb_tag tag, struct bb_slice content)
{
    uint8_t head[11] = { (uint8_t)tag };
    size_t size = 1 + bb_varint_put(head + 1, content.size);

    value_starts(builder);
    bb_buf_append(&builder->out, head, size);
    bb_buf_append_slice(&builder->out, content);
    value_ended(builder);
}

void bb_value_put_string(struct bb_value_builder *builder, struct bb_slice utf8)
{
    put_sized(builder, BB_TAG_STRING, utf8);
}

void bb_value_put_bytes(struct bb_value_builder *builder, struct bb_slice bytes)
{
    put_sized(builder, BB_TAG_BYTES, bytes);
}

void bb_value_put_value(struct bb_value_builder *builder, struct bb_slice bbv)
{
    bb_assert(bbv.size > 0);
    put(builder, bbv.data, bbv.size);
}

static void begin(struct bb_value_builder *builder, bool is_object)
{
    value_starts(builder);
    bb_assert(builder->depth < BB_COUNT_OF(builder->frames));
    builder->frames[builder->depth++] = (struct frame){ .is_object = is_object,
                                                        .out_start = builder->out.size,
                                                        .names_start = builder->names.size,
                                                        .items_start = builder->item_count };
}

void bb_value_begin_array(struct bb_value_builder *builder)
{
    begin(builder, false);
}

void bb_value_begin_object(struct bb_value_builder *builder)
{
    begin(builder, true);
}

void bb_value_field_name(struct bb_value_builder *builder, struct bb_slice name)
{
    struct frame *frame = top(builder);

    bb_assert(frame != NULL && frame->is_object);
    bb_assert(builder->item_count == frame->items_start ||
              builder->items[builder->item_count - 1].value_size > 0);
    struct item *item = add_item(builder);
    item->name = builder->names.size;
    item->name_size = name.size;
    (void)bb_buf_reserve(&builder->names, name.size + 1); /* an empty name lies somewhere, too */
    bb_buf_append_slice(&builder->names, name);
}

static int compare_names(const struct bb_value_builder *builder, const struct item *a,
                         const struct item *b)
{
    return bb_slice_compare(bb_slice(builder->names.data + a->name, a->name_size),
                            bb_slice(builder->names.data + b->name, b->name_size));
}

static int compare_items(const void *a, const void *b, void *arg)
{
    const struct item *left = a;
    const struct item *right = b;
    int order = compare_names(arg, left, right);

    return order != 0 ? order : (left->order > right->order) - (left->order < right->order);
}

/* Sorts the fields of the innermost object and drops all but the last of equal names. */
static size_t order_fields(struct bb_value_builder *builder, struct item *items, size_t count)
{
    size_t kept = 0;
    bool is_sorted = true;

    for (size_t i = 1; i < count && is_sorted; i++)
        is_sorted = compare_names(builder, &items[i - 1], &items[i]) < 0;
    if (is_sorted)
        return count;
    qsort_r(items, count, sizeof *items, compare_items, builder);
    for (size_t i = 0; i < count; i++) {
        if (i + 1 < count && compare_names(builder, &items[i], &items[i + 1]) == 0)
            continue;
        items[kept++] = items[i];
    }
    return kept;
}

static void scratch_u32(struct bb_value_builder *builder, size_t value)
{
    bb_assert(value <= UINT32_MAX);
    bb_put_le32(bb_buf_reserve(&builder->scratch, 4), (uint32_t)value);
    builder->scratch.size += 4;
}

/* Puts the finished container in place of its children's bytes. */
static void end(struct bb_value_builder *builder, bool is_object)
{
    struct frame *frame = top(builder);
    struct bb_buf *scratch = &builder->scratch;

    bb_assert(frame != NULL && frame->is_object == is_object);
    /* No items yet: no address to add to. */
    struct item *items = builder->items == NULL ? NULL : builder->items + frame->items_start;
    size_t count = builder->item_count - frame->items_start;
    bb_assert(count == 0 || items[count - 1].value_size > 0);
    if (is_object)
        count = order_fields(builder, items, count);

    bb_buf_clear(scratch);
    bb_buf_append_byte(scratch, is_object ? BB_TAG_OBJECT : BB_TAG_ARRAY);
    scratch_u32(builder, 0);
    scratch_u32(builder, count);
    size_t names_size = 0;
    size_t values_size = 0;
    for (size_t i = 0; i < count; i++) {
        names_size += items[i].name_size;
        values_size += items[i].value_size;
        if (is_object)
            scratch_u32(builder, names_size);
        scratch_u32(builder, values_size);
    }
    if (is_object) {
        scratch_u32(builder, names_size);
        for (size_t i = 0; i < count; i++)
            bb_buf_append(scratch, builder->names.data + items[i].name, items[i].name_size);
    }
    for (size_t i = 0; i < count; i++)
        bb_buf_append(scratch, builder->out.data + items[i].value, items[i].value_size);
    bb_assert(scratch->size - 5 <= UINT32_MAX);
    bb_put_le32(scratch->data + 1, (uint32_t)(scratch->size - 5));

    builder->out.size = frame->out_start;
    builder->names.size = frame->names_start;
    builder->item_count = frame->items_start;
    builder->depth--;
    bb_buf_append_slice(&builder->out, bb_buf_slice(scratch));
    value_ended(builder);
}

void bb_value_end_array(struct bb_value_builder *builder)
{
    end(builder, false);
}

void bb_value_end_object(struct bb_value_builder *builder)
{
    end(builder, true);
}

struct bb_slice bb_value_finish(struct bb_value_builder *builder)
{
    bb_assert(builder->depth == 0 && builder->out.size > 0);
    return bb_buf_slice(&builder->out);
}

void bb_value_merge(struct bb_slice object, struct bb_slice changes, struct bb_buf *to)
{
    struct bb_value_builder *builder = bb_value_builder_new();

    bb_value_begin_object(builder);
    for (size_t i = 0; i < bb_value_count(object); i++) {
        struct bb_slice name = bb_value_name_at(object, i);
        if (bb_value_field(changes, name).data != NULL)
            continue;
        bb_value_field_name(builder, name);
        bb_value_put_value(builder, bb_value_at(object, i));
    }
    for (size_t i = 0; i < bb_value_count(changes); i++) {
        struct bb_slice value = bb_value_at(changes, i);
        if (bb_value_tag(value) == BB_TAG_UNDEFINED)
            continue;
        bb_value_field_name(builder, bb_value_name_at(changes, i));
        bb_value_put_value(builder, value);
    }
    bb_value_end_object(builder);
    bb_buf_append_slice(to, bb_value_finish(builder));
    bb_value_builder_free(builder);
}
