/* bb/rt.h over the simulated clock: loops, timers, pools and the life of a service. */
#include "bb/rt.h"

#include <stdio.h>

#include "parts.h"

#define HOOK_MAX 8

/* ---- loop ---- */

struct hook {
    void (*run)(void *arg);
    void *arg;
};
struct bb_loop {
    struct sim_node *node;
    struct bb_ctx ctx;
    struct bb_task *first, *last;
    struct hook hooks[HOOK_MAX];
    size_t hook_count;
    bool is_batch_due, has_post;
};

struct bb_loop *bb_loop_new(struct bb_env *env, struct bb_log *log, const char *name)
{
    struct bb_loop *loop = bb_alloc_zero(1, sizeof *loop);

    (void)name;
    loop->node = sim_node_of(env);
    loop->ctx = (struct bb_ctx){ .env = env, .log = log };
    return loop;
}

void bb_loop_free(struct bb_loop *loop)
{
    if (loop == NULL)
        return;
    bb_loop_drain(loop);
    bb_free(loop);
}

void bb_loop_run(struct bb_loop *loop)
{
    (void)loop;
    BB_UNREACHABLE("the simulator's loop runs all");
}

void bb_loop_stop(struct bb_loop *loop)
{
    (void)loop;
}

/* Something to name it by: what would run on it is in uv.c. */
struct uv_loop_s *bb_loop_uv(struct bb_loop *loop)
{
    return (struct uv_loop_s *)(void *)loop;
}

struct bb_ctx *bb_loop_ctx(struct bb_loop *loop)
{
    return &loop->ctx;
}

bool bb_loop_is_owner(const struct bb_loop *loop)
{
    return sim.current == loop->node && sim.fiber == NULL;
}

uint64_t bb_loop_now_us(struct bb_loop *loop)
{
    return loop->ctx.env->ops->now_us(loop->ctx.env);
}

static void run_batch(void *arg)
{
    struct bb_loop *loop = arg;

    loop->is_batch_due = false;
    for (size_t i = 0; i < loop->hook_count && loop->node->loop == loop; i++)
        loop->hooks[i].run(loop->hooks[i].arg);
}

/* After each thing that a loop does: the hooks run when what came at about the same time is done.
 */
void sim_loop_touch(struct sim_node *node)
{
    struct bb_loop *loop = node->loop;

    sim_raft_touch(node);
    if (loop != NULL && !loop->is_batch_due && loop->hook_count > 0) {
        loop->is_batch_due = true;
        (void)sim_after(node, sim_below(30), run_batch, loop);
    }
}

static void run_tasks(void *arg)
{
    struct bb_loop *loop = arg;

    loop->has_post = false;
    bb_loop_drain(loop);
    sim_loop_touch(loop->node);
}

void bb_loop_post(struct bb_loop *loop, struct bb_task *task)
{
    task->next = NULL;
    if (loop->last != NULL && loop->first != NULL) {
        loop->last->next = task;
    } else {
        loop->first = task;
    }
    loop->last = task;
    if (!loop->has_post) {
        loop->has_post = true;
        (void)sim_after(loop->node, sim_below(10), run_tasks, loop);
    }
}

void bb_loop_drain(struct bb_loop *loop)
{
    struct bb_task *task = loop->first;

    loop->first = loop->last = NULL;
    while (task != NULL) {
        struct bb_task *next = task->next; /* run may free or post the task again */
        task->run(task);
        task = next;
    }
}

void bb_loop_on_batch(struct bb_loop *loop, void (*run)(void *arg), void *arg)
{
    bb_assert(loop->hook_count < HOOK_MAX);
    loop->hooks[loop->hook_count++] = (struct hook){ .run = run, .arg = arg };
    sim_loop_touch(loop->node);
}

void bb_loop_again(struct bb_loop *loop)
{
    sim_loop_touch(loop->node);
}

/* ---- timers ---- */

struct bb_timer {
    struct bb_loop *loop;
    void (*fire)(void *arg);
    void *arg;
    struct sim_event *event;
    uint64_t repeat_us;
};

static void on_timer(void *arg)
{
    struct bb_timer *timer = arg;

    timer->event = NULL;
    if (timer->repeat_us != 0)
        timer->event = sim_after(timer->loop->node, timer->repeat_us, on_timer, timer);
    struct sim_node *node = timer->loop->node;
    timer->fire(timer->arg); /* may free the timer */
    sim_loop_touch(node);
}

struct bb_timer *bb_timer_new(struct bb_loop *loop, void (*fire)(void *arg), void *arg)
{
    struct bb_timer *timer = bb_alloc_zero(1, sizeof *timer);

    timer->loop = loop;
    timer->fire = fire;
    timer->arg = arg;
    return timer;
}

