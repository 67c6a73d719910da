/*
 * Which calls wait in line before they run, because they would lose a race against each other.
 *
 * A range of keys that a commit lost is hot for a second. Hot ranges that calls have in common make
 * one lane: its calls wait in order of arrival, and what is handed to a slot of them runs in a row.
 * A call is in a lane because it lost there, because a read of it met a hot range, or because calls
 * alike do. Only orders; correctness is the sequencer's. Decisions only, no I/O.
 *
 * Across supervisors the sequencer orders: a lane runs under a reservation of its hot ranges
 * (sequencer.proto, Reserve), which it asks for, renews while it has calls, and ends.
 *
 * The queues are lists of the caller's own links. Threads: one.
 */
#ifndef WORKER_LANE_H
#define WORKER_LANE_H

#include "bb/base.h"

#define LANES_MAX 64u /* lanes are numbered from 1; 0: none */

struct lanes;
struct lanes *worker_lanes_new(void);
void worker_lanes_free(struct lanes *lanes); /* accepts NULL */

/* ---- ranges ---- */

/* The range [low, high) lost, or somebody else says that it did: its lane. `own`: that of the call
 * that lost it, which it joins; 0: none. Copies. */
unsigned worker_lanes_heat(struct lanes *lanes, struct bb_slice low, struct bb_slice high,
                           unsigned own, uint64_t now_us);
/* The lane of a hot range that [low, high) meets; an empty `high`: the key `low` alone. */
unsigned worker_lanes_meet(struct lanes *lanes, struct bb_slice low, struct bb_slice high,
                           uint64_t now_us);
/* The same for what a run has read; and while others wait in that lane, the range stays hot. */
unsigned worker_lanes_touch(struct lanes *lanes, struct bb_slice low, struct bb_slice high,
                            uint64_t now_us);
/* Some call needs both: from now on they are one. Either may be 0. */
unsigned worker_lanes_join(struct lanes *lanes, unsigned a, unsigned b);
/* The lane that a number stands for now; 0: it is no more. */
unsigned worker_lanes_root(const struct lanes *lanes, unsigned lane);
/* Anything hot at all? */
bool worker_lanes_any(const struct lanes *lanes, uint64_t now_us);
/* From time to time: lanes that are cold and empty end. */
void worker_lanes_tick(struct lanes *lanes, uint64_t now_us);
/* An epoch died: what was written and held in it says nothing any more. */
void worker_lanes_forget(struct lanes *lanes);

/* ---- calls ---- */

/* The lane that calls alike were in lately. `keys` are hashes that say what a call is like, from
 * narrow (path and arguments) to wide (path). */
unsigned worker_lanes_guess(const struct lanes *lanes, const uint64_t keys[2], uint64_t now_us);
/* What a run with these keys met; 0: no hot range. */
void worker_lanes_learn(struct lanes *lanes, const uint64_t keys[2], unsigned lane,
                        uint64_t now_us);

struct bb_list *worker_lane_queue(struct lanes *lanes, unsigned lane);
/* Somebody waits, nobody of the lane runs, and it has its reservation. */
bool worker_lane_may_run(const struct lanes *lanes, unsigned lane, uint64_t now_us);
/* Somebody of the lane runs, or waits. */
bool worker_lane_is_busy(const struct lanes *lanes, unsigned lane);
/* A call of the lane goes to a slot, and has ended: sequenced as `tx`, or 0. */
void worker_lane_enter(struct lanes *lanes, unsigned lane);
void worker_lane_leave(struct lanes *lanes, unsigned lane, uint64_t tx);
/* The newest that one of the lane was sequenced as: a run at an older snapshot would lose. */
uint64_t worker_lane_least(const struct lanes *lanes, unsigned lane);
/* How many calls may run in a row: as many as take a few milliseconds, as their runs went so far.
 */
size_t worker_lane_length(const struct lanes *lanes, unsigned lane);
/* One run took `us` in its slot, and kept that busy for `cpu_us` of it. What it waited for before
 * and after says nothing about the next ones: a busy supervisor must not make rows short. */
void worker_lane_took(struct lanes *lanes, unsigned lane, uint64_t us, uint64_t cpu_us);

/* ---- reservations ---- */

enum lane_hold {
    LANE_HOLD_NONE,
    LANE_HOLD_ASKED, /* and perhaps queued */
    LANE_HOLD_HAS
};
/* What is to be said of a lane. */
struct lane_talk {
    uint64_t reserve; /* the number to reserve its ranges under; 0: nothing */
    uint64_t keep, end;
};
/* True: something is to be said of the lane now. It counts as said. */
bool worker_lane_talk(struct lanes *lanes, unsigned lane, uint64_t now_us, struct lane_talk *talk);
/* A reservation to be ended because its lane was joined to another one; 0: no more. */
uint64_t worker_lanes_joined(struct lanes *lanes);
/* Would worker_lane_talk say something, of any lane? */
bool worker_lanes_have_talk(struct lanes *lanes, uint64_t now_us);
/* The hot ranges of the lane: gives the `i`-th, false at the end. */
bool worker_lane_range(const struct lanes *lanes, unsigned lane, size_t i, struct bb_slice *low,
                       struct bb_slice *high);
/* What the sequencer says of a reservation. `tx`: runs under it are at this tx or later. */
void worker_lanes_heard(struct lanes *lanes, uint64_t number, enum lane_hold hold, bool is_wanted,
                        uint64_t tx, uint64_t now_us);
/* The reservation that calls of the lane commit under; 0: none. */
uint64_t worker_lane_number(const struct lanes *lanes, unsigned lane);

#endif
