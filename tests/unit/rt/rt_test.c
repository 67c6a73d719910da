#include <criterion/criterion.h>

#include "bb/env.h"
#include "bb/rt.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- loop ---- */

struct step {
    struct bb_task task;
    struct bb_loop *loop;
    int number;
    int *log;
    int *count;
};

static void run_step(struct bb_task *task)
{
    struct step *step = bb_container(task, struct step, task);

    step->log[(*step->count)++] = step->number;
    if (step->number == 3)
        bb_loop_stop(step->loop);
}

Test(loop, tasks_run_in_the_order_of_posting)
{
    struct bb_loop *loop = bb_loop_new(bb_env_real(), NULL, "test");
    struct step steps[4];
    int log[4] = { 0 };
    int count = 0;

    for (int i = 0; i < 4; i++) {
        steps[i] = (struct step){
            .task = { .run = run_step }, .loop = loop, .number = i, .log = log, .count = &count
        };
        bb_loop_post(loop, &steps[i].task);
    }
    bb_loop_run(loop);
    cr_assert_eq(count, 4);
    for (int i = 0; i < 4; i++)
        cr_assert_eq(log[i], i);
    bb_loop_free(loop);
}

Test(loop, what_was_posted_and_never_ran_runs_in_free)
{
    struct bb_loop *loop = bb_loop_new(bb_env_real(), NULL, "test");
    int log[1] = { 0 };
    int count = 0;
    struct step step = { .task = { .run = run_step }, .loop = loop, .log = log, .count = &count };

    bb_loop_post(loop, &step.task);
    bb_loop_free(loop);
    cr_assert_eq(count, 1);
}

struct ticking {
    struct bb_loop *loop;
    struct bb_timer *timer;
    int ticks, batches;
};

static void on_tick(void *arg)
{
    struct ticking *ticking = arg;

    if (++ticking->ticks == 3)
        bb_loop_stop(ticking->loop);
}

static void on_batch(void *arg)
{
    ((struct ticking *)arg)->batches++;
}

Test(loop, a_timer_repeats_and_a_hook_follows_each_batch, .timeout = 10)
{
    struct bb_loop *loop = bb_loop_new(bb_env_real(), NULL, "test");
    struct ticking ticking = { .loop = loop };
    uint64_t before = bb_loop_now_us(loop);

    ticking.timer = bb_timer_new(loop, on_tick, &ticking);
    bb_timer_start(ticking.timer, 20, 5);
    bb_loop_on_batch(loop, on_batch, &ticking);
    bb_loop_run(loop);
    cr_assert_eq(ticking.ticks, 3);
    cr_assert_geq(bb_loop_now_us(loop) - before, 28000);
    cr_assert(ticking.batches >= 2 && ticking.batches < 20, "%d", ticking.batches);
    cr_assert(bb_loop_is_owner(loop));
    bb_timer_stop(ticking.timer);
    bb_timer_free(ticking.timer);
    bb_loop_free(loop);
}

struct busy {
    struct bb_task task;
    struct bb_loop *loop;
    struct bb_timer *timer;
    int runs;
    bool is_over;
};

static void run_and_post_again(struct bb_task *task)
{
    struct busy *busy = bb_container(task, struct busy, task);

    busy->runs++;
    if (!busy->is_over)
        bb_loop_post(busy->loop, task);
}

static void end_it(void *arg)
{
    struct busy *busy = arg;

    busy->is_over = true;
    bb_loop_stop(busy->loop);
}

/* Calls of write() by this process so far. */
static long written(void)
{
    char text[512];
    int fd = open("/proc/self/io", O_RDONLY | O_CLOEXEC);
    ssize_t size = read(fd, text, sizeof text - 1);

    (void)close(fd);
    cr_assert(size > 0);
    text[size] = '\0';
    return strtol(strstr(text, "syscw: ") + 7, NULL, 10);
}

struct waking {
    struct bb_loop *loop;
    struct bb_alarm *alarm;
    struct bb_timer *end;
    uint64_t fired_us;
    int count;
};

