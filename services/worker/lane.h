/*
 * Which calls queue because one like them lost a race a moment ago: they run one after the other
 * then, and none of them loses again to its neighbour. Only orders; correctness is the sequencer's.
 * Decisions only, no I/O.
 */
#ifndef WORKER_LANE_H
#define WORKER_LANE_H

#include "bb/base.h"

struct lanes;
struct lanes *worker_lanes_new(void);
void worker_lanes_free(struct lanes *lanes); /* accepts NULL */
/* May the call `id` run now? Then it holds its lane until worker_lanes_leave. `keys` are hashes
 * that say what the call is like, from narrow to wide. `least`: what the one before it wrote; a run
 * at an older snapshot would lose. */
bool worker_lanes_enter(struct lanes *lanes, uint64_t id, const uint64_t keys[2], uint64_t now_us,
                        uint64_t *least);
/* `tx`: what the call was sequenced as; 0: it wrote nothing. */
void worker_lanes_leave(struct lanes *lanes, uint64_t id, const uint64_t keys[2], uint64_t tx);
/* The call lost for the `losses`-th time: its narrow key is hot for a second, from the second loss
 * on the wide one as well. */
void worker_lanes_lost(struct lanes *lanes, uint64_t id, const uint64_t keys[2], unsigned losses,
                       uint64_t now_us);
/* A call that leaves may make way for another one. */
bool worker_lanes_meet(const uint64_t a[2], const uint64_t b[2]);
/* An epoch died: what was written in it says nothing any more. */
void worker_lanes_forget(struct lanes *lanes);

#endif
