/* What is due is carried out: runs of mutations, and the marks of actions and crons. Every
 * transaction checks the row that it is about, so one that is repeated, or late, changes nothing.
 */
#include "queue.h"
#include "scheduler.h"

#define RETRY_US     50000u
#define RETRY_US_MAX 5000000u
#define BUSY_US      1000000u /* a cron that catches up and whose run before has not ended */
#define FAULTS_MAX   8u       /* failures of the suite's own; then the job is the one that fails */
#define BATCHES_MAX  4u

static struct bb_slice id_text(uint32_t table, const struct bb_id *id, char text[BB_ID_TEXT_MAX])
{
    return bb_slice(text, bb_id_text(table, id, text));
}

static void put_text(struct bb_value_builder *to, const char *name, struct bb_slice text)
{
    bb_value_field_name(to, bb_slice_str(name));
    bb_value_put_string(to, text);
}

static void put_number(struct bb_value_builder *to, const char *name, double number)
{
    bb_value_field_name(to, bb_slice_str(name));
    bb_value_put_float64(to, number);
}

static struct bb_value_builder *begin_args(struct scheduler *scheduler)
{
    bb_value_builder_clear(scheduler->builder);
    bb_value_begin_object(scheduler->builder);
    return scheduler->builder;
}

static struct bb_slice end_args(struct bb_value_builder *to)
{
    bb_value_end_object(to);
    return bb_value_finish(to);
}

static uint64_t backoff(uint32_t tries)
{
    uint64_t wait = (uint64_t)RETRY_US << (tries < 10 ? tries : 10);

    return wait < RETRY_US_MAX ? wait : RETRY_US_MAX;
}

static void end_job(struct scheduler_call *call, const struct scheduler_job *job, uint64_t retry_us)
{
    struct scheduler *scheduler = call->scheduler;

    if (call->generation == scheduler->generation)
        scheduler_core_end(scheduler->core, call->lane, &job->id, retry_us,
                           scheduler_now(scheduler));
}

/* After a failure that passes: all of the call again, later. */
static void again(struct scheduler_call *call)
{
    struct scheduler *scheduler = call->scheduler;

    bb_metric_add(scheduler->count.retries, (int64_t)call->job_count);
    for (size_t i = 0; i < call->job_count; i++) {
        uint32_t tries = scheduler_core_tries(scheduler->core, call->lane, &call->jobs[i].id);
        end_job(call, &call->jobs[i], backoff(tries));
    }
}

static bool is_state(struct bb_slice value, const char *state)
{
    struct bb_slice field =
        bb_value_tag(value) == BB_TAG_OBJECT ? bb_value_field_str(value, "state") : BB_SLICE_EMPTY;

    return field.data != NULL && bb_value_tag(field) == BB_TAG_STRING &&
           bb_slice_equal_str(bb_value_bytes(field), state);
}

/* ---- mutations ---- */

static void on_failed(struct scheduler_call *call, int status, const char *error,
                      struct bb_slice value)
{
    (void)error;
    (void)value;
    call->scheduler->mutations--;
    if (status == BB_OK) {
        end_job(call, &call->jobs[0], 0);
    } else {
        again(call);
    }
}

/* The run cannot end, however often it is tried: that is how the job ends. */
static void fail_job(struct scheduler *scheduler, const struct scheduler_job *job, int status,
                     const char *error)
{
    struct scheduler_call *call = scheduler_call_new(scheduler, LANE_MUTATION, 1);
    struct bb_value_builder *to = begin_args(scheduler);
    char text[BB_ID_TEXT_MAX];

    call->jobs[0] = *job;
    call->done = on_failed;
    put_text(to, "id", id_text(BB_TABLE_JOBS, &job->id, text));
    put_text(to, "error", bb_slice_str(error[0] == '\0' ? bb_status_name(status) : error));
    scheduler->mutations++;
    bb_metric_add(scheduler->count.failed, 1);
    scheduler_call_start(call, "failJob", true, end_args(to));
}

static void on_run(struct scheduler_call *call, int status, const char *error,
                   struct bb_slice value)
{
    struct scheduler *scheduler = call->scheduler;
    const struct scheduler_job *job = &call->jobs[0];

    scheduler->mutations--;
    if (call->generation != scheduler->generation)
        return; /* whatever became of it, its row tells */
    if (status == BB_OK) {
        bb_metric_add(
            is_state(value, "failed") ? scheduler->count.failed : scheduler->count.mutations, 1);
        end_job(call, job, 0);
        return;
    }
    uint32_t tries = scheduler_core_tries(scheduler->core, LANE_MUTATION, &job->id);
    bool is_its_fault = bb_status_in_function(status) && !bb_status_retry_helps(status);
    if (is_its_fault || (!bb_status_retry_helps(status) && tries >= FAULTS_MAX)) {
        bb_warn(scheduler->ctx, "scheduler.job_failed", "status=%s", bb_status_name(status));
        fail_job(scheduler, job, status, error);
    } else {
        again(call);
    }
}

