#include "rt.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <uv.h>

#include "bb/env.h"
#include "bb/obs.h"

#define HOOK_MAX     8
#define CLOSE_ROUNDS 1000
/* What the loops of one thread post to each other runs in the same turn of libuv's loop, as long as
 * it goes back and forth no more often than this: then sockets are looked at, too. */
#define TURN_ROUNDS  8
#define LEAVE_ROUNDS 8

struct hook {
    void (*run)(void *arg);
    void *arg;
};

/*
 * What the loops of one thread share: libuv's loop, and how their owner is woken.
 *
 * uv_async would do for that, but its loop spins, and then gives up its time slice, until the
 * thread that rang has come out of its system call; and it is rung for an owner that is awake, too,
 * who looks into the inboxes anyway before it sleeps. `is_asleep` is set before the last look into
 * them, and whoever posts looks at it after the push: one of the two sees the other.
 */
struct turn {
    uv_loop_t uv;
    int wake_fd; /* an eventfd: rung when something is posted to an owner that sleeps, and to stop
                  */
    atomic_bool is_asleep;
    uv_poll_t wake;
    uv_prepare_t prepare; /* before the loop sleeps */
    uv_check_t check;     /* after it slept */
    uv_idle_t again;      /* active when it must not sleep: something was posted meanwhile */
    struct bb_list loops, gone;
    size_t loop_count;
    atomic_uint stoppers; /* threads that have said stop and still ring */
    bool has_more;        /* a hook said so */
    _Atomic(pthread_t) owner;
};

struct bb_loop {
    struct turn *turn;
    struct bb_list link; /* in turn->loops, or `gone` until the last one goes */
    /* A stack that any thread pushes to; the owner takes all of it and turns it round. */
    _Atomic(struct bb_task *) inbox;
    atomic_bool must_stop;
    struct hook hooks[HOOK_MAX];
    size_t hook_count;
    struct bb_ctx ctx;
};

/* ---- sleeping and waking ---- */

static void ring(struct turn *turn)
{
    uint64_t one = 1;

    (void)!write(turn->wake_fd, &one, sizeof one); /* fails only when it has rung very often */
}

static bool is_owner(const struct turn *turn)
{
    return pthread_equal(atomic_load(&turn->owner), pthread_self()) != 0;
}

static bool has_more(const struct turn *turn)
{
    if (turn->has_more)
        return true;
    bb_list_each(item, &turn->loops) {
        const struct bb_loop *loop = bb_container(item, struct bb_loop, link);

        if (atomic_load(&loop->inbox) != NULL)
            return true;
    }
    return false;
}

static void drain_all(struct turn *turn)
{
    bb_list_each_safe(item, &turn->loops) {
        bb_loop_drain(bb_container(item, struct bb_loop, link));
    }
}

static void run_hooks(struct turn *turn)
{
    bb_list_each_safe(item, &turn->loops) {
        struct bb_loop *loop = bb_container(item, struct bb_loop, link);

        for (size_t i = 0; i < loop->hook_count; i++)
            loop->hooks[i].run(loop->hooks[i].arg);
    }
}

static struct bb_loop *find_stopped(struct turn *turn)
{
    bb_list_each(item, &turn->loops) {
        struct bb_loop *loop = bb_container(item, struct bb_loop, link);

        if (atomic_load(&loop->must_stop))
            return loop;
    }
    return NULL;
}

static void on_wake(uv_poll_t *wake, int status, int events)
{
    struct turn *turn = wake->data;
    uint64_t rung;

    (void)status;
    (void)events;
    atomic_store(&turn->is_asleep, false);
    (void)!read(turn->wake_fd, &rung, sizeof rung); /* nothing to read: nothing has rung */
    drain_all(turn);
    if (find_stopped(turn) != NULL)
        uv_stop(&turn->uv);
}

static void on_again(uv_idle_t *again)
{
    (void)uv_idle_stop(again);
}

static void on_prepare(uv_prepare_t *prepare)
{
    struct turn *turn = prepare->data;

    for (int i = 0; i < TURN_ROUNDS && (i == 0 || has_more(turn)); i++) {
        turn->has_more = false;
        drain_all(turn);
        run_hooks(turn);
    }
    atomic_store(&turn->is_asleep, true);
    if (!has_more(turn))
        return;
    atomic_store(&turn->is_asleep, false);
    (void)uv_idle_start(&turn->again, on_again);
}

static void on_check(uv_check_t *check)
{
    struct turn *turn = check->data;

    atomic_store(&turn->is_asleep, false);
}

/* ---- loops ---- */

static struct turn *turn_new(void)
{
    struct turn *turn = bb_alloc_zero(1, sizeof *turn);

    bb_list_init(&turn->loops);
    bb_list_init(&turn->gone);
    atomic_store(&turn->owner, pthread_self());
    turn->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    bb_assert(turn->wake_fd >= 0);
    bb_assert(uv_loop_init(&turn->uv) == 0);
    bb_assert(uv_poll_init(&turn->uv, &turn->wake, turn->wake_fd) == 0);
    bb_assert(uv_prepare_init(&turn->uv, &turn->prepare) == 0);
    bb_assert(uv_check_init(&turn->uv, &turn->check) == 0);
    bb_assert(uv_idle_init(&turn->uv, &turn->again) == 0);
    turn->wake.data = turn->prepare.data = turn->check.data = turn;
    bb_assert(uv_poll_start(&turn->wake, UV_READABLE, on_wake) == 0);
    bb_assert(uv_prepare_start(&turn->prepare, on_prepare) == 0);
    bb_assert(uv_check_start(&turn->check, on_check) == 0);
    return turn;
}

