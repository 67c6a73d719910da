/*
 * Which documents calls of a function with the same arguments got before: the next such call most
 * likely gets them again, so they go to its slot together with it, and it need not ask.
 *
 * Only a guess: what is not named here is asked for, what is named in vain costs its bytes. A table
 * of fixed size by the hash of path and arguments; what was used least lately goes first.
 */
#ifndef WORKER_HINTS_H
#define WORKER_HINTS_H

#include "copies.h"

#define HINTS_MAX 4 /* documents of one call */

struct hints;

struct hints *worker_hints_new(void);
void worker_hints_free(struct hints *hints); /* accepts NULL */

/* A call with this hash has asked for the document. */
void worker_hints_learn(struct hints *hints, uint64_t key, struct bb_slice document);
/* What to send along; the slices hold until the next call of learn. */
size_t worker_hints_of(struct hints *hints, uint64_t key, struct bb_slice documents[HINTS_MAX]);

#endif
