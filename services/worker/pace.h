/*
 * How long calls of a function keep a slot, as a moving average: whether one more may be sent ahead
 * to a slot that is busy, and whether an answer may wait for the next one. Decisions only.
 *
 * A table of fixed size by the hash of the path; of two functions that meet there the later one
 * takes the place. Nothing depends on it but speed.
 */
#ifndef WORKER_PACE_H
#define WORKER_PACE_H

#include "bb/base.h"

#define PACE_PLACES 512

struct pace {
    struct pace_place {
        uint64_t key;
        uint32_t average_us; /* 0: nothing is known */
    } places[PACE_PLACES];
};

/* What the next call will take; 0: nothing is known. */
uint32_t worker_pace_of(const struct pace *pace, uint64_t key);
/* A call took this long. */
void worker_pace_observe(struct pace *pace, uint64_t key, uint64_t us);

#endif
