/*
 * The records that were sequenced lately, in order: what Follow reads from and batches are made of.
 *
 * Records above the durable mark are never dropped; those below leave by age and when there are too
 * many bytes. `floor` is the tx after which nothing is missing. Threads: one.
 */
#ifndef SEQUENCER_RING_H
#define SEQUENCER_RING_H

#include "bb/base.h"

struct sequencer_record {
    uint64_t tx;
    uint64_t at_us;        /* monotonic time at which it was sequenced */
    struct bb_slice bytes; /* a packed TxRecord; the ring's */
};

struct sequencer_ring {
    struct sequencer_record *records; /* entry n is at n % capacity; a power of two */
    uint64_t first, next;
    size_t capacity;
    size_t bytes;
    uint64_t floor; /* tx */
};

void sequencer_ring_init(struct sequencer_ring *ring, uint64_t floor);
void sequencer_ring_fini(struct sequencer_ring *ring);
/* `bytes` becomes the ring's (bb_free). Its tx is above all that are there. */
void sequencer_ring_take(struct sequencer_ring *ring, uint64_t tx, uint64_t at_us, uint8_t *bytes,
                         size_t size);
/* The number of the first record with a tx above `after`; ring->next when there is none. */
uint64_t sequencer_ring_seek(const struct sequencer_ring *ring, uint64_t after);
const struct sequencer_record *sequencer_ring_at(const struct sequencer_ring *ring,
                                                 uint64_t number);
/* Drop the oldest while its tx is at most `tx_max` and it is older than `floor` or there are more
 * than `bytes_max` bytes. */
void sequencer_ring_expire(struct sequencer_ring *ring, uint64_t tx_max, uint64_t floor,
                           size_t bytes_max);

#endif
