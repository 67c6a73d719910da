#include "bb/value.h"

#include "value_internal.h"

/* Order-preserving keys: docs/formats/key.md. memcmp of two keys is the order of the values. */

static void append_tagged_u64(struct bb_buf *key, enum bb_tag tag, uint64_t ordered)
{
    uint8_t *to = bb_buf_reserve(key, 9);

    to[0] = (uint8_t)tag;
    bb_put_be64(to + 1, ordered);
    key->size += 9;
}

/* Content with 00 written 00 FF, then 00. */
static void append_content(struct bb_buf *key, enum bb_tag tag, struct bb_slice content)
{
    static const uint8_t escaped[2] = { 0x00, 0xff };

    bb_buf_append_byte(key, (uint8_t)tag);
    while (content.size > 0) {
        const uint8_t *zero = memchr(content.data, 0, content.size);
        size_t plain = zero == NULL ? content.size : (size_t)(zero - content.data);
        bb_buf_append(key, content.data, plain);
        if (zero == NULL)
            break;
        bb_buf_append(key, escaped, sizeof escaped);
        content = bb_slice(content.data + plain + 1, content.size - plain - 1);
    }
    bb_buf_append_byte(key, 0x00);
}

void bb_key_append_float64(struct bb_buf *key, double value)
{
    uint64_t bits = value_float_bits(value);

    append_tagged_u64(key, BB_TAG_FLOAT64, bits >> 63 ? ~bits : bits | 1ull << 63);
}

void bb_key_append_value(struct bb_buf *key, struct bb_slice value)
{
    if (value.size == 0) {
        bb_buf_append_byte(key, BB_TAG_UNDEFINED);
        return;
    }
    switch (bb_value_tag(value)) {
    case BB_TAG_UNDEFINED:
    case BB_TAG_NULL:
    case BB_TAG_FALSE:
    case BB_TAG_TRUE:
        bb_buf_append_byte(key, value.data[0]);
        return;
    case BB_TAG_INT64:
        append_tagged_u64(key, BB_TAG_INT64, (uint64_t)bb_value_int64(value) ^ 1ull << 63);
        return;
    case BB_TAG_FLOAT64:
        bb_key_append_float64(key, bb_value_float64(value));
        return;
    case BB_TAG_STRING:
    case BB_TAG_BYTES:
        append_content(key, bb_value_tag(value), bb_value_bytes(value));
        return;
    case BB_TAG_ARRAY:
    case BB_TAG_OBJECT:
        bb_buf_append_byte(key, value.data[0]);
        for (size_t i = 0; i < bb_value_count(value); i++) {
            if (bb_value_tag(value) == BB_TAG_OBJECT)
                append_content(key, BB_TAG_STRING, bb_value_name_at(value, i));
            bb_key_append_value(key, bb_value_at(value, i));
        }
        bb_buf_append_byte(key, 0x00);
        return;
    }
    BB_UNREACHABLE("a validated value has one of the tags");
}

void bb_key_append_u32(struct bb_buf *key, uint32_t index_id)
{
    bb_put_be32(bb_buf_reserve(key, 4), index_id);
    key->size += 4;
}

void bb_key_by_id(struct bb_buf *key, uint32_t table, const struct bb_id *id)
{
    bb_key_append_u32(key, BB_INDEX_BY_ID(table));
    bb_buf_append(key, id->bytes, sizeof id->bytes);
}

bool bb_key_prefix_end(struct bb_slice prefix, struct bb_buf *end)
{
    size_t size = prefix.size;

    while (size > 0 && prefix.data[size - 1] == 0xff)
        size--;
    if (size == 0)
        return false;
    size_t at = end->size;
    bb_buf_append(end, prefix.data, size);
    end->data[at + size - 1]++;
    return true;
}

/* ---- decoding: the cursor moves over `key` ---- */

struct reader {
    struct bb_ctx *ctx;
    struct bb_slice key;
    size_t at;
    struct bb_value_builder *builder;
    struct bb_buf content;
};

static int malformed(struct reader *reader)
{
    return bb_fail(reader->ctx, BB_CORRUPT, "malformed key at byte %zu", reader->at);
}

