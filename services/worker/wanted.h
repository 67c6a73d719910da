/*
 * The indexes of which somebody asks ranges. What is written into them gets its place in the order
 * of keys at once, so that a range which becomes known has it; whoever only gets documents pays
 * nothing for that.
 *
 * Threads: one. Durability: none. An index that is not asked for again while hundreds of others are
 * may be forgotten: then it is asked for as if for the first time.
 */
#ifndef WORKER_WANTED_H
#define WORKER_WANTED_H

#include "bb/base.h"

struct wanted;

struct wanted *worker_wanted_new(void);
void worker_wanted_free(struct wanted *wanted); /* accepts NULL */

/* Somebody asks for ranges of the index of `key`, when the newest write was at `newest`. */
void worker_wanted_add(struct wanted *wanted, struct bb_slice key, uint64_t newest);
/* Is the index of `key` wanted, at `tx`? */
bool worker_wanted_has(const struct wanted *wanted, struct bb_slice key, uint64_t tx);
/* It was for all writes of the range after this moment, when the newest one was at `newest`;
 * UINT64_MAX: that is not known of any. */
uint64_t worker_wanted_from(const struct wanted *wanted, struct bb_slice low, struct bb_slice high,
                            uint64_t newest);

#endif
