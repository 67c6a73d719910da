/*
 * The fields of an encoded protobuf message, one after the other, where they lie: for those who
 * look at a few fields of a message that somebody else has checked, or will.
 *
 * Nothing is copied. Threads: any.
 */
#ifndef BB_FIELD_H
#define BB_FIELD_H

#include "bb/base.h"

struct bb_field {
    uint64_t number;
    uint64_t value;        /* of a varint, not 0 if any of its bits is set; else 0 */
    struct bb_slice bytes; /* of a text, bytes or message; else empty */
    bool is_varint, is_bytes;
};

/* The first field of `from`, which moves behind it. False: there is none, and then `from` is empty
 * unless it is malformed. */
bool bb_field_next(struct bb_slice *from, struct bb_field *field);

#endif
