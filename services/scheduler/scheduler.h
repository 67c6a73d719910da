/*
 * Shared inside the scheduler: the one object that holds all its mutable state, used on the owner
 * thread only.
 */
#ifndef SCHEDULER_SCHEDULER_H
#define SCHEDULER_SCHEDULER_H

#include "worker.pb-c.h"

#include "bb/env.h"
#include "bb/follow.h"
#include "bb/obs.h"
#include "bb/rt.h"
#include "bb/wire.h"

#include "core.h"
#include "lease.h"

#define SCHED_BATCH 100u /* action jobs that one transaction marks */

struct scheduler_workers;
struct scheduler_queue;

struct scheduler {
    struct bb_service *service;
    struct bb_loop *loop;
    struct bb_ctx *ctx; /* the loop's */
    struct scheduler_core *core;
    struct scheduler_lease lease;
    struct bb_follow *feed;
    struct scheduler_workers *workers;
    struct scheduler_queue *queue; /* NULL: no NATS */
    struct bb_timer *timer;        /* the next moment at which something is due */
    struct bb_value_builder *builder;
    char holder[40];
    size_t mutations_max, queued_max;
    uint64_t requeue_ms, keep_ms;
    uint64_t generation;       /* of what is known: answers of an earlier one are late */
    size_t calls;              /* under way */
    size_t mutations, batches; /* of those: runs, and transactions that mark actions */
    uint64_t clean_at_us, page_at_us[LANE_COUNT];
    uint64_t wall_us, mono_us; /* of the last turn, to see clocks jump */
    bool was_active, is_stopping, is_leaving, is_closing, wants_turn, wants_reset_crons,
        is_cleaning;
    bool is_queue_up, was_queue_up;
    uint64_t started_us;
    bool has_told_health, was_ready;
    const char *told_trouble; /* NULL: none */
    struct {
        struct bb_metric *active, *nats_up, *known, *in_flight, *late;
        struct bb_metric *mutations, *failed, *retries, *queued, *requeued, *swept, *crons,
            *cleaned;
        struct bb_histogram *delay;
    } count;
};

struct scheduler_now scheduler_now(struct scheduler *scheduler);
bool scheduler_is_active(struct scheduler *scheduler);
/* Look at everything that may have changed; cheap. */
void scheduler_turn(struct scheduler *scheduler);
/* Tells whether all is there that this service needs. */
void scheduler_tell_health(struct scheduler *scheduler);

/* workers.c: calls of functions */
int scheduler_workers_open(struct bb_ctx *ctx, struct scheduler *scheduler, const char *urls);
void scheduler_workers_close(struct scheduler *scheduler);
struct scheduler_call {
    struct scheduler *scheduler;
    uint64_t generation;
    enum scheduler_lane lane;
    /* `value` is the result (BBV) when status is BB_OK; lives during the call. */
    void (*done)(struct scheduler_call *call, int status, const char *error, struct bb_slice value);
    size_t job_count;
    struct scheduler_job jobs[];
};
struct scheduler_call *scheduler_call_new(struct scheduler *scheduler, enum scheduler_lane lane,
                                          size_t job_count);
/* `args`: BBV object; copied. The call is freed after `done`, which is called once, later. */
void scheduler_call_start(struct scheduler_call *call, const char *function, bool is_mutation,
                          struct bb_slice args);

/* work.c: what is due, and what became of it */
void scheduler_work(struct scheduler *scheduler);
/* Microseconds until something is due that may be taken. */
uint64_t scheduler_work_wait_us(struct scheduler *scheduler);
/* pages.c */
void scheduler_pages(struct scheduler *scheduler);
/* upkeep.c: the lease, what is kept, clocks */
void scheduler_upkeep(struct scheduler *scheduler);
uint64_t scheduler_upkeep_next_us(const struct scheduler *scheduler, uint64_t now);
/* Gives the lease back; the service ends then. */
void scheduler_leave(struct scheduler *scheduler);

/* feed.c: writes to _jobs and _crons, from the durable feed */
int scheduler_feed_open(struct bb_ctx *ctx, struct scheduler *scheduler, const char *urls);

#endif
