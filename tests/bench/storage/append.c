/*
 * How long one Append takes, one after the other, through the wire and the log's disk:
 * bench_storage_append DIR [bytes of a document] [count]. Prints p50 and p99 in microseconds.
 */
#include <stdio.h>
#include <stdlib.h>

#include "bb/conf.h"
#include "bb/env.h"
#include "bb/obs.h"
#include "bb/storage_service.h"
#include "bb/wire.h"

#include "common.pb-c.h"
#include "storage.pb-c.h"

struct bench {
    struct bb_loop *loop;
    struct bb_peer *peer;
    struct bb_ctx *ctx;
    struct bb_timer *timer;
    uint64_t epoch, seq, tx, start_us;
    uint64_t *times;
    size_t count, done, size;
};

static void next(struct bench *bench);

static int by_value(const void *a, const void *b)
{
    uint64_t x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return x < y ? -1 : x > y;
}

static void finish(struct bench *bench)
{
    qsort(bench->times, bench->count, sizeof *bench->times, by_value);
    printf("append of %zu bytes: p50 %" PRIu64 " us, p99 %" PRIu64 " us, %zu times\n", bench->size,
           bench->times[bench->count / 2], bench->times[bench->count * 99 / 100], bench->count);
    bb_loop_stop(bench->loop);
}

static void on_reply(void *arg, int status, struct bb_slice bytes)
{
    struct bench *bench = arg;
    Bb__Proto__StorageReply *reply;
    struct bb_arena *arena = bb_arena_new(0);

    if (status != BB_OK || bb_unpack(bench->ctx, arena, &bb__proto__storage_reply__descriptor,
                                     bytes, &reply) != BB_OK) {
        fprintf(stderr, "no reply: %s\n", bb_status_name(status));
        exit(1);
    }
    if (reply->status == BB_NOT_YET) {
        bb_arena_free(arena);
        bb_timer_start(bench->timer, 5, 0);
        return;
    }
    if (reply->status != BB_OK) {
        fprintf(stderr, "refused: %s\n", reply->error);
        exit(1);
    }
    if (reply->op_case == BB__PROTO__STORAGE_REPLY__OP_CLAIM) {
        bench->epoch = reply->claim->epoch;
        bench->seq = reply->claim->last_seq;
        bench->tx = reply->claim->last_tx;
    } else {
        bench->times[bench->done++] = bb_now_us(bench->ctx) - bench->start_us;
    }
    bb_arena_free(arena);
    if (bench->done == bench->count) {
        finish(bench);
    } else {
        next(bench);
    }
}

static void send_request(struct bench *bench, Bb__Proto__StorageRequest *request)
{
    bench->start_us = bb_now_us(bench->ctx);
    if (bb_peer_request(bench->ctx, bench->peer, &request->base, 10000, on_reply, bench) != BB_OK) {
        fprintf(stderr, "cannot send: %s\n", bench->ctx->error);
        exit(1);
    }
}

static void claim(void *arg)
{
    struct bench *bench = arg;
    Bb__Proto__Claim message;
    Bb__Proto__StorageRequest request = BB__PROTO__STORAGE_REQUEST__INIT;
    uint8_t holder[16] = { 1 };
    char address[] = "inproc://bench";

    bb__proto__claim__init(&message);
    message.holder = bb_slice_pb(bb_slice(holder, sizeof holder));
    message.want = 1;
    message.address = address;
    request.op_case = BB__PROTO__STORAGE_REQUEST__OP_CLAIM;
    request.claim = &message;
    send_request(bench, &request);
}