static void on_alarm(void *arg)
{
    struct waking *waking = arg;

    waking->fired_us = bb_loop_now_us(waking->loop);
    waking->count++;
}

static void end_waking(void *arg)
{
    struct waking *waking = arg;

    bb_loop_stop(waking->loop);
}

/* Runs the loop for a moment that is long beside 300 us. */
static void wake_for_a_while(struct waking *waking)
{
    bb_timer_start(waking->end, 50, 0);
    bb_loop_run(waking->loop);
}

Test(loop, an_alarm_fires_once_and_no_sooner_than_it_was_set_for, .timeout = 10)
{
    struct waking waking = { .loop = bb_loop_new(bb_env_real(), NULL, "test") };

    waking.alarm = bb_alarm_new(waking.loop, on_alarm, &waking);
    waking.end = bb_timer_new(waking.loop, end_waking, &waking);
    uint64_t set_us = bb_loop_now_us(waking.loop);
    bb_alarm_set(waking.alarm, 300);
    wake_for_a_while(&waking);
    cr_assert_eq(waking.count, 1);
    cr_assert_geq(waking.fired_us, set_us + 300);
    bb_alarm_set(waking.alarm, 300);
    bb_alarm_stop(waking.alarm);
    wake_for_a_while(&waking);
    cr_assert_eq(waking.count, 1, "it was stopped");
    bb_alarm_set(waking.alarm, 1000000000);
    bb_alarm_set(waking.alarm, 0);
    wake_for_a_while(&waking);
    cr_assert_eq(waking.count, 2, "the last word counts");
    bb_alarm_free(waking.alarm);
    bb_timer_free(waking.end);
    bb_loop_free(waking.loop);
}

Test(loop, a_loop_that_is_awake_needs_no_ring_and_still_looks_at_its_timers, .timeout = 10)
{
    struct bb_loop *loop = bb_loop_new(bb_env_real(), NULL, "test");
    struct busy busy = { .task = { .run = run_and_post_again }, .loop = loop };

    busy.timer = bb_timer_new(loop, end_it, &busy);
    bb_timer_start(busy.timer, 20, 0);
    bb_loop_post(loop, &busy.task);
    long before = written();
    bb_loop_run(loop);
    cr_assert(busy.is_over && busy.runs > 50, "%d", busy.runs);
    cr_assert_lt(written() - before, 10);
    bb_timer_free(busy.timer);
    bb_loop_free(loop);
}

/* ---- pool ---- */

struct double_job {
    struct bb_job job;
    int value;
    int *left;
};

static void work(struct bb_job *job, size_t thread_index)
{
    (void)thread_index;
    bb_container(job, struct double_job, job)->value *= 2;
}

static void done(struct bb_job *job)
{
    struct double_job *twice = bb_container(job, struct double_job, job);

    if (--*twice->left == 0)
        bb_loop_stop(job->loop);
}

Test(pool, jobs_are_done_on_the_owner_loop, .timeout = 10)
{
    struct bb_loop *loop = bb_loop_new(bb_env_real(), NULL, "test");
    struct bb_pool *pool = bb_pool_new("pool", 2, 10);
    struct double_job jobs[10];
    int left = 10;

    for (int i = 0; i < 10; i++) {
        jobs[i] = (struct double_job){ .job = { .work = work, .done = done, .loop = loop },
                                       .value = i,
                                       .left = &left };
        cr_assert_eq(bb_pool_submit(bb_loop_ctx(loop), pool, &jobs[i].job), BB_OK);
    }
    bb_loop_run(loop);
    for (int i = 0; i < 10; i++)
        cr_assert_eq(jobs[i].value, 2 * i);
    bb_pool_free(pool);
    bb_loop_free(loop);
}

struct held_job {
    struct bb_job job;
    const bool *may_end;
};

static void work_until_told(struct bb_job *job, size_t thread_index)
{
    (void)thread_index;
    while (!__atomic_load_n(bb_container(job, struct held_job, job)->may_end, __ATOMIC_ACQUIRE))
        (void)usleep(1000);
}