void bb_timer_start(struct bb_timer *timer, uint64_t first_ms, uint64_t repeat_ms)
{
    sim_cancel(timer->event);
    timer->repeat_us = repeat_ms * 1000;
    /* libuv's clock is of milliseconds; a loop is late now and then. */
    timer->event = sim_after(timer->loop->node, first_ms * 1000 + sim_below(1000), on_timer, timer);
}

void bb_timer_stop(struct bb_timer *timer)
{
    sim_cancel(timer->event);
    timer->event = NULL;
}

void bb_timer_free(struct bb_timer *timer)
{
    if (timer == NULL)
        return;
    sim_cancel(timer->event);
    bb_free(timer);
}

/* ---- alarms ---- */

struct bb_alarm {
    struct bb_loop *loop;
    void (*fire)(void *arg);
    void *arg;
    struct sim_event *event;
};

static void on_alarm(void *arg)
{
    struct bb_alarm *alarm = arg;
    struct sim_node *node = alarm->loop->node;

    alarm->event = NULL;
    alarm->fire(alarm->arg); /* may free the alarm */
    sim_loop_touch(node);
}

struct bb_alarm *bb_alarm_new(struct bb_loop *loop, void (*fire)(void *arg), void *arg)
{
    struct bb_alarm *alarm = bb_alloc_zero(1, sizeof *alarm);

    alarm->loop = loop;
    alarm->fire = fire;
    alarm->arg = arg;
    return alarm;
}

void bb_alarm_set(struct bb_alarm *alarm, uint64_t us)
{
    sim_cancel(alarm->event);
    alarm->event = sim_after(alarm->loop->node, us + sim_below(100), on_alarm, alarm);
}

void bb_alarm_stop(struct bb_alarm *alarm)
{
    sim_cancel(alarm->event);
    alarm->event = NULL;
}

void bb_alarm_free(struct bb_alarm *alarm)
{
    if (alarm == NULL)
        return;
    sim_cancel(alarm->event);
    bb_free(alarm);
}

/* ---- pool: a job waits for a thread, and takes time ---- */

struct bb_pool {
    struct sim_node *node;
    bool is_io;       /* the feed's writer */
    bool is_blocking; /* its jobs wait for the disk and for each other */
    size_t thread_count, queue_max, running;
    struct bb_job *first, *last;
    size_t queued;
    struct pool_run *runs;
};
struct pool_run {
    struct bb_pool *pool;
    size_t index;
    struct bb_job *job;
    struct sim_fiber *fiber; /* of a blocking one */
};

static void begin_job(struct bb_pool *pool);

static void job_done(struct bb_task *task)
{
    struct bb_job *job = bb_container(task, struct bb_job, task);

    job->done(job);
}

static void end_job(void *arg)
{
    struct pool_run *run = arg;
    struct bb_job *job = run->job;
    bool tells = job->done != NULL;
    struct bb_loop *loop = job->loop;

    job->task.run = job_done;
    sim_failpoint("pool.work");
    job->work(job, run->index);
    sim_failpoint("pool.done");
    if (tells)
        bb_loop_post(loop, &job->task);
    run->job = NULL;
    run->pool->running--;
    begin_job(run->pool);
}

static void begin_job(struct bb_pool *pool)
{
    for (size_t i = 0; i < pool->thread_count && pool->first != NULL; i++) {
        struct pool_run *run = &pool->runs[i];
        if (run->job != NULL)
            continue;
        run->job = pool->first;
        pool->first = run->job->next;
        pool->queued--;
        pool->running++;
        uint64_t time_us = pool->is_io ? sim_sync_time(pool->node) : 5 + sim_below(100);
        if (pool->is_blocking) {
            run->fiber = sim_fiber_new(end_job, run);
            sim_fiber_wake(run->fiber, time_us);
        } else {
            (void)sim_after(pool->node, time_us, end_job, run);
        }
    }
}

struct bb_pool *bb_pool_new(const char *name, size_t thread_count, size_t queue_max)
{
    struct bb_pool *pool = bb_alloc_zero(1, sizeof *pool);

    pool->node = sim.current;
    pool->is_io = strstr(name, "feed") != NULL;
    pool->is_blocking = strcmp(name, "care") == 0;
    pool->thread_count = thread_count;
    pool->queue_max = queue_max;
    pool->runs = bb_alloc_zero(thread_count, sizeof *pool->runs);
    for (size_t i = 0; i < thread_count; i++)
        pool->runs[i] = (struct pool_run){ .pool = pool, .index = i };
    return pool;
}

int bb_pool_submit(struct bb_ctx *ctx, struct bb_pool *pool, struct bb_job *job)
{
    job->next = NULL;
    if (pool->queued >= pool->queue_max)
        return bb_fail(ctx, BB_OVERLOADED, "%zu jobs are waiting, no more fit", pool->queue_max);
    if (pool->first == NULL) {
        pool->first = job;
    } else {
        pool->last->next = job;
    }
    pool->last = job;
    pool->queued++;
    begin_job(pool);
    return BB_OK;
}

