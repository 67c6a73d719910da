#include <stdio.h>

#include "bb/value.h"

#include "suite.h"

/* The initialisers that protoc-c makes for messages with texts cast const away. */
#pragma GCC diagnostic ignored "-Wcast-qual"

static void reply_call(struct bb_exchange *exchange, Bb__Proto__CallReply *call, int status,
                       const char *error)
{
    Bb__Proto__WorkerReply reply = BB__PROTO__WORKER_REPLY__INIT;
    union {
        const char *in;
        char *out;
    } text = { .in = error };

    reply.status = (uint32_t)status;
    reply.error = text.out;
    reply.op_case = BB__PROTO__WORKER_REPLY__OP_CALL;
    reply.call = call;
    bb_exchange_reply(exchange, &reply.base);
}

static void reopen_worker(struct suite *suite)
{
    Bb__Proto__CallReply reply = BB__PROTO__CALL_REPLY__INIT;

    bb_server_close(suite->worker);
    suite->worker = NULL;
    reply_call(suite->dead, &reply, BB_OK, ""); /* goes nowhere */
    open_worker(suite);
}

static void on_reopen(struct bb_task *task)
{
    reopen_worker(bb_container(task, struct suite, task));
}

static void put_field(struct bb_value_builder *builder, const char *name, int64_t value)
{
    bb_value_field_name(builder, bb_slice_str(name));
    bb_value_put_int64(builder, value);
}

static void answer_seen(struct bb_value_builder *builder, const Bb__Proto__Call *call)
{
    bb_value_begin_object(builder);
    put_field(builder, "isAdmin", call->is_admin);
    put_field(builder, "atTx", (int64_t)call->at_tx);
    put_field(builder, "minTx", (int64_t)call->min_tx);
    put_field(builder, "kind", call->kind);
    put_field(builder, "keySize", (int64_t)call->client_key.len);
    put_field(builder, "hasTime", call->timeout_ms > 4000 && call->timeout_ms <= 5001);
    bb_value_field_name(builder, bb_slice_str("args"));
    bb_value_put_value(builder, bb_pb_slice(call->args));
    bb_value_end_object(builder);
}

/* A value of some 9 KB that its source and number tell. */
static void answer_kept(struct suite *suite, struct bb_value_builder *builder,
                        const Bb__Proto__Call *call, Bb__Proto__CallReply *reply)
{
    char text[9000];
    int size = snprintf(text, sizeof(text), "kept %" PRIu64 " of %" PRIu64 " \"", suite->number,
                        suite->source);

    memset(text + size, 'x', sizeof(text) - (size_t)size);
    bb_value_put_string(builder, bb_slice(text, sizeof(text)));
    reply->result_source = suite->source;
    reply->result_number = suite->number;
    reply->is_known =
        suite->is_liar || (suite->number != 0 && call->known_source == suite->source &&
                           call->known_number == suite->number);
    suite->left_out += reply->is_known;
}

static void handle_call(struct suite *suite, struct bb_exchange *exchange,
                        const Bb__Proto__Call *call)
{
    struct bb_value_builder *builder = bb_value_builder_new();
    Bb__Proto__CallReply reply = BB__PROTO__CALL_REPLY__INIT;
    Bb__Proto__Range range = BB__PROTO__RANGE__INIT;
    Bb__Proto__Range *ranges[] = { &range };
    int status = BB_OK;
    const char *error = "";

    suite->calls++;
    suite->has_deployed |= strcmp(call->path, "_system:deploy") == 0;
    reply.tx = reply.read_tx = call->at_tx != 0 ? call->at_tx : suite->tx;
    reply.kind = call->kind;
    if (strcmp(call->path, "t:seen") == 0) {
        answer_seen(builder, call);
    } else if (strcmp(call->path, "t:kept") == 0) {
        answer_kept(suite, builder, call, &reply);
    } else if (strcmp(call->path, "t:count") == 0) {
        bb_value_put_int64(builder, suite->counter);
        range.low = bb_slice_pb(bb_slice_str("k1"));
        range.high = bb_slice_pb(bb_slice_str("k3"));
        reply.n_ranges = 1;
        reply.ranges = ranges;
    } else if (strcmp(call->path, "t:throw") == 0) {
        status = BB_SERVER_ERROR;
        error = "Error: kaput";
        bb_value_null(builder);
    } else if (strcmp(call->path, "t:lost") == 0 && suite->deaths > 0) {
        status = BB_OVERLOADED;
        error = "no slot became free before the time was over";
        bb_value_null(builder);
    } else if ((strcmp(call->path, "t:die") == 0 || strcmp(call->path, "t:lost") == 0) &&
               suite->deaths == 0) {
        suite->deaths++;
        suite->dead = exchange;
        memcpy(suite->died_id, call->request_id.data, 16);
        suite->task.run = on_reopen;
        bb_loop_post(suite->loop, &suite->task);
        bb_value_builder_free(builder);
        return;
    } else if (strcmp(call->path, "t:hold") == 0) {
        suite->held = exchange;
        memcpy(suite->held_id, call->request_id.data, 16);
        bb_value_builder_free(builder);
        return;
    } else if (strcmp(call->path, "t:die") == 0) {
        suite->is_same_id = memcmp(suite->died_id, call->request_id.data, 16) == 0;
        bb_value_put_int64(builder, 2);
    } else if (strcmp(call->path, "_system:status") == 0 && call->is_admin) {
        bb_value_null(builder);
    } else {
        status = BB_FUNCTION_NOT_FOUND;
        error = "Could not find function";
        bb_value_null(builder);
    }
    struct bb_slice value = bb_value_finish(builder);
    if (!reply.is_known)
        reply.value = bb_slice_pb(value);
    reply_call(exchange, &reply, status, error);
    bb_value_builder_free(builder);
}

