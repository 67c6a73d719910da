#include "validate.h"

/*
 * protobuf-c's descriptors know every field, so the general rules are one walk over them: strings
 * are UTF-8, enums are known, a chosen or repeated message is there. What a type demands besides is
 * in the rules. Message types do not contain themselves, so the depth is bounded by the .proto
 * files.
 */

static int fail_field(struct bb_ctx *ctx, const ProtobufCMessageDescriptor *type,
                      const ProtobufCFieldDescriptor *field, const char *why)
{
    return bb_fail(ctx, BB_BAD_REQUEST, "message %s: field %s %s", type->short_name, field->name,
                   why);
}

static int check_one(struct bb_ctx *ctx, const ProtobufCMessageDescriptor *type,
                     const ProtobufCFieldDescriptor *field, const void *member, bool is_needed,
                     const struct wire_validate_rule *rules)
{
    if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
        const ProtobufCMessage *inner = *(const ProtobufCMessage *const *)member;
        if (inner == NULL)
            return is_needed ? fail_field(ctx, type, field, "is missing") : BB_OK;
        return wire_validate_walk(ctx, inner, rules);
    }
    if (field->type == PROTOBUF_C_TYPE_STRING) {
        const char *text = *(const char *const *)member;
        if (text != NULL && !bb_utf8_is_valid(bb_slice_str(text)))
            return fail_field(ctx, type, field, "is not UTF-8");
    } else if (field->type == PROTOBUF_C_TYPE_ENUM) {
        if (protobuf_c_enum_descriptor_get_value(field->descriptor, *(const int *)member) == NULL)
            return fail_field(ctx, type, field, "has an unknown value");
    }
    return BB_OK;
}

static size_t element_size(const ProtobufCFieldDescriptor *field)
{
    if (field->type == PROTOBUF_C_TYPE_MESSAGE || field->type == PROTOBUF_C_TYPE_STRING)
        return sizeof(void *);
    if (field->type == PROTOBUF_C_TYPE_ENUM)
        return sizeof(int);
    return 0; /* nothing to check in it */
}

static int check_field(struct bb_ctx *ctx, const ProtobufCMessage *message,
                       const ProtobufCFieldDescriptor *field,
                       const struct wire_validate_rule *rules)
{
    const uint8_t *base = (const uint8_t *)message;
    const void *member = base + field->offset;
    size_t step = element_size(field);
    bool is_choice = (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0;

    if (step == 0)
        return BB_OK;
    if (field->label == PROTOBUF_C_LABEL_REPEATED) {
        size_t count;
        const uint8_t *elements;
        memcpy(&count, base + field->quantifier_offset, sizeof count);
        memcpy(&elements, member, sizeof elements);
        for (size_t i = 0; i < count; i++) {
            int rc = check_one(ctx, message->descriptor, field, elements + i * step, true, rules);
            if (rc != BB_OK)
                return rc;
        }
        return BB_OK;
    }
    if (is_choice) {
        uint32_t chosen;
        memcpy(&chosen, base + field->quantifier_offset, sizeof chosen);
        if (chosen != field->id)
            return BB_OK;
    }
    return check_one(ctx, message->descriptor, field, member, is_choice, rules);
}

static int check_rules(struct bb_ctx *ctx, const ProtobufCMessage *message,
                       const struct wire_validate_rule *rules)
{
    for (; rules->type != NULL; rules++) {
        if (rules->type == message->descriptor)
            return rules->check(ctx, message);
    }
    return BB_OK;
}

int wire_validate_walk(struct bb_ctx *ctx, const ProtobufCMessage *message,
                       const struct wire_validate_rule *rules)
{
    const ProtobufCMessageDescriptor *type = message->descriptor;

    for (unsigned i = 0; i < type->n_fields; i++) {
        int rc = check_field(ctx, message, &type->fields[i], rules);
        if (rc != BB_OK)
            return rc;
    }
    int rc = check_rules(ctx, message, wire_validate_common);
    return rc == BB_OK ? check_rules(ctx, message, rules) : rc;
}

int wire_validate_that(struct bb_ctx *ctx, bool holds, const char *what)
{
    return holds ? BB_OK : bb_fail(ctx, BB_BAD_REQUEST, "message %s", what);
}

int wire_validate_size(struct bb_ctx *ctx, ProtobufCBinaryData bytes, size_t size, const char *what)
{
    if (bytes.len == size)
        return BB_OK;
    return bb_fail(ctx, BB_BAD_REQUEST, "message %s has %zu bytes, not %zu", what, bytes.len, size);
}

int wire_validate_size_or_none(struct bb_ctx *ctx, ProtobufCBinaryData bytes, size_t size,
                               const char *what)
{
    return bytes.len == 0 ? BB_OK : wire_validate_size(ctx, bytes, size, what);
}

int wire_validate_key(struct bb_ctx *ctx, ProtobufCBinaryData key, const char *what)
{
    if (key.len > 0 && key.len <= BB_KEY_MAX)
        return BB_OK;
    return bb_fail(ctx, BB_BAD_REQUEST, "message %s has %zu bytes; a key has 1 to %d", what,
                   key.len, BB_KEY_MAX);
}

int wire_validate_range(struct bb_ctx *ctx, ProtobufCBinaryData low, ProtobufCBinaryData high,
                        const char *what)
{
    /* The end of a range may be a key and one byte more. */
    if (low.len > BB_KEY_MAX + 1 || high.len > BB_KEY_MAX + 1) {
        return bb_fail(ctx, BB_BAD_REQUEST, "message %s: a bound has more than %d bytes", what,
                       BB_KEY_MAX + 1);
    }
    if (bb_slice_compare(bb_pb_slice(low), bb_pb_slice(high)) >= 0)
        return bb_fail(ctx, BB_BAD_REQUEST, "message %s: low is not below high", what);
    return BB_OK;
}
