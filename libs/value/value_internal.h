/* Shared inside libs/value: the layout of BBV. */
#ifndef BB_VALUE_INTERNAL_H
#define BB_VALUE_INTERNAL_H

#include "bb/value.h"

/* Arrays and objects start: tag u8, u32 size of what follows, u32 count. */
#define VALUE_HEAD 9u
/* Takes all of `json` if it is plain. False: it is not, or it is wrong; what is in the builder then
 * means nothing, and is to be cleared. */
bool value_json_plain(struct bb_value_builder *builder, struct bb_slice json);
/* The whole size of the value that `bytes` starts with; 0 when it does not fit into `bytes`. */
size_t value_whole_size(struct bb_slice bytes);
#define VALUE_NAN 0x7ff8000000000000ull
static inline uint64_t value_float_bits(double value)
{
    uint64_t bits;

    memcpy(&bits, &value, sizeof bits);
    return value != value ? VALUE_NAN : bits;
}

/* The bytes of a string or of bytes, whose size is in one byte as that of most is; data == NULL: it
 * is not, or the value is not whole. */
static inline struct bb_slice value_short_bytes(struct bb_slice value)
{
    if (value.size < 2 || value.data[1] >= 0x80 || value.size != 2u + value.data[1])
        return bb_slice(NULL, 0);
    return bb_slice(value.data + 2, value.data[1]);
}

#endif
