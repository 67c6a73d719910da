#include "workers.h"

#include "known.h"

#include "bb/failpoint.h"
#include "bb/wire_validate.h"

#define RETRY_US    20000u
#define LEAVE_US    50000u /* most calls end by themselves within this time */
#define CANCELS_MAX 256u   /* calls that one message names */
#define CANCEL_MS   2000u
#define REPLY_SLACK_MS                                                         \
    1500u /* a worker ends a call itself; we wait a little longer than it does \
           */

/* A request to a worker. Its call is NULL when that went to another worker meanwhile. */
struct errand {
    struct bb_list link;
    struct worker *worker;
    struct call *call;
};

/* ---- the end of a call ---- */

int gateway_public_status(int status)
{
    switch (status) {
    case BB_CONFLICT:
    case BB_PENDING:
        return BB_OVERLOADED;
    case BB_FENCED:
    case BB_GAP:
    case BB_NOT_LEADER:
    case BB_NOT_YET:
    case BB_PEER_GONE:
    case BB_CANCELLED:
    case BB_BUSY:
    case BB_FULL:
    case BB_TIMEOUT:
        return BB_UNAVAILABLE;
    case BB_TOO_OLD:
        return BB_TX_TRUNCATED;
    case BB_IO:
    case BB_CORRUPT:
        return BB_INTERNAL;
    default:
        return status;
    }
}

static bool has_effects(const struct call *call)
{
    return call->kind != BB__PROTO__FUNCTION_KIND__KIND_QUERY;
}

static void finish(struct call *call, int status, const char *error,
                   const Bb__Proto__CallReply *reply)
{
    struct gateway *gateway = call->gateway;

    bb_list_remove(&call->link);
    gateway->workers->calls--;
    bb_metric_add(gateway->calls, 1);
    if (status != BB_OK)
        bb_metric_add(gateway->call_errors, 1);
    bb_histogram_observe(gateway->call_time, bb_loop_now_us(gateway->loop) - call->started_us);
    bb_failpoint(gateway->ctx->env, BB_FAILPOINT_GATEWAY_ANSWER_BEFORE);
    struct bb_http_buffer *known = call->known.bytes; /* the call may end with its request */
    call->done(call, status, error, reply);
    bb_http_buffer_release(known);
    bb_failpoint(gateway->ctx->env, BB_FAILPOINT_GATEWAY_ANSWER_AFTER);
}

/* Nobody answered in time. What may have happened is never told as "failed". */
static void give_up(struct call *call)
{
    if (call->may_have_run && has_effects(call)) {
        finish(call, BB_OUTCOME_UNKNOWN,
               "The worker was lost or did not answer in time; whether the call took effect is not "
               "known. Send it again with the same Idempotency-Key.",
               NULL);
    } else {
        finish(call, BB_UNAVAILABLE, "No worker can run the call now; try again.", NULL);
    }
}

static void wait_for_worker(struct call *call, uint64_t delay_us)
{
    struct workers *workers = call->gateway->workers;

    call->retry_us = bb_loop_now_us(call->gateway->loop) + delay_us;
    if (call->retry_us >= call->deadline_us && delay_us > 0)
        call->retry_us = call->deadline_us;
    bb_list_remove(&call->link);
    bb_list_push_back(&workers->waiting, &call->link);
    gateway_workers_tick_at(workers, true);
}

/* ---- a worker's answer ---- */

/* The worker did not run the call: another one, or the same one later, may. */
static bool may_retry(const struct call *call, int status)
{
    switch (status) {
    case BB_UNAVAILABLE:
    case BB_CANCELLED:
    case BB_FENCED:
    case BB_NOT_LEADER:
    case BB_PEER_GONE:
    case BB_NOT_YET:
        return call->at_tx == 0;
    default:
        return false;
    }
}

/* A failure that no sequencer has confirmed: an earlier attempt may have gone through all the same.
 */
static bool is_unconfirmed(int status)
{
    switch (gateway_public_status(status)) {
    case BB_UNAVAILABLE:
    case BB_OVERLOADED:
    case BB_INTERNAL:
    case BB_FUNCTION_TIMEOUT:
    case BB_OUT_OF_MEMORY:
        return true;
    default:
        return false;
    }
}

