#include "bb/value.h"

#include "value_internal.h"

/*
 * Accessors trust their input: bb_value_validate has seen it. They assert cheap facts only.
 */

size_t value_whole_size(struct bb_slice bytes)
{
    uint64_t size;

    if (bytes.size == 0)
        return 0;
    switch ((enum bb_tag)bytes.data[0]) {
    case BB_TAG_UNDEFINED:
    case BB_TAG_NULL:
    case BB_TAG_FALSE:
    case BB_TAG_TRUE:
        return 1;
    case BB_TAG_INT64:
    case BB_TAG_FLOAT64:
        return bytes.size >= 9 ? 9 : 0;
    case BB_TAG_STRING:
    case BB_TAG_BYTES: {
        size_t used = bb_varint_get(bb_slice(bytes.data + 1, bytes.size - 1), &size);
        if (used == 0 || size > bytes.size - 1 - used)
            return 0;
        return 1 + used + (size_t)size;
    }
    case BB_TAG_ARRAY:
    case BB_TAG_OBJECT:
        if (bytes.size < VALUE_HEAD || bb_get_le32(bytes.data + 1) < 4)
            return 0;
        size = 5 + (uint64_t)bb_get_le32(bytes.data + 1);
        return size <= bytes.size ? (size_t)size : 0;
    }
    return 0;
}

enum bb_tag bb_value_tag(struct bb_slice value)
{
    bb_assert(value.size > 0);
    return (enum bb_tag)value.data[0];
}

bool bb_value_bool(struct bb_slice value)
{
    return bb_value_tag(value) == BB_TAG_TRUE;
}

int64_t bb_value_int64(struct bb_slice value)
{
    bb_assert(bb_value_tag(value) == BB_TAG_INT64 && value.size >= 9);
    return (int64_t)bb_get_le64(value.data + 1);
}

double bb_value_float64(struct bb_slice value)
{
    double number;

    bb_assert(bb_value_tag(value) == BB_TAG_FLOAT64 && value.size >= 9);
    memcpy(&number, value.data + 1, sizeof number);
    return number;
}

struct bb_slice bb_value_bytes(struct bb_slice value)
{
    uint64_t size = 0;

    bb_assert(bb_value_tag(value) == BB_TAG_STRING || bb_value_tag(value) == BB_TAG_BYTES);
    size_t used = bb_varint_get(bb_slice(value.data + 1, value.size - 1), &size);
    bb_assert(used > 0 && size <= value.size - 1 - used);
    return bb_slice(value.data + 1 + used, (size_t)size);
}

size_t bb_value_count(struct bb_slice value)
{
    bb_assert(bb_value_tag(value) == BB_TAG_ARRAY || bb_value_tag(value) == BB_TAG_OBJECT);
    return bb_get_le32(value.data + 5);
}

/* Where the names of an object start, and where its values do. */
static const uint8_t *object_names(struct bb_slice value, const uint8_t **values)
{
    size_t count = bb_get_le32(value.data + 5);
    const uint8_t *at = value.data + VALUE_HEAD + 8 * count;
    uint32_t names_size = bb_get_le32(at);

    *values = at + 4 + names_size;
    return at + 4;
}

struct bb_slice bb_value_at(struct bb_slice value, size_t index)
{
    size_t count = bb_value_count(value);
    const uint8_t *table = value.data + VALUE_HEAD;
    const uint8_t *heap;
    uint32_t start;
    uint32_t end;

    bb_assert(index < count);
    if (bb_value_tag(value) == BB_TAG_ARRAY) {
        heap = table + 4 * count;
        start = index == 0 ? 0 : bb_get_le32(table + 4 * (index - 1));
        end = bb_get_le32(table + 4 * index);
    } else {
        (void)object_names(value, &heap);
        start = index == 0 ? 0 : bb_get_le32(table + 8 * (index - 1) + 4);
        end = bb_get_le32(table + 8 * index + 4);
    }
    return bb_slice(heap + start, end - start);
}

struct bb_slice bb_value_name_at(struct bb_slice value, size_t index)
{
    const uint8_t *table = value.data + VALUE_HEAD;
    const uint8_t *values;
    const uint8_t *names = object_names(value, &values);

    bb_assert(bb_value_tag(value) == BB_TAG_OBJECT && index < bb_value_count(value));
    uint32_t start = index == 0 ? 0 : bb_get_le32(table + 8 * (index - 1));
    return bb_slice(names + start, bb_get_le32(table + 8 * index) - start);
}

