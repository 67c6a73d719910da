/*
 * Which slots keep a copy of which document or range, and what each of them must be told about it.
 *
 * A slot may keep what a read answered (SlotReadResult.since). From then on each write to that
 * document, or to a key in that range, is told to it with its next call, so that what it keeps is
 * exact at any snapshot up to that call's SlotStart.coherent. The supervisor forgets rather than
 * grow: what falls out of its tables ends in the slots, and a slot that would have to be told too
 * much is told to forget all.
 *
 * A range is kept when it is read a second time without a write between: one that is written
 * between any two reads, or read once and never again, costs nothing.
 *
 * Ownership: keys are copied. Threads: one. Durability: none.
 */
#ifndef WORKER_COPIES_H
#define WORKER_COPIES_H

#include "bb/base.h"

#define COPIES_KEY_SIZE  20 /* of a document: its by_id index and its id */
#define COPIES_SLOTS_MAX 64 /* others keep nothing */
#define COPIES_ENDS_MAX  256

struct copies;

struct copies *worker_copies_new(size_t slot_count);
void worker_copies_free(struct copies *copies); /* accepts NULL */

/* The slot is about to keep the document, of which all writes up to `cursor` are known. False: it
 * must not. */
bool worker_copies_add(struct copies *copies, size_t slot, struct bb_slice key, uint64_t cursor);
/* The same for the answer of a scan, which covers [low, high). The number of the range; 0: it must
 * not. */
uint64_t worker_copies_add_range(struct copies *copies, size_t slot, struct bb_slice low,
                                 struct bb_slice high, uint64_t cursor);
/* The slot was given the document, and what it was given is the newest that is known. It may have
 * dropped it meanwhile. */
bool worker_copies_has(struct copies *copies, size_t slot, struct bb_slice key);
/* A record of the feed named this key of a document: its own, or one in an index. */
void worker_copies_written(struct copies *copies, struct bb_slice key, uint64_t tx);
/* History was rewritten, or records are missing: nothing that any slot keeps may be used. */
void worker_copies_forget(struct copies *copies);
/* The slot is another process now, which keeps nothing. */
void worker_copies_restarted(struct copies *copies, size_t slot);

struct copies_end {
    uint8_t key[COPIES_KEY_SIZE];
    uint64_t tx;
};
struct copies_range_end {
    uint64_t number, tx;
};
/* What goes into the slot's next SlotStart. */
struct copies_news {
    bool keeps; /* may it keep anything? */
    bool forgets;
    const struct copies_end *ends; /* until the next change */
    size_t end_count;
    const struct copies_range_end *range_ends;
    size_t range_end_count;
};
/* It is told now. */
struct copies_news worker_copies_tell(struct copies *copies, size_t slot);

#endif
