/* The whole gateway over real sockets, against a scripted worker and a scripted storage node. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bb/conf.h"
#include "bb/env.h"
#include "bb/gateway_service.h"
#include "bb/value.h"
#include "bb/wire.h"
#include "storage.pb-c.h"
#include "worker.pb-c.h"

#include "port.h"

/* The initialisers that protoc-c makes for messages with texts cast const away. */
#pragma GCC diagnostic ignored "-Wcast-qual"

/* The suite behind the gateway. Everything but what is atomic belongs to its loop's thread. */
struct suite {
    struct bb_loop *loop;
    struct bb_thread *thread;
    struct bb_server *worker, *storage;
    struct bb_exchange *tail; /* the gateway's long poll */
    struct bb_exchange *held; /* a call that waits to be cancelled */
    uint8_t held_id[16];
    struct bb_exchange *dead; /* the call that the worker died of */
    uint64_t tail_after;
    struct bb_server *hung; /* another worker, which falls silent with a deploy */
    struct bb_exchange *silent[16];
    atomic_int silent_count;
    struct bb_server *second; /* another storage node, or NULL */
    atomic_bool second_lags;  /* it is behind the first */
    atomic_int second_asked;
    atomic_uint_fast64_t tx;
    atomic_int counter, calls, deaths, cancels;
    atomic_uint_fast64_t source, number; /* of the result that the worker keeps; 0: it keeps none */
    atomic_int left_out;                 /* values that the gateway had */
    atomic_bool is_liar;                 /* it leaves out what the gateway does not have */
    uint8_t died_id[16];
    atomic_bool is_same_id;
    struct bb_task task;
    void (*work)(struct suite *suite);
    struct bb_mutex *mutex;
    struct bb_cond *cond;
    bool is_task_done;
    /* the gateway */
    struct bb_service *service;
    struct bb_conf *conf;
    atomic_bool is_ready;
    uint16_t port;
};

/* ---- the worker ---- */

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

static void open_worker(struct suite *suite);

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

static void handle_worker(void *arg, struct bb_exchange *exchange, struct bb_slice bytes)
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

static void open_worker(struct suite *suite)
{
    struct bb_ctx ctx = *bb_loop_ctx(suite->loop);

    cr_assert_eq(bb_server_open(&ctx, suite->loop,
                                &(struct bb_server_options){ .url = "inproc://test-worker",
                                                             .handle = handle_worker,
                                                             .arg = suite },
                                &suite->worker),
                 BB_OK, "%s", ctx.error);
}

static void handle_hung(void *arg, struct bb_exchange *exchange, struct bb_slice bytes)
{
    struct suite *suite = arg;
    struct bb_ctx ctx = *bb_loop_ctx(suite->loop);
    Bb__Proto__WorkerRequest *request = NULL;

    cr_assert_eq(bb_unpack(&ctx, bb_exchange_arena(exchange),
                           &bb__proto__worker_request__descriptor, bytes, &request),
                 BB_OK);
    bool is_last = request->op_case == BB__PROTO__WORKER_REQUEST__OP_CALL &&
                   strcmp(request->call->path, "_system:deploy") == 0;
    if (suite->silent_count == 0 && !is_last) {
        handle_worker(arg, exchange, bytes);
        return;
    }
    cr_assert_lt((size_t)suite->silent_count, BB_COUNT_OF(suite->silent));
    suite->silent[suite->silent_count++] = exchange;
}

/* It answers all that it was asked meanwhile. */
static void wake_hung(struct suite *suite)
{
    Bb__Proto__CallReply reply = BB__PROTO__CALL_REPLY__INIT;

    for (int i = 0; i < suite->silent_count; i++)
        reply_call(suite->silent[i], &reply, BB_OK, "");
    suite->silent_count = 0;
    bb_server_close(suite->hung);
    suite->hung = NULL;
}

/* ---- the storage node ---- */

