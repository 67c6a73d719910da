#include "bb/field.h"

enum wire_type {
    VARINT = 0,
    FIXED64 = 1,
    BYTES = 2,
    FIXED32 = 5
};

static bool take(struct bb_slice *from, uint64_t size, struct bb_slice *bytes)
{
    if (size > from->size) {
        return false;
    }
    *bytes = bb_slice(from->data, (size_t)size);
    *from = bb_slice(from->data + size, from->size - (size_t)size);
    return true;
}

/*
 * Not only in the shortest form, as bb_varint_get: protobuf allows others, and bits that do not
 * fit. Those are lost, but that there are some is not: a truth value is true by any bit.
 */
static bool take_varint(struct bb_slice *from, uint64_t *value)
{
    struct bb_slice unused;

    *value = 0;
    for (size_t i = 0; i < from->size && i < 10; i++) {
        uint64_t bits = from->data[i] & 0x7fu;
        *value |= (i < 9 ? bits : bits != 0) << (7 * i);
        if ((from->data[i] & 0x80u) == 0) {
            return take(from, i + 1, &unused);
        }
    }
    return false;
}

bool bb_field_next(struct bb_slice *from, struct bb_field *field)
{
    struct bb_slice rest = *from, unused;
    uint64_t tag, size;
    bool is_whole;

    *field = (struct bb_field){ .bytes = BB_SLICE_EMPTY };
    if (!take_varint(&rest, &tag)) {
        return false;
    }
    field->number = tag >> 3;
    switch (tag & 7) {
    case VARINT:
        field->is_varint = true;
        is_whole = take_varint(&rest, &field->value);
        break;
    case FIXED64:
        is_whole = take(&rest, 8, &unused);
        break;
    case BYTES:
        field->is_bytes = true;
        is_whole = take_varint(&rest, &size) && take(&rest, size, &field->bytes);
        break;
    case FIXED32:
        is_whole = take(&rest, 4, &unused);
        break;
    default:
        is_whole = false;
        break;
    }
    if (is_whole) {
        *from = rest;
    }
    return is_whole;
}
