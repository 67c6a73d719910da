/* Threads, mutexes and conditions of bb/base.h as fibers of one node. */
#include <time.h>

#include "sim.h"

struct bb_mutex {
    struct sim_fiber *owner; /* NULL: the owner thread of the service */
    bool is_locked;
};
struct waiter {
    struct bb_list link;
    struct sim_fiber *fiber;
    bool is_signalled;
};
struct bb_cond {
    struct bb_list waiters;
};
struct bb_thread {
    struct sim_fiber *fiber;
};

struct bb_mutex *bb_mutex_new(void)
{
    return bb_alloc_zero(1, sizeof(struct bb_mutex));
}

void bb_mutex_free(struct bb_mutex *mutex)
{
    bb_free(mutex);
}

/* A fiber waits a little for another one; outside of fibers nobody can hold it for long. */
void bb_mutex_lock(struct bb_mutex *mutex)
{
    while (mutex->is_locked) {
        bb_assert(mutex->owner != sim.fiber);
        if (sim.fiber == NULL) {
            /* The holder sleeps on a slow disk: it is run on, as its lock may not be waited for. */
            struct sim_fiber *holder = mutex->owner;
            bb_assert(holder != NULL);
            sim_fiber_run_on(holder);
        } else {
            sim_fiber_sleep(10);
        }
    }
    mutex->is_locked = true;
    mutex->owner = sim.fiber;
}

void bb_mutex_unlock(struct bb_mutex *mutex)
{
    bb_assert(mutex->is_locked && mutex->owner == sim.fiber);
    mutex->is_locked = false;
}

struct bb_cond *bb_cond_new(void)
{
    struct bb_cond *cond = bb_alloc_zero(1, sizeof *cond);

    bb_list_init(&cond->waiters);
    return cond;
}

void bb_cond_free(struct bb_cond *cond)
{
    bb_free(cond);
}

static bool wait_for(struct bb_cond *cond, struct bb_mutex *mutex, uint64_t delay_us)
{
    struct waiter waiter = { .fiber = sim.fiber };

    bb_assert(sim.fiber != NULL); /* the owner thread never blocks */
    bb_list_push_back(&cond->waiters, &waiter.link);
    bb_mutex_unlock(mutex);
    if (delay_us != 0)
        sim_fiber_wake(sim.fiber, delay_us);
    sim_fiber_wait();
    bb_list_remove(&waiter.link);
    bb_mutex_lock(mutex);
    return waiter.is_signalled;
}

void bb_cond_wait(struct bb_cond *cond, struct bb_mutex *mutex)
{
    (void)wait_for(cond, mutex, 0); /* spurious wake-ups are allowed */
}

bool bb_cond_wait_ms(struct bb_cond *cond, struct bb_mutex *mutex, uint32_t timeout_ms)
{
    return wait_for(cond, mutex, (uint64_t)timeout_ms * 1000);
}

void bb_cond_signal(struct bb_cond *cond)
{
    bb_list_each(item, &cond->waiters) {
        struct waiter *waiter = bb_container(item, struct waiter, link);
        if (!waiter->is_signalled) {
            waiter->is_signalled = true;
            sim_fiber_wake(waiter->fiber, sim_below(20));
            return;
        }
    }
}

void bb_cond_broadcast(struct bb_cond *cond)
{
    bb_list_each(item, &cond->waiters) {
        struct waiter *waiter = bb_container(item, struct waiter, link);
        waiter->is_signalled = true;
        sim_fiber_wake(waiter->fiber, sim_below(20));
    }
}

struct bb_thread *bb_thread_start(const char *name, void (*run)(void *arg), void *arg)
{
    struct bb_thread *thread = bb_alloc_zero(1, sizeof *thread);

    (void)name;
    thread->fiber = sim_fiber_new(run, arg);
    sim_fiber_wake(thread->fiber, sim_below(50));
    return thread;
}

void bb_thread_join(struct bb_thread *thread)
{
    sim_fiber_join(thread->fiber);
    bb_free(thread);
}

/* The linker sends the services' nanosleep here: only threads of their own sleep. */
int __wrap_nanosleep(const struct timespec *time, struct timespec *left);
int __wrap_nanosleep(const struct timespec *time, struct timespec *left)
{
    (void)left;
    bb_assert(sim.fiber != NULL);
    sim_fiber_sleep((uint64_t)time->tv_sec * 1000000 + (uint64_t)time->tv_nsec / 1000);
    return 0;
}