static void handle_cancel(struct suite *suite, struct bb_exchange *exchange,
                          const Bb__Proto__Cancel *cancel)
{
    Bb__Proto__WorkerReply reply = BB__PROTO__WORKER_REPLY__INIT;
    Bb__Proto__CancelReply answer = BB__PROTO__CANCEL_REPLY__INIT;
    Bb__Proto__CallReply call = BB__PROTO__CALL_REPLY__INIT;
    bool is_held = suite->held != NULL && cancel->n_request_ids == 1 &&
                   memcmp(cancel->request_ids[0].data, suite->held_id, 16) == 0;

    suite->cancels++;
    answer.dropped = is_held;
    reply.op_case = BB__PROTO__WORKER_REPLY__OP_CANCEL;
    reply.cancel = &answer;
    bb_exchange_reply(exchange, &reply.base);
    if (is_held)
        reply_call(suite->held, &call, BB_CANCELLED, "it did not run");
    suite->held = NULL;
}

void handle_worker(void *arg, struct bb_exchange *exchange, struct bb_slice bytes)
{
    struct suite *suite = arg;
    struct bb_ctx ctx = *bb_loop_ctx(suite->loop);
    Bb__Proto__WorkerRequest *request = NULL;
    Bb__Proto__WorkerReply reply = BB__PROTO__WORKER_REPLY__INIT;
    Bb__Proto__WorkerInfoReply info = BB__PROTO__WORKER_INFO_REPLY__INIT;
    Bb__Proto__PullLogsReply logs = BB__PROTO__PULL_LOGS_REPLY__INIT;
    Bb__Proto__CallLog entry = BB__PROTO__CALL_LOG__INIT;
    Bb__Proto__CallLog *entries[] = { &entry };
    char path[] = "m:f";

    cr_assert_eq(bb_unpack(&ctx, bb_exchange_arena(exchange),
                           &bb__proto__worker_request__descriptor, bytes, &request),
                 BB_OK);
    if (request->op_case == BB__PROTO__WORKER_REQUEST__OP_CALL) {
        handle_call(suite, exchange, request->call);
        return;
    }
    if (request->op_case == BB__PROTO__WORKER_REQUEST__OP_CANCEL) {
        handle_cancel(suite, exchange, request->cancel);
        return;
    }
    if (request->op_case == BB__PROTO__WORKER_REQUEST__OP_INFO) {
        info.slots = 3;
        reply.op_case = BB__PROTO__WORKER_REPLY__OP_INFO;
        reply.info = &info;
    } else {
        entry.path = path;
        logs.cursor = request->logs->cursor + 1;
        logs.n_entries = 1;
        logs.entries = entries;
        reply.op_case = BB__PROTO__WORKER_REPLY__OP_LOGS;
        reply.logs = &logs;
    }
    bb_exchange_reply(exchange, &reply.base);
}

void open_worker(struct suite *suite)
{
    struct bb_ctx ctx = *bb_loop_ctx(suite->loop);

    cr_assert_eq(bb_server_open(&ctx, suite->loop,
                                &(struct bb_server_options){ .url = "inproc://test-worker",
                                                             .handle = handle_worker,
                                                             .arg = suite },
                                &suite->worker),
                 BB_OK, "%s", ctx.error);
}

/* Once it is cut, then whole again, then cut for good. */
static void reply_cut(struct suite *suite, struct bb_exchange *exchange)
{
    Bb__Proto__WorkerReply reply = BB__PROTO__WORKER_REPLY__INIT;
    Bb__Proto__WorkerInfoReply info = BB__PROTO__WORKER_INFO_REPLY__INIT;
    int number = ++suite->cut_probes;

    if (!suite->has_deployed)
        suite->cut_probes_kept = number;
    info.slots = 3;
    info.is_cut = number != 2;
    reply.op_case = BB__PROTO__WORKER_REPLY__OP_INFO;
    reply.info = &info;
    bb_exchange_reply(exchange, &reply.base);
}

void cut_hung_later(struct suite *suite)
{
    suite->is_cut_later = true;
}

void handle_hung(void *arg, struct bb_exchange *exchange, struct bb_slice bytes)
{
    struct suite *suite = arg;
    struct bb_ctx ctx = *bb_loop_ctx(suite->loop);
    Bb__Proto__WorkerRequest *request = NULL;

    cr_assert_eq(bb_unpack(&ctx, bb_exchange_arena(exchange),
                           &bb__proto__worker_request__descriptor, bytes, &request),
                 BB_OK);
    if (suite->is_cut_later && suite->silent_count > 0 &&
        request->op_case == BB__PROTO__WORKER_REQUEST__OP_INFO) {
        reply_cut(suite, exchange);
        return;
    }
    bool is_last = request->op_case == BB__PROTO__WORKER_REQUEST__OP_CALL &&
                   strcmp(request->call->path, "_system:deploy") == 0;
    if (suite->silent_count == 0 && !is_last) {
        handle_worker(arg, exchange, bytes);
        return;
    }
    cr_assert_lt((size_t)suite->silent_count, BB_COUNT_OF(suite->silent));
    suite->silent[suite->silent_count++] = exchange;
}

void wake_hung(struct suite *suite)
{
    Bb__Proto__CallReply reply = BB__PROTO__CALL_REPLY__INIT;

    for (int i = 0; i < suite->silent_count; i++)
        reply_call(suite->silent[i], &reply, BB_OK, "");
    suite->silent_count = 0;
    bb_server_close(suite->hung);
    suite->hung = NULL;
}

void close_worker(struct suite *suite)
{
    bb_server_close(suite->worker);
    suite->worker = NULL;
}
