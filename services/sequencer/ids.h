/*
 * Request ids of the last minutes and the transaction that each became, that it is dead, or that it
 * changed nothing: a second commit of the same id gets the first answer, and one of an id that was
 * told to have changed nothing does nothing either. Bounded by age and by count, oldest first.
 *
 * A ring of entries in order of arrival and an open-addressing index over it, whose parts grow one
 * by one. Threads: one.
 */
#ifndef SEQUENCER_IDS_H
#define SEQUENCER_IDS_H

#include "bb/base.h"

#define SEQUENCER_ID_BYTES 16

struct sequencer_ids;
enum sequencer_id_state {
    SEQUENCER_ID_UNKNOWN,
    SEQUENCER_ID_SEQUENCED,
    SEQUENCER_ID_DEAD,
    SEQUENCER_ID_FINISHED
};

struct sequencer_ids *sequencer_ids_new(size_t count_max);
void sequencer_ids_free(struct sequencer_ids *ids); /* accepts NULL */
size_t sequencer_ids_count(const struct sequencer_ids *ids);
/* `tx` of a sequenced id. */
enum sequencer_id_state sequencer_ids_find(const struct sequencer_ids *ids, const uint8_t *id,
                                           struct bb_txtime *tx);
/* The id is not there yet. `tx`: of the transaction, or the time at which it became what it is. */
void sequencer_ids_add(struct sequencer_ids *ids, const uint8_t *id, enum sequencer_id_state state,
                       struct bb_txtime tx);
/* Forget what is older than `oldest`. */
void sequencer_ids_expire(struct sequencer_ids *ids, struct bb_txtime oldest);

#endif
