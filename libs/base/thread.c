#include "bb/base.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>

struct bb_mutex {
    pthread_mutex_t mutex;
};

struct bb_cond {
    pthread_cond_t cond;
};

struct bb_thread {
    pthread_t thread;
    void (*run)(void *arg);
    void *arg;
    char name[16];
};

struct bb_mutex *bb_mutex_new(void)
{
    struct bb_mutex *mutex = bb_alloc(sizeof *mutex);

    bb_assert(pthread_mutex_init(&mutex->mutex, NULL) == 0);
    return mutex;
}

void bb_mutex_free(struct bb_mutex *mutex)
{
    if (mutex == NULL)
        return;
    bb_assert(pthread_mutex_destroy(&mutex->mutex) == 0);
    bb_free(mutex);
}

void bb_mutex_lock(struct bb_mutex *mutex)
{
    bb_assert(pthread_mutex_lock(&mutex->mutex) == 0);
}

void bb_mutex_unlock(struct bb_mutex *mutex)
{
    bb_assert(pthread_mutex_unlock(&mutex->mutex) == 0);
}

struct bb_cond *bb_cond_new(void)
{
    struct bb_cond *cond = bb_alloc(sizeof *cond);
    pthread_condattr_t attributes;

    bb_assert(pthread_condattr_init(&attributes) == 0);
    bb_assert(pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0);
    bb_assert(pthread_cond_init(&cond->cond, &attributes) == 0);
    (void)pthread_condattr_destroy(&attributes);
    return cond;
}

void bb_cond_free(struct bb_cond *cond)
{
    if (cond == NULL)
        return;
    bb_assert(pthread_cond_destroy(&cond->cond) == 0);
    bb_free(cond);
}

void bb_cond_wait(struct bb_cond *cond, struct bb_mutex *mutex)
{
    bb_assert(pthread_cond_wait(&cond->cond, &mutex->mutex) == 0);
}

bool bb_cond_wait_ms(struct bb_cond *cond, struct bb_mutex *mutex, uint32_t timeout_ms)
{
    struct timespec until;

    bb_assert(clock_gettime(CLOCK_MONOTONIC, &until) == 0);
    until.tv_sec += timeout_ms / 1000;
    until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    int rc = pthread_cond_timedwait(&cond->cond, &mutex->mutex, &until);
    bb_assert(rc == 0 || rc == ETIMEDOUT);
    return rc == 0;
}

void bb_cond_signal(struct bb_cond *cond)
{
    bb_assert(pthread_cond_signal(&cond->cond) == 0);
}

void bb_cond_broadcast(struct bb_cond *cond)
{
    bb_assert(pthread_cond_broadcast(&cond->cond) == 0);
}

static void *thread_main(void *arg)
{
    struct bb_thread *thread = arg;

    (void)pthread_setname_np(pthread_self(), thread->name); /* a name is a convenience */
    thread->run(thread->arg);
    return NULL;
}

struct bb_thread *bb_thread_start(const char *name, void (*run)(void *arg), void *arg)
{
    struct bb_thread *thread = bb_alloc_zero(1, sizeof *thread);
    sigset_t all;
    sigset_t before;

    thread->run = run;
    thread->arg = arg;
    (void)snprintf(thread->name, sizeof thread->name, "%s", name);
    (void)sigfillset(&all);
    /* What the thread itself does wrong cannot wait: blocked, it ends the process without a word.
     */
    (void)sigdelset(&all, SIGBUS);
    (void)sigdelset(&all, SIGSEGV);
    (void)sigdelset(&all, SIGFPE);
    (void)sigdelset(&all, SIGILL);
    bb_assert(pthread_sigmask(SIG_SETMASK, &all, &before) == 0);
    int rc = pthread_create(&thread->thread, NULL, thread_main, thread);
    bb_assert(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
    bb_assert(rc == 0);
    return thread;
}

void bb_thread_join(struct bb_thread *thread)
{
    bb_assert(pthread_join(thread->thread, NULL) == 0);
    bb_free(thread);
}
