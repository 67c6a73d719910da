/*
 * How long calls of a function keep a slot, as a moving average: whether one more may be sent ahead
 * to a slot that is busy, whether an answer may wait for the next one, and who may have a spare
 * slot. Decisions only.
 *
 * A table of fixed size by the hash of the path; of two functions that meet there the later one
 * takes the place. Nothing depends on it but speed.
 */
#ifndef WORKER_PACE_H
#define WORKER_PACE_H

#include "bb/base.h"

#include "spare.h"

#define PACE_PLACES 512

struct pace {
    struct pace_place {
        uint64_t key;
        uint32_t average_us; /* 0: nothing is known */
        bool is_long;        /* one holds a slot, or the last one had to be stopped */
    } places[PACE_PLACES];
};

/* What the next call will take; 0: nothing is known. */
uint32_t worker_pace_of(const struct pace *pace, uint64_t key);
/* The next call as one that would have a spare slot. */
enum spare_class worker_pace_class(const struct pace *pace, uint64_t key);
/* A call took this long. */
void worker_pace_observe(struct pace *pace, uint64_t key, uint64_t us);
/* A call has held its slot for so long, and either goes on or was stopped by a limit. */
void worker_pace_held(struct pace *pace, uint64_t key, uint64_t us);

#endif
