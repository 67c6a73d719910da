#include "queue.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#include "bb/conf.h"
#include "bb/nats.h"

#define QUEUE_MAX     4096u
#define LOOK_MS       200u
#define PAUSE_MS      1000u
#define NAME_MAX_SIZE 64u

struct message {
    char job[BB_ID_TEXT_MAX + 1];
    int64_t attempt;
};

struct scheduler_queue {
    struct scheduler *scheduler;
    struct bb_thread *thread;
    struct bb_mutex *mutex;
    struct bb_cond *cond;
    char *url;
    char stream[NAME_MAX_SIZE + 16], subject[NAME_MAX_SIZE + 16];
    /* under the mutex */
    struct message *ring;
    size_t first, count;
    bool is_stopping, is_up, is_posted;
    uint64_t changes; /* how often it went up or away */
    char why[128];
    struct bb_task task;
    /* the owner's */
    uint64_t told_changes;
    bool is_closing;
};

/* ---- the owner ---- */

static void on_task(struct bb_task *task)
{
    struct scheduler_queue *queue = bb_container(task, struct scheduler_queue, task);
    char why[sizeof queue->why];

    bb_mutex_lock(queue->mutex);
    queue->is_posted = false;
    bool is_up = queue->is_up;
    bool is_news = queue->changes != queue->told_changes;
    queue->told_changes = queue->changes;
    memcpy(why, queue->why, sizeof why);
    bb_mutex_unlock(queue->mutex);
    if (is_news && !queue->is_closing)
        scheduler_queue_changed(queue->scheduler, is_up, why);
}

bool scheduler_queue_is_up(struct scheduler_queue *queue)
{
    bb_mutex_lock(queue->mutex);
    bool is_up = queue->is_up;
    bb_mutex_unlock(queue->mutex);
    return is_up;
}

void scheduler_queue_push(struct scheduler_queue *queue, struct bb_slice job_id, int64_t attempt)
{
    if (queue == NULL || job_id.size > BB_ID_TEXT_MAX)
        return;
    bb_mutex_lock(queue->mutex);
    if (queue->is_up && queue->count < QUEUE_MAX) {
        struct message *message = &queue->ring[(queue->first + queue->count++) % QUEUE_MAX];
        memcpy(message->job, job_id.data, job_id.size);
        message->job[job_id.size] = '\0';
        message->attempt = attempt;
        bb_cond_signal(queue->cond);
    }
    bb_mutex_unlock(queue->mutex);
}

/* ---- the thread ---- */

static void set_up(struct scheduler_queue *queue, bool is_up, const char *why)
{
    bb_mutex_lock(queue->mutex);
    bool is_first = queue->changes == 0;
    if (queue->is_up != is_up || is_first) {
        queue->is_up = is_up;
        queue->changes++;
        (void)snprintf(queue->why, sizeof queue->why, "%s", why);
        queue->count = 0;
        if (!queue->is_posted && !queue->is_stopping) {
            queue->is_posted = true;
            bb_loop_post(queue->scheduler->loop, &queue->task);
        }
    }
    bb_mutex_unlock(queue->mutex);
}

static natsStatus publish(struct scheduler_queue *queue, jsCtx *js, const struct message *message)
{
    jsPubOptions options;
    jsErrCode code = 0;
    char id[BB_ID_TEXT_MAX + 24];
    char text[BB_ID_TEXT_MAX + 64];
    int size = snprintf(text, sizeof text, "{\"jobId\":\"%s\",\"attempt\":%" PRId64 "}",
                        message->job, message->attempt);

    (void)snprintf(id, sizeof id, "%s:%" PRId64, message->job, message->attempt);
    (void)jsPubOptions_Init(&options);
    options.MsgId = id;
    options.MaxWait = BB_NATS_TIMEOUT_MS;
    return js_Publish(NULL, js, queue->subject, text, size, &options, &code);
}

/* The next one, when there is one within a moment. */
static bool next(struct scheduler_queue *queue, struct message *message)
{
    bb_mutex_lock(queue->mutex);
    if (queue->count == 0 && !queue->is_stopping)
        (void)bb_cond_wait_ms(queue->cond, queue->mutex, LOOK_MS);
    bool has_one = queue->count > 0 && !queue->is_stopping;
    if (has_one) {
        *message = queue->ring[queue->first];
        queue->first = (queue->first + 1) % QUEUE_MAX;
        queue->count--;
    }
    bb_mutex_unlock(queue->mutex);
    return has_one;
}