static void on_answer(struct call *call, const Bb__Proto__WorkerReply *reply)
{
    uint64_t now = bb_loop_now_us(call->gateway->loop);
    const char *error = reply->error;
    int status = (int)reply->status;

    if (may_retry(call, status) && !call->is_left && now + 4 * RETRY_US < call->deadline_us) {
        wait_for_worker(call, RETRY_US << (call->attempts < 4 ? call->attempts : 4));
        return;
    }
    /* An earlier attempt may have gone through; this one's failure says nothing about it. */
    if (call->may_have_run && has_effects(call) && is_unconfirmed(status)) {
        give_up(call);
        return;
    }
    /* A moment shortly before the clock's, that no transaction has reached yet. */
    if (status == BB_TIMEOUT && call->at_tx != 0)
        status = BB_TX_IN_FUTURE;
    finish(call, gateway_public_status(status), error,
           reply->op_case == BB__PROTO__WORKER_REPLY__OP_CALL ? reply->call : NULL);
}

static void on_call_reply(void *arg, int status, struct bb_slice bytes)
{
    struct errand *errand = arg;
    struct call *call = errand->call;
    struct worker *worker = errand->worker;
    struct workers *workers = worker->workers;
    struct bb_ctx ctx = *workers->gateway->ctx;
    Bb__Proto__WorkerReply *reply = NULL;

    bb_list_remove(&errand->link);
    bb_free(errand);
    if (call == NULL)
        return; /* what the others say of it counts */
    call->errand = NULL;
    if (status == BB_OK) {
        status =
            bb_unpack(&ctx, workers->arena, &bb__proto__worker_reply__descriptor, bytes, &reply);
    }
    if (status == BB_OK)
        status = bb_worker_reply_validate(&ctx, reply);
    if (status == BB_OK && reply->status == BB_OK &&
        reply->op_case != BB__PROTO__WORKER_REPLY__OP_CALL)
        status = bb_fail(&ctx, BB_INTERNAL, "a worker answered something else");
    if (status == BB_OK && reply->op_case == BB__PROTO__WORKER_REPLY__OP_CALL &&
        gateway_known_is_bad(call, reply->call))
        status = bb_fail(&ctx, BB_INTERNAL, "a worker left out a value that nobody has");
    if (status == BB_OK) {
        on_answer(call, reply);
    } else if (status == BB_PEER_GONE && !workers->is_closing) {
        /* The worker died or was never there. The request id makes a second run the same one. */
        bb_workers_gone(workers->known, worker->index);
        call->may_have_run = true;
        wait_for_worker(call, 0);
    } else if (status == BB_TIMEOUT || status == BB_CANCELLED || status == BB_PEER_GONE) {
        call->may_have_run = true;
        give_up(call);
    } else {
        bb_error(call->gateway->ctx, "gateway.bad_reply", "worker=%s status=%s why=\"%s\"",
                 bb_peer_url(worker->peer), bb_status_name(status), ctx.error);
        call->may_have_run = true;
        if (has_effects(call)) {
            give_up(call);
        } else {
            finish(call, BB_INTERNAL, "A worker's answer could not be read.", NULL);
        }
    }
    bb_arena_reset(workers->arena);
}

/* ---- sending ---- */

static void errand_begin(struct call *call, struct worker *worker)
{
    call->errand = bb_alloc(sizeof *call->errand);
    *call->errand = (struct errand){ .worker = worker, .call = call };
    bb_list_push_back(&worker->errands, &call->errand->link);
}

static void errand_drop(struct call *call)
{
    bb_list_remove(&call->errand->link);
    bb_free(call->errand);
    call->errand = NULL;
}

/*
 * It keeps its connection and answers nothing, or hears no sequencer. Another one runs the call
 * again, under the same request id, so it counts once whatever the first one still does.
 */
void gateway_calls_move(struct worker *worker)
{
    bb_list_each(item, &worker->errands) {
        struct errand *errand = bb_container(item, struct errand, link);
        struct call *call = errand->call;

        if (call == NULL)
            continue;
        errand->call = NULL;
        call->errand = NULL;
        call->may_have_run = true;
        wait_for_worker(call, 0);
    }
}