Test(pool, a_full_queue_refuses, .timeout = 10)
{
    struct bb_pool *pool = bb_pool_new("pool", 1, 2);
    struct bb_ctx ctx = { .env = bb_env_real() };
    struct held_job jobs[5];
    bool may_end = false;
    int refused = 0;

    for (int i = 0; i < 5; i++) {
        jobs[i] = (struct held_job){ .job.work = work_until_told, .may_end = &may_end };
        refused += bb_pool_submit(&ctx, pool, &jobs[i].job) == BB_OVERLOADED;
    }
    __atomic_store_n(&may_end, true, __ATOMIC_RELEASE);
    cr_assert(refused == 2 || refused == 3, "one runs or not yet, two wait: %d", refused);
    bb_pool_free(pool);
}

/* ---- children ---- */

struct ended {
    struct bb_loop *loop;
    struct bb_child *child;
    int exit_code, signal, calls;
};

static void on_exit_of_child(void *arg, int exit_code, int signal)
{
    struct ended *ended = arg;

    ended->exit_code = exit_code;
    ended->signal = signal;
    ended->calls++;
    bb_loop_stop(ended->loop);
}

static struct ended run_child(const char *script, int inherit_fd, int kill_with)
{
    struct ended ended = { .loop = bb_loop_new(bb_env_real(), NULL, "test") };
    const char *argv[] = { "/bin/sh", "-c", script, NULL };
    const char *envp[] = { "MARK=42", NULL };
    struct bb_child_options options = { .argv = argv,
                                        .envp = envp,
                                        .inherit_fd = inherit_fd,
                                        .log_fd = -1,
                                        .on_exit = on_exit_of_child,
                                        .arg = &ended };

    cr_assert_eq(bb_child_start(bb_loop_ctx(ended.loop), ended.loop, &options, &ended.child),
                 BB_OK);
    cr_assert_gt(bb_child_pid(ended.child), 0);
    if (kill_with != 0)
        bb_child_kill(ended.child, kill_with);
    bb_loop_run(ended.loop);
    bb_child_free(ended.child);
    bb_loop_free(ended.loop);
    return ended;
}

Test(child, its_exit_code_is_told_once, .timeout = 10)
{
    struct ended ended = run_child("exit $((MARK - 35))", -1, 0);

    cr_assert_eq(ended.exit_code, 7);
    cr_assert_eq(ended.signal, 0);
    cr_assert_eq(ended.calls, 1);
}

Test(child, a_killed_one_tells_the_signal, .timeout = 10)
{
    struct ended ended = run_child("sleep 100", -1, SIGKILL);

    cr_assert_eq(ended.signal, SIGKILL);
}

Test(child, descriptor_3_is_what_it_inherits_and_there_is_no_other, .timeout = 10)
{
    int ends[2];
    char text[16] = { 0 };

    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    struct ended ended = run_child(
        "echo hello >&3; for i in 4 5 6 7 8 9; do [ -e /proc/self/fd/$i ] && exit 1; done; exit 0",
        ends[1], 0);
    cr_assert_eq(ended.exit_code, 0);
    cr_assert_eq(read(ends[0], text, sizeof text), 6);
    cr_assert_str_eq(text, "hello\n");
}

Test(child, a_program_that_is_missing_is_said_at_start)
{
    struct bb_loop *loop = bb_loop_new(bb_env_real(), NULL, "test");
    const char *argv[] = { "/nowhere/program", NULL };
    const char *envp[] = { NULL };
    struct ended ended = { .loop = loop };
    struct bb_child_options options = { .argv = argv,
                                        .envp = envp,
                                        .inherit_fd = -1,
                                        .log_fd = -1,
                                        .on_exit = on_exit_of_child,
                                        .arg = &ended };
    struct bb_child *child = NULL;

    cr_assert_eq(bb_child_start(bb_loop_ctx(loop), loop, &options, &child), BB_NOT_FOUND);
    cr_assert_not_null(strstr(bb_loop_ctx(loop)->error, "/nowhere/program"));
    bb_loop_free(loop);
}
