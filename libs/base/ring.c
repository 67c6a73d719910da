#include "bb/ring.h"

#include <stdatomic.h>

#define LINE 64 /* each word that one side writes often has a cache line of its own */

struct bb_ring_memory {
    _Alignas(LINE) _Atomic uint64_t written; /* the writer's */
    _Alignas(LINE) _Atomic uint64_t read;    /* the reader's */
    /* Set by the side that will sleep, taken back by whoever sees it first. */
    _Alignas(LINE) _Atomic uint32_t reader_sleeps;
    _Alignas(LINE) _Atomic uint32_t writer_waits;
    _Alignas(LINE) uint8_t bytes[];
};

size_t bb_ring_memory_size(size_t capacity)
{
    bb_assert(capacity > 0 && (capacity & (capacity - 1)) == 0);
    return sizeof(struct bb_ring_memory) + capacity;
}

void bb_ring_attach(struct bb_ring *ring, void *memory, size_t capacity)
{
    bb_assert(bb_ring_memory_size(capacity) > capacity && (uintptr_t)memory % LINE == 0);
    *ring = (struct bb_ring){ .memory = memory, .capacity = capacity };
}

/*
 * The order that makes a lost wake-up impossible: a side that goes to sleep says so and then looks
 * once more; the other side moves its mark and then looks who sleeps. All four are sequentially
 * consistent, so at least one of them sees what the other one did.
 */
static bool take_flag(_Atomic uint32_t *flag)
{
    return atomic_load(flag) != 0 && atomic_exchange(flag, 0) != 0;
}

/* ---- the writer ---- */

static int see_room(struct bb_ring *ring)
{
    uint64_t read = atomic_load(&ring->memory->read);

    /* It goes forward, and never beyond what was written. */
    if (read < ring->other || read > ring->at)
        return BB_CORRUPT;
    ring->other = read;
    return BB_OK;
}

int bb_ring_write(struct bb_ring *ring, struct bb_slice bytes, size_t *written)
{
    size_t room = ring->capacity - (size_t)(ring->at - ring->other);

    *written = 0;
    if (room < bytes.size) {
        if (see_room(ring) != BB_OK)
            return BB_CORRUPT;
        room = ring->capacity - (size_t)(ring->at - ring->other);
    }
    size_t count = bytes.size < room ? bytes.size : room;
    if (count == 0)
        return BB_OK;
    size_t from = (size_t)ring->at & (ring->capacity - 1);
    size_t first = ring->capacity - from < count ? ring->capacity - from : count;
    memcpy(ring->memory->bytes + from, bytes.data, first);
    memcpy(ring->memory->bytes, bytes.data + first, count - first);
    ring->at += count;
    atomic_store(&ring->memory->written, ring->at);
    *written = count;
    return BB_OK;
}

bool bb_ring_must_wake_reader(struct bb_ring *ring)
{
    return take_flag(&ring->memory->reader_sleeps);
}

bool bb_ring_wait_for_room(struct bb_ring *ring)
{
    atomic_store(&ring->memory->writer_waits, 1);
    /* A mark that makes no sense is found by the next write. */
    if (see_room(ring) == BB_OK && ring->at - ring->other == ring->capacity)
        return true;
    atomic_store(&ring->memory->writer_waits, 0);
    return false;
}

/* ---- the reader ---- */

int bb_ring_read(struct bb_ring *ring, struct bb_buf *to)
{
    uint64_t count = atomic_load(&ring->memory->written) - ring->at;

    if (count > ring->capacity)
        return BB_CORRUPT;
    if (count == 0)
        return BB_OK;
    uint8_t *into = bb_buf_reserve(to, (size_t)count);
    size_t from = (size_t)ring->at & (ring->capacity - 1);
    size_t first = ring->capacity - from < count ? ring->capacity - from : (size_t)count;
    memcpy(into, ring->memory->bytes + from, first);
    memcpy(into + first, ring->memory->bytes, (size_t)count - first);
    to->size += (size_t)count;
    ring->at += count;
    atomic_store(&ring->memory->read, ring->at);
    return BB_OK;
}

bool bb_ring_must_wake_writer(struct bb_ring *ring)
{
    return take_flag(&ring->memory->writer_waits);
}

bool bb_ring_may_sleep(struct bb_ring *ring)
{
    atomic_store(&ring->memory->reader_sleeps, 1);
    if (atomic_load(&ring->memory->written) == ring->at)
        return true;
    atomic_store(&ring->memory->reader_sleeps, 0);
    return false;
}

void bb_ring_awake(struct bb_ring *ring)
{
    if (atomic_load_explicit(&ring->memory->reader_sleeps, memory_order_relaxed) != 0)
        atomic_store_explicit(&ring->memory->reader_sleeps, 0, memory_order_relaxed);
}
