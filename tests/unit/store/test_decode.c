/*
 * Bodies in forms that nobody here writes, but that a slot may have made: a sequencer reads them
 * with protobuf-c, storage where they lie.
 */
#include <criterion/criterion.h>

#include "common.pb-c.h"

#include "world.h"

static struct world world;

static void begin(void)
{
    world_init(&world, 1);
}

static void end(void)
{
    world_fini(&world);
}

/* A varint in a longer form than it needs, with bits that do not fit into what it is read to. */
static void append_wide(struct bb_buf *to, uint64_t value)
{
    size_t size = world_random(&world, 10) + 1;
    for (size_t i = 0; i < size; i++) {
        uint8_t bits = (uint8_t)(i < 9 ? value >> (7 * i) & 0x7f : 0);
        if (i >= 5 && world_random(&world, 2) == 0) {
            bits = (uint8_t)world_random(&world, 128);
        }
        bb_buf_append_byte(to, (uint8_t)(bits | (i + 1 < size ? 0x80 : 0)));
    }
}

static void append_field(struct bb_buf *to, uint8_t number, struct bb_slice bytes)
{
    bb_buf_append_byte(to, (uint8_t)(number << 3 | 2));
    bb_buf_append_byte(to, (uint8_t)bytes.size);
    bb_buf_append_slice(to, bytes);
}

static void append_number(struct bb_buf *to, uint8_t number, uint64_t value)
{
    bb_buf_append_byte(to, (uint8_t)(number << 3));
    append_wide(to, value);
}

static void append_write(struct bb_buf *body)
{
    uint8_t key[20];
    struct bb_buf write, index;
    bb_buf_init(&write);
    bb_buf_init(&index);
    append_number(&write, 4, world_random(&world, 2));
    append_field(&write, 5, world_doc_key(1, key));
    append_number(&write, 7, world_random(&world, 4));
    if (world_random(&world, 2) == 0) {
        append_field(&write, 3, bb_slice_str("doc"));
    }
    append_number(&write, (uint8_t)(world_random(&world, 2) * 9), 1); /* not known: 0, 9 */
    append_field(&index, 2, bb_slice_str("a key"));
    append_number(&index, 1, world_random(&world, 4));
    append_field(&write, 6, bb_buf_slice(&index));
    append_field(body, 1, bb_buf_slice(&write));
    bb_buf_fini(&write);
    bb_buf_fini(&index);
}

static bool is_op(Bb__Proto__KeyOp op)
{
    return protobuf_c_enum_descriptor_get_value(&bb__proto__key_op__descriptor, (int)op) != NULL;
}

static bool is_taken_by_sequencer(struct bb_slice bytes)
{
    Bb__Proto__TxBody *body = bb__proto__tx_body__unpack(NULL, bytes.size, bytes.data);
    bool is_taken = body != NULL;
    for (size_t i = 0; is_taken && i < body->n_writes; i++) {
        const Bb__Proto__Write *write = body->writes[i];
        bool is_removed = write->doc_op == BB__PROTO__KEY_OP__KEY_REMOVE;
        is_taken = is_op(write->doc_op) && is_op(write->keys[0]->op) &&
                   (write->is_index_only || is_removed == (write->doc.len == 0));
    }
    if (body != NULL) {
        bb__proto__tx_body__free_unpacked(body, NULL);
    }
    return is_taken;
}

/* What storage refuses after a sequencer has taken it would be sent again for ever. */
Test(store_decode, what_a_sequencer_takes_is_never_refused, .init = begin, .fini = end)
{
    uint64_t taken = 0;
    struct bb_buf body, batch;
    bb_buf_init(&body);
    bb_buf_init(&batch);
    for (int i = 0; i < 20000; i++) {
        bb_buf_clear(&body);
        bb_buf_clear(&batch);
        append_write(&body);
        if (!is_taken_by_sequencer(bb_buf_slice(&body))) {
            continue;
        }
        taken++;
        uint8_t size[4];
        bb_put_le32(size, (uint32_t)body.size + 6);
        bb_buf_append(&batch, size, sizeof(size));
        bb_buf_append(&batch, "\x08\x02\x10\x01", 4);
        append_field(&batch, 3, bb_buf_slice(&body));
        cr_assert_eq(bb_store_check_batch(&world.ctx, bb_buf_slice(&batch), BB_TX(1), BB_TX(2)),
                     BB_OK, "body %d: %s", i, world.ctx.error);
    }
    cr_assert_geq(taken, 2000);
    bb_buf_fini(&body);
    bb_buf_fini(&batch);
}
