#include "bb/value.h"

#include "value_internal.h"

static int bad(struct bb_ctx *ctx, const char *what)
{
    return bb_fail(ctx, BB_BAD_REQUEST, "malformed value: %s", what);
}

/* Names of an object that were found to be in order and UTF-8; its siblings in an array mostly have
 * the same. */
struct names {
    const uint8_t *table; /* where each ends, at every eighth byte */
    struct bb_slice bytes;
    uint64_t count;
};

static bool has_names(const struct names *names, const uint8_t *table, struct bb_slice bytes,
                      uint64_t count)
{
    if (names->count != count || !bb_slice_equal(names->bytes, bytes))
        return false;
    for (size_t i = 0; i < count; i++) {
        if (bb_get_le32(names->table + 8 * i) != bb_get_le32(table + 8 * i))
            return false;
    }
    return true;
}

static bool is_utf8(struct bb_slice text)
{
    uint64_t word, seen = 0;
    size_t at = 0;

    for (; at + 8 <= text.size; at += 8) {
        memcpy(&word, text.data + at, 8);
        seen |= word;
    }
    for (; at < text.size; at++)
        seen |= text.data[at];
    return (seen & 0x8080808080808080u) == 0 || bb_utf8_is_valid(text);
}

static int validate(struct bb_ctx *ctx, struct bb_slice value, unsigned depth, struct names *names);

static int validate_array(struct bb_ctx *ctx, struct bb_slice value, unsigned depth)
{
    uint64_t count = bb_get_le32(value.data + 5);
    uint64_t heap = VALUE_HEAD + 4 * count;
    uint32_t before = 0;
    struct names names = { .count = 0 };

    if (heap > value.size)
        return bad(ctx, "an array's table lies beyond its end");
    for (size_t i = 0; i < count; i++) {
        uint32_t end = bb_get_le32(value.data + VALUE_HEAD + 4 * i);
        if (end <= before || end > value.size - heap)
            return bad(ctx, "an array's element lies beyond its end");
        int rc =
            validate(ctx, bb_slice(value.data + heap + before, end - before), depth + 1, &names);
        if (rc != BB_OK)
            return rc;
        before = end;
    }
    return before == value.size - heap ? BB_OK : bad(ctx, "bytes after an array's elements");
}

static int validate_object(struct bb_ctx *ctx, struct bb_slice value, unsigned depth,
                           struct names *known)
{
    uint64_t count = bb_get_le32(value.data + 5);
    const uint8_t *table = value.data + VALUE_HEAD;
    uint64_t names = VALUE_HEAD + 8 * count + 4;
    struct bb_slice name_before = BB_SLICE_EMPTY;
    uint32_t name_start = 0;
    uint32_t value_start = 0;

    if (names > value.size)
        return bad(ctx, "an object's table lies beyond its end");
    uint64_t heap = names + bb_get_le32(value.data + names - 4);
    if (heap > value.size)
        return bad(ctx, "an object's names lie beyond its end");
    struct names own = { table, bb_slice(value.data + names, heap - names), count };
    bool is_known = known->count > 0 && has_names(known, table, own.bytes, count);
    struct names inner = { .count = 0 };
    for (size_t i = 0; i < count; i++) {
        uint32_t name_end = bb_get_le32(table + 8 * i);
        uint32_t value_end = bb_get_le32(table + 8 * i + 4);
        if (name_end < name_start || name_end > heap - names || value_end <= value_start ||
            value_end > value.size - heap)
            return bad(ctx, "an object's field lies beyond its end");
        struct bb_slice name = bb_slice(value.data + names + name_start, name_end - name_start);
        if (!is_known && i > 0 && bb_slice_compare(name_before, name) >= 0)
            return bad(ctx, "an object's fields are not in order");
        if (!is_known && !is_utf8(name))
            return bad(ctx, "a field name is not UTF-8");
        int rc = validate(ctx, bb_slice(value.data + heap + value_start, value_end - value_start),
                          depth + 1, &inner);
        if (rc != BB_OK)
            return rc;
        name_before = name;
        name_start = name_end;
        value_start = value_end;
    }
    if (name_start != heap - names || value_start != value.size - heap)
        return bad(ctx, "bytes after an object's fields");
    *known = own;
    return BB_OK;
}

static int validate(struct bb_ctx *ctx, struct bb_slice value, unsigned depth, struct names *names)
{
    if (depth > BB_VALUE_DEPTH_MAX)
        return bad(ctx, "nested too deeply");
    if (value.size > 0 && value.data[0] == BB_TAG_STRING) {
        struct bb_slice text = value_short_bytes(value);
        if (text.data != NULL)
            return is_utf8(text) ? BB_OK : bad(ctx, "a string is not UTF-8");
    }
    size_t size = value_whole_size(value);
    if (size == 0)
        return bad(ctx, "cut off, or an unknown tag");
    if (size != value.size)
        return bad(ctx, "bytes after the end");
    switch ((enum bb_tag)value.data[0]) {
    case BB_TAG_UNDEFINED:
    case BB_TAG_NULL:
    case BB_TAG_FALSE:
    case BB_TAG_TRUE:
    case BB_TAG_INT64:
    case BB_TAG_BYTES:
        return BB_OK;
    case BB_TAG_FLOAT64:
        if (value_float_bits(bb_value_float64(value)) != bb_get_le64(value.data + 1))
            return bad(ctx, "a NaN that is not the canonical one");
        return BB_OK;
    case BB_TAG_STRING:
        return is_utf8(bb_value_bytes(value)) ? BB_OK : bad(ctx, "a string is not UTF-8");
    case BB_TAG_ARRAY:
        return validate_array(ctx, value, depth);
    case BB_TAG_OBJECT:
        return validate_object(ctx, value, depth, names);
    }
    return bad(ctx, "an unknown tag");
}

