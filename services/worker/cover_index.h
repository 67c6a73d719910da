/*
 * Covers by a hash of where they begin: most of them hold one key, and are asked for by it.
 *
 * Open addressing with linear probing, at most half full; a removal moves back what was pushed on
 * (Knuth, The Art of Computer Programming 3, 6.4, algorithm R). Ownership: the covers are the
 * caller's. Threads: one. Durability: none.
 */
#ifndef WORKER_COVER_INDEX_H
#define WORKER_COVER_INDEX_H

#include "coverage.h"

#define COVER_INDEX_BYTES 16 /* of a cover, as it is accounted */

struct cover_index {
    struct cover **places; /* a power of two of them */
    size_t capacity, count;
    uint64_t seed;
};

void worker_cover_index_init(struct cover_index *index);
void worker_cover_index_fini(struct cover_index *index);
/* The one that begins with `low`, or NULL. */
struct cover *worker_cover_index_find(const struct cover_index *index, struct bb_slice low);
/* None that begins there is in it yet; it is in it. */
void worker_cover_index_add(struct cover_index *index, struct cover *cover);
void worker_cover_index_remove(struct cover_index *index, const struct cover *cover);

#endif
