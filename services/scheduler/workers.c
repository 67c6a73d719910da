/* Calls of functions on the workers: the least busy one that hears a sequencer. A call that fails
 * is not repeated here: rows tell what became of it. */
#include <stdio.h>

#include "bb/wire_validate.h"
#include "bb/workers.h"

#include "scheduler.h"

#define CALL_MS  5000u
#define SLACK_MS 1500u /* a worker ends a call itself; we wait a little longer than it does */

struct scheduler_workers {
    struct bb_workers *known;
    struct bb_list errands[BB_WORKERS_MAX]; /* what each of them has */
};

/* A request to a worker. Its call is NULL when that has ended without the answer. */
struct errand {
    struct bb_list link;
    struct scheduler_workers *workers;
    size_t worker;
    struct scheduler_call *call;
};

/* A call that no worker will answer ends in the next turn. */
struct refused {
    struct bb_task task;
    struct scheduler_call *call;
};

static void end(struct scheduler_call *call, int status, const char *error, struct bb_slice value)
{
    struct scheduler *scheduler = call->scheduler;

    scheduler->calls--;
    call->done(call, status, error, value);
    bb_free(call);
    scheduler_turn(scheduler);
}

static void on_refused(struct bb_task *task)
{
    struct refused *refused = bb_container(task, struct refused, task);
    struct scheduler_call *call = refused->call;

    bb_free(refused);
    end(call, BB_UNAVAILABLE, "the worker cannot be reached or is of no use", BB_SLICE_EMPTY);
}

static void refuse(struct scheduler_call *call)
{
    struct refused *refused = bb_alloc_zero(1, sizeof *refused);

    refused->task.run = on_refused;
    refused->call = call;
    bb_loop_post(call->scheduler->loop, &refused->task);
}

static void on_answer(struct scheduler_call *call, int status, struct bb_slice bytes)
{
    struct bb_ctx ctx = *call->scheduler->ctx;
    struct bb_arena *arena = bb_arena_new(0);
    Bb__Proto__WorkerReply *reply = NULL;
    struct bb_slice value = BB_SLICE_EMPTY;
    const char *error = "";

    if (status == BB_OK)
        status = bb_unpack(&ctx, arena, &bb__proto__worker_reply__descriptor, bytes, &reply);
    if (status == BB_OK)
        status = bb_worker_reply_validate(&ctx, reply);
    if (status == BB_OK) {
        status = (int)reply->status;
        error = reply->error;
    }
    if (status == BB_OK && reply->op_case == BB__PROTO__WORKER_REPLY__OP_CALL)
        value = bb_pb_slice(reply->call->value);
    if (status == BB_OK && (value.size == 0 || bb_value_validate(&ctx, value) != BB_OK))
        status = BB_CORRUPT;
    end(call, status, error, value);
    bb_arena_free(arena);
}

static void on_reply(void *arg, int status, struct bb_slice bytes)
{
    struct errand *errand = arg;
    struct scheduler_call *call = errand->call;

    if (status == BB_PEER_GONE)
        bb_workers_gone(errand->workers->known, errand->worker);
    bb_list_remove(&errand->link);
    bb_free(errand);
    if (call != NULL)
        on_answer(call, status, bytes);
}

/* It hangs or is cut. Its calls end now, not when their time is over: the lease is one of them. */
static void on_useless(void *arg, size_t worker)
{
    struct scheduler_workers *workers = arg;

    bb_list_each(item, &workers->errands[worker]) {
        struct errand *errand = bb_container(item, struct errand, link);

        if (errand->call != NULL)
            refuse(errand->call);
        errand->call = NULL;
    }
}

static void send(struct bb_ctx *ctx, struct scheduler_call *call,
                 const Bb__Proto__WorkerRequest *request)
{
    struct scheduler_workers *workers = call->scheduler->workers;
    size_t chosen = bb_workers_least_busy(workers->known, BB_WORKERS_NONE);
    struct errand *errand = bb_alloc_zero(1, sizeof *errand);

    *errand = (struct errand){ .workers = workers,
                               .worker = chosen == BB_WORKERS_NONE ? 0 : chosen, /* it may come */
                               .call = call };
    bb_list_push_back(&workers->errands[errand->worker], &errand->link);
    if (bb_peer_request(ctx, bb_workers_peer(workers->known, errand->worker), &request->base,
                        CALL_MS + SLACK_MS, on_reply, errand) != BB_OK) {
        bb_list_remove(&errand->link);
        bb_free(errand);
        refuse(call);
    }
}

struct scheduler_call *scheduler_call_new(struct scheduler *scheduler, enum scheduler_lane lane,
                                          size_t job_count)
{
    struct scheduler_call *call =
        bb_alloc_zero(1, sizeof *call + job_count * sizeof(struct scheduler_job));

    call->scheduler = scheduler;
    call->generation = scheduler->generation;
    call->lane = lane;
    call->job_count = job_count;
    return call;
}

void scheduler_call_start(struct scheduler_call *call, const char *function, bool is_mutation,
                          struct bb_slice args)
{
    struct scheduler *scheduler = call->scheduler;
    struct bb_ctx ctx = *scheduler->ctx;
    Bb__Proto__WorkerRequest request = BB__PROTO__WORKER_REQUEST__INIT;
    Bb__Proto__Call body;
    uint8_t random[32];
    char path[64];

    bb__proto__call__init(&body);
    (void)snprintf(path, sizeof path, "_system:%s", function);
    bb_random(&ctx, random, sizeof random);
    request.op_case = BB__PROTO__WORKER_REQUEST__OP_CALL;
    request.call = &body;
    request.trace_id = bb_get_le64(random);
    body.request_id = bb_slice_pb(bb_slice(random, 16));
    body.seed = bb_slice_pb(bb_slice(random + 16, 16));
    body.kind = is_mutation ? BB__PROTO__FUNCTION_KIND__KIND_MUTATION
                            : BB__PROTO__FUNCTION_KIND__KIND_QUERY;
    body.path = path;
    body.args = bb_slice_pb(args);
    body.is_admin = true;
    /* A page must show what the feed has told, and may be newer. */
    body.is_live = !is_mutation;
    body.min_tx = is_mutation ? 0 : bb_follow_cursor(scheduler->feed);
    body.timeout_ms = CALL_MS;
    scheduler->calls++;
    send(&ctx, call, &request);
}

int scheduler_workers_open(struct bb_ctx *ctx, struct scheduler *scheduler, const char *urls)
{
    struct scheduler_workers *workers = bb_alloc_zero(1, sizeof *workers);
    struct bb_workers_options options = { .urls = urls, .useless = on_useless, .arg = workers };

    scheduler->workers = workers;
    for (size_t i = 0; i < BB_WORKERS_MAX; i++)
        bb_list_init(&workers->errands[i]);
    return bb_workers_open(ctx, scheduler->loop, &options, &workers->known);
}

void scheduler_workers_close(struct scheduler *scheduler)
{
    struct scheduler_workers *workers = scheduler->workers;

    if (workers == NULL)
        return;
    bb_workers_close(workers->known);
    bb_loop_drain(scheduler->loop);
    bb_free(workers);
    scheduler->workers = NULL;
}
