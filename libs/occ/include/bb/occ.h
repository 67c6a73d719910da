/*
 * The conflict window: "which is the newest write in this range of keys?", in logarithmic time.
 *
 * It knows every write with a tx above its floor. A transaction that read at S >= floor is still
 * valid if no range that it read holds a write newer than S; about a read below the floor it can
 * say nothing.
 *
 * The writes of some transactions in a row are a span: a table of keys by hash, and a list of them
 * by their last write. Most reads are of one key and ask what was written in the last moments: they
 * look into the table of the youngest span. A range is looked for along its list, down to the
 * moment that was asked for. Once that has cost as much as a tree would, the span gets one: a treap
 * (Seidel, Aragon 1996) by key, whose nodes carry the newest tx of their subtree. A span leaves as
 * a whole: when the floor has passed its last transaction, or, oldest first, when memory is full.
 * There are some twenty, and never more than a hundred.
 *
 * Ownership: keys are copied. Threads: one. Durability: none. The same calls and seed give the same
 * answers and trees.
 */
#ifndef BB_OCC_H
#define BB_OCC_H

#include "bb/base.h"

struct bb_occ;

/* `bytes_max`: beyond it the oldest writes leave and the floor rises. `seed`: shapes trees and
 * tables. */
struct bb_occ *bb_occ_new(struct bb_txtime floor, size_t bytes_max, uint64_t seed);
void bb_occ_free(struct bb_occ *occ); /* accepts NULL */

/* Remember a write. `tx` is above the floor and not below any that was added before. */
void bb_occ_add(struct bb_occ *occ, struct bb_slice key, struct bb_txtime tx);
/*
 * The newest write with low <= key < high and a tx above `after`; BB_TX_NONE when there is none
 * above the floor.
 */
struct bb_txtime bb_occ_newest_in(struct bb_occ *occ, struct bb_slice low, struct bb_slice high,
                                  struct bb_txtime after);

struct bb_txtime bb_occ_floor(const struct bb_occ *occ);
/* Forget the writes with tx <= floor. A floor that is not above the present one changes nothing. */
void bb_occ_raise_floor(struct bb_occ *occ, struct bb_txtime floor);
/* What is held; some of it may be below the floor already. A key counts once in each span. */
size_t bb_occ_bytes(const struct bb_occ *occ);
size_t bb_occ_keys(const struct bb_occ *occ);

#endif
