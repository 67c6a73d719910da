/* The service: what is built, the turn of the loop, the end. */
#include "scheduler.h"

#include <stdio.h>

#include "bb/scheduler_service.h"

#include "options.h"
#include "queue.h"

#define QUEUE_START_US 5000000u /* NATS may come up after this */
#define LOOK_MS        1000u    /* at least this often, so that a clock that jumps is seen */

struct scheduler_now scheduler_now(struct scheduler *scheduler)
{
    return (struct scheduler_now){ .wall_us = bb_wall_us(scheduler->ctx),
                                   .mono_us = bb_loop_now_us(scheduler->loop) };
}

bool scheduler_is_active(struct scheduler *scheduler)
{
    return scheduler_lease_is_active(&scheduler->lease, bb_loop_now_us(scheduler->loop));
}

/* ---- health ---- */

static const char *trouble(struct scheduler *scheduler)
{
    /* A suite starts without NATS. */
    bool has_time = !scheduler->was_ready ||
                    bb_loop_now_us(scheduler->loop) < scheduler->started_us + QUEUE_START_US;

    if (!bb_follow_is_following(scheduler->feed))
        return "storage cannot be reached";
    if (scheduler->queue == NULL || scheduler->is_queue_up ||
        (has_time && !scheduler->was_queue_up))
        return NULL;
    return "NATS is away: actions wait, mutations and crons go on";
}

void scheduler_tell_health(struct scheduler *scheduler)
{
    const char *why = trouble(scheduler);

    if (scheduler->has_told_health && scheduler->told_trouble == why)
        return;
    scheduler->has_told_health = true;
    scheduler->told_trouble = why;
    if (why == NULL) {
        scheduler->was_ready = true;
        bb_service_ready(scheduler->service);
    } else {
        bb_service_not_ready(scheduler->service, why);
    }
}

void scheduler_queue_changed(struct scheduler *scheduler, bool is_up, const char *why)
{
    bb_info(scheduler->ctx, is_up ? "scheduler.nats_up" : "scheduler.nats_away", "why=\"%s\"", why);
    scheduler->is_queue_up = is_up;
    scheduler->was_queue_up |= is_up;
    bb_metric_set(scheduler->count.nats_up, is_up);
    /* What was in it may be gone: all that nobody has taken is put there again. */
    if (is_up)
        scheduler_core_hurry(scheduler->core, LANE_QUEUED, scheduler_now(scheduler));
    scheduler_turn(scheduler);
}

static void measure(struct scheduler *scheduler)
{
    struct scheduler_now now = scheduler_now(scheduler);
    struct scheduler_lane_view view;
    uint64_t late = 0;
    size_t known = 0;
    size_t out = 0;

    for (unsigned i = 0; i < LANE_COUNT; i++) {
        scheduler_core_view(scheduler->core, (enum scheduler_lane)i, now, &view);
        known += view.known;
        out += view.out;
        if ((i == LANE_MUTATION || i == LANE_ACTION) && view.late_us > late)
            late = view.late_us;
    }
    bb_metric_set(scheduler->count.known, (int64_t)known);
    bb_metric_set(scheduler->count.in_flight, (int64_t)out);
    bb_metric_set(scheduler->count.late, (int64_t)late);
    bb_metric_set(scheduler->count.active, scheduler->was_active);
}

/* ---- the turn ---- */

/* What a standby knew is nothing that the active one may build on, and the other way round. */
static void change_over(struct scheduler *scheduler, bool is_active)
{
    if (is_active == scheduler->was_active)
        return;
    scheduler->was_active = is_active;
    if (scheduler->lease.lease_us > 0)
        bb_info(scheduler->ctx, is_active ? "scheduler.active" : "scheduler.standby", "name=%s",
                scheduler->holder);
    scheduler->generation++;
    scheduler_core_reset(scheduler->core);
}

static void set_timer(struct scheduler *scheduler)
{
    uint64_t now = bb_loop_now_us(scheduler->loop);
    uint64_t upkeep = scheduler_upkeep_next_us(scheduler, now);
    uint64_t wait = upkeep > now ? upkeep - now : 0;

    if (scheduler->was_active) {
        uint64_t work = scheduler_work_wait_us(scheduler);
        wait = work < wait ? work : wait;
        for (unsigned i = 0; i < LANE_COUNT; i++) {
            uint64_t at = scheduler->page_at_us[i];
            if (at > now && at - now < wait)
                wait = at - now;
        }
    }
    uint64_t ms = wait / 1000 + (wait % 1000 > 0);
    bb_timer_start(scheduler->timer, ms > LOOK_MS ? LOOK_MS : ms == 0 ? 1 : ms, 0);
}

static void end_if_idle(struct scheduler *scheduler)
{
    if (scheduler->calls > 0 || scheduler->is_leaving)
        return;
    scheduler->is_leaving = true;
    if (scheduler->lease.lease_us > 0 && scheduler_is_active(scheduler)) {
        scheduler_leave(scheduler);
    } else {
        bb_service_stopped(scheduler->service);
    }
}

static void on_batch(void *arg)
{
    struct scheduler *scheduler = arg;

    if (!scheduler->wants_turn)
        return;
    scheduler->wants_turn = false;
    if (scheduler->is_stopping) {
        end_if_idle(scheduler);
        return;
    }
    scheduler_upkeep(scheduler);
    change_over(scheduler, scheduler_is_active(scheduler));
    if (scheduler->was_active) {
        scheduler_pages(scheduler);
        scheduler_work(scheduler);
    }
    scheduler_tell_health(scheduler);
    measure(scheduler);
    set_timer(scheduler);
}

void scheduler_turn(struct scheduler *scheduler)
{
    scheduler->wants_turn = true;
}