/* What is queued is done now. */
void bb_pool_free(struct bb_pool *pool)
{
    if (pool == NULL)
        return;
    for (size_t i = 0; i < pool->thread_count; i++) {
        while (pool->runs[i].job != NULL) {
            if (pool->is_blocking) {
                sim_fiber_join(pool->runs[i].fiber);
            } else {
                end_job(&pool->runs[i]);
            }
        }
    }
    bb_assert(pool->first == NULL);
    /* Its memory stays: events of finished jobs may still name it. */
}

/* ---- service ---- */

struct bb_service {
    const struct bb_service_def *def;
    struct sim_node *node;
    struct bb_conf *conf;
    struct bb_loop *loop;
    void *state;
    enum bb_service_state phase;
    char not_ready[160];
    bool has_failed, is_ending;
    struct bb_timer *drain;
};

const struct bb_option bb_service_options[] = {
    { "log-level", BB_OPTION_TEXT, "info", 0, 0, "LEVEL", "As in the real world." },
    { NULL, BB_OPTION_TEXT, NULL, 0, 0, NULL, NULL },
};

static void end_service(void *arg)
{
    struct bb_service *service = arg;
    struct sim_node *node = service->node;

    service->phase = BB_SERVICE_STOPPED;
    if (service->state != NULL)
        service->def->close(service, service->state);
    bb_timer_free(service->drain);
    node->loop = NULL;
    bb_loop_free(service->loop);
    sim_die(service->has_failed ? 1 : 0, "the service has ended");
}

static void end_soon(struct bb_service *service)
{
    service->phase = BB_SERVICE_STOPPED;
    if (!service->is_ending) {
        service->is_ending = true;
        (void)sim_after(service->node, 1, end_service, service);
    }
}

static void on_drain_timeout(void *arg)
{
    (void)arg;
    sim_die(1, "work was still running 10 s after the stop");
}

void sim_service_start(struct sim_node *node, const struct bb_service_def *def)
{
    struct bb_service *service = bb_alloc_zero(1, sizeof *service);
    const struct bb_option *const tables[] = { def->options, bb_service_options, NULL };
    struct bb_ctx ctx = { .env = &node->env, .log = node->log };
    int rc = bb_conf_parse(&ctx, def->name, def->summary, tables, node->argc, node->argv,
                           &service->conf);

    if (rc != BB_OK) {
        sim_fail("options of %s: %s", node->name, ctx.error);
        return;
    }
    service->def = def;
    service->node = node;
    node->service = service;
    node->loop = service->loop = bb_loop_new(&node->env, node->log, def->name);
    service->drain = bb_timer_new(service->loop, on_drain_timeout, service);
    rc = def->start(bb_loop_ctx(service->loop), service, &service->state);
    if (rc != BB_OK) {
        sim_trace("start failed: %s", bb_loop_ctx(service->loop)->error);
        if (rc == BB_CORRUPT || rc == BB_WRONG_VERSION) /* the simulated disks never are */
            sim_fail("%s cannot start: %s", node->name, bb_loop_ctx(service->loop)->error);
        sim_die(1, "it could not start");
    }
    sim_loop_touch(node);
}

void sim_service_stop(void *arg)
{
    struct sim_node *node = arg;
    struct bb_service *service = node->service;

    if (service == NULL || service->phase >= BB_SERVICE_DRAINING)
        return;
    service->phase = BB_SERVICE_DRAINING;
    sim_trace("service.stopping");
    bb_timer_start(service->drain, 10000, 0);
    service->def->stop(service, service->state);
    sim_loop_touch(node);
}

struct bb_loop *bb_service_loop(struct bb_service *service)
{
    return service->loop;
}

struct bb_conf *bb_service_conf(struct bb_service *service)
{
    return service->conf;
}

void bb_service_ready(struct bb_service *service)
{
    if (service->phase != BB_SERVICE_STARTING)
        return;
    service->phase = BB_SERVICE_READY;
    service->node->is_ready = true;
    sim_trace("service.ready");
}

void bb_service_not_ready(struct bb_service *service, const char *why)
{
    if (service->phase == BB_SERVICE_READY)
        service->phase = BB_SERVICE_STARTING;
    service->node->is_ready = false;
    (void)snprintf(service->not_ready, sizeof service->not_ready, "%s", why); /* cut is fine */
}

void bb_service_stopped(struct bb_service *service)
{
    end_soon(service);
}

void bb_service_failed(struct bb_service *service)
{
    service->has_failed = true;
    end_soon(service);
}
