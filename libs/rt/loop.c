#include "bb/rt.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <uv.h>

#include "bb/env.h"
#include "bb/obs.h"

#define HOOK_MAX     8
#define CLOSE_ROUNDS 1000

struct hook {
    void (*run)(void *arg);
    void *arg;
};

/*
 * How the owner is woken. uv_async would do, but its loop spins, and then gives up its time slice,
 * until the thread that rang has come out of its system call; and it is rung for an owner that is
 * awake, too, who looks into the inbox anyway before it sleeps.
 *
 * `is_asleep` is set before the last look into the inbox, and whoever posts looks at it after the
 * push: one of the two sees the other.
 */
struct bb_loop {
    uv_loop_t uv;
    int wake_fd; /* an eventfd: rung when something is posted to an owner that sleeps, and to stop
                  */
    atomic_bool is_asleep;
    uv_poll_t wake;
    uv_prepare_t prepare; /* before the loop sleeps */
    uv_check_t check;     /* after it slept */
    /* A stack that any thread pushes to; the owner takes all of it and turns it round. */
    _Atomic(struct bb_task *) inbox;
    atomic_bool must_stop;
    pthread_t owner;
    struct hook hooks[HOOK_MAX];
    size_t hook_count;
    struct bb_ctx ctx;
};

static void ring(struct bb_loop *loop)
{
    uint64_t one = 1;

    (void)!write(loop->wake_fd, &one, sizeof one); /* fails only when it has rung very often */
}

static void on_wake(uv_poll_t *wake, int status, int events)
{
    struct bb_loop *loop = wake->data;
    uint64_t rung;

    (void)status;
    (void)events;
    atomic_store(&loop->is_asleep, false);
    (void)!read(loop->wake_fd, &rung, sizeof rung); /* nothing to read: nothing has rung */
    bb_loop_drain(loop);
    if (atomic_load_explicit(&loop->must_stop, memory_order_acquire))
        uv_stop(&loop->uv);
}

static void on_prepare(uv_prepare_t *prepare)
{
    struct bb_loop *loop = prepare->data;

    bb_loop_drain(loop);
    for (size_t i = 0; i < loop->hook_count; i++)
        loop->hooks[i].run(loop->hooks[i].arg);
    atomic_store(&loop->is_asleep, true);
    if (atomic_load(&loop->inbox) != NULL)
        ring(loop); /* posted meanwhile, by a hook perhaps: the next turn follows at once */
}

static void on_check(uv_check_t *check)
{
    struct bb_loop *loop = check->data;

    atomic_store(&loop->is_asleep, false);
}

struct bb_loop *bb_loop_new(struct bb_env *env, struct bb_log *log, const char *name)
{
    struct bb_loop *loop = bb_alloc_zero(1, sizeof *loop);

    (void)name; /* threads carry the name already */
    loop->ctx.env = env;
    loop->ctx.log = log;
    loop->owner = pthread_self();
    bb_assert(uv_loop_init(&loop->uv) == 0);
    loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    bb_assert(loop->wake_fd >= 0);
    bb_assert(uv_poll_init(&loop->uv, &loop->wake, loop->wake_fd) == 0);
    loop->wake.data = loop;
    bb_assert(uv_poll_start(&loop->wake, UV_READABLE, on_wake) == 0);
    bb_assert(uv_prepare_init(&loop->uv, &loop->prepare) == 0);
    loop->prepare.data = loop;
    bb_assert(uv_prepare_start(&loop->prepare, on_prepare) == 0);
    bb_assert(uv_check_init(&loop->uv, &loop->check) == 0);
    loop->check.data = loop;
    bb_assert(uv_check_start(&loop->check, on_check) == 0);
    return loop;
}