int bb_value_validate(struct bb_ctx *ctx, struct bb_slice value)
{
    struct names names = { .count = 0 };

    return validate(ctx, value, 0, &names);
}

/* ---- what a document may look like ---- */

#define DOCUMENT_DEPTH_MAX  16
#define DOCUMENT_ARRAY_MAX  8192
#define DOCUMENT_FIELDS_MAX 1024
#define DOCUMENT_NAME_MAX   1024

/* Where in the document we are, as a chain on the stack; text is made for an error only. */
struct place {
    const struct place *above;
    struct bb_slice name; /* data == NULL: an array element */
    size_t index;
};

static void place_text(const struct place *place, struct bb_buf *to)
{
    if (place == NULL)
        return;
    place_text(place->above, to);
    if (place->name.data == NULL) {
        bb_buf_printf(to, "[%zu]", place->index);
        return;
    }
    if (to->size > 0)
        bb_buf_append_byte(to, '.');
    bb_buf_append_slice(to,
                        bb_slice(place->name.data, place->name.size < 80 ? place->name.size : 80));
}

static int refuse(struct bb_ctx *ctx, const struct place *place, const char *what)
{
    struct bb_buf text;

    bb_buf_init(&text);
    place_text(place, &text);
    bb_buf_append_byte(&text, '\0');
    (void)bb_fail(ctx, BB_NOT_ENCODABLE, "%s%s%s", (char *)text.data,
                  text.size > 1 ? ": " : "the document: ", what);
    bb_buf_fini(&text);
    return BB_NOT_ENCODABLE;
}

static int check(struct bb_ctx *ctx, struct bb_slice value, const struct place *place,
                 unsigned depth);

static int check_name(struct bb_ctx *ctx, const struct place *place, unsigned depth)
{
    struct bb_slice name = place->name;

    if (name.size == 0)
        return refuse(ctx, place, "a field name may not be empty");
    if (name.size > DOCUMENT_NAME_MAX)
        return refuse(ctx, place, "a field name has at most 1,024 characters");
    for (size_t i = 0; i < name.size; i++) {
        if (name.data[i] < 32 || name.data[i] > 126)
            return refuse(ctx, place, "a field name has printable ASCII characters only");
    }
    if (name.data[0] == '$')
        return refuse(ctx, place, "a field name may not start with `$`");
    if (name.data[0] == '_' && depth == 0) {
        return refuse(ctx, place,
                      "a top-level field name may not start with `_`: these belong to the system");
    }
    return BB_OK;
}

static int check(struct bb_ctx *ctx, struct bb_slice value, const struct place *place,
                 unsigned depth)
{
    enum bb_tag tag = bb_value_tag(value);

    if (tag == BB_TAG_UNDEFINED)
        return refuse(ctx, place, "undefined cannot be stored; leave the field out or use null");
    if (tag != BB_TAG_ARRAY && tag != BB_TAG_OBJECT)
        return BB_OK;
    if (depth >= DOCUMENT_DEPTH_MAX)
        return refuse(ctx, place, "nested deeper than 16 levels");
    size_t count = bb_value_count(value);
    if (tag == BB_TAG_ARRAY && count > DOCUMENT_ARRAY_MAX)
        return refuse(ctx, place, "an array has at most 8,192 elements");
    if (tag == BB_TAG_OBJECT && count > DOCUMENT_FIELDS_MAX)
        return refuse(ctx, place, "an object has at most 1,024 fields");
    for (size_t i = 0; i < count; i++) {
        struct place inner = { .above = place, .index = i };
        int rc = BB_OK;
        inner.name = tag == BB_TAG_OBJECT ? bb_value_name_at(value, i) : BB_SLICE_EMPTY;
        if (tag == BB_TAG_OBJECT) {
            static const uint8_t none;
            if (inner.name.data == NULL)
                inner.name.data = &none;
            rc = check_name(ctx, &inner, depth);
        }
        if (rc == BB_OK)
            rc = check(ctx, bb_value_at(value, i), &inner, depth + 1);
        if (rc != BB_OK)
            return rc;
    }
    return BB_OK;
}

int bb_document_check(struct bb_ctx *ctx, struct bb_slice document, uint64_t limit_bytes)
{
    if (bb_value_tag(document) != BB_TAG_OBJECT)
        return bb_fail(ctx, BB_NOT_ENCODABLE, "a document must be an object");
    int rc = check(ctx, document, NULL, 0);
    if (rc != BB_OK)
        return rc;
    uint64_t size = bb_value_accounted_size(document);
    if (size > limit_bytes) {
        return bb_fail(ctx, BB_DOCUMENT_TOO_LARGE,
                       "the document has %" PRIu64 " bytes, the limit is %" PRIu64
                       ": split it, or keep large content in files",
                       size, limit_bytes);
    }
    return BB_OK;
}
