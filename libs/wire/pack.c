#include "wire.h"

int wire_status(int nng_error)
{
    switch (nng_error) {
    case 0:
        return BB_OK;
    case NNG_ETIMEDOUT:
        return BB_TIMEOUT;
    case NNG_ECLOSED:
    case NNG_ECANCELED:
        return BB_CANCELLED;
    case NNG_EMSGSIZE:
        return BB_TOO_LARGE;
    case NNG_EADDRINUSE:
        return BB_ADDRESS_IN_USE;
    default:
        return BB_PEER_GONE;
    }
}

int wire_fail_too_large(struct bb_ctx *ctx, size_t size)
{
    return bb_fail(ctx, BB_TOO_LARGE, "a message of %zu bytes; at most %u can be sent", size,
                   BB_WIRE_MESSAGE_MAX);
}

int wire_fail_in_use(struct bb_ctx *ctx, const char *url)
{
    return bb_fail(ctx, BB_ADDRESS_IN_USE,
                   "%s is taken by another process: stop that one or choose another address with "
                   "--listen",
                   url);
}

int wire_pack(struct bb_ctx *ctx, const ProtobufCMessage *message, nng_msg **packed)
{
    size_t size = protobuf_c_message_get_packed_size(message);

    if (size > BB_WIRE_MESSAGE_MAX)
        return wire_fail_too_large(ctx, size);
    if (nng_msg_alloc(packed, size) != 0)
        return bb_fail(ctx, BB_NO_MEMORY, "no memory for a message of %zu bytes", size);
    size_t done = protobuf_c_message_pack(message, nng_msg_body(*packed));
    bb_assert(done == size);
    return BB_OK;
}

/* An allocator over an arena that remembers that it refused. */
struct arena_allocator {
    ProtobufCAllocator pb;
    struct bb_arena *arena;
    bool is_full;
};

static void *arena_get(void *data, size_t size)
{
    struct arena_allocator *allocator = data;
    void *found = bb_arena_alloc(allocator->arena, size);

    if (found == NULL)
        allocator->is_full = true;
    return found;
}

static void arena_put(void *data, void *pointer)
{
    (void)data;
    (void)pointer; /* the arena's reset frees */
}

int bb_unpack(struct bb_ctx *ctx, struct bb_arena *arena, const ProtobufCMessageDescriptor *type,
              struct bb_slice from, void *message_out)
{
    struct arena_allocator allocator = { .arena = arena };

    allocator.pb = (ProtobufCAllocator){
        .alloc = arena_get,
        .free = arena_put,
        .allocator_data = &allocator,
    };
    ProtobufCMessage *message =
        protobuf_c_message_unpack(type, &allocator.pb, from.size, from.data);
    if (message != NULL) {
        memcpy(message_out, &message, sizeof(void *)); /* the caller's pointer has another type */
        return BB_OK;
    }
    if (allocator.is_full) {
        return bb_fail(ctx, BB_TOO_LARGE, "a %s of %zu bytes needs more memory than it may have",
                       type->short_name, from.size);
    }
    return bb_fail(ctx, BB_BAD_REQUEST, "%zu bytes that are no %s", from.size, type->short_name);
}

void bb_pack_append(struct bb_buf *to, const ProtobufCMessage *message)
{
    size_t size = protobuf_c_message_get_packed_size(message);
    size_t done = protobuf_c_message_pack(message, bb_buf_reserve(to, size));

    bb_assert(done == size);
    to->size += size;
}

int bb_frame_next(struct bb_ctx *ctx, struct bb_slice bytes, struct bb_slice *frame, size_t *used)
{
    if (bytes.size < 4)
        return BB_PENDING;
    uint32_t size = bb_get_le32(bytes.data);
    if (size > BB_WIRE_MESSAGE_MAX) {
        return bb_fail(ctx, BB_TOO_LARGE, "a frame of %" PRIu32 " bytes; at most %u are allowed",
                       size, BB_WIRE_MESSAGE_MAX);
    }
    if (bytes.size - 4 < size)
        return BB_PENDING;
    *frame = bb_slice(bytes.data + 4, size);
    *used = 4 + (size_t)size;
    return BB_OK;
}

void bb_frame_append(struct bb_buf *to, const ProtobufCMessage *message)
{
    size_t size = protobuf_c_message_get_packed_size(message);
    uint8_t *at = bb_buf_reserve(to, size + 4);

    bb_assert(size <= BB_WIRE_MESSAGE_MAX);
    bb_put_le32(at, (uint32_t)size);
    size_t done = protobuf_c_message_pack(message, at + 4);
    bb_assert(done == size);
    to->size += size + 4;
}