static int read_u64(struct reader *reader, uint64_t *value)
{
    if (reader->key.size - reader->at < 8)
        return malformed(reader);
    *value = bb_get_be64(reader->key.data + reader->at);
    reader->at += 8;
    return BB_OK;
}

static int read_content(struct reader *reader)
{
    bb_buf_clear(&reader->content);
    for (;;) {
        if (reader->at >= reader->key.size)
            return malformed(reader);
        uint8_t byte = reader->key.data[reader->at++];
        if (byte == 0) {
            if (reader->at >= reader->key.size || reader->key.data[reader->at] != 0xff)
                return BB_OK;
            reader->at++;
        }
        bb_buf_append_byte(&reader->content, byte);
    }
}

static int read_value(struct reader *reader, unsigned depth);

static int read_children(struct reader *reader, bool is_object, unsigned depth)
{
    int rc = BB_OK;

    if (depth > BB_VALUE_DEPTH_MAX)
        return malformed(reader);
    if (is_object) {
        bb_value_begin_object(reader->builder);
    } else {
        bb_value_begin_array(reader->builder);
    }
    for (;;) {
        if (reader->at >= reader->key.size)
            return malformed(reader);
        if (reader->key.data[reader->at] == 0)
            break;
        if (is_object) {
            if (reader->key.data[reader->at++] != BB_TAG_STRING)
                return malformed(reader);
            rc = read_content(reader);
            if (rc != BB_OK)
                return rc;
            bb_value_field_name(reader->builder, bb_buf_slice(&reader->content));
        }
        rc = read_value(reader, depth + 1);
        if (rc != BB_OK)
            return rc;
    }
    reader->at++;
    if (is_object) {
        bb_value_end_object(reader->builder);
    } else {
        bb_value_end_array(reader->builder);
    }
    return BB_OK;
}

static int read_value(struct reader *reader, unsigned depth)
{
    uint64_t bits = 0;
    double number;
    int rc;

    if (reader->at >= reader->key.size)
        return malformed(reader);
    uint8_t tag = reader->key.data[reader->at++];
    switch ((enum bb_tag)tag) {
    case BB_TAG_UNDEFINED:
        bb_value_undefined(reader->builder);
        return BB_OK;
    case BB_TAG_NULL:
        bb_value_null(reader->builder);
        return BB_OK;
    case BB_TAG_FALSE:
    case BB_TAG_TRUE:
        bb_value_put_bool(reader->builder, tag == BB_TAG_TRUE);
        return BB_OK;
    case BB_TAG_INT64:
        rc = read_u64(reader, &bits);
        if (rc == BB_OK)
            bb_value_put_int64(reader->builder, (int64_t)(bits ^ 1ull << 63));
        return rc;
    case BB_TAG_FLOAT64:
        rc = read_u64(reader, &bits);
        bits = bits >> 63 ? bits & ~(1ull << 63) : ~bits;
        memcpy(&number, &bits, sizeof number);
        if (rc == BB_OK)
            bb_value_put_float64(reader->builder, number);
        return rc;
    case BB_TAG_STRING:
    case BB_TAG_BYTES:
        rc = read_content(reader);
        if (rc != BB_OK)
            return rc;
        if (tag == BB_TAG_STRING) {
            bb_value_put_string(reader->builder, bb_buf_slice(&reader->content));
        } else {
            bb_value_put_bytes(reader->builder, bb_buf_slice(&reader->content));
        }
        return BB_OK;
    case BB_TAG_ARRAY:
        return read_children(reader, false, depth);
    case BB_TAG_OBJECT:
        return read_children(reader, true, depth);
    }
    return malformed(reader);
}

int bb_key_decode_value(struct bb_ctx *ctx, struct bb_slice key, struct bb_buf *bbv, size_t *used)
{
    struct reader reader = { .ctx = ctx, .key = key, .builder = bb_value_builder_new() };
    int rc = read_value(&reader, 0);

    if (rc == BB_OK) {
        bb_buf_append_slice(bbv, bb_value_finish(reader.builder));
        *used = reader.at;
    }
    bb_buf_fini(&reader.content);
    bb_value_builder_free(reader.builder);
    return rc;
}
