/*
 * The workers that a gateway knows: which are there, how busy they are, who gets a call.
 * Shared between workers.c and call.c; others use call.h.
 */
#ifndef GATEWAY_WORKERS_H
#define GATEWAY_WORKERS_H

#include "call.h"

#define WORKERS_MAX 64u

struct worker {
    struct workers *workers;
    struct bb_peer *peer;
    uint64_t hash;
    uint64_t probed_us;
    bool is_up, is_probing;
    unsigned cut_count; /* how often in a row it said that it is cut while another one was whole */
    struct bb_list errands; /* its calls under way */
    Bb__Proto__WorkerInfoReply info;
    char isolation[128];
};

struct workers {
    struct gateway *gateway;
    struct worker items[WORKERS_MAX];
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
/* Retries and probes come often while something waits or is down, else seldom. */
void gateway_workers_tick_at(struct workers *workers, bool is_fast);

/* call.c: send waiting calls whose time has come, or all; end all that wait. */
void gateway_calls_kick(struct workers *workers, bool is_all);
void gateway_calls_give_up(struct workers *workers);
/* call.c: the worker hangs; all that it has goes to others, which are there. */
void gateway_calls_move(struct worker *worker);
/* call.c: tell workers of the calls that leave and whose time has come. */
void gateway_calls_cancel(struct workers *workers);

#endif
