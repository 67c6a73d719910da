/*
 * The key ranges that slots keep, which may overlap, and who keeps each.
 *
 * Sorted by low end; each entry knows which one up to it reaches farthest, so that a range that
 * holds a key is found by one binary search. Bounded: the caller makes room.
 *
 * Ownership: keys are copied. Threads: one. Durability: none.
 */
#ifndef WORKER_COPY_RANGES_H
#define WORKER_COPY_RANGES_H

#include "bb/base.h"

#define COPY_RANGES_MAX    1024
#define COPY_RANGE_KEY_MAX 512 /* bytes of both ends together */

struct copy_range {
    struct bb_slice low, high; /* low <= key < high */
    uint64_t number;           /* never used for another one */
    uint64_t slots;            /* bits */
    bool is_used;              /* since the hand passed */
    const struct copy_range *reach;
};
struct copy_ranges;

struct copy_ranges *worker_copy_ranges_new(void);
void worker_copy_ranges_free(struct copy_ranges *ranges); /* accepts NULL */
void worker_copy_ranges_clear(struct copy_ranges *ranges);
size_t worker_copy_ranges_count(const struct copy_ranges *ranges);
/* Exactly this one; NULL: it is not here. Results live until they are removed. */
struct copy_range *worker_copy_ranges_find(const struct copy_ranges *ranges, struct bb_slice low,
                                           struct bb_slice high);
/* It is not here, and there is room. */
struct copy_range *worker_copy_ranges_add(struct copy_ranges *ranges, struct bb_slice low,
                                          struct bb_slice high);
void worker_copy_ranges_remove(struct copy_ranges *ranges, struct copy_range *range);
/* One that holds the key; NULL: none does. */
struct copy_range *worker_copy_ranges_at(const struct copy_ranges *ranges, struct bb_slice key);
/* Which one should go when there is no room: one that was not used for long. */
struct copy_range *worker_copy_ranges_victim(struct copy_ranges *ranges);

#endif
