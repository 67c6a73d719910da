/*
 * The workers that a service calls: those of its option `workers`, which are there, and which may
 * get a call. Each is asked for its Info once a second, and much oftener while it is not there.
 *
 * One that no sequencer answers says so, and gets no calls while another one is whole: its calls
 * would commit nothing. What it has may be moved then, as with one that hangs: `useless` tells.
 * All on the owner loop's thread; holds at most BB_WORKERS_MAX connections.
 */
#ifndef BB_WORKERS_H
#define BB_WORKERS_H

#include "worker.pb-c.h"

#include "bb/base.h"
#include "bb/rt.h"
#include "bb/wire.h"

#define BB_WORKERS_MAX  64u
#define BB_WORKERS_NONE SIZE_MAX

struct bb_workers;
struct bb_workers_options {
    const char *urls; /* comma list */
    /* Called when it answers and did not before. */
    void (*up)(void *arg, size_t worker);
    /* It hangs, or hears no sequencer, and another one is there for its calls. Called for each
     * answer, or lack of one, that says so. Both may be NULL. */
    void (*useless)(void *arg, size_t worker);
    void *arg;
};
/* Nothing needs to be there yet. BB_BAD_REQUEST names the option. On failure `workers` is set all
 * the same, and is to be closed. */
int bb_workers_open(struct bb_ctx *ctx, struct bb_loop *loop,
                    const struct bb_workers_options *options, struct bb_workers **workers);
/* Requests under way end with BB_CANCELLED; nothing else is called any more. Accepts NULL. */
void bb_workers_close(struct bb_workers *workers);

size_t bb_workers_count(const struct bb_workers *workers); /* at least 1 */
struct bb_peer *bb_workers_peer(const struct bb_workers *workers, size_t worker);
bool bb_workers_is_up(const struct bb_workers *workers, size_t worker);
bool bb_workers_is_any_up(const struct bb_workers *workers);
/* What it answered last; the text is valid until it answers again. */
const Bb__Proto__WorkerInfoReply *bb_workers_info(const struct bb_workers *workers, size_t worker);

/* It is there, and hears a sequencer if any of those that are there does. */
bool bb_workers_may_call(const struct bb_workers *workers, size_t worker);
/* Of those that may be called the one with the fewest requests under way, other than `except` if
 * there is one. BB_WORKERS_NONE: none is there. */
size_t bb_workers_least_busy(struct bb_workers *workers, size_t except);
/* A request to it ended with BB_PEER_GONE: it is not there until it answers again. */
void bb_workers_gone(struct bb_workers *workers, size_t worker);

#endif
