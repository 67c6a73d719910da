/*
 * What came lately, as hashes: whether something has come before, before anything is kept of it.
 *
 * Two generations; the older one goes when the younger one is half full. One hash may take the
 * place of another: what is said is worth a copy more or less, and nothing else.
 *
 * Threads: one. Durability: none.
 */
#ifndef WORKER_SIGHTINGS_H
#define WORKER_SIGHTINGS_H

#include "bb/base.h"

struct sightings;

struct sightings *worker_sightings_new(void);
void worker_sightings_free(struct sightings *sightings); /* accepts NULL */
/* Whether it came before. */
bool worker_sightings_add(struct sightings *sightings, uint64_t hash);
void worker_sightings_forget(struct sightings *sightings, uint64_t hash);

#endif
