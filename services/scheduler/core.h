/*
 * What the scheduler decides: which jobs want attention now, in the order of their times, with
 * bounded memory however many there are. Pure: clocks, rows and outcomes come in as arguments.
 *
 * Rows lie in lanes (the field `lane` of _jobs; crons are one more), each ordered by `wake` in an
 * index. A lane knows all rows below its horizon: they come from pages of the index, read from the
 * horizon on, and from the feed. Rows beyond the horizon are not known; when few are left, or their
 * time comes, the next page is wanted. So any number of rows fits, and none is passed over.
 *
 * What a lane hands out is marked by transactions that check the row, so a row that is handed out
 * twice, or too late, changes nothing: all here is about promptness, order and memory, not about
 * exactly once.
 *
 * Clocks: the time at which a job is due is the wall clock's. Whether a runner is lost is decided
 * by the monotonic clock alone: a row of the lane `running` that stays as it is for a whole lease.
 */
#ifndef SCHEDULER_CORE_H
#define SCHEDULER_CORE_H

#include "timers.h"

enum scheduler_lane {
    LANE_MUTATION, /* pending mutations */
    LANE_ACTION,   /* pending actions */
    LANE_QUEUED,   /* actions in the queue */
    LANE_RUNNING,  /* actions that a runner has */
    LANE_CRON,
    LANE_COUNT
};
/* As the rows spell it; crons have none. */
const char *scheduler_lane_name(enum scheduler_lane lane);
/* LANE_COUNT: no such lane. */
enum scheduler_lane scheduler_lane_of(struct bb_slice name);

struct scheduler_now {
    uint64_t wall_us, mono_us;
};
struct scheduler_job {
    struct bb_id id;
    double wake;
    int64_t attempt;
};
struct scheduler_options {
    size_t known_max;  /* rows that a lane keeps in mind; 0: 4,096 */
    uint64_t lease_us; /* LANE_RUNNING: as long as a row may stay as it is */
};

struct scheduler_core;
struct scheduler_core *scheduler_core_new(const struct scheduler_options *options);
void scheduler_core_free(struct scheduler_core *core); /* accepts NULL */
/* Nothing is known any more, and nothing is out: begin with pages. */
void scheduler_core_reset(struct scheduler_core *core);

/* The feed: a row is in this lane with these values (and in no other), or in none any more. */
void scheduler_core_see(struct scheduler_core *core, enum scheduler_lane lane,
                        const struct scheduler_job *job, struct scheduler_now now);
void scheduler_core_gone(struct scheduler_core *core, const struct bb_id *id);

/* Whether a page of the lane's index is wanted: `limit` rows from `from` on. Then it is under way
 * until one of the two below. The page must show at least what the feed has told by now. */
bool scheduler_core_wants_page(struct scheduler_core *core, enum scheduler_lane lane, double *from,
                               uint32_t *limit);
void scheduler_core_page(struct scheduler_core *core, enum scheduler_lane lane,
                         const struct scheduler_job *jobs, size_t count, bool is_done,
                         struct scheduler_now now);
/* `is_too_large`: the rows are; the next page is smaller. */
void scheduler_core_page_failed(struct scheduler_core *core, enum scheduler_lane lane,
                                bool is_too_large);

/* Up to `max` rows whose time has come, earliest first. They are out until scheduler_core_end. */
size_t scheduler_core_take(struct scheduler_core *core, enum scheduler_lane lane,
                           struct scheduler_now now, size_t max, struct scheduler_job *jobs);
/* What became of one that was out. `retry_us`: after this time again; 0: it was dealt with. */
void scheduler_core_end(struct scheduler_core *core, enum scheduler_lane lane,
                        const struct bb_id *id, uint64_t retry_us, struct scheduler_now now);
/* One that was out is in the lane `to` now, with these values: what its transaction answered. If
 * the feed has told anything of it meanwhile, that counts, as the answer may be late. */
void scheduler_core_moved(struct scheduler_core *core, enum scheduler_lane from,
                          enum scheduler_lane to, const struct scheduler_job *job,
                          struct scheduler_now now);
/* How often it was given back for another try. */
uint32_t scheduler_core_tries(const struct scheduler_core *core, enum scheduler_lane lane,
                              const struct bb_id *id);
/* All known rows of the lane want attention now: its queue is gone. */
void scheduler_core_hurry(struct scheduler_core *core, enum scheduler_lane lane,
                          struct scheduler_now now);

/* Microseconds until something of the lane wants attention; UINT64_MAX: nothing that is known. */
uint64_t scheduler_core_wait(const struct scheduler_core *core, enum scheduler_lane lane,
                             struct scheduler_now now);

struct scheduler_lane_view {
    size_t known, out;
    bool is_complete; /* there are no more than those known */
    uint64_t late_us; /* since when the earliest waits; 0: none is late */
};
void scheduler_core_view(const struct scheduler_core *core, enum scheduler_lane lane,
                         struct scheduler_now now, struct scheduler_lane_view *view);

#endif