static void reply_tail(struct suite *suite, ProtobufCBinaryData *record)
{
    Bb__Proto__StorageReply reply = BB__PROTO__STORAGE_REPLY__INIT;
    Bb__Proto__TailReply tail = BB__PROTO__TAIL_REPLY__INIT;
    struct bb_exchange *exchange = suite->tail;

    if (exchange == NULL)
        return;
    suite->tail = NULL;
    tail.n_records = record == NULL ? 0 : 1;
    tail.records = record;
    tail.last_tx = suite->tx;
    reply.op_case = BB__PROTO__STORAGE_REPLY__OP_TAIL;
    reply.tail = &tail;
    bb_exchange_reply(exchange, &reply.base);
}

static void handle_storage(void *arg, struct bb_exchange *exchange, struct bb_slice bytes)
{
    struct suite *suite = arg;
    struct bb_ctx ctx = *bb_loop_ctx(suite->loop);
    Bb__Proto__StorageRequest *request = NULL;
    Bb__Proto__StorageReply reply = BB__PROTO__STORAGE_REPLY__INIT;
    Bb__Proto__InfoReply info = BB__PROTO__INFO_REPLY__INIT;
    uint8_t id[16] = { 1 };

    cr_assert_eq(bb_unpack(&ctx, bb_exchange_arena(exchange),
                           &bb__proto__storage_request__descriptor, bytes, &request),
                 BB_OK);
    if (request->op_case == BB__PROTO__STORAGE_REQUEST__OP_TAIL) {
        suite->tail = exchange;
        suite->tail_after = request->tail->after;
        if (request->tail->wait_ms == 0)
            reply_tail(suite, NULL);
        return;
    }
    info.last_tx = suite->tx;
    info.cluster_id = bb_slice_pb(bb_slice(id, sizeof(id)));
    reply.op_case = BB__PROTO__STORAGE_REPLY__OP_INFO;
    reply.info = &info;
    bb_exchange_reply(exchange, &reply.base);
}

/* A node that has not seen the newest transactions; what it is asked beyond that it refuses. */
static void handle_second(void *arg, struct bb_exchange *exchange, struct bb_slice bytes)
{
    struct suite *suite = arg;
    struct bb_ctx ctx = *bb_loop_ctx(suite->loop);
    Bb__Proto__StorageRequest *request = NULL;
    Bb__Proto__StorageReply reply = BB__PROTO__STORAGE_REPLY__INIT;
    Bb__Proto__InfoReply info = BB__PROTO__INFO_REPLY__INIT;

    suite->second_asked++;
    if (!suite->second_lags) {
        handle_storage(suite, exchange, bytes);
        return;
    }
    cr_assert_eq(bb_unpack(&ctx, bb_exchange_arena(exchange),
                           &bb__proto__storage_request__descriptor, bytes, &request),
                 BB_OK);
    info.last_tx = suite->tx - 10;
    reply.op_case = BB__PROTO__STORAGE_REPLY__OP_INFO;
    reply.info = &info;
    if (request->op_case == BB__PROTO__STORAGE_REQUEST__OP_TAIL) {
        reply.op_case = BB__PROTO__STORAGE_REPLY__OP__NOT_SET;
        reply.status = BB_TX_IN_FUTURE;
    }
    bb_exchange_reply(exchange, &reply.base);
}

/* A transaction that wrote key k2, seen in the feed. */
static void commit(struct suite *suite)
{
    Bb__Proto__TxRecord record = BB__PROTO__TX_RECORD__INIT;
    Bb__Proto__TxBody body = BB__PROTO__TX_BODY__INIT;
    Bb__Proto__Write write = BB__PROTO__WRITE__INIT;
    Bb__Proto__Write *writes[] = { &write };
    struct bb_buf body_bytes = { 0 };
    struct bb_buf record_bytes = { 0 };
    ProtobufCBinaryData packed;
    uint8_t id[16] = { 7 };
    uint8_t document[] = { BB_TAG_NULL };

    cr_assert_not_null(suite->tail);
    write.table = 10001;
    write.id = bb_slice_pb(bb_slice(id, sizeof(id)));
    write.doc = bb_slice_pb(bb_slice(document, sizeof(document)));
    write.doc_key = bb_slice_pb(bb_slice_str("k2"));
    write.doc_op = BB__PROTO__KEY_OP__KEY_PUT;
    body.n_writes = 1;
    body.writes = writes;
    body.request_id = bb_slice_pb(bb_slice(id, sizeof(id)));
    bb_pack_append(&body_bytes, &body.base);
    suite->counter++;
    record.prev = suite->tail_after;
    record.tx = ++suite->tx;
    record.body = bb_slice_pb(bb_buf_slice(&body_bytes));
    bb_pack_append(&record_bytes, &record.base);
    packed = bb_slice_pb(bb_buf_slice(&record_bytes));
    reply_tail(suite, &packed);
    bb_buf_fini(&body_bytes);
    bb_buf_fini(&record_bytes);
}

