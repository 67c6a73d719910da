#include "bb/rt.h"

struct bb_pool {
    struct bb_mutex *mutex;
    struct bb_cond *has_work;
    struct bb_job *first, *last;
    size_t queued, queue_max;
    bool is_closing;
    size_t thread_count;
    struct pool_thread *threads;
};

struct pool_thread {
    struct bb_pool *pool;
    size_t index;
    struct bb_thread *thread;
};

static void job_done(struct bb_task *task)
{
    struct bb_job *job = bb_container(task, struct bb_job, task);

    job->done(job);
}

static struct bb_job *take(struct bb_pool *pool)
{
    bb_mutex_lock(pool->mutex);
    while (pool->first == NULL && !pool->is_closing)
        bb_cond_wait(pool->has_work, pool->mutex);
    struct bb_job *job = pool->first;
    if (job != NULL) {
        pool->first = job->next;
        if (pool->first == NULL)
            pool->last = NULL;
        pool->queued--;
    }
    bb_mutex_unlock(pool->mutex);
    return job;
}

static void run_thread(void *arg)
{
    struct pool_thread *self = arg;
    struct bb_job *job;

    while ((job = take(self->pool)) != NULL) {
        bool tells = job->done != NULL;
        struct bb_loop *loop = job->loop;
        job->task.run = job_done;
        job->work(job, self->index);
        /* A job that nobody waits for may have freed itself in work. */
        if (tells)
            bb_loop_post(loop, &job->task);
    }
}

struct bb_pool *bb_pool_new(const char *name, size_t thread_count, size_t queue_max)
{
    struct bb_pool *pool = bb_alloc_zero(1, sizeof *pool);

    bb_assert(thread_count > 0 && queue_max > 0);
    pool->mutex = bb_mutex_new();
    pool->has_work = bb_cond_new();
    pool->queue_max = queue_max;
    pool->thread_count = thread_count;
    pool->threads = bb_alloc_zero(thread_count, sizeof *pool->threads);
    for (size_t i = 0; i < thread_count; i++) {
        pool->threads[i].pool = pool;
        pool->threads[i].index = i;
        pool->threads[i].thread = bb_thread_start(name, run_thread, &pool->threads[i]);
    }
    return pool;
}

int bb_pool_submit(struct bb_ctx *ctx, struct bb_pool *pool, struct bb_job *job)
{
    bb_assert(job->done == NULL || job->loop != NULL);
    job->next = NULL;
    bb_mutex_lock(pool->mutex);
    bb_assert(!pool->is_closing);
    bool is_full = pool->queued >= pool->queue_max;
    if (!is_full) {
        if (pool->last == NULL) {
            pool->first = job;
        } else {
            pool->last->next = job;
        }
        pool->last = job;
        pool->queued++;
        bb_cond_signal(pool->has_work);
    }
    bb_mutex_unlock(pool->mutex);
    return is_full
               ? bb_fail(ctx, BB_OVERLOADED, "%zu jobs are waiting, no more fit", pool->queue_max)
               : BB_OK;
}

void bb_pool_free(struct bb_pool *pool)
{
    if (pool == NULL)
        return;
    bb_mutex_lock(pool->mutex);
    pool->is_closing = true;
    bb_cond_broadcast(pool->has_work);
    bb_mutex_unlock(pool->mutex);
    for (size_t i = 0; i < pool->thread_count; i++)
        bb_thread_join(pool->threads[i].thread);
    bb_mutex_free(pool->mutex);
    bb_cond_free(pool->has_work);
    bb_free(pool->threads);
    bb_free(pool);
}
