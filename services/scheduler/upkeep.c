/* What goes on beside the work: the lease, jobs that were kept long enough, clocks that jump. */
#include "scheduler.h"

#define CLEAN_US      60000000u
#define CLEAN_NEXT_US 20000u /* between two steps of one cleaning */
#define JUMP_US       60000000u

static struct bb_value_builder *begin(struct scheduler *scheduler)
{
    bb_value_builder_clear(scheduler->builder);
    bb_value_begin_object(scheduler->builder);
    return scheduler->builder;
}

static void start(struct scheduler *scheduler, const char *function,
                  void (*done)(struct scheduler_call *call, int status, const char *error,
                               struct bb_slice value))
{
    struct scheduler_call *call = scheduler_call_new(scheduler, LANE_COUNT, 0);

    bb_value_end_object(scheduler->builder);
    call->done = done;
    scheduler_call_start(call, function, true, bb_value_finish(scheduler->builder));
}

/* ---- the lease ---- */

static void on_lease(struct scheduler_call *call, int status, const char *error,
                     struct bb_slice value)
{
    struct scheduler *scheduler = call->scheduler;
    uint64_t now = bb_loop_now_us(scheduler->loop);
    struct bb_slice is_held = BB_SLICE_EMPTY;
    struct bb_slice beat = BB_SLICE_EMPTY;

    if (status == BB_OK && bb_value_tag(value) == BB_TAG_OBJECT) {
        is_held = bb_value_field_str(value, "isHeld");
        beat = bb_value_field_str(value, "beat");
    }
    if (is_held.data != NULL && beat.data != NULL && bb_value_tag(beat) == BB_TAG_FLOAT64) {
        scheduler_lease_answer(&scheduler->lease, now, bb_value_bool(is_held),
                               (uint64_t)bb_value_float64(beat));
    } else {
        bb_debug(scheduler->ctx, "scheduler.lease_unknown", "status=%s error=\"%s\"",
                 bb_status_name(status), error);
        scheduler_lease_failed(&scheduler->lease, now);
    }
}

static void put_lease(struct scheduler *scheduler)
{
    struct bb_value_builder *to = begin(scheduler);

    bb_value_field_name(to, bb_slice_str("name"));
    bb_value_put_string(to, bb_slice_str("scheduler"));
    bb_value_field_name(to, bb_slice_str("holder"));
    bb_value_put_string(to, bb_slice_str(scheduler->holder));
}

static void renew(struct scheduler *scheduler, uint64_t now)
{
    bool has_seen;
    uint64_t seen;

    if (!scheduler_lease_ask(&scheduler->lease, now, &has_seen, &seen))
        return;
    put_lease(scheduler);
    if (has_seen) {
        bb_value_field_name(scheduler->builder, bb_slice_str("seen"));
        bb_value_put_float64(scheduler->builder, (double)seen);
    }
    start(scheduler, "takeLease", on_lease);
}

static void on_left(struct scheduler_call *call, int status, const char *error,
                    struct bb_slice value)
{
    (void)status; /* a standby waits a lease longer then */
    (void)error;
    (void)value;
    if (!call->scheduler->is_closing)
        bb_service_stopped(call->scheduler->service);
}

void scheduler_leave(struct scheduler *scheduler)
{
    put_lease(scheduler);
    bb_value_field_name(scheduler->builder, bb_slice_str("isLeaving"));
    bb_value_put_bool(scheduler->builder, true);
    start(scheduler, "takeLease", on_left);
}

/* ---- jobs that ended long ago ---- */

static void on_clean(struct scheduler_call *call, int status, const char *error,
                     struct bb_slice value)
{
    struct scheduler *scheduler = call->scheduler;
    uint64_t now = bb_loop_now_us(scheduler->loop);
    struct bb_slice deleted = BB_SLICE_EMPTY;
    struct bb_slice is_done = BB_SLICE_EMPTY;

    (void)error;
    scheduler->is_cleaning = false;
    if (status == BB_OK && bb_value_tag(value) == BB_TAG_OBJECT) {
        deleted = bb_value_field_str(value, "deleted");
        is_done = bb_value_field_str(value, "isDone");
    }
    bool is_over = is_done.data == NULL || bb_value_bool(is_done);
    if (deleted.data != NULL && bb_value_tag(deleted) == BB_TAG_FLOAT64)
        bb_metric_add(scheduler->count.cleaned, (int64_t)bb_value_float64(deleted));
    scheduler->clean_at_us = now + (is_over ? CLEAN_US : CLEAN_NEXT_US);
}

static void clean(struct scheduler *scheduler, uint64_t now)
{
    if (scheduler->is_cleaning || now < scheduler->clean_at_us)
        return;
    scheduler->is_cleaning = true;
    struct bb_value_builder *to = begin(scheduler);
    bb_value_field_name(to, bb_slice_str("keepMs"));
    bb_value_put_float64(to, (double)scheduler->keep_ms);
    start(scheduler, "cleanJobs", on_clean);
}

/* ---- clocks ---- */

/* Times of crons that were computed from a clock that was put back since lie too far ahead. */
static void watch_clock(struct scheduler *scheduler)
{
    struct scheduler_now now = scheduler_now(scheduler);
    int64_t wall = (int64_t)(now.wall_us - scheduler->wall_us);
    int64_t mono = (int64_t)(now.mono_us - scheduler->mono_us);

    if (scheduler->mono_us != 0 &&
        (wall - mono > (int64_t)JUMP_US || mono - wall > (int64_t)JUMP_US)) {
        bb_warn(scheduler->ctx, "scheduler.clock_jumped", "seconds=%" PRId64,
                (wall - mono) / 1000000);
        scheduler->wants_reset_crons |= wall < mono;
    }
    scheduler->wall_us = now.wall_us;
    scheduler->mono_us = now.mono_us;
}

static void on_reset(struct scheduler_call *call, int status, const char *error,
                     struct bb_slice value)
{
    (void)error;
    (void)value;
    call->scheduler->wants_reset_crons |= status != BB_OK;
}

void scheduler_upkeep(struct scheduler *scheduler)
{
    uint64_t now = bb_loop_now_us(scheduler->loop);

    watch_clock(scheduler);
    renew(scheduler, now);
    if (!scheduler_lease_is_active(&scheduler->lease, now))
        return;
    clean(scheduler, now);
    if (scheduler->wants_reset_crons) {
        scheduler->wants_reset_crons = false;
        (void)begin(scheduler);
        start(scheduler, "resetCrons", on_reset);
    }
}

uint64_t scheduler_upkeep_next_us(const struct scheduler *scheduler, uint64_t now)
{
    uint64_t next = scheduler_lease_next_us(&scheduler->lease, now);

    if (!scheduler->is_cleaning && scheduler->clean_at_us < next)
        next = scheduler->clean_at_us;
    return next;
}
