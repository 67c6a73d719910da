/*
 * The nodes of a map by a hash of their keys. Internal to libs/mvcc.
 *
 * Open addressing with linear probing, at most half full; a removal moves back what was pushed on
 * (Knuth, The Art of Computer Programming 3, 6.4, algorithm R). One thread.
 */
#ifndef BB_MVCC_INDEX_H
#define BB_MVCC_INDEX_H

#include "bb/base.h"

#define MVCC_INDEX_BYTES 16 /* of a node, as it is accounted */

struct mvcc_node;
struct mvcc_index;

struct mvcc_index *mvcc_index_new(void);
void mvcc_index_free(struct mvcc_index *index); /* accepts NULL */
struct mvcc_node *mvcc_index_find(const struct mvcc_index *index, struct bb_slice key);
/* Its key is not there yet; it is there. */
void mvcc_index_add(struct mvcc_index *index, struct mvcc_node *node);
void mvcc_index_remove(struct mvcc_index *index, const struct mvcc_node *node);

#endif