static void on_timer(void *arg)
{
    scheduler_turn(arg);
}

/* ---- start and stop ---- */

static void set_metrics(struct scheduler *scheduler)
{
    scheduler->count.active =
        bb_metric("bb_scheduler_active", BB_GAUGE, "1: this one has the lease; 0: a standby.");
    scheduler->count.nats_up =
        bb_metric("bb_scheduler_nats_up", BB_GAUGE, "1: the work queue of actions can be reached.");
    scheduler->count.known =
        bb_metric("bb_scheduler_known_jobs", BB_GAUGE,
                  "Jobs and crons kept in mind; the others are in the database.");
    scheduler->count.in_flight = bb_metric("bb_scheduler_in_flight", BB_GAUGE,
                                           "Jobs that a transaction under way is about.");
    scheduler->count.late = bb_metric("bb_scheduler_late_microseconds", BB_GAUGE,
                                      "How long the earliest job that is due has waited.");
    scheduler->count.mutations =
        bb_metric("bb_scheduler_mutations_total", BB_COUNTER, "Mutation jobs that were run.");
    scheduler->count.failed = bb_metric("bb_scheduler_mutations_failed_total", BB_COUNTER,
                                        "Mutation jobs whose function threw, or could not end.");
    scheduler->count.retries =
        bb_metric("bb_scheduler_retries_total", BB_COUNTER,
                  "Transactions of jobs that failed for a reason that passes.");
    scheduler->count.queued = bb_metric("bb_scheduler_actions_queued_total", BB_COUNTER,
                                        "Attempts of actions that were put into the queue.");
    scheduler->count.requeued =
        bb_metric("bb_scheduler_actions_requeued_total", BB_COUNTER,
                  "Attempts that were put there again, as no runner had taken them.");
    scheduler->count.swept = bb_metric("bb_scheduler_actions_swept_total", BB_COUNTER,
                                       "Attempts that ended because their runner was lost.");
    scheduler->count.crons =
        bb_metric("bb_scheduler_crons_total", BB_COUNTER, "Jobs that crons have made.");
    scheduler->count.cleaned = bb_metric("bb_scheduler_cleaned_total", BB_COUNTER,
                                         "Jobs that were deleted some days after they ended.");
    scheduler->count.delay = bb_histogram(
        "bb_scheduler_delay_seconds", "From when a mutation job is due until it is sent to run.");
}

static void set_name(struct bb_ctx *ctx, struct scheduler *scheduler, const char *name)
{
    uint8_t random[8];

    if (name != NULL && name[0] != '\0') {
        (void)snprintf(scheduler->holder, sizeof scheduler->holder, "%s", name);
        return;
    }
    bb_random(ctx, random, sizeof random);
    (void)snprintf(scheduler->holder, sizeof scheduler->holder, "%016" PRIx64, bb_get_le64(random));
}

static int scheduler_start(struct bb_ctx *ctx, struct bb_service *service, void **state)
{
    const struct bb_conf *conf = bb_service_conf(service);
    struct scheduler *scheduler = bb_alloc_zero(1, sizeof *scheduler);
    struct scheduler_options options = { .lease_us = bb_conf_number(conf, "runner-ms") * 1000 };

    *state = scheduler;
    scheduler->service = service;
    scheduler->loop = bb_service_loop(service);
    scheduler->started_us = bb_loop_now_us(scheduler->loop);
    scheduler->ctx = bb_loop_ctx(scheduler->loop);
    scheduler->core = scheduler_core_new(&options);
    scheduler->builder = bb_value_builder_new();
    scheduler->mutations_max = bb_conf_number(conf, "mutations");
    scheduler->queued_max = bb_conf_number(conf, "queued");
    scheduler->requeue_ms = bb_conf_number(conf, "requeue-ms");
    scheduler->keep_ms = bb_conf_number(conf, "keep-hours") * 3600000;
    scheduler_lease_init(&scheduler->lease, bb_conf_number(conf, "lease-ms") * 1000);
    set_name(ctx, scheduler, bb_conf_text(conf, "name"));
    set_metrics(scheduler);
    scheduler->timer = bb_timer_new(scheduler->loop, on_timer, scheduler);
    int rc = scheduler_workers_open(ctx, scheduler, bb_conf_text(conf, "workers"));
    if (rc == BB_OK)
        rc = scheduler_feed_open(ctx, scheduler, bb_conf_text(conf, "storage"));
    if (rc == BB_OK)
        rc = scheduler_queue_open(ctx, scheduler, conf);
    if (rc != BB_OK)
        return rc;
    bb_loop_on_batch(scheduler->loop, on_batch, scheduler);
    bb_timer_start(scheduler->timer, 1, 0);
    return BB_OK;
}

static void scheduler_stop(struct bb_service *service, void *state)
{
    struct scheduler *scheduler = state;

    (void)service;
    scheduler->is_stopping = true;
    bb_timer_start(scheduler->timer, 1, 0);
}

static void scheduler_close(struct bb_service *service, void *state)
{
    struct scheduler *scheduler = state;

    (void)service;
    if (scheduler == NULL)
        return;
    scheduler->generation++; /* answers that closing gives mean nothing */
    scheduler->is_closing = true;
    scheduler_queue_close(scheduler);
    scheduler_workers_close(scheduler);
    bb_follow_close(scheduler->feed);
    bb_timer_free(scheduler->timer);
    scheduler_core_free(scheduler->core);
    bb_value_builder_free(scheduler->builder);
    bb_free(scheduler);
}

const struct bb_service_def bb_scheduler_service = {
    .name = "scheduler",
    .summary = "Runs scheduled functions and crons when they are due.",
    .options = scheduler_options,
    .start = scheduler_start,
    .stop = scheduler_stop,
    .close = scheduler_close,
};