static bool is_stopping(struct scheduler_queue *queue)
{
    bb_mutex_lock(queue->mutex);
    bool result = queue->is_stopping;
    bb_mutex_unlock(queue->mutex);
    return result;
}

static natsStatus publish_on(struct scheduler_queue *queue, struct bb_nats_stream *stream)
{
    uint64_t last;
    natsStatus status =
        bb_nats_find(stream, queue->stream, queue->subject, js_WorkQueuePolicy, &last);

    if (status == NATS_OK)
        set_up(queue, true, "");
    while (status == NATS_OK && !is_stopping(queue)) {
        struct message message;
        if (next(queue, &message)) {
            status = publish(queue, stream->js, &message);
        } else if (natsConnection_IsClosed(stream->connection)) {
            status = NATS_CONNECTION_CLOSED;
        }
    }
    return status;
}

static natsStatus connect_and_publish(struct scheduler_queue *queue)
{
    struct bb_nats_stream stream;
    natsStatus status = bb_nats_open(queue->url, &stream);

    if (status == NATS_OK)
        status = publish_on(queue, &stream);
    bb_nats_close(&stream);
    return status;
}

static void run(void *arg)
{
    struct scheduler_queue *queue = arg;

    while (!is_stopping(queue)) {
        natsStatus status = connect_and_publish(queue);
        if (status == NATS_OK)
            continue;
        set_up(queue, false, natsStatus_GetText(status));
        bb_mutex_lock(queue->mutex);
        if (!queue->is_stopping)
            (void)bb_cond_wait_ms(queue->cond, queue->mutex, PAUSE_MS);
        bb_mutex_unlock(queue->mutex);
    }
}

/* ---- open and close ---- */

static bool is_name(const char *name)
{
    size_t size = strlen(name);

    for (size_t i = 0; i < size; i++) {
        if (!isalnum((unsigned char)name[i]) && name[i] != '-' && name[i] != '_')
            return false;
    }
    return size > 0 && size <= NAME_MAX_SIZE;
}

int scheduler_queue_open(struct bb_ctx *ctx, struct scheduler *scheduler,
                         const struct bb_conf *conf)
{
    const char *url = bb_conf_text(conf, "nats");
    const char *name = bb_conf_text(conf, "deployment");

    if (url == NULL || url[0] == '\0')
        return BB_OK;
    int rc = bb_nats_check(ctx, url);
    if (rc != BB_OK)
        return rc;
    if (!is_name(name)) {
        return bb_fail(ctx, BB_BAD_REQUEST,
                       "option deployment: letters, digits, - and _ only, at most %u",
                       NAME_MAX_SIZE);
    }
    struct scheduler_queue *queue = bb_alloc_zero(1, sizeof *queue);
    scheduler->queue = queue;
    queue->scheduler = scheduler;
    queue->url = bb_strdup(url);
    (void)snprintf(queue->stream, sizeof queue->stream, "BB_%s_JOBS", name);
    (void)snprintf(queue->subject, sizeof queue->subject, "bb.%s.jobs", name);
    queue->ring = bb_alloc_zero(QUEUE_MAX, sizeof *queue->ring);
    queue->mutex = bb_mutex_new();
    queue->cond = bb_cond_new();
    queue->task.run = on_task;
    queue->thread = bb_thread_start("nats-jobs", run, queue);
    return BB_OK;
}

void scheduler_queue_close(struct scheduler *scheduler)
{
    struct scheduler_queue *queue = scheduler->queue;

    if (queue == NULL)
        return;
    bb_mutex_lock(queue->mutex);
    queue->is_stopping = true;
    bb_cond_broadcast(queue->cond);
    bb_mutex_unlock(queue->mutex);
    bb_thread_join(queue->thread);
    queue->is_closing = true;
    bb_loop_drain(scheduler->loop);
    bb_cond_free(queue->cond);
    bb_mutex_free(queue->mutex);
    bb_free(queue->ring);
    bb_free(queue->url);
    bb_free(queue);
    scheduler->queue = NULL;
}