struct bb_slice bb_value_field(struct bb_slice object, struct bb_slice name)
{
    size_t low = 0;
    size_t high;

    if (object.size == 0 || bb_value_tag(object) != BB_TAG_OBJECT)
        return BB_SLICE_EMPTY;
    high = bb_value_count(object);
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = bb_slice_compare(bb_value_name_at(object, middle), name);
        if (order == 0)
            return bb_value_at(object, middle);
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return BB_SLICE_EMPTY;
}

struct bb_slice bb_value_field_str(struct bb_slice object, const char *name)
{
    return bb_value_field(object, bb_slice_str(name));
}

struct bb_slice bb_value_path(struct bb_slice object, struct bb_slice path)
{
    while (object.data != NULL) {
        const uint8_t *dot = path.size == 0 ? NULL : memchr(path.data, '.', path.size);
        if (dot == NULL)
            return bb_value_field(object, path);
        size_t head = (size_t)(dot - path.data);
        object = bb_value_field(object, bb_slice(path.data, head));
        path = bb_slice(dot + 1, path.size - head - 1);
    }
    return BB_SLICE_EMPTY;
}

static int compare_u64(uint64_t a, uint64_t b)
{
    return (a > b) - (a < b);
}

/* Maps float bits so that unsigned order is the total order of floats. */
static uint64_t float_order(double value)
{
    uint64_t bits = value_float_bits(value);
    return bits >> 63 ? ~bits : bits | 1ull << 63;
}

static int compare_children(struct bb_slice a, struct bb_slice b)
{
    size_t count_a = bb_value_count(a);
    size_t count_b = bb_value_count(b);
    bool is_object = bb_value_tag(a) == BB_TAG_OBJECT;

    for (size_t i = 0; i < count_a && i < count_b; i++) {
        int order = 0;
        if (is_object)
            order = bb_slice_compare(bb_value_name_at(a, i), bb_value_name_at(b, i));
        if (order == 0)
            order = bb_value_compare(bb_value_at(a, i), bb_value_at(b, i));
        if (order != 0)
            return order;
    }
    return compare_u64(count_a, count_b);
}

int bb_value_compare(struct bb_slice a, struct bb_slice b)
{
    enum bb_tag tag = bb_value_tag(a);

    if (tag != bb_value_tag(b))
        return tag < bb_value_tag(b) ? -1 : 1;
    switch (tag) {
    case BB_TAG_UNDEFINED:
    case BB_TAG_NULL:
    case BB_TAG_FALSE:
    case BB_TAG_TRUE:
        return 0;
    case BB_TAG_INT64:
        return compare_u64((uint64_t)bb_value_int64(a) ^ 1ull << 63,
                           (uint64_t)bb_value_int64(b) ^ 1ull << 63);
    case BB_TAG_FLOAT64:
        return compare_u64(float_order(bb_value_float64(a)), float_order(bb_value_float64(b)));
    case BB_TAG_STRING:
    case BB_TAG_BYTES:
        return bb_slice_compare(bb_value_bytes(a), bb_value_bytes(b));
    case BB_TAG_ARRAY:
    case BB_TAG_OBJECT:
        return compare_children(a, b);
    }
    BB_UNREACHABLE("a validated value has one of the tags");
}

uint64_t bb_value_accounted_size(struct bb_slice value)
{
    uint64_t size = 2;

    switch (bb_value_tag(value)) {
    case BB_TAG_UNDEFINED:
    case BB_TAG_NULL:
    case BB_TAG_FALSE:
    case BB_TAG_TRUE:
        return 1;
    case BB_TAG_INT64:
    case BB_TAG_FLOAT64:
        return 9;
    case BB_TAG_STRING:
    case BB_TAG_BYTES:
        return 2 + bb_value_bytes(value).size;
    case BB_TAG_ARRAY:
        for (size_t i = 0; i < bb_value_count(value); i++)
            size += bb_value_accounted_size(bb_value_at(value, i));
        return size;
    case BB_TAG_OBJECT:
        for (size_t i = 0; i < bb_value_count(value); i++) {
            size += bb_value_name_at(value, i).size + 1 +
                    bb_value_accounted_size(bb_value_at(value, i));
        }
        return size;
    }
    BB_UNREACHABLE("a validated value has one of the tags");
}