/* ---- start and stop ---- */

static void run(void *arg)
{
    struct suite *suite = arg;

    bb_loop_run(suite->loop);
}

static void run_task(struct bb_task *task)
{
    struct suite *suite = bb_container(task, struct suite, task);

    suite->work(suite);
    bb_mutex_lock(suite->mutex);
    suite->is_task_done = true;
    bb_cond_signal(suite->cond);
    bb_mutex_unlock(suite->mutex);
}

static void on_owner(struct suite *suite, void (*work)(struct suite *suite))
{
    suite->work = work;
    suite->task.run = run_task;
    suite->is_task_done = false;
    bb_loop_post(suite->loop, &suite->task);
    bb_mutex_lock(suite->mutex);
    while (!suite->is_task_done)
        bb_cond_wait(suite->cond, suite->mutex);
    bb_mutex_unlock(suite->mutex);
}

static void on_event(void *arg, enum bb_service_state state)
{
    struct suite *suite = arg;

    if (state == BB_SERVICE_READY)
        suite->is_ready = true;
}

static void suite_start_with(struct suite *suite, const char *workers, const char *storages)
{
    struct bb_ctx ctx = { .env = bb_env_real() };
    const struct bb_option *const tables[] = { bb_gateway_service.options, bb_service_options,
                                               NULL };
    char listen[32];
    char name[] = "bb-gateway";
    char *argv[] = { name, NULL };

    memset(suite, 0, sizeof(*suite));
    suite->tx = 1000;
    suite->port = test_free_port();
    suite->mutex = bb_mutex_new();
    suite->cond = bb_cond_new();
    suite->loop = bb_loop_new(bb_env_real(), NULL, "suite");
    open_worker(suite);
    cr_assert_eq(bb_server_open(&ctx, suite->loop,
                                &(struct bb_server_options){ .url = "inproc://test-hung",
                                                             .handle = handle_hung,
                                                             .arg = suite },
                                &suite->hung),
                 BB_OK);
    cr_assert_eq(bb_server_open(&ctx, suite->loop,
                                &(struct bb_server_options){ .url = "inproc://test-storage",
                                                             .handle = handle_storage,
                                                             .arg = suite },
                                &suite->storage),
                 BB_OK);
    cr_assert_eq(bb_server_open(&ctx, suite->loop,
                                &(struct bb_server_options){ .url = "inproc://test-second",
                                                             .handle = handle_second,
                                                             .arg = suite },
                                &suite->second),
                 BB_OK);
    suite->thread = bb_thread_start("suite", run, suite);
    cr_assert_eq(bb_conf_parse(&ctx, "gateway", "", tables, 1, argv, &suite->conf), BB_OK, "%s",
                 ctx.error);
    (void)snprintf(listen, sizeof(listen), "127.0.0.1:%u", (unsigned)suite->port);
    cr_assert_eq(bb_conf_set(&ctx, suite->conf, "listen", listen), BB_OK);
    cr_assert_eq(bb_conf_set(&ctx, suite->conf, "workers", workers), BB_OK);
    cr_assert_eq(bb_conf_set(&ctx, suite->conf, "storage", storages), BB_OK);
    cr_assert_eq(bb_conf_set(&ctx, suite->conf, "admin-key", "secret"), BB_OK);
    cr_assert_eq(bb_service_start(&ctx, &bb_gateway_service, suite->conf, bb_env_real(), NULL,
                                  on_event, suite, &suite->service),
                 BB_OK, "%s", ctx.error);
    for (int i = 0; i < 2000 && !suite->is_ready; i++)
        usleep(10000);
    cr_assert(suite->is_ready);
}

