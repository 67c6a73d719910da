/*
 * A slot that has been taken over, as its supervisor meets it: it writes anything into the memory
 * that they share, marks and bytes, between any two steps. Each step either refuses the ring or
 * stays within its bounds, and what was copied out is frames, or is not.
 */
#include "bb/ring.h"
#include "bb/wire.h"
#include "bb/wire_validate.h"

#define CAPACITY 256

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
    const uint8_t *data;
    size_t size;
};

static uint8_t next(struct input *input)
{
    if (input->size == 0)
        return 0;
    input->size--;
    return *input->data++;
}

/* Any bytes anywhere in the memory; marks are most interesting near what they should be. */
static void attack(struct input *input, uint8_t *memory, size_t memory_size,
                   const struct bb_ring *from, const struct bb_ring *to)
{
    uint8_t kind = next(input);
    uint64_t mark = (kind & 1) != 0 ? from->at : to->at;

    if (kind < 128) {
        mark += (uint64_t)next(input) * (kind & 2 ? 1 : 8);
        mark -= kind & 4 ? next(input) : 0;
        memcpy(memory + (kind & 8 ? 64 : 0), &mark, sizeof mark);
        return;
    }
    size_t at = ((size_t)next(input) << 8 | next(input)) % memory_size;
    size_t count = next(input) % 64;
    for (; count > 0 && at < memory_size; count--, at++)
        memory[at] = next(input);
}

static void hear(struct bb_ring *from, struct bb_buf *in)
{
    struct bb_ctx ctx = { .status = 0 };
    size_t before = in->size, at = 0, used;
    struct bb_slice frame;
    struct bb_arena *arena = bb_arena_new(1 << 20);
    Bb__Proto__FromSlot *message;

    int rc = bb_ring_read(from, in);
    bb_assert(rc == BB_OK || (rc == BB_CORRUPT && in->size == before));
    bb_assert(in->size - before <= CAPACITY);
    while (bb_frame_next(&ctx, bb_slice(in->data + at, in->size - at), &frame, &used) == BB_OK) {
        if (bb_unpack(&ctx, arena, &bb__proto__from_slot__descriptor, frame, &message) == BB_OK)
            (void)bb_from_slot_validate(&ctx, message);
        at += used;
    }
    bb_arena_free(arena);
    if (in->size > 4096)
        bb_buf_clear(in);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static _Alignas(64) uint8_t memories[2][1024];
    static const uint8_t bytes[CAPACITY * 2];
    size_t memory_size = bb_ring_memory_size(CAPACITY), written;
    struct input input = { .data = data, .size = size };
    struct bb_ring from, to;
    struct bb_buf in;

    memset(memories, 0, sizeof memories);
    bb_ring_attach(&from, memories[0], CAPACITY);
    bb_ring_attach(&to, memories[1], CAPACITY);
    bb_buf_init(&in);
    (void)bb_buf_reserve(&in, 1);
    while (input.size > 0) {
        switch (next(&input) % 4) {
        case 0:
            attack(&input, memories[next(&input) % 2], memory_size, &from, &to);
            break;
        case 1:
            hear(&from, &in);
            (void)bb_ring_must_wake_writer(&from);
            break;
        case 2: {
            size_t want = next(&input) * 2u;
            uint64_t before = to.at;
            int rc = bb_ring_write(&to, bb_slice(bytes, want), &written);
            bb_assert(written <= want && written <= CAPACITY && to.at - before == written);
            bb_assert(rc == BB_OK || (rc == BB_CORRUPT && written == 0));
            break;
        }
        default:
            (void)bb_ring_must_wake_reader(&to);
            (void)bb_ring_wait_for_room(&to);
            (void)bb_ring_may_sleep(&from);
            bb_ring_awake(&from);
        }
    }
    bb_buf_fini(&in);
    return 0;
}
