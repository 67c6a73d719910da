/*
 * Things by a hash of their keys.
 *
 * Open addressing with linear probing, at most three quarters full; a removal moves back what was
 * pushed on (Knuth, The Art of Computer Programming 3, 6.4, algorithm R). The hash stands beside
 * each thing, so only what is asked for is looked at, however many there are, and nothing is when
 * the index grows. Ownership: things and keys are the caller's, and a key does not change while
 * its thing is in here. Threads: one. Durability: none.
 */
#ifndef BB_KEY_INDEX_H
#define BB_KEY_INDEX_H

#include "bb/base.h"

#define BB_KEY_INDEX_BYTES 32 /* of a thing, as its owner accounts it */

/* What the allocator takes of memory for `size` bytes: its header before them, in units of 16. */
static inline size_t bb_alloc_cost(size_t size)
{
    size_t cost = (size + 8 + 15) & ~(size_t)15;
    return cost < 32 ? 32 : cost;
}

struct bb_key_place {
    void *thing; /* NULL: free */
    uint64_t hash;
};
struct bb_key_index {
    struct bb_key_place *places; /* a power of two of them */
    size_t capacity, count;
    uint64_t seed;
    struct bb_slice (*key_of)(const void *thing);
};

void bb_key_index_init(struct bb_key_index *index, struct bb_slice (*key_of)(const void *thing));
void bb_key_index_fini(struct bb_key_index *index);
/* NULL: there is none. */
void *bb_key_index_find(const struct bb_key_index *index, struct bb_slice key);
/* Nothing with its key is in here; it is in here. */
void bb_key_index_add(struct bb_key_index *index, void *thing);
void bb_key_index_remove(struct bb_key_index *index, const void *thing);

#endif
