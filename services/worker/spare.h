/*
 * Spare slots: beyond `--slots`, started while calls hold those for long, so that other calls go
 * on. Decisions only.
 *
 * A slot is held when its call has computed for longer than HELD_US, waiting for reads not counted;
 * or from the start, when the function did so last time. Spares are for calls that will be short.
 * Of a function that nothing is known of, one call at a time may be too long: the last spare that
 * is free is never given to it.
 */
#ifndef WORKER_SPARE_H
#define WORKER_SPARE_H

#include "bb/base.h"

#define SPARE_HELD_US 100000u

/* What the next call of a function will be, by what its calls were (pace.h). */
enum spare_class {
    SPARE_SHORT,
    SPARE_UNKNOWN, /* none has ended yet, or they took a while */
    SPARE_LONG     /* one holds a slot now, or the last one did until it was stopped */
};

struct spare_view {
    size_t slots, spares; /* that there may be of each */
    size_t held;          /* of both */
    size_t away;          /* slots that start or end, as after a call that had to be killed */
    size_t spares_used;   /* that have a call */
};

/* No other slot is free: may the call go to a spare that is? */
bool worker_spare_may_take(const struct spare_view *view, enum spare_class call);
/* So many calls of at most `calls_max` are here: is there room for one more? Those of functions
 * that take long fill half of it. */
bool worker_spare_has_room(size_t calls, size_t calls_max, enum spare_class call);
/* How many should run: two more places than are held, as far as the slots do not give them. */
size_t worker_spare_wanted(const struct spare_view *view);

#endif
