/* Calls of functions on the workers: the least busy one that is there. A call that fails is not
 * repeated here: rows tell what became of it. */
#include <stdio.h>

#include "bb/wire_validate.h"

#include "scheduler.h"

#define WORKERS_MAX     64u
#define OUTSTANDING_MAX 2048u
#define CALL_MS         5000u
#define SLACK_MS        1500u /* a worker ends a call itself; we wait a little longer than it does */

struct scheduler_workers {
    struct bb_peer *peers[WORKERS_MAX];
    size_t count;
};

/* A call that could not even be sent ends in the next turn. */
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
    end(call, BB_UNAVAILABLE, "no worker can be reached", BB_SLICE_EMPTY);
}

static void refuse(struct scheduler_call *call)
{
    struct refused *refused = bb_alloc_zero(1, sizeof *refused);

    refused->task.run = on_refused;
    refused->call = call;
    bb_loop_post(call->scheduler->loop, &refused->task);
}

static void on_reply(void *arg, int status, struct bb_slice bytes)
{
    struct scheduler_call *call = arg;
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

/* The least busy one of those that are there; else any. */
static struct bb_peer *choose(const struct scheduler_workers *workers)
{
    struct bb_peer *best = NULL;

    for (size_t i = 0; i < workers->count; i++) {
        struct bb_peer *peer = workers->peers[i];
        if (!bb_peer_is_connected(peer))
            continue;
        if (best == NULL || bb_peer_outstanding(peer) < bb_peer_outstanding(best))
            best = peer;
    }
    return best == NULL ? workers->peers[0] : best;
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
    if (bb_peer_request(&ctx, choose(scheduler->workers), &request.base, CALL_MS + SLACK_MS,
                        on_reply, call) != BB_OK)
        refuse(call);
}

static int add_worker(struct bb_ctx *ctx, struct scheduler *scheduler, struct bb_slice url)
{
    struct scheduler_workers *workers = scheduler->workers;
    char text[512];

    if (workers->count == WORKERS_MAX || url.size >= sizeof text) {
        return bb_fail(ctx, BB_BAD_REQUEST,
                       "option workers: at most %u urls of at most 511 characters", WORKERS_MAX);
    }
    (void)snprintf(text, sizeof text, "%.*s", BB_SLICE_ARG(url));
    int rc =
        bb_peer_open(ctx, scheduler->loop,
                     &(struct bb_peer_options){ .url = text, .outstanding_max = OUTSTANDING_MAX },
                     &workers->peers[workers->count]);
    workers->count += rc == BB_OK;
    return rc;
}

int scheduler_workers_open(struct bb_ctx *ctx, struct scheduler *scheduler, const char *urls)
{
    struct bb_slice rest = bb_slice_str(urls);
    struct bb_slice url;

    scheduler->workers = bb_alloc_zero(1, sizeof(struct scheduler_workers));
    while (bb_slice_next_item(&rest, &url)) {
        int rc = add_worker(ctx, scheduler, url);

        if (rc != BB_OK)
            return rc;
    }
    if (scheduler->workers->count == 0)
        return bb_fail(ctx, BB_BAD_REQUEST, "option workers: names no worker");
    return BB_OK;
}

void scheduler_workers_close(struct scheduler *scheduler)
{
    struct scheduler_workers *workers = scheduler->workers;

    if (workers == NULL)
        return;
    for (size_t i = 0; i < workers->count; i++)
        bb_peer_close(workers->peers[i]);
    bb_loop_drain(scheduler->loop);
    bb_free(workers);
    scheduler->workers = NULL;
}
