/*
 * Which of many key ranges hold a key: a treap ordered by low end, where every node knows the
 * greatest high end below it ("interval tree" of Cormen et al.). A look-up costs O(log n + hits).
 *
 * Ownership: nodes and their bytes are the caller's. Threads: one.
 */
#ifndef BB_INTERVAL_H
#define BB_INTERVAL_H

#include "bb/base.h"

struct bb_interval {
    struct bb_slice low, high; /* low <= key < high; set by the caller */
    void *owner;
    /* the index's */
    struct bb_interval *left, *right;
    struct bb_slice high_max; /* of the subtree */
    uint64_t priority, number;
};

struct bb_interval_index {
    struct bb_interval *root;
    uint64_t random, numbers;
    size_t count;
};

void bb_interval_index_init(struct bb_interval_index *index);
void bb_interval_insert(struct bb_interval_index *index, struct bb_interval *node);
void bb_interval_remove(struct bb_interval_index *index, struct bb_interval *node);
/* Calls `each` for every range that holds `key`. It must not change the index. */
void bb_interval_stab(const struct bb_interval_index *index, struct bb_slice key,
                      void (*each)(void *arg, struct bb_interval *node), void *arg);
static inline bool bb_interval_holds(struct bb_slice low, struct bb_slice high, struct bb_slice key)
{
    return bb_slice_compare(low, key) <= 0 && bb_slice_compare(key, high) < 0;
}

#endif
