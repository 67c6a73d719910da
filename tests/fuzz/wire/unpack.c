/*
 * Any bytes as any message: unpack and validate never read beyond the input, and what passed both
 * packs and passes again. The first byte chooses the message.
 */
#include "bb/wire.h"
#include "bb/wire_validate.h"

typedef int validate_fn(struct bb_ctx *ctx, const void *message);

static int tx_body(struct bb_ctx *ctx, const void *message)
{
    return bb_tx_body_validate(ctx, message);
}
static int tx_record(struct bb_ctx *ctx, const void *message)
{
    return bb_tx_record_validate(ctx, message);
}
static int storage_request(struct bb_ctx *ctx, const void *message)
{
    return bb_storage_request_validate(ctx, message);
}
static int storage_reply(struct bb_ctx *ctx, const void *message)
{
    return bb_storage_reply_validate(ctx, message);
}
static int sequencer_request(struct bb_ctx *ctx, const void *message)
{
    return bb_sequencer_request_validate(ctx, message);
}
static int sequencer_reply(struct bb_ctx *ctx, const void *message)
{
    return bb_sequencer_reply_validate(ctx, message);
}
static int worker_request(struct bb_ctx *ctx, const void *message)
{
    return bb_worker_request_validate(ctx, message);
}
static int worker_reply(struct bb_ctx *ctx, const void *message)
{
    return bb_worker_reply_validate(ctx, message);
}
static int to_slot(struct bb_ctx *ctx, const void *message)
{
    return bb_to_slot_validate(ctx, message);
}
static int from_slot(struct bb_ctx *ctx, const void *message)
{
    return bb_from_slot_validate(ctx, message);
}

static const struct {
    const ProtobufCMessageDescriptor *type;
    validate_fn *validate;
} kinds[] = {
    { &bb__proto__tx_body__descriptor, tx_body },
    { &bb__proto__tx_record__descriptor, tx_record },
    { &bb__proto__storage_request__descriptor, storage_request },
    { &bb__proto__storage_reply__descriptor, storage_reply },
    { &bb__proto__sequencer_request__descriptor, sequencer_request },
    { &bb__proto__sequencer_reply__descriptor, sequencer_reply },
    { &bb__proto__worker_request__descriptor, worker_request },
    { &bb__proto__worker_reply__descriptor, worker_reply },
    { &bb__proto__to_slot__descriptor, to_slot },
    { &bb__proto__from_slot__descriptor, from_slot },
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bb_ctx ctx = { .status = 0 };
    ProtobufCMessage *message = NULL;

    if (size == 0)
        return 0;
    size_t kind = data[0] % BB_COUNT_OF(kinds);
    struct bb_arena *arena = bb_arena_new(1 << 20);
    struct bb_slice bytes = bb_slice(data + 1, size - 1);
    if (bb_unpack(&ctx, arena, kinds[kind].type, bytes, &message) == BB_OK &&
        kinds[kind].validate(&ctx, message) == BB_OK) {
        struct bb_buf packed;
        bb_buf_init(&packed);
        bb_pack_append(&packed, message);
        bb_arena_reset(arena);
        /* protobuf-c keeps an unknown field of number 0, which it then refuses itself. */
        if (bb_unpack(&ctx, arena, kinds[kind].type, bb_buf_slice(&packed), &message) == BB_OK)
            bb_assert(kinds[kind].validate(&ctx, message) == BB_OK);
        bb_buf_fini(&packed);
    }
    bb_arena_free(arena);
    return 0;
}