static struct bb_loop *loop_in(struct turn *turn, struct bb_env *env, struct bb_log *log)
{
    struct bb_loop *loop = bb_alloc_zero(1, sizeof *loop);

    loop->turn = turn;
    loop->ctx.env = env;
    loop->ctx.log = log;
    bb_list_push_back(&turn->loops, &loop->link);
    turn->loop_count++;
    return loop;
}

struct bb_loop *bb_loop_new(struct bb_env *env, struct bb_log *log, const char *name)
{
    (void)name; /* threads carry the name already */
    return loop_in(turn_new(), env, log);
}

struct bb_loop *rt_loop_beside(struct bb_loop *other, struct bb_env *env, struct bb_log *log)
{
    return loop_in(other->turn, env, log);
}

static void free_all(struct bb_list *loops)
{
    while (!bb_list_is_empty(loops)) {
        struct bb_loop *loop = bb_container(loops->next, struct bb_loop, link);

        bb_list_remove(&loop->link);
        bb_free(loop);
    }
}

static void turn_free(struct turn *turn, struct bb_loop *last)
{
    uv_close((uv_handle_t *)&turn->wake, NULL);
    uv_close((uv_handle_t *)&turn->prepare, NULL);
    uv_close((uv_handle_t *)&turn->check, NULL);
    uv_close((uv_handle_t *)&turn->again, NULL);
    /* Handles that were closed just now still have their callbacks to run. */
    for (int i = 0; i < CLOSE_ROUNDS && uv_loop_alive(&turn->uv) != 0; i++)
        (void)uv_run(&turn->uv, UV_RUN_NOWAIT);
    if (uv_loop_close(&turn->uv) != 0) {
        bb_error(&last->ctx, "rt.loop_busy", "why=\"a handle was not closed; the loop is kept\"");
        return;
    }
    while (atomic_load(&turn->stoppers) > 0)
        (void)sched_yield();
    (void)close(turn->wake_fd);
    free_all(&turn->loops);
    free_all(&turn->gone);
    bb_free(turn);
}

void bb_loop_free(struct bb_loop *loop)
{
    if (loop == NULL)
        return;
    struct turn *turn = loop->turn;
    atomic_store(&turn->owner, pthread_self());
    loop->hook_count = 0; /* what they would look at is gone */
    bb_loop_drain(loop);
    if (--turn->loop_count == 0) {
        turn_free(turn, loop);
        return;
    }
    /* Its handles close while the others go on. A callback that comes late finds its memory. */
    for (int i = 0; i < LEAVE_ROUNDS; i++)
        (void)uv_run(&turn->uv, UV_RUN_NOWAIT);
    bb_loop_drain(loop);
    bb_list_remove(&loop->link);
    bb_list_push_back(&turn->gone, &loop->link);
}

void bb_loop_run(struct bb_loop *loop)
{
    atomic_store(&loop->turn->owner, pthread_self());
    while (!atomic_load(&loop->must_stop))
        (void)uv_run(&loop->turn->uv, UV_RUN_DEFAULT);
    bb_loop_drain(loop);
    atomic_store(&loop->must_stop, false); /* it may run again */
}

struct bb_loop *rt_loop_run_any(struct bb_loop *any)
{
    struct turn *turn = any->turn;
    struct bb_loop *stopped;

    atomic_store(&turn->owner, pthread_self());
    while ((stopped = find_stopped(turn)) == NULL)
        (void)uv_run(&turn->uv, UV_RUN_DEFAULT);
    bb_loop_drain(stopped);
    atomic_store(&stopped->must_stop, false);
    return stopped;
}

void bb_loop_stop(struct bb_loop *loop)
{
    struct turn *turn = loop->turn; /* once it has stopped the loop may go */

    atomic_fetch_add(&turn->stoppers, 1);
    atomic_store(&loop->must_stop, true);
    ring(turn);
    atomic_fetch_sub(&turn->stoppers, 1);
}

struct uv_loop_s *bb_loop_uv(struct bb_loop *loop)
{
    return &loop->turn->uv;
}

struct bb_ctx *bb_loop_ctx(struct bb_loop *loop)
{
    return &loop->ctx;
}

bool bb_loop_is_owner(const struct bb_loop *loop)
{
    return is_owner(loop->turn);
}

uint64_t bb_loop_now_us(struct bb_loop *loop)
{
    return loop->ctx.env->ops->now_us(loop->ctx.env);
}

/* ---- the inbox ---- */

void bb_loop_post(struct bb_loop *loop, struct bb_task *task)
{
    struct bb_task *head = atomic_load_explicit(&loop->inbox, memory_order_relaxed);
    struct turn *turn = loop->turn; /* once it is pushed the loop may go */

    do {
        task->next = head;
    } while (!atomic_compare_exchange_weak(&loop->inbox, &head, task));
    /* The owner looks into its inboxes again before it sleeps. */
    if (head == NULL && atomic_load(&turn->is_asleep) && !is_owner(turn))
        ring(turn);
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

void bb_loop_again(struct bb_loop *loop)
{
    loop->turn->has_more = true;
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
    bb_assert(uv_timer_init(&loop->turn->uv, &timer->uv) == 0);
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