static void start_run(struct scheduler *scheduler, const struct scheduler_job *job)
{
    struct scheduler_call *call = scheduler_call_new(scheduler, LANE_MUTATION, 1);
    struct bb_value_builder *to = begin_args(scheduler);
    double late_ms = (double)bb_wall_us(scheduler->ctx) / 1000 - job->wake;
    char text[BB_ID_TEXT_MAX];

    call->jobs[0] = *job;
    call->done = on_run;
    put_text(to, "id", id_text(BB_TABLE_JOBS, &job->id, text));
    scheduler->mutations++;
    bb_histogram_observe(scheduler->count.delay, late_ms > 0 ? (uint64_t)(late_ms * 1000) : 0);
    scheduler_call_start(call, "runJob", true, end_args(to));
}

static void run_mutations(struct scheduler *scheduler, struct scheduler_now now)
{
    struct scheduler_job job;

    while (scheduler->mutations < scheduler->mutations_max &&
           scheduler_core_take(scheduler->core, LANE_MUTATION, now, 1, &job) == 1)
        start_run(scheduler, &job);
}

/* ---- actions ---- */

/* One that is in the queue from now on: its row said so, and its message follows. */
static void take_queued(struct scheduler_call *call, struct bb_slice row)
{
    struct scheduler *scheduler = call->scheduler;
    bool is_again = call->lane == LANE_QUEUED;
    struct bb_slice id = bb_value_field_str(row, "id");
    struct bb_slice attempt = bb_value_field_str(row, "attempt");
    struct bb_slice wake = bb_value_field_str(row, "wake");
    struct scheduler_job job;
    uint32_t table;

    if (id.data == NULL || bb_value_tag(id) != BB_TAG_STRING || attempt.data == NULL ||
        bb_value_tag(attempt) != BB_TAG_FLOAT64 || wake.data == NULL ||
        bb_value_tag(wake) != BB_TAG_FLOAT64 ||
        bb_id_parse(NULL, bb_value_bytes(id), &table, &job.id) != BB_OK)
        return;
    job.wake = bb_value_float64(wake);
    job.attempt = (int64_t)bb_value_float64(attempt);
    if (call->generation == scheduler->generation)
        scheduler_core_moved(scheduler->core, call->lane, LANE_QUEUED, &job,
                             scheduler_now(scheduler));
    scheduler_queue_push(scheduler->queue, bb_value_bytes(id), job.attempt);
    bb_metric_add(is_again ? scheduler->count.requeued : scheduler->count.queued, 1);
}

static void on_marked(struct scheduler_call *call, int status, const char *error,
                      struct bb_slice value)
{
    struct scheduler *scheduler = call->scheduler;

    scheduler->batches--;
    if (status != BB_OK || bb_value_tag(value) != BB_TAG_ARRAY) {
        bb_debug(scheduler->ctx, "scheduler.mark_failed", "lane=%s status=%s error=\"%s\"",
                 scheduler_lane_name(call->lane), bb_status_name(status), error);
        again(call);
        return;
    }
    if (call->lane == LANE_RUNNING) {
        bb_metric_add(scheduler->count.swept, (int64_t)bb_value_count(value));
    } else {
        for (size_t i = 0; i < bb_value_count(value); i++) {
            if (bb_value_tag(bb_value_at(value, i)) == BB_TAG_OBJECT)
                take_queued(call, bb_value_at(value, i));
        }
    }
    /* The others were not as they were expected to be. */
    for (size_t i = 0; i < call->job_count; i++)
        end_job(call, &call->jobs[i], 0);
}

static void put_job(struct bb_value_builder *to, enum scheduler_lane lane,
                    const struct scheduler_job *job)
{
    char text[BB_ID_TEXT_MAX];
    struct bb_slice id = id_text(BB_TABLE_JOBS, &job->id, text);

    if (lane == LANE_ACTION) {
        bb_value_put_string(to, id);
        return;
    }
    bb_value_begin_object(to);
    put_text(to, "id", id);
    put_number(to, "attempt", (double)job->attempt);
    put_number(to, "wake", job->wake);
    bb_value_end_object(to);
}

static const char *mark_function(enum scheduler_lane lane)
{
    return lane == LANE_ACTION   ? "queueActions"
           : lane == LANE_QUEUED ? "requeueActions"
                                 : "sweepJobs";
}

