/*
 * The workers that a gateway knows, what they have of its calls, and who gets the next one.
 * Shared between workers.c and call.c; others use call.h.
 */
#ifndef GATEWAY_WORKERS_H
#define GATEWAY_WORKERS_H

#include "bb/workers.h"

#include "call.h"

struct worker {
    struct workers *workers;
    size_t index;
    struct bb_peer *peer;
    uint64_t hash;          /* of its url */
    struct bb_list errands; /* its calls under way */
};

struct workers {
    struct gateway *gateway;
    struct bb_workers *known;
    struct worker items[BB_WORKERS_MAX];
    size_t count;
    struct bb_list waiting; /* calls without a worker */
    struct bb_list leaving; /* calls that a worker has and nobody waits for: it will be told */
    size_t calls, calls_max;
    struct bb_timer *tick;
    bool is_tick_fast;
    struct bb_arena *arena; /* replies are unpacked here */
    bool is_closing;
};

/* NULL: none is there. */
struct worker *gateway_workers_choose(struct workers *workers, const struct call *call);
/* Retries come often while something waits, else seldom. */
void gateway_workers_tick_at(struct workers *workers, bool is_fast);

/* call.c: send waiting calls whose time has come, or all; end all that wait. */
void gateway_calls_kick(struct workers *workers, bool is_all);
void gateway_calls_give_up(struct workers *workers);
/* call.c: the worker hangs or is cut; all that it has goes to others, which are there. */
void gateway_calls_move(struct worker *worker);
/* call.c: tell workers of the calls that leave and whose time has come. */
void gateway_calls_cancel(struct workers *workers);

#endif
