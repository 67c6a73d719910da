#include "bb/field.h"

enum wire_type {
    VARINT = 0,
    FIXED64 = 1,
    BYTES = 2,
    FIXED32 = 5
};

#define VARINT_BYTES_MAX 10

/*
 * Not only in the shortest form, as bb_varint_get: protobuf allows others, and bits that do not
 * fit. Those are lost, but that there are some is not: a truth value is true by any bit.
 */
static const uint8_t *take_long_varint(const uint8_t *at, const uint8_t *end, uint64_t *value)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < VARINT_BYTES_MAX && at < end; i++, at++) {
        uint64_t bits = *at & 0x7fu;
        sum |= (i < VARINT_BYTES_MAX - 1 ? bits : bits != 0) << (7 * i);
        if (*at < 0x80) {
            *value = sum;
            return at + 1;
        }
    }
    return NULL;
}

/* Returns what follows; NULL: it does not end here. Most have one byte. */
static inline const uint8_t *take_varint(const uint8_t *at, const uint8_t *end, uint64_t *value)
{
    if (at < end && *at < 0x80) {
        *value = *at;
        return at + 1;
    }
    return take_long_varint(at, end, value);
}

static inline const uint8_t *skip(const uint8_t *at, const uint8_t *end, uint64_t size)
{
    return size > (uint64_t)(end - at) ? NULL : at + size;
}

bool bb_field_next(struct bb_slice *from, struct bb_field *field)
{
    const uint8_t *at = from->data, *end = at + from->size;
    uint64_t tag, size;

    *field = (struct bb_field){ .bytes = BB_SLICE_EMPTY };
    if (from->size == 0 || (at = take_varint(at, end, &tag)) == NULL) {
        return false;
    }
    field->number = tag >> 3;
    switch (tag & 7) {
    case VARINT:
        field->is_varint = true;
        at = take_varint(at, end, &field->value);
        break;
    case FIXED64:
        at = skip(at, end, 8);
        break;
    case BYTES:
        field->is_bytes = true;
        at = take_varint(at, end, &size);
        if (at != NULL) {
            const uint8_t *after = skip(at, end, size);
            field->bytes = after == NULL ? BB_SLICE_EMPTY : bb_slice(at, (size_t)size);
            at = after;
        }
        break;
    case FIXED32:
        at = skip(at, end, 4);
        break;
    default:
        at = NULL;
        break;
    }
    if (at == NULL) {
        return false;
    }
    *from = bb_slice(at, (size_t)(end - at));
    return true;
}