/* Marks up to `max` of a lane's due jobs in one transaction; false: there were none. */
static bool mark(struct scheduler *scheduler, enum scheduler_lane lane, struct scheduler_now now,
                 size_t max)
{
    struct scheduler_job jobs[SCHED_BATCH];
    size_t count = scheduler_core_take(scheduler->core, lane, now,
                                       max < SCHED_BATCH ? max : SCHED_BATCH, jobs);

    if (count == 0)
        return false;
    struct scheduler_call *call = scheduler_call_new(scheduler, lane, count);
    memcpy(call->jobs, jobs, count * sizeof(*jobs));
    call->done = on_marked;
    struct bb_value_builder *to = begin_args(scheduler);
    put_number(to, "requeueMs", (double)scheduler->requeue_ms);
    bb_value_field_name(to, bb_slice_str(lane == LANE_ACTION ? "ids" : "jobs"));
    bb_value_begin_array(to);
    for (size_t i = 0; i < count; i++)
        put_job(to, lane, &jobs[i]);
    bb_value_end_array(to);
    scheduler->batches++;
    scheduler_call_start(call, mark_function(lane), true, end_args(to));
    return true;
}

/* How many more may wait in NATS; none when that is away. */
static size_t queue_room(struct scheduler *scheduler, struct scheduler_now now)
{
    struct scheduler_lane_view queued;
    struct scheduler_lane_view leaving;

    if (scheduler->queue == NULL || !scheduler_queue_is_up(scheduler->queue))
        return 0;
    scheduler_core_view(scheduler->core, LANE_QUEUED, now, &queued);
    scheduler_core_view(scheduler->core, LANE_ACTION, now, &leaving);
    size_t there = queued.known + leaving.out;
    return !queued.is_complete || there >= scheduler->queued_max ? 0
                                                                 : scheduler->queued_max - there;
}

static void mark_actions(struct scheduler *scheduler, struct scheduler_now now)
{
    bool is_up = scheduler->queue != NULL && scheduler_queue_is_up(scheduler->queue);

    while (scheduler->batches < BATCHES_MAX && mark(scheduler, LANE_RUNNING, now, SCHED_BATCH)) {}
    while (is_up && scheduler->batches < BATCHES_MAX &&
           mark(scheduler, LANE_QUEUED, now, SCHED_BATCH)) {}
    for (size_t room = queue_room(scheduler, now); room > 0 && scheduler->batches < BATCHES_MAX;
         room = queue_room(scheduler, now)) {
        if (!mark(scheduler, LANE_ACTION, now, room))
            return;
    }
}

/* ---- crons ---- */

static void on_cron(struct scheduler_call *call, int status, const char *error,
                    struct bb_slice value)
{
    struct scheduler *scheduler = call->scheduler;

    scheduler->batches--;
    if (status != BB_OK) {
        bb_debug(scheduler->ctx, "scheduler.cron_failed", "status=%s error=\"%s\"",
                 bb_status_name(status), error);
        again(call);
        return;
    }
    if (is_state(value, "made"))
        bb_metric_add(scheduler->count.crons, 1);
    end_job(call, &call->jobs[0], is_state(value, "busy") ? BUSY_US : 0);
}

static void run_crons(struct scheduler *scheduler, struct scheduler_now now)
{
    struct scheduler_job job;

    while (scheduler->batches < BATCHES_MAX &&
           scheduler_core_take(scheduler->core, LANE_CRON, now, 1, &job) == 1) {
        struct scheduler_call *call = scheduler_call_new(scheduler, LANE_CRON, 1);
        struct bb_value_builder *to = begin_args(scheduler);
        char text[BB_ID_TEXT_MAX];

        call->jobs[0] = job;
        call->done = on_cron;
        put_text(to, "id", id_text(BB_TABLE_CRONS, &job.id, text));
        put_number(to, "next", job.wake);
        scheduler->batches++;
        scheduler_call_start(call, "runCron", true, end_args(to));
    }
}

void scheduler_work(struct scheduler *scheduler)
{
    struct scheduler_now now = scheduler_now(scheduler);

    run_crons(scheduler, now);
    run_mutations(scheduler, now);
    mark_actions(scheduler, now);
}

uint64_t scheduler_work_wait_us(struct scheduler *scheduler)
{
    struct scheduler_now now = scheduler_now(scheduler);
    bool has_batch = scheduler->batches < BATCHES_MAX;
    bool is_up = scheduler->queue != NULL && scheduler_queue_is_up(scheduler->queue);
    const bool may_take[LANE_COUNT] = {
        [LANE_MUTATION] = scheduler->mutations < scheduler->mutations_max,
        [LANE_ACTION] = has_batch && queue_room(scheduler, now) > 0,
        [LANE_QUEUED] = has_batch && is_up,
        [LANE_RUNNING] = has_batch,
        [LANE_CRON] = has_batch,
    };
    uint64_t wait = UINT64_MAX;

    for (unsigned i = 0; i < LANE_COUNT; i++) {
        uint64_t lane = may_take[i]
                            ? scheduler_core_wait(scheduler->core, (enum scheduler_lane)i, now)
                            : UINT64_MAX;
        wait = lane < wait ? lane : wait;
    }
    return wait;
}