void bb_loop_free(struct bb_loop *loop)
{
    if (loop == NULL)
        return;
    loop->owner = pthread_self();
    bb_loop_drain(loop);
    uv_close((uv_handle_t *)&loop->wake, NULL);
    uv_close((uv_handle_t *)&loop->prepare, NULL);
    uv_close((uv_handle_t *)&loop->check, NULL);
    /* Handles that were closed just now still have their callbacks to run. */
    for (int i = 0; i < CLOSE_ROUNDS && uv_loop_alive(&loop->uv) != 0; i++)
        (void)uv_run(&loop->uv, UV_RUN_NOWAIT);
    if (uv_loop_close(&loop->uv) != 0) {
        bb_error(&loop->ctx, "rt.loop_busy", "why=\"a handle was not closed; the loop is kept\"");
        return;
    }
    (void)close(loop->wake_fd);
    bb_free(loop);
}

void bb_loop_run(struct bb_loop *loop)
{
    loop->owner = pthread_self();
    while (!atomic_load_explicit(&loop->must_stop, memory_order_acquire))
        (void)uv_run(&loop->uv, UV_RUN_DEFAULT);
    bb_loop_drain(loop);
    atomic_store_explicit(&loop->must_stop, false, memory_order_release); /* it may run again */
}

void bb_loop_stop(struct bb_loop *loop)
{
    atomic_store_explicit(&loop->must_stop, true, memory_order_release);
    ring(loop);
}

struct uv_loop_s *bb_loop_uv(struct bb_loop *loop)
{
    return &loop->uv;
}

struct bb_ctx *bb_loop_ctx(struct bb_loop *loop)
{
    return &loop->ctx;
}

bool bb_loop_is_owner(const struct bb_loop *loop)
{
    return pthread_equal(loop->owner, pthread_self()) != 0;
}

uint64_t bb_loop_now_us(struct bb_loop *loop)
{
    return loop->ctx.env->ops->now_us(loop->ctx.env);
}

void bb_loop_post(struct bb_loop *loop, struct bb_task *task)
{
    struct bb_task *head = atomic_load_explicit(&loop->inbox, memory_order_relaxed);

    do {
        task->next = head;
    } while (!atomic_compare_exchange_weak(&loop->inbox, &head, task));
    if (head == NULL && atomic_load(&loop->is_asleep))
        ring(loop);
}

void bb_loop_drain(struct bb_loop *loop)
{
    struct bb_task *newest = atomic_exchange_explicit(&loop->inbox, NULL, memory_order_acq_rel);
    struct bb_task *oldest = NULL;

    while (newest != NULL) {
        struct bb_task *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    while (oldest != NULL) {
        struct bb_task *next = oldest->next; /* run may free or post the task again */
        oldest->run(oldest);
        oldest = next;
    }
}

void bb_loop_on_batch(struct bb_loop *loop, void (*run)(void *arg), void *arg)
{
    bb_assert(loop->hook_count < HOOK_MAX);
    loop->hooks[loop->hook_count++] = (struct hook){ .run = run, .arg = arg };
}

/* ---- timers ---- */

struct bb_timer {
    uv_timer_t uv;
    void (*fire)(void *arg);
    void *arg;
};

static void on_timer(uv_timer_t *uv)
{
    struct bb_timer *timer = uv->data;

    timer->fire(timer->arg);
}

static void on_timer_closed(uv_handle_t *handle)
{
    bb_free(handle->data);
}

struct bb_timer *bb_timer_new(struct bb_loop *loop, void (*fire)(void *arg), void *arg)
{
    struct bb_timer *timer = bb_alloc_zero(1, sizeof *timer);

    timer->fire = fire;
    timer->arg = arg;
    bb_assert(uv_timer_init(&loop->uv, &timer->uv) == 0);
    timer->uv.data = timer;
    return timer;
}

void bb_timer_start(struct bb_timer *timer, uint64_t first_ms, uint64_t repeat_ms)
{
    /* The loop's own clock stands still while callbacks run; a timer counts from now. */
    uv_update_time(timer->uv.loop);
    bb_assert(uv_timer_start(&timer->uv, on_timer, first_ms, repeat_ms) == 0);
}

void bb_timer_stop(struct bb_timer *timer)
{
    bb_assert(uv_timer_stop(&timer->uv) == 0);
}

void bb_timer_free(struct bb_timer *timer)
{
    if (timer != NULL)
        uv_close((uv_handle_t *)&timer->uv, on_timer_closed);
}
