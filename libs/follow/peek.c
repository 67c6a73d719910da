/*
 * Whether a record writes to a table that its follower cares for: most do not, and unpacking one
 * costs more than all that follows. The numbers are those of common.proto.
 */
#include "bb/field.h"

#include "follow_internal.h"

/* The table of a Write: of several, the last one counts, as where it is unpacked. */
static bool table_of(struct bb_slice write, uint64_t *table)
{
    struct bb_field field;
    bool is_number = true;

    *table = 0;
    while (bb_field_next(&write, &field)) {
        if (field.number == 1) {
            *table = field.value;
            is_number = field.is_varint;
        }
    }
    return is_number && write.size == 0;
}

static bool peek_body(struct bb_slice body, const struct bb_follow_user *user, bool *is_wanted)
{
    struct bb_field field;
    uint64_t table;

    while (!*is_wanted && bb_field_next(&body, &field)) {
        if (field.number != 1)
            continue;
        if (!table_of(field.bytes, &table))
            return false;
        *is_wanted = user->wants(user->arg, (uint32_t)table);
    }
    return *is_wanted || body.size == 0;
}

bool follow_peek(struct bb_slice record, const struct bb_follow_user *user,
                 struct follow_peek *peek)
{
    struct bb_field field;
    struct bb_slice body = BB_SLICE_EMPTY;

    *peek = (struct follow_peek){ 0 };
    while (bb_field_next(&record, &field)) {
        if (field.number == 1) {
            peek->tx = field.value;
        } else if (field.number == 2) {
            peek->prev = field.value;
        } else if (field.number == 3) {
            body = field.bytes;
        }
    }
    return record.size == 0 && peek_body(body, user, &peek->is_wanted);
}
