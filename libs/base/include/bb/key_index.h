/*
 * Things by a hash of their keys, however many: nothing here takes a time that grows with them.
 *
 * Extendible hashing (Fagin, Nievergelt, Pippenger, Strong, "Extendible hashing - a fast access
 * method for dynamic files", 1979): the first bits of a hash lead through a directory to a part, a
 * small table of its own. A full part becomes two, and two that are nearly empty become one; only
 * the directory, a thousandth of all, is ever copied as a whole. In a part: open addressing with
 * linear probing, at most three quarters full; a removal moves back what was pushed on (Knuth, The
 * Art of Computer Programming 3, 6.4, algorithm R). The hash stands beside each thing, so only what
 * is asked for is looked at, and nothing is when a part becomes two.
 *
 * Keys may be made so that their hashes meet. More than a few with one hash, and what would make
 * the directory larger than is in proportion, go to an overflow: an index with SHA-256 as its hash.
 *
 * Ownership: things and keys are the caller's, and a key does not change while its thing is in
 * here. Threads: one. Durability: none.
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
/* Depth: how many first bits the hashes in a part share. */
struct bb_key_part {
    uint16_t count; /* kept in the first of the directory's entries that lead to the part */
    uint8_t depth;
};
struct base_pieces;
struct bb_key_index {
    struct bb_key_place **places; /* the directory: 2^depth entries that lead to parts */
    struct bb_key_part *parts;    /* beside each of them */
    size_t capacity;              /* of a part, a power of two; it grows while there is one alone */
    size_t count;                 /* with what is in the overflow */
    size_t deepest_count;         /* parts as deep as the directory */
    unsigned depth;
    uint64_t seed;
    struct base_pieces *pieces; /* all parts but the first */
    struct bb_slice (*key_of)(const void *thing);
    struct bb_key_index *overflow; /* NULL: nothing is there */
    bool is_overflow;              /* of another one */
};

void bb_key_index_init(struct bb_key_index *index, struct bb_slice (*key_of)(const void *thing));
void bb_key_index_fini(struct bb_key_index *index);
/* NULL: there is none. */
void *bb_key_index_find(const struct bb_key_index *index, struct bb_slice key);
/* Nothing with its key is in here; it is in here. */
void bb_key_index_add(struct bb_key_index *index, void *thing);
void bb_key_index_remove(struct bb_key_index *index, const void *thing);

/* Where a walk over all things is; it begins as zero. */
struct bb_key_walk {
    uint64_t first_bits;
    size_t place;
    unsigned overflow; /* 0: in the index itself, 1: in its overflow */
};
/* The next one; NULL: that was all, and the walk is at its beginning again. In no order. What is
 * met does not change when nothing is added or removed meanwhile; else some may be met twice and
 * some not at all. */
void *bb_key_index_next(const struct bb_key_index *index, struct bb_key_walk *walk);

#endif
