#include "bb/value.h"

#include "suite.h"

/* The initialisers that protoc-c makes for messages with texts cast const away. */
#pragma GCC diagnostic ignored "-Wcast-qual"

void reply_tail(struct suite *suite, ProtobufCBinaryData *record)
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

void handle_storage(void *arg, struct bb_exchange *exchange, struct bb_slice bytes)
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
void handle_second(void *arg, struct bb_exchange *exchange, struct bb_slice bytes)
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

void commit(struct suite *suite)
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
