/*
 * A ring of bytes in memory that two processes share: one writes, one reads, neither asks the
 * kernel. Beside the bytes there are two words by which a side says that it sleeps, so that the
 * other one knows when it must be woken; how that is done is the callers' affair.
 *
 * Ownership: the memory is the caller's; a struct bb_ring is one side's own view of it.
 * Threads: one writer and one reader, in one process or in two.
 * Trust: the other side may put anything into the memory, at any time. Where this side stands is
 * kept outside of it; what the other side says is checked against that, and bytes are copied out
 * before anybody looks at them. The worst that a hostile side can do is to send bytes, to be
 * BB_CORRUPT, and to ask for being woken.
 */
#ifndef BB_RING_H
#define BB_RING_H

#include "bb/base.h"

struct bb_ring_memory;

struct bb_ring {
    struct bb_ring_memory *memory;
    size_t capacity;
    uint64_t at;    /* bytes that this side has written or read since the beginning */
    uint64_t other; /* the writer's: where the reader was when it was asked last */
};

/* Bytes of memory for a ring that holds `capacity` bytes, a power of two. */
size_t bb_ring_memory_size(size_t capacity);
/* One side of a ring in zeroed memory, aligned to 64 bytes. */
void bb_ring_attach(struct bb_ring *ring, void *memory, size_t capacity);

/* Writes as much of `bytes` as there is room for, and says how much. BB_CORRUPT. */
int bb_ring_write(struct bb_ring *ring, struct bb_slice bytes, size_t *written);
/* After a write: the reader sleeps and must be woken. True once for each of its sleeps. */
bool bb_ring_must_wake_reader(struct bb_ring *ring);
/* The writer has more than fits, and will sleep: it is woken when something was read. False: there
 * is room by now. */
bool bb_ring_wait_for_room(struct bb_ring *ring);

/* Appends what is there. BB_CORRUPT. */
int bb_ring_read(struct bb_ring *ring, struct bb_buf *to);
/* After a read: the writer waits for room and must be woken. True once for each of its waits. */
bool bb_ring_must_wake_writer(struct bb_ring *ring);
/* The reader says that it sleeps from here on. False: something has come, it does not. */
bool bb_ring_may_sleep(struct bb_ring *ring);
/* The reader is awake, by whatever woke it: it need not be woken. */
void bb_ring_awake(struct bb_ring *ring);

#endif