static void send_call(struct call *call)
{
    struct workers *workers = call->gateway->workers;
    uint64_t now = bb_loop_now_us(call->gateway->loop);
    struct worker *worker = gateway_workers_choose(workers, call);
    Bb__Proto__WorkerRequest request = BB__PROTO__WORKER_REQUEST__INIT;
    Bb__Proto__Call body;
    struct bb_ctx ctx = *call->gateway->ctx;
    union {
        const char *in;
        char *out;
    } path = { .in = call->path };
    int rc;

    if (now >= call->deadline_us || call->is_left) {
        give_up(call);
        return;
    }
    if (worker == NULL) {
        wait_for_worker(call, RETRY_US);
        return;
    }
    gateway_known_find(call, worker->hash);
    bb__proto__call__init(&body);
    request.op_case = BB__PROTO__WORKER_REQUEST__OP_CALL;
    request.call = &body;
    request.trace_id = bb_get_le64(call->request_id);
    body.request_id = bb_slice_pb(bb_slice(call->request_id, sizeof(call->request_id)));
    body.seed = bb_slice_pb(bb_slice(call->seed, sizeof(call->seed)));
    body.kind = call->kind;
    body.path = path.out;
    body.args = bb_slice_pb(call->args);
    body.identity = bb_slice_pb(call->identity);
    body.is_admin = call->is_admin;
    body.at_tx = call->at_tx;
    body.min_tx = call->min_tx;
    body.is_live = call->is_live;
    body.is_shared = call->is_shared;
    body.wants_trace = call->wants_trace;
    body.profile = call->profile;
    body.timeout_ms = (uint32_t)((call->deadline_us - now) / 1000 + 1);
    if (call->known.bytes != NULL) {
        body.known_source = call->known.source;
        body.known_number = call->known.number;
    }
    if (call->client_key != NULL) {
        body.client_key = bb_slice_pb(bb_slice(call->client_key, 32));
        body.client_digest = bb_slice_pb(bb_slice(call->client_digest, 32));
        body.client_key_ms = call->client_key_ms;
    }
    bb_list_remove(&call->link);
    call->worker = worker;
    call->attempts++;
    bb_failpoint(ctx.env, BB_FAILPOINT_GATEWAY_CALL_BEFORE);
    errand_begin(call, worker);
    rc = bb_peer_request(&ctx, worker->peer, &request.base, body.timeout_ms + REPLY_SLACK_MS,
                         on_call_reply, call->errand);
    bb_failpoint(ctx.env, BB_FAILPOINT_GATEWAY_CALL_AFTER);
    if (rc != BB_OK)
        errand_drop(call);
    if (rc == BB_OVERLOADED) {
        wait_for_worker(call, RETRY_US);
    } else if (rc != BB_OK) {
        finish(call, rc, ctx.error, NULL);
    }
}

/* The same query has the same chance at any gateway, whenever it runs: at one tx it gives the same
 * bytes, so results can be compared and computed again. What it is depends on a secret. */
static void query_seed(const struct gateway *gateway, const struct call *call, uint8_t seed[16])
{
    struct bb_slice secret = bb_buf_slice(&gateway->admin_key);
    uint8_t digests[3][32], result[32];

    if (secret.size == 0)
        secret = bb_slice(gateway->random_key, sizeof(gateway->random_key));
    bb_sha256(secret, digests[0]);
    bb_sha256(bb_slice_str(call->path), digests[1]);
    bb_sha256(call->args, digests[2]);
    bb_sha256(bb_slice(digests, sizeof(digests)), result);
    memcpy(seed, result, 16);
}