static void suite_start(struct suite *suite)
{
    suite_start_with(suite, "inproc://test-worker", "inproc://test-storage");
}

static void answer_tail(struct suite *suite)
{
    reply_tail(suite, NULL);
}

static void suite_stop(struct suite *suite)
{
    bb_service_stop(suite->service);
    bb_service_join(suite->service);
    bb_conf_free(suite->conf);
    on_owner(suite, answer_tail);
    bb_loop_stop(suite->loop);
    bb_thread_join(suite->thread);
    bb_server_close(suite->worker);
    bb_server_close(suite->storage);
    bb_server_close(suite->second);
    bb_server_close(suite->hung);
    bb_loop_free(suite->loop);
    bb_mutex_free(suite->mutex);
    bb_cond_free(suite->cond);
}

/* ---- the client ---- */

static int dial(const struct suite *suite)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_port = htons(suite->port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    cr_assert_eq(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

static const char *get_until(int fd, const char *stop)
{
    static char text[65536];
    size_t size = 0;
    struct pollfd poll_fd = { .fd = fd, .events = POLLIN };

    text[0] = '\0';
    while (size < sizeof(text) - 1 && poll(&poll_fd, 1, 8000) == 1) {
        ssize_t got = recv(fd, text + size, sizeof(text) - 1 - size, 0);

        if (got <= 0)
            break;
        size += (size_t)got;
        text[size] = '\0';
        if (stop != NULL && strstr(text, stop) != NULL)
            break;
    }
    return text;
}

static const char *ask(const struct suite *suite, const char *line, const char *headers,
                       const char *body)
{
    char request[4096];
    int fd = dial(suite);
    const char *answer;

    (void)snprintf(request, sizeof(request),
                   "%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%sContent-Length: %zu\r\n\r\n%s",
                   line, headers, strlen(body), body);
    cr_assert_eq(send(fd, request, strlen(request), 0), (ssize_t)strlen(request));
    answer = get_until(fd, NULL);
    (void)close(fd);
    return answer;
}

static void expect_in(const char *text, const char *part)
{
    cr_expect(strstr(text, part) != NULL, "`%s` is missing in: %.600s", part, text);
}

#define ADMIN "Authorization: BitBend secret\r\n"

Test(service, calls_reach_the_worker_and_answers_come_back)
{
    struct suite suite;
    const char *text;

    suite_start(&suite);
    text = ask(&suite, "POST /api/query", "", "{\"path\":\"t:seen\",\"args\":[{\"a\":1}]}");
    expect_in(text, "200 OK");
    expect_in(text, "\"status\":\"success\"");
    expect_in(text, "\"args\":{\"a\":1}");
    expect_in(text, "\"isAdmin\":\"0\"");
    expect_in(text, "\"kind\":\"1\"");
    expect_in(text, "\"hasTime\":\"1\"");
    expect_in(text, "\"tx\":1000");
    expect_in(text, "\"logLines\":[]");
    expect_in(ask(&suite, "POST /api/mutation", "Idempotency-Key: k\r\n", "{\"path\":\"t:seen\"}"),
              "\"keySize\":\"32\"");
    expect_in(ask(&suite, "POST /api/function", ADMIN, "{\"path\":\"t:seen\",\"args\":{}}"),
              "\"isAdmin\":\"1\"");
    expect_in(ask(&suite, "POST /api/run/t/seen", "", "{\"args\":{}}"), "\"kind\":\"0\"");
    expect_in(ask(&suite, "GET /api/query?path=t:seen&args=%7B%22b%22%3A2%7D", "", ""),
              "\"args\":{\"b\":2}");
    expect_in(ask(&suite, "POST /api/query", "BitBend-After: 77\r\n", "{\"path\":\"t:seen\"}"),
              "\"minTx\":\"77\"");
    expect_in(ask(&suite, "POST /api/query", "",
                  "{\"path\":\"t:seen\",\"format\":\"convex_encoded_json\"}"),
              "{\"$integer\":\"AAAAAAAAAAA=\"}");
    text = ask(&suite, "POST /api/query", "", "{\"path\":\"t:throw\"}");
    expect_in(text, "200 OK");
    expect_in(text, "Server Error\",");
    cr_expect(strstr(text, "kaput") == NULL);
    expect_in(ask(&suite, "POST /api/query", ADMIN, "{\"path\":\"t:throw\"}"),
              "Server Error\\nUncaught Error: kaput");
    suite_stop(&suite);
}

static const char *ask_kept(struct suite *suite, const char *format)
{
    char body[100];

    (void)snprintf(body, sizeof(body), "{\"path\":\"t:kept\",\"format\":\"%s\"}", format);
    return ask(suite, "POST /api/query", "", body);
}

/* Asks `times`, and gets what the worker keeps now; `left_out` values were not sent again. */
static void expect_kept(struct suite *suite, const char *format, int times, int left_out)
{
    int before = suite->left_out;
    char wanted[200], end[100];

    (void)snprintf(wanted, sizeof(wanted),
                   "{\"status\":\"success\",\"value\":\"kept %" PRIu64 " of %" PRIu64 " \\\"xxx",
                   suite->number, suite->source);
    for (int i = 0; i < times; i++) {
        const char *text = ask_kept(suite, format);

        expect_in(text, wanted);
        (void)snprintf(end, sizeof(end), "xxx\",\"tx\":%" PRIu64 ",\"logLines\":[]}", suite->tx++);
        expect_in(text, end);
        cr_expect_eq(strlen(strstr(text, "\r\n\r\n") + 4),
                     strtoul(strstr(text, "Content-Length: ") + 16, NULL, 10));
    }
    cr_expect_eq(suite->left_out - before, left_out);
}

Test(service, a_kept_result_crosses_once_and_is_the_same_ever_after)
{
    struct suite suite;

    suite_start(&suite);
    expect_kept(&suite, "json", 3, 0); /* not kept there: each is sent */
    suite.source = 5;
    suite.number = 1;
    expect_kept(&suite, "json", 4, 3);
    expect_kept(&suite, "convex_encoded_json", 3, 2); /* another text of it */
    suite.number = 2;                                 /* something was written */
    expect_kept(&suite, "json", 3, 2);
    suite.source = 6; /* the worker was started again, and counts from 1 */
    expect_kept(&suite, "json", 3, 2);
    suite.number = 1;
    expect_kept(&suite, "json", 2, 1);
    suite.source = 5;
    expect_kept(&suite, "convex_encoded_json", 1, 1);
    suite.number = 0;
    expect_kept(&suite, "json", 2, 0);
    suite_stop(&suite);
}

Test(service, a_batch_takes_kept_results_too)
{
    struct suite suite;

    suite_start(&suite);
    suite.source = 5;
    suite.number = 1;
    for (int i = 0; i < 3; i++) {
        const char *text = ask(&suite, "POST /api/query_batch", "",
                               "{\"queries\":[{\"path\":\"t:kept\"},{\"path\":\"t:count\"}]}");

        expect_in(text, "{\"results\":[{\"status\":\"success\",\"value\":\"kept 1 of 5 ");
        expect_in(text,
                  "xxx\",\"tx\":1000,\"logLines\":[]},{\"status\":\"success\",\"value\":\"0\"");
    }
    cr_expect_eq((int)suite.left_out, 2);
    suite_stop(&suite);
}

Test(service, a_value_that_is_left_out_and_not_known_is_no_answer)
{
    struct suite suite;

    suite_start(&suite);
    suite.source = 5;
    suite.number = 1;
    suite.is_liar = true;
    expect_in(ask_kept(&suite, "json"), "500 Internal");
    suite.is_liar = false;
    expect_kept(&suite, "json", 2, 1);
    suite.is_liar = true;
    suite.number = 2;
    expect_in(ask_kept(&suite, "json"), "500 Internal");
    suite.source = 6;
    suite.number = 1;
    expect_in(ask_kept(&suite, "json"), "500 Internal");
    suite_stop(&suite);
}

Test(service, what_is_wrong_outside_a_function_has_its_own_answer)
{
    static const struct {
        const char *line, *headers, *body, *status, *code;
    } cases[] = {
        { "POST /api/query", "", "{\"path\":", "400", "BadJson" },
        { "POST /api/query", "", "", "400", "BadJson" },
        { "POST /api/query", "", "{}", "400", "BadRequest" },
        { "POST /api/query", "", "{\"path\":\"t:none\"}", "404", "FunctionNotFound" },
        { "POST /api/query", "Authorization: BitBend wrong\r\n", "{\"path\":\"t:seen\"}", "401",
          "Unauthorized" },
        { "POST /api/query", "Authorization: Bearer x.y.z\r\n", "{\"path\":\"t:seen\"}", "401",
          "Unauthorized" },
        { "POST /api/function", "", "{\"path\":\"_system:status\"}", "403", "Forbidden" },
        { "POST /api/query", "BitBend-After: 9999999999999999999\r\n", "{\"path\":\"t:seen\"}",
          "400", "TxInFuture" },
        { "POST /api/query", "BitBend-After: x\r\n", "{\"path\":\"t:seen\"}", "400", "BadRequest" },
        { "POST /api/query_at_ts", "", "{\"path\":\"t:seen\",\"ts\":\"x\"}", "400", "BadRequest" },
        { "POST /api/action", "", "{\"path\":\"t:seen\"}", "501", "Unsupported" },
        { "GET /api/mutation", "", "", "405", "MethodNotAllowed" },
        { "POST /api/nothing", "", "", "404", "NotFound" },
        { "GET /nothing", "", "", "404", "NotFound" },
        { "POST /api/deploy", "", "{\"modules\":[]}", "401", "Unauthorized" },
        { "POST /api/deploy", ADMIN, "{}", "400", "BadRequest" },
        { "GET /api/admin/status", "", "", "401", "Unauthorized" },
        { "GET /api/admin/logs", "", "", "401", "Unauthorized" },
        { "GET /api/subscribe", "", "", "400", "BadRequest" },
        { "GET /api/subscribe?path=t:count&args=%7B", "", "", "400", "BadJson" },
        { "GET /api/subscribe?path=_system:status", "", "", "403", "Forbidden" },
        { "GET /api/subscribe?path=t:count&token=x", "", "", "401", "Unauthorized" },
        { "POST /api/query", "Content-Encoding: gzip\r\n", "x", "415", "UnsupportedEncoding" },
    };
    struct suite suite;

    suite_start(&suite);
    for (size_t i = 0; i < BB_COUNT_OF(cases); i++) {
        const char *text = ask(&suite, cases[i].line, cases[i].headers, cases[i].body);
        char code[64];

        (void)snprintf(code, sizeof(code), "{\"code\":\"%s\",\"message\":\"", cases[i].code);
        cr_expect(strncmp(text + 9, cases[i].status, 3) == 0, "%s %s: %.200s", cases[i].line,
                  cases[i].body, text);
        cr_expect(strstr(text, code) != NULL, "%s %s: %.600s", cases[i].line, cases[i].body, text);
    }
    expect_in(ask(&suite, "OPTIONS /api/query",
                  "Origin: http://a\r\nAccess-Control-Request-Headers: x-y\r\n", ""),
              "Access-Control-Allow-Headers: x-y");
    expect_in(ask(&suite, "POST /api/query", "Origin: http://a\r\n", "{}"),
              "Access-Control-Allow-Origin: http://a\r\n");
    expect_in(ask(&suite, "GET /api/ping", "", ""), "\r\n\r\npong");
    suite_stop(&suite);
}

Test(service, several_reads_happen_at_one_moment)
{
    struct suite suite;
    const char *text;

    suite_start(&suite);
    text = ask(&suite, "POST /api/query_batch", "",
               "{\"queries\":[{\"path\":\"t:seen\"},{\"path\":\"t:none\"},{\"path\":\"t:seen\"}]}");
    expect_in(text, "\"atTx\":\"0\"");
    expect_in(text, "{\"status\":\"error\",\"code\":\"FunctionNotFound\"");
    expect_in(text, "\"atTx\":\"1000\"");
    expect_in(ask(&suite, "POST /api/query_ts", "", ""), "{\"ts\":\"6AMAAAAAAAA=\"}");
    expect_in(
        ask(&suite, "POST /api/query_at_ts", "", "{\"path\":\"t:seen\",\"ts\":\"6AMAAAAAAAA=\"}"),
        "\"atTx\":\"1000\"");
    expect_in(ask(&suite, "POST /api/query_batch", "", "{\"queries\":[]}"), "{\"results\":[]}");
    suite_stop(&suite);
}

Test(service, a_call_of_a_dead_worker_runs_again_under_the_same_id)
{
    struct suite suite;

    suite_start(&suite);
    expect_in(ask(&suite, "POST /api/mutation", "", "{\"path\":\"t:die\"}"), "\"value\":\"2\"");
    cr_expect(suite.is_same_id);
    suite_stop(&suite);
}

/* A deploy has 30 s: time enough on any machine for what takes 3 s at most. */
Test(service, the_calls_of_a_worker_that_hangs_go_to_another_one, .timeout = 25)
{
    struct suite suite;

    suite_start_with(&suite, "inproc://test-hung,inproc://test-worker", "inproc://test-storage");
    /* Both are known to be there. */
    for (int i = 0; i < 1000; i++) {
        if (strstr(ask(&suite, "GET /api/admin/status", ADMIN, ""), "\"isUp\":false") == NULL)
            break;
        usleep(10000);
    }
    expect_in(ask(&suite, "POST /api/deploy", ADMIN, "{\"modules\":[]}"),
              "Could not find function");
    cr_expect_gt(suite.silent_count, 0, "it had the call first");
    expect_in(ask(&suite, "POST /api/mutation", "", "{\"path\":\"t:seen\"}"), "200 OK");
    on_owner(&suite, wake_hung);
    expect_in(ask(&suite, "POST /api/mutation", "", "{\"path\":\"t:seen\"}"), "200 OK");
    suite_stop(&suite);
}

Test(service, a_second_attempt_that_did_not_run_says_nothing_about_the_first)
{
    struct suite suite;

    suite_start(&suite);
    expect_in(ask(&suite, "POST /api/mutation", "", "{\"path\":\"t:lost\"}"),
              "\"code\":\"OutcomeUnknown\"");
    suite_stop(&suite);
}

Test(service, a_call_whose_client_leaves_is_cancelled_once)
{
    static const char *const requests[] = {
        "POST /api/mutation HTTP/1.1\r\nHost: x\r\nContent-Length: 17\r\n\r\n{\"path\":\"t:hold\"}",
        "POST /api/query_batch HTTP/1.1\r\nHost: x\r\nContent-Length: 49\r\n\r\n"
        "{\"queries\":[{\"path\":\"t:hold\"},{\"path\":\"t:seen\"}]}",
    };
    static const char *const texts[] = { "it did not run", "the client left" };
    struct suite suite;

    suite_start(&suite);
    for (int i = 0; i < 2; i++) {
        int fd = dial(&suite);
        int calls = suite.calls;
        const char *text;

        cr_assert_eq(send(fd, requests[i], strlen(requests[i]), 0), (ssize_t)strlen(requests[i]));
        for (int k = 0; k < 2000 && suite.calls == calls; k++)
            usleep(10000);
        usleep(100000);
        cr_expect_eq(suite.cancels, i);
        (void)shutdown(fd, SHUT_WR); /* looks the same, and hears what became of it */
        text = get_until(fd, NULL);
        expect_in(text, "503 Service Unavailable");
        expect_in(text, texts[i]);
        cr_expect_eq(suite.cancels, i + 1);
        cr_expect_eq(suite.calls, calls + 1, "nothing is sent again, or sent anew");
        (void)close(fd);
    }
    suite_stop(&suite);
}

static void close_worker(struct suite *suite)
{
    bb_server_close(suite->worker);
    suite->worker = NULL;
}

Test(service, without_a_worker_a_call_waits_and_then_is_refused, .timeout = 20)
{
    struct suite suite;
    const char *text;

    suite_start(&suite);
    on_owner(&suite, close_worker);
    usleep(100000);
    text = ask(&suite, "POST /api/query", "", "{\"path\":\"t:seen\"}");
    expect_in(text, "503 Service Unavailable");
    expect_in(text, "Retry-After: ");
    expect_in(text, "\"code\":\"Unavailable\"");
    suite_stop(&suite);
}

Test(service, b18_a_subscriber_sees_the_result_of_a_commit)
{
    static const char request[] = "GET /api/subscribe?path=t:count HTTP/1.1\r\nHost: x\r\n\r\n";
    struct suite suite;
    const char *text;
    int fd;

    suite_start(&suite);
    fd = dial(&suite);
    cr_assert_eq(send(fd, request, sizeof(request) - 1, 0), (ssize_t)sizeof(request) - 1);
    text = get_until(fd, "\"tx\":1000}\n\n");
    expect_in(text, "Content-Type: text/event-stream");
    expect_in(text, ": ok\nretry: ");
    expect_in(text, "event: value\nid: 1000\ndata: {\"value\":\"0\",\"tx\":1000}\n\n");
    for (int i = 1; i < 20; i++) {
        char wanted[96];

        on_owner(&suite, commit);
        (void)snprintf(wanted, sizeof(wanted),
                       "event: value\nid: %d\ndata: {\"value\":\"%d\",\"tx\":%d}\n\n", 1000 + i, i,
                       1000 + i);
        expect_in(get_until(fd, "\n\n"), wanted);
        for (int k = 0; k < 200 && suite.tail == NULL; k++)
            usleep(1000);
    }
    expect_in(ask(&suite, "GET /api/admin/status", ADMIN, ""),
              "\"subscribers\":1,\"liveQueries\":1,\"feedTx\":1019");
    bb_service_stop(suite.service);
    text = get_until(fd, NULL);
    expect_in(text, "event: bye\nretry: ");
    (void)close(fd);
    suite_stop(&suite);
}

static void end_first_storage(struct suite *suite)
{
    bb_server_close(suite->storage);
    suite->storage = NULL;
    reply_tail(suite, NULL); /* goes nowhere */
}

Test(service, a_storage_node_that_lags_is_not_another_history)
{
    static const char request[] = "GET /api/subscribe?path=t:count HTTP/1.1\r\nHost: x\r\n\r\n";
    struct suite suite;
    const char *text;
    int fd;

    suite_start_with(&suite, "inproc://test-worker", "inproc://test-storage,inproc://test-second");
    suite.second_lags = true;
    fd = dial(&suite);
    cr_assert_eq(send(fd, request, sizeof(request) - 1, 0), (ssize_t)sizeof(request) - 1);
    expect_in(get_until(fd, "\"tx\":1000}\n\n"), "event: value\nid: 1000\n");
    suite.second_asked = 0;
    on_owner(&suite, end_first_storage);
    for (int i = 0; i < 500 && suite.second_asked < 3; i++)
        usleep(10000);
    cr_assert_geq(suite.second_asked, 3);
    suite.second_lags = false;
    for (int i = 0; i < 500 && suite.tail == NULL; i++)
        usleep(10000);
    on_owner(&suite, commit);
    text = get_until(fd, "\"tx\":1001}\n\n");
    expect_in(text, "event: value\nid: 1001\n");
    cr_expect(strstr(text, "resync") == NULL, "%s", text);
    (void)close(fd);
    suite_stop(&suite);
}

Test(service, the_admin_api_shows_what_runs)
{
    struct suite suite;
    const char *text;

    suite_start(&suite);
    text = ask(&suite, "GET /api/admin/status", ADMIN, "");
    expect_in(text, "\"slots\":3");
    expect_in(text, "\"lastTx\":1000");
    expect_in(text, "\"clusterId\":\"01000000000000000000000000000000\"");
    text = ask(&suite, "GET /api/admin/logs?cursor=4&wait=10", ADMIN, "");
    expect_in(text, "{\"cursor\":\"5\",\"entries\":[{\"time\":0,\"path\":\"m:f\"");
    suite_stop(&suite);
}
