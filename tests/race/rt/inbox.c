/*
 * Threads post to a loop, a pool works for it, services start and stop, all at once: each task runs
 * once, in order for each poster. Meant for MODE=tsan; exits with 0.
 */
#include <stdatomic.h>
#include <stdio.h>

#include "bb/env.h"
#include "bb/rt.h"

#define POSTERS 4
#define TASKS   5000
#define JOBS    500

struct poster {
    struct bb_loop *loop;
    struct bb_thread *thread;
    int next_expected;
    struct numbered {
        struct bb_task task;
        struct poster *poster;
        int number;
    } tasks[TASKS];
};

static int tasks_left = POSTERS * TASKS; /* owner thread only */
static int jobs_left = JOBS;

static void run_task(struct bb_task *task)
{
    struct numbered *numbered = bb_container(task, struct numbered, task);

    bb_assert(bb_loop_is_owner(numbered->poster->loop));
    bb_assert(numbered->number == numbered->poster->next_expected++);
    if (--tasks_left == 0 && jobs_left == 0)
        bb_loop_stop(numbered->poster->loop);
}

static void post_all(void *arg)
{
    struct poster *poster = arg;

    for (int i = 0; i < TASKS; i++) {
        poster->tasks[i].poster = poster;
        poster->tasks[i].number = i;
        poster->tasks[i].task.run = run_task;
        bb_loop_post(poster->loop, &poster->tasks[i].task);
    }
}

struct sum {
    struct bb_job job;
    int input, output;
};

static void work(struct bb_job *job, size_t thread_index)
{
    struct sum *sum = bb_container(job, struct sum, job);

    (void)thread_index;
    sum->output = sum->input * 2;
}

static void done(struct bb_job *job)
{
    struct sum *sum = bb_container(job, struct sum, job);

    bb_assert(sum->output == sum->input * 2);
    if (--jobs_left == 0 && tasks_left == 0)
        bb_loop_stop(job->loop);
}

static void start_posters(void *arg)
{
    struct poster *posters = arg;

    for (int i = 0; i < POSTERS; i++)
        posters[i].thread = bb_thread_start("poster", post_all, &posters[i]);
}

/* ---- services that end by themselves while somebody stops them ---- */

struct short_life {
    struct bb_service *service;
    struct bb_timer *timer;
};

static void on_timer(void *arg)
{
    struct short_life *life = arg;

    bb_service_stopped(life->service);
}

static int life_start(struct bb_ctx *ctx, struct bb_service *service, void **state)
{
    struct short_life *life = bb_alloc_zero(1, sizeof *life);

    (void)ctx;
    life->service = service;
    life->timer = bb_timer_new(bb_service_loop(service), on_timer, life);
    bb_timer_start(life->timer, 1, 0);
    bb_service_ready(service);
    *state = life;
    return BB_OK;
}

static void life_stop(struct bb_service *service, void *state)
{
    (void)state;
    bb_service_stopped(service);
}

static void life_close(struct bb_service *service, void *state)
{
    struct short_life *life = state;

    (void)service;
    bb_timer_free(life->timer);
    bb_free(life);
}

static void count_event(void *arg, enum bb_service_state state)
{
    if (state == BB_SERVICE_STOPPED)
        atomic_fetch_add((atomic_int *)arg, 1);
}

static void services(void)
{
    static const struct bb_option none[] = { { .name = NULL } };
    static const struct bb_service_def def = { .name = "life",
                                               .summary = "lives shortly",
                                               .options = none,
                                               .start = life_start,
                                               .stop = life_stop,
                                               .close = life_close };
    const struct bb_option *const tables[] = { none, bb_service_options, NULL };
    char program[] = "life";
    char *argv[] = { program, NULL };
    atomic_int stopped = 0;

    for (int i = 0; i < 100; i++) {
        struct bb_ctx ctx = { .env = bb_env_real() };
        struct bb_service *service = NULL;
        struct bb_conf *conf = NULL;
        bb_assert(bb_conf_parse(&ctx, "life", "", tables, 1, argv, &conf) == BB_OK);
        bb_assert(bb_service_start(&ctx, &def, conf, ctx.env, NULL, count_event, &stopped,
                                   &service) == BB_OK);
        for (int spin = 0; spin < i * 3000; spin++)
            (void)atomic_load(&stopped);
        bb_service_stop(service);
        bb_service_join(service);
        bb_conf_free(conf);
    }
    bb_assert(stopped == 100);
}

int main(void)
{
    struct bb_loop *loop = bb_loop_new(bb_env_real(), NULL, "owner");
    struct bb_pool *pool = bb_pool_new("pool", 3, JOBS);
    struct poster *posters = bb_alloc_zero(POSTERS, sizeof *posters);
    struct sum *sums = bb_alloc_zero(JOBS, sizeof *sums);

    for (int i = 0; i < POSTERS; i++)
        posters[i].loop = loop;
    for (int i = 0; i < JOBS; i++) {
        sums[i].input = i;
        sums[i].job = (struct bb_job){ .work = work, .done = done, .loop = loop };
        bb_assert(bb_pool_submit(bb_loop_ctx(loop), pool, &sums[i].job) == BB_OK);
    }
    start_posters(posters);
    bb_loop_run(loop);
    bb_assert(tasks_left == 0 && jobs_left == 0);
    for (int i = 0; i < POSTERS; i++)
        bb_thread_join(posters[i].thread);
    bb_pool_free(pool);
    bb_loop_free(loop);
    bb_free(posters);
    bb_free(sums);
    services();
    (void)printf("ok\n");
    return 0;
}
