/* The end of a call: its reply to the gateway, its log lines, its numbers. */
#include "bb/failpoint.h"
#include "bb/value.h"

#include "worker.h"

static const uint8_t null_value[] = { BB_TAG_NULL };

static char *unconst(const char *text)
{
    union {
        const char *in;
        char *out;
    } cast = { .in = text };
    return cast.out;
}

void worker_refuse(struct bb_exchange *exchange, int status, const char *error)
{
    Bb__Proto__WorkerReply reply;
    bb__proto__worker_reply__init(&reply);
    reply.status = (uint32_t)status;
    reply.error = unconst(error);
    bb_exchange_reply(exchange, &reply.base);
}

/* A live query that fails before it runs must hear of the deploy that would mend it. */
static void add_deployment_range(struct call *call, Bb__Proto__CallReply *reply)
{
    struct bb_id id;
    bb_id_of_key(BB_TABLE_DEPLOYMENT, bb_slice_str("current"), &id);
    uint8_t *key = bb_arena_alloc(call->arena, 21);
    Bb__Proto__Range *range = bb_arena_alloc(call->arena, sizeof(*range));
    Bb__Proto__Range **ranges = bb_arena_alloc(call->arena, sizeof(void *));
    if (key == NULL || range == NULL || ranges == NULL) {
        return;
    }
    bb_put_be32(key, BB_INDEX_BY_ID(BB_TABLE_DEPLOYMENT));
    memcpy(key + 4, id.bytes, sizeof(id.bytes));
    key[20] = 0;
    bb__proto__range__init(range);
    range->low = bb_slice_pb(bb_slice(key, 20));
    range->high = bb_slice_pb(bb_slice(key, 21));
    ranges[0] = range;
    reply->n_ranges = 1;
    reply->ranges = ranges;
}

/* The slot's trace with what only the supervisor knows. */
static char *trace_of(struct worker *worker, struct call *call, const Bb__Proto__SlotDone *done)
{
    if (done->trace[0] != '{') {
        return done->trace;
    }
    char *whole =
        bb_arena_printf(call->arena, "{\"runs\":%u,\"ms\":%.3f,%s", call->attempts,
                        (double)(worker_now(worker) - call->started_us) / 1000, done->trace + 1);
    return whole == NULL ? done->trace : whole;
}

/* A kept result is told by its number, and to who has it by nothing else. */
static void tell_kept(const struct worker *worker, const struct call *call,
                      Bb__Proto__CallReply *body)
{
    const Bb__Proto__Call *request = call->request;
    uint64_t number = call->sight.number;
    if (number == 0) {
        return;
    }
    body->result_source = worker->session;
    body->result_number = number;
    body->is_known = request->known_source == worker->session && request->known_number == number;
    if (body->is_known) {
        body->value = bb_slice_pb(BB_SLICE_EMPTY);
    }
}

static void fill_reply(struct worker *worker, struct call *call, int status, const char *error,
                       Bb__Proto__WorkerReply *reply, Bb__Proto__CallReply *body)
{
    const Bb__Proto__SlotDone *done = call->done;
    bool is_query = call->kind == FUNCTION_QUERY;
    reply->status = (uint32_t)status;
    reply->op_case = BB__PROTO__WORKER_REPLY__OP_CALL;
    reply->call = body;
    if (error != NULL) {
        reply->error = unconst(error);
    } else if (status != BB_OK && done != NULL) {
        reply->error = done->error;
    }
    body->kind = (Bb__Proto__FunctionKind)call->kind;
    body->read_tx = call->snapshot;
    body->tx = is_query ? call->snapshot : call->tx;
    if (status == BB_OK) {
        struct bb_slice value = worker_call_value(call);
        body->value = bb_slice_pb(value.size > 0 ? value : bb_slice(null_value, 1));
        body->is_value_lost = call->has_value && value.size == 0;
        tell_kept(worker, call, body);
    }
    if (done != NULL && error == NULL) {
        body->error_data = done->error_data;
        body->stack = done->stack;
        body->n_logs = done->n_logs;
        body->logs = done->logs;
        body->saw_identity = done->saw_identity;
        body->trace = trace_of(worker, call, done);
        body->profile = done->profile;
    }
    if (call->request->is_live && done != NULL) {
        body->n_ranges = done->n_reads;
        body->ranges = done->reads;
    } else if (call->request->is_live) {
        add_deployment_range(call, body);
    }
    if (status == BB_INDEX_NOT_READY && call->catalog != NULL) {
        body->index_done = call->catalog->backfill_done;
    }
}

static void keep_log(struct worker *worker, struct call *call, int status, const char *error,
                     uint64_t now_us)
{
    const Bb__Proto__SlotDone *done = call->done;
    size_t line_count = done == NULL ? 0 : done->n_logs;
    /* What the suite asks for itself, and asks again. */
    bool is_repeated = call->is_system && line_count == 0 && bb_status_retry_helps(status);
    if ((line_count == 0 && status == BB_OK) || call->is_low_priority || is_repeated) {
        return;
    }
    /* Nothing ran here: its caller hears of it, or has a runner run it. */
    if (status == BB_WRONG_KIND) {
        return;
    }
    Bb__Proto__CallLog log;
    bb__proto__call_log__init(&log);
    log.time_us = bb_wall_us(worker->ctx);
    log.path = done != NULL && done->path[0] != '\0' ? done->path : call->request->path;
    log.kind = (Bb__Proto__FunctionKind)call->kind;
    log.n_lines = line_count;
    log.lines = done == NULL ? NULL : done->logs;
    log.status = (uint32_t)status;
    if (error != NULL) {
        log.error = unconst(error);
    } else if (status != BB_OK && done != NULL) {
        log.error = done->error;
    }
    log.duration_us = now_us - call->started_us;
    log.request_id = call->request->request_id;
    worker_logs_add(worker->logs, &log);
}

void worker_answer(struct worker *worker, struct call *call, int status, const char *error)
{
    uint64_t now = worker_now(worker);
    if (worker_call_tells(call, status) != status) {
        status = worker_call_tells(call, status);
        error = "nobody knows yet whether this mutation has happened; send it again with the same "
                "key";
    }
    if (call->reading != NULL) {
        worker_reading_free(call->reading);
        call->reading = NULL;
    }
    if (call->slot != NULL) {
        worker_slot_unreserve(call->slot);
    }
    worker_chain_leave(worker, call);
    worker_call_to(worker, call, CALL_DONE);
    bb_metric_add(worker->count.calls, 1);
    bb_histogram_observe(worker->count.call_time, now - call->started_us);
    keep_log(worker, call, status, error, now);
    if (call->exchange != NULL) {
        Bb__Proto__WorkerReply reply;
        bb__proto__worker_reply__init(&reply);
        Bb__Proto__CallReply body;
        bb__proto__call_reply__init(&body);
        fill_reply(worker, call, status, error, &reply, &body);
        bb_failpoint(worker->ctx->env, BB_FAILPOINT_WORKER_REPLY_BEFORE);
        bb_exchange_reply(call->exchange, &reply.base);
        bb_failpoint(worker->ctx->env, BB_FAILPOINT_WORKER_REPLY_AFTER);
        call->exchange = NULL;
    } else if (call->on_end != NULL) {
        const char *own = call->done == NULL ? NULL : call->done->error;
        call->on_end(worker, call, status, error != NULL ? error : own);
    }
    if (!call->is_in_flight) {
        worker_call_release(worker, call);
    }
}
