#include "ring.h"

#define CAPACITY_FIRST 256

void sequencer_ring_init(struct sequencer_ring *ring, uint64_t floor)
{
    *ring = (struct sequencer_ring){ .capacity = CAPACITY_FIRST, .floor = floor };
    ring->records = bb_alloc(ring->capacity * sizeof *ring->records);
}

static struct sequencer_record *place(const struct sequencer_ring *ring, uint64_t number)
{
    return &ring->records[number & (ring->capacity - 1)];
}

static void drop_oldest(struct sequencer_ring *ring)
{
    struct sequencer_record *record = place(ring, ring->first);
    union {
        const uint8_t *in;
        uint8_t *out;
    } cast = { .in = record->bytes.data };

    ring->floor = record->tx;
    ring->bytes -= record->bytes.size;
    ring->first++;
    bb_free(cast.out);
}

void sequencer_ring_fini(struct sequencer_ring *ring)
{
    while (ring->first < ring->next)
        drop_oldest(ring);
    bb_free(ring->records);
    ring->records = NULL;
}

static void grow(struct sequencer_ring *ring)
{
    size_t capacity = ring->capacity * 2;
    struct sequencer_record *records = bb_alloc(capacity * sizeof *records);

    for (uint64_t number = ring->first; number < ring->next; number++)
        records[number & (capacity - 1)] = *place(ring, number);
    bb_free(ring->records);
    ring->records = records;
    ring->capacity = capacity;
}

void sequencer_ring_take(struct sequencer_ring *ring, uint64_t tx, uint64_t at_us, uint8_t *bytes,
                         size_t size)
{
    bb_assert(tx > ring->floor);
    bb_assert(ring->first == ring->next || tx > place(ring, ring->next - 1)->tx);
    if (ring->next - ring->first == ring->capacity)
        grow(ring);
    *place(ring, ring->next++) =
        (struct sequencer_record){ .tx = tx, .at_us = at_us, .bytes = bb_slice(bytes, size) };
    ring->bytes += size;
}

uint64_t sequencer_ring_seek(const struct sequencer_ring *ring, uint64_t after)
{
    uint64_t low = ring->first;
    uint64_t high = ring->next;

    /* Most ask for what came last. */
    if (low == high || place(ring, high - 1)->tx <= after)
        return high;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (place(ring, middle)->tx <= after) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

const struct sequencer_record *sequencer_ring_at(const struct sequencer_ring *ring, uint64_t number)
{
    bb_assert(number >= ring->first && number < ring->next);
    return place(ring, number);
}

void sequencer_ring_expire(struct sequencer_ring *ring, uint64_t tx_max, uint64_t floor,
                           size_t bytes_max)
{
    while (ring->first < ring->next) {
        const struct sequencer_record *record = place(ring, ring->first);
        if (record->tx > tx_max || (record->tx > floor && ring->bytes <= bytes_max))
            break;
        drop_oldest(ring);
    }
}