static void next(struct bench *bench)
{
    Bb__Proto__Append append = BB__PROTO__APPEND__INIT;
    Bb__Proto__StorageRequest request = BB__PROTO__STORAGE_REQUEST__INIT;
    Bb__Proto__Write write = BB__PROTO__WRITE__INIT;
    Bb__Proto__Write *writes[1] = { &write };
    Bb__Proto__TxBody body;
    Bb__Proto__TxRecord record = BB__PROTO__TX_RECORD__INIT;
    uint8_t key[20] = { 0 }, id[16] = { 0 }, length[4];
    uint8_t *document = bb_alloc_zero(1, bench->size);
    struct bb_buf packed, batch;

    bb__proto__tx_body__init(&body);
    bb_buf_init(&packed);
    bb_buf_init(&batch);
    bb_put_be64(id + 8, bench->tx % 1000);
    bb_put_be32(key, 40);
    memcpy(key + 4, id, 16);
    write.table = 10;
    write.id = bb_slice_pb(bb_slice(id, sizeof id));
    write.doc_key = bb_slice_pb(bb_slice(key, sizeof key));
    write.doc = bb_slice_pb(bb_slice(document, bench->size));
    write.doc_op = BB__PROTO__KEY_OP__KEY_PUT;
    body.n_writes = 1;
    body.writes = writes;
    bb_pack_append(&packed, &body.base);
    record.prev = bench->tx;
    record.tx = bb_wall_us(bench->ctx);
    if (record.tx <= record.prev) {
        record.tx = record.prev + 1;
    }
    record.body = bb_slice_pb(bb_buf_slice(&packed));
    bb_put_le32(length, (uint32_t)protobuf_c_message_get_packed_size(&record.base));
    bb_buf_append(&batch, length, sizeof length);
    bb_pack_append(&batch, &record.base);
    append.epoch = bench->epoch;
    append.seq = ++bench->seq;
    append.base_tx = bench->tx;
    append.last_tx = bench->tx = record.tx;
    append.batch = bb_slice_pb(bb_buf_slice(&batch));
    request.op_case = BB__PROTO__STORAGE_REQUEST__OP_APPEND;
    request.append = &append;
    send_request(bench, &request);
    bb_buf_fini(&packed);
    bb_buf_fini(&batch);
    bb_free(document);
}

static void on_event(void *arg, enum bb_service_state state)
{
    (void)arg;
    (void)state;
}

int main(int argc, char **argv)
{
    struct bb_env *env = bb_env_real();
    struct bb_ctx ctx = { .env = env };
    struct bench bench = { .size = argc > 2 ? (size_t)atol(argv[2]) : 1024,
                           .count = argc > 3 ? (size_t)atol(argv[3]) : 2000 };
    const struct bb_option *tables[] = { bb_service_options, bb_storage_service.options, NULL };
    char *none[] = { argv[0], NULL };
    struct bb_service *service;
    struct bb_conf *conf;

    if (argc < 2) {
        fprintf(stderr, "usage: %s DIR [bytes] [count]\n", argv[0]);
        return 2;
    }
    if (bb_conf_parse(&ctx, "storage", "", tables, 1, none, &conf) != BB_OK ||
        bb_conf_set(&ctx, conf, "data", argv[1]) != BB_OK ||
        bb_conf_set(&ctx, conf, "listen", "inproc://bench-storage") != BB_OK ||
        bb_service_start(&ctx, &bb_storage_service, conf, env, NULL, on_event, NULL, &service) !=
            BB_OK) {
        fprintf(stderr, "%s\n", ctx.error);
        return 1;
    }
    bench.times = bb_alloc_zero(bench.count, sizeof *bench.times);
    bench.loop = bb_loop_new(env, NULL, "bench");
    bench.ctx = bb_loop_ctx(bench.loop);
    bench.timer = bb_timer_new(bench.loop, claim, &bench);
    if (bb_peer_open(bench.ctx, bench.loop,
                     &(struct bb_peer_options){ .url = "inproc://bench-storage" },
                     &bench.peer) != BB_OK) {
        return 1;
    }
    bb_timer_start(bench.timer, 1, 0);
    bb_loop_run(bench.loop);
    bb_peer_close(bench.peer);
    bb_timer_free(bench.timer);
    bb_loop_free(bench.loop);
    bb_service_stop(service);
    bb_service_join(service);
    bb_free(bench.times);
    return 0;
}