int gateway_call_start(struct bb_ctx *ctx, struct gateway *gateway, struct call *call)
{
    struct workers *workers = gateway->workers;
    uint8_t random[32];

    if (workers->calls >= workers->calls_max)
        return bb_fail(ctx, BB_OVERLOADED, "Too many calls are under way; try again.");
    workers->calls++;
    gateway_random(gateway, random);
    memcpy(call->request_id, random, 16);
    if (call->kind == BB__PROTO__FUNCTION_KIND__KIND_QUERY)
        query_seed(gateway, call, call->seed);
    else
        memcpy(call->seed, random + 16, 16);
    call->gateway = gateway;
    bb_list_init(&call->link);
    call->worker = NULL;
    call->errand = NULL;
    call->known = (struct memo_json){ .bytes = NULL };
    call->attempts = 0;
    call->is_left = false;
    call->may_have_run = false;
    call->started_us = bb_loop_now_us(gateway->loop);
    call->deadline_us = call->started_us + (call->limit_us == 0 ? GATEWAY_CALL_US : call->limit_us);
    /* `done` must not be called from here, so the rare ends at once wait for the next tick. */
    if (gateway_workers_any_up(workers) && call->args.size < BB_WIRE_MESSAGE_MAX / 2) {
        send_call(call);
    } else {
        wait_for_worker(call, 0);
    }
    return BB_OK;
}

/* ---- calls that wait ---- */

void gateway_calls_kick(struct workers *workers, bool is_all)
{
    uint64_t now = bb_loop_now_us(workers->gateway->loop);
    struct bb_list due;

    bb_list_init(&due);
    bb_list_each_safe(item, &workers->waiting) {
        struct call *call = bb_container(item, struct call, link);

        if (is_all || now >= call->retry_us || now >= call->deadline_us) {
            bb_list_remove(item);
            bb_list_push_back(&due, item);
        }
    }
    while (!bb_list_is_empty(&due)) {
        struct call *call = bb_container(due.next, struct call, link);

        bb_list_remove(&call->link);
        send_call(call);
    }
}

void gateway_calls_give_up(struct workers *workers)
{
    while (!bb_list_is_empty(&workers->waiting))
        give_up(bb_container(workers->waiting.next, struct call, link));
}

/* ---- calls whose client has gone ---- */

void gateway_call_leave(struct call *call)
{
    struct workers *workers = call->gateway->workers;

    if (call->is_left || workers->is_closing)
        return;
    call->is_left = true;
    /* One that waits for a worker ends when its turn comes. */
    if (!bb_list_is_empty(&call->link))
        return;
    call->retry_us = bb_loop_now_us(call->gateway->loop) + LEAVE_US;
    bb_list_push_back(&workers->leaving, &call->link);
    gateway_workers_tick_at(workers, true);
}

/* Whatever it says: what was dropped is answered as a call. */
static void on_cancel_reply(void *arg, int status, struct bb_slice bytes)
{
    (void)arg;
    (void)status;
    (void)bytes;
}

/* The calls that `worker` has and whose time has come; false: it cannot be told now. */
static bool cancel_some(struct workers *workers, struct worker *worker, uint64_t now)
{
    struct call *named[CANCELS_MAX];
    ProtobufCBinaryData ids[CANCELS_MAX];
    Bb__Proto__WorkerRequest request = BB__PROTO__WORKER_REQUEST__INIT;
    Bb__Proto__Cancel cancel = BB__PROTO__CANCEL__INIT;
    struct bb_ctx ctx = *workers->gateway->ctx;

    bb_list_each(item, &workers->leaving) {
        struct call *call = bb_container(item, struct call, link);

        if (call->worker != worker || now < call->retry_us)
            continue;
        named[cancel.n_request_ids] = call;
        ids[cancel.n_request_ids++] =
            bb_slice_pb(bb_slice(call->request_id, sizeof(call->request_id)));
        if (cancel.n_request_ids == CANCELS_MAX)
            break;
    }
    if (cancel.n_request_ids == 0)
        return false;
    cancel.request_ids = ids;
    request.op_case = BB__PROTO__WORKER_REQUEST__OP_CANCEL;
    request.cancel = &cancel;
    if (bb_peer_request(&ctx, worker->peer, &request.base, CANCEL_MS, on_cancel_reply, NULL) !=
        BB_OK)
        return false; /* the next tick tries again */
    for (size_t i = 0; i < cancel.n_request_ids; i++)
        bb_list_remove(&named[i]->link);
    return true;
}

void gateway_calls_cancel(struct workers *workers)
{
    uint64_t now = bb_loop_now_us(workers->gateway->loop);

    if (bb_list_is_empty(&workers->leaving))
        return;
    for (size_t i = 0; i < workers->count; i++) {
        while (cancel_some(workers, &workers->items[i], now))
            continue;
    }
}
