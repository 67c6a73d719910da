#include "bb/value.h"

#include <jansson.h>
#include <math.h>

#include "value_internal.h"

/* JSON text that is not plain is parsed by jansson; what the special objects mean is ours:
 * docs/formats/value.md. */

struct decoder {
    struct bb_ctx *ctx;
    struct bb_value_builder *builder;
    struct bb_buf bytes;
    bool allow_undefined;
};

static int bad(struct decoder *decoder, const char *what)
{
    return bb_fail(decoder->ctx, BB_BAD_JSON, "%s", what);
}

/* Content of {"$kind": "base64"} into decoder->bytes; `size` 0: any. */
static int special_bytes(struct decoder *decoder, const json_t *content, size_t size)
{
    if (!json_is_string(content))
        return bad(decoder, "the content of $integer, $float and $bytes is base64 text");
    bb_buf_clear(&decoder->bytes);
    struct bb_slice text = bb_slice(json_string_value(content), json_string_length(content));
    if (bb_base64_decode(decoder->ctx, text, &decoder->bytes) != BB_OK)
        return bad(decoder, "the content of $integer, $float or $bytes is not valid base64");
    if (size != 0 && decoder->bytes.size != size)
        return bad(decoder, "the content of $integer and $float has 8 bytes");
    return BB_OK;
}

static int decode_float(struct decoder *decoder, const json_t *content)
{
    double number;
    int rc = special_bytes(decoder, content, 8);

    if (rc != BB_OK)
        return rc;
    memcpy(&number, decoder->bytes.data, sizeof number);
    if (isfinite(number) && (number != 0 || !signbit(number)))
        return bad(decoder, "$float is for NaN, infinities and -0 only; write the number itself");
    bb_value_put_float64(decoder->builder, number);
    return BB_OK;
}

/* BB_PENDING: not a special object. */
static int decode_special(struct decoder *decoder, const char *key, const json_t *content)
{
    int rc;

    if (strcmp(key, "$integer") == 0) {
        rc = special_bytes(decoder, content, 8);
        if (rc == BB_OK)
            bb_value_put_int64(decoder->builder, (int64_t)bb_get_le64(decoder->bytes.data));
        return rc;
    }
    if (strcmp(key, "$bytes") == 0) {
        rc = special_bytes(decoder, content, 0);
        if (rc == BB_OK)
            bb_value_put_bytes(decoder->builder, bb_buf_slice(&decoder->bytes));
        return rc;
    }
    if (strcmp(key, "$float") == 0)
        return decode_float(decoder, content);
    if (strcmp(key, "$undefined") == 0 && decoder->allow_undefined && json_is_null(content)) {
        bb_value_undefined(decoder->builder);
        return BB_OK;
    }
    return bb_fail(decoder->ctx, BB_BAD_JSON,
                   "an object key may not start with `$`, and %.40s is no special value here", key);
}

static int decode(struct decoder *decoder, json_t *json, unsigned depth);

static int decode_object(struct decoder *decoder, json_t *json, unsigned depth)
{
    void *at = json_object_iter(json);

    if (at != NULL && json_object_iter_key(at)[0] == '$' && json_object_size(json) == 1)
        return decode_special(decoder, json_object_iter_key(at), json_object_iter_value(at));
    bb_value_begin_object(decoder->builder);
    for (; at != NULL; at = json_object_iter_next(json, at)) {
        const char *key = json_object_iter_key(at);
        if (key[0] == '$') {
            return bb_fail(decoder->ctx, BB_BAD_JSON, "an object key may not start with `$`: %.40s",
                           key);
        }
        bb_value_field_name(decoder->builder, bb_slice_str(key));
        int rc = decode(decoder, json_object_iter_value(at), depth + 1);
        if (rc != BB_OK)
            return rc;
    }
    bb_value_end_object(decoder->builder);
    return BB_OK;
}

static int decode(struct decoder *decoder, json_t *json, unsigned depth)
{
    if (depth > BB_VALUE_DEPTH_MAX)
        return bad(decoder, "nested deeper than 64 levels");
    switch (json_typeof(json)) {
    case JSON_NULL:
        bb_value_null(decoder->builder);
        return BB_OK;
    case JSON_TRUE:
    case JSON_FALSE:
        bb_value_put_bool(decoder->builder, json_is_true(json));
        return BB_OK;
    case JSON_REAL:
    case JSON_INTEGER:
        bb_value_put_float64(decoder->builder, json_number_value(json));
        return BB_OK;
    case JSON_STRING:
        bb_value_put_string(decoder->builder,
                            bb_slice(json_string_value(json), json_string_length(json)));
        return BB_OK;
    case JSON_ARRAY:
        bb_value_begin_array(decoder->builder);
        for (size_t i = 0; i < json_array_size(json); i++) {
            int rc = decode(decoder, json_array_get(json, i), depth + 1);
            if (rc != BB_OK)
                return rc;
        }
        bb_value_end_array(decoder->builder);
        return BB_OK;
    case JSON_OBJECT:
        return decode_object(decoder, json, depth);
    }
    BB_UNREACHABLE("jansson has no other types");
}

static int decode_any(struct decoder *decoder, struct bb_slice json)
{
    json_error_t error;
    json_t *parsed = json_loadb((const char *)json.data, json.size,
                                JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL | JSON_ALLOW_NUL, &error);
    if (parsed == NULL) {
        return bb_fail(decoder->ctx, BB_BAD_JSON, "bad JSON at line %d, column %d: %s", error.line,
                       error.column, error.text);
    }
    int rc = decode(decoder, parsed, 0);
    json_decref(parsed);
    return rc;
}

int bb_json_decode(struct bb_ctx *ctx, struct bb_slice json, bool allow_undefined,
                   struct bb_buf *to)
{
    struct decoder decoder = { .ctx = ctx, .allow_undefined = allow_undefined };
    int rc = BB_OK;

    if (json.size == 0)
        return bb_fail(ctx, BB_BAD_JSON, "the JSON text is empty");
    decoder.builder = bb_value_builder_new();
    if (!value_json_plain(decoder.builder, json)) {
        bb_value_builder_clear(decoder.builder);
        rc = decode_any(&decoder, json);
    }
    if (rc == BB_OK)
        bb_buf_append_slice(to, bb_value_finish(decoder.builder));
    bb_buf_fini(&decoder.bytes);
    bb_value_builder_free(decoder.builder);
    return rc;
}
