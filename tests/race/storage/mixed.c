/*
 * Appends, reads and waiting feeds at once, for ThreadSanitizer: the owner thread, the readers, the
 * store's and the feed's writing threads all work on what the others made.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "bb/env.h"
#include "bb/obs.h"
#include "bb/storage_service.h"
#include "bb/wire.h"

#include "common.pb-c.h"
#include "storage.pb-c.h"

#define URL "inproc://race-storage"
enum {
    BATCHES = 3000,
    READS = 3,
    KEYS = 50,
    INDEX = 40
};

struct race {
    struct bb_loop *loop;
    struct bb_ctx *ctx;
    struct bb_peer *peer;
    struct bb_timer *timer;
    uint64_t epoch, seq, tx, sent_tx, seen;
    size_t batches, reads, under_way;
};

#define must(condition) \
    ((condition)        \
         ? (void)0      \
         : (fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition), exit(1)))

static void begin_append(struct race *race);
static void begin_read(struct race *race);
static void begin_tail(struct race *race);

static void send_request(struct race *race, Bb__Proto__StorageRequest *request,
                         bb_peer_reply_fn *done)
{
    race->under_way++;
    must(bb_peer_request(race->ctx, race->peer, &request->base, 20000, done, race) == BB_OK);
}

static Bb__Proto__StorageReply *take_reply(struct race *race, int status, struct bb_slice bytes,
                                           struct bb_arena *arena)
{
    Bb__Proto__StorageReply *reply;
    race->under_way--;
    must(status == BB_OK);
    must(bb_unpack(race->ctx, arena, &bb__proto__storage_reply__descriptor, bytes, &reply) ==
         BB_OK);
    return reply;
}

static void end_if_idle(struct race *race)
{
    if (race->batches == BATCHES && race->under_way == 0)
        bb_loop_stop(race->loop);
}

static void on_append(void *arg, int status, struct bb_slice bytes)
{
    struct race *race = arg;
    struct bb_arena *arena = bb_arena_new(0);
    must(take_reply(race, status, bytes, arena)->status == BB_OK);
    bb_arena_free(arena);
    race->tx = race->sent_tx;
    for (int i = 0; i < READS; i++)
        begin_read(race);
    if (++race->batches < BATCHES)
        begin_append(race);
    end_if_idle(race);
}

static void begin_append(struct race *race)
{
    Bb__Proto__StorageRequest request = BB__PROTO__STORAGE_REQUEST__INIT;
    Bb__Proto__Append append = BB__PROTO__APPEND__INIT;
    Bb__Proto__Write write = BB__PROTO__WRITE__INIT;
    Bb__Proto__Write *writes[1] = { &write };
    Bb__Proto__TxRecord record = BB__PROTO__TX_RECORD__INIT;
    Bb__Proto__TxBody body;
    uint8_t key[20] = { 0 }, length[4], document[500] = { 0 };
    struct bb_buf packed, batch;
    bb__proto__tx_body__init(&body);
    bb_buf_init(&packed);
    bb_buf_init(&batch);
    record.prev = race->tx;
    record.tx = bb_wall_us(race->ctx) > race->tx ? bb_wall_us(race->ctx) : race->tx + 1;
    bb_put_be32(key, INDEX);
    bb_put_be64(key + 12, race->seq % KEYS);
    bb_put_le64(document, record.tx);
    write.table = INDEX / 4;
    write.id = bb_slice_pb(bb_slice(key + 4, 16));
    write.doc_key = bb_slice_pb(bb_slice(key, sizeof key));
    write.doc = bb_slice_pb(bb_slice(document, sizeof document));
    write.doc_op = BB__PROTO__KEY_OP__KEY_PUT;
    body.n_writes = 1;
    body.writes = writes;
    bb_pack_append(&packed, &body.base);
    record.body = bb_slice_pb(bb_buf_slice(&packed));
    bb_put_le32(length, (uint32_t)protobuf_c_message_get_packed_size(&record.base));
    bb_buf_append(&batch, length, sizeof length);
    bb_pack_append(&batch, &record.base);
    append.epoch = race->epoch;
    append.seq = ++race->seq;
    append.base_tx = race->tx;
    append.last_tx = race->sent_tx = record.tx;
    append.batch = bb_slice_pb(bb_buf_slice(&batch));
    request.op_case = BB__PROTO__STORAGE_REQUEST__OP_APPEND;
    request.append = &append;
    send_request(race, &request, on_append);
    bb_buf_fini(&packed);
    bb_buf_fini(&batch);
}

static void on_read(void *arg, int status, struct bb_slice bytes)
{
    struct race *race = arg;
    struct bb_arena *arena = bb_arena_new(0);
    Bb__Proto__StorageReply *reply = take_reply(race, status, bytes, arena);
    must(reply->status == BB_OK);
    const Bb__Proto__ReadResult *result = reply->read->results[0];
    for (size_t i = 0; i < result->n_entries; i++) {
        must(result->entries[i]->tx <= reply->read->tx);
        must(bb_get_le64(result->entries[i]->value.data) == result->entries[i]->tx);
    }
    race->reads++;
    bb_arena_free(arena);
    end_if_idle(race);
}

static void begin_read(struct race *race)
{
    Bb__Proto__StorageRequest request = BB__PROTO__STORAGE_REQUEST__INIT;
    Bb__Proto__Read read = BB__PROTO__READ__INIT;
    Bb__Proto__ReadOp op = BB__PROTO__READ_OP__INIT;
    Bb__Proto__ReadOp *ops[1] = { &op };
    uint8_t low[4], high[4];
    bb_put_be32(low, INDEX);
    bb_put_be32(high, INDEX + 1);
    op.low = bb_slice_pb(bb_slice(low, sizeof low));
    op.high = bb_slice_pb(bb_slice(high, sizeof high));
    read.tx = race->tx;
    read.n_ops = 1;
    read.ops = ops;
    request.op_case = BB__PROTO__STORAGE_REQUEST__OP_READ;
    request.read = &read;
    send_request(race, &request, on_read);
}

static void on_tail(void *arg, int status, struct bb_slice bytes)
{
    struct race *race = arg;
    struct bb_arena *arena = bb_arena_new(0);
    Bb__Proto__StorageReply *reply = take_reply(race, status, bytes, arena);
    must(reply->status == BB_OK);
    race->seen = reply->tail->last_tx;
    bb_arena_free(arena);
    if (race->batches < BATCHES)
        begin_tail(race);
    end_if_idle(race);
}

static void begin_tail(struct race *race)
{
    Bb__Proto__StorageRequest request = BB__PROTO__STORAGE_REQUEST__INIT;
    Bb__Proto__Tail tail = BB__PROTO__TAIL__INIT;
    /* Now and then from the beginning: that reads files. */
    tail.after = race->batches % 100 == 0 ? 0 : race->seen;
    tail.wait_ms = 1000;
    request.op_case = BB__PROTO__STORAGE_REQUEST__OP_TAIL;
    request.tail = &tail;
    send_request(race, &request, on_tail);
}

static void on_claim(void *arg, int status, struct bb_slice bytes)
{
    struct race *race = arg;
    struct bb_arena *arena = bb_arena_new(0);
    Bb__Proto__StorageReply *reply = take_reply(race, status, bytes, arena);
    if (reply->status == BB_NOT_YET || reply->status == BB_NOT_LEADER) {
        bb_timer_start(race->timer, 5, 0);
    } else {
        must(reply->status == BB_OK);
        race->epoch = reply->claim->epoch;
        begin_append(race);
        for (int i = 0; i < 5; i++)
            begin_tail(race);
    }
    bb_arena_free(arena);
}

static void begin_claim(void *arg)
{
    Bb__Proto__StorageRequest request = BB__PROTO__STORAGE_REQUEST__INIT;
    Bb__Proto__Claim claim;
    uint8_t holder[16] = { 1 };
    char address[] = "inproc://race";
    bb__proto__claim__init(&claim);
    claim.holder = bb_slice_pb(bb_slice(holder, sizeof holder));
    claim.want = 1;
    claim.address = address;
    request.op_case = BB__PROTO__STORAGE_REQUEST__OP_CLAIM;
    request.claim = &claim;
    send_request(arg, &request, on_claim);
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
    struct race race = { .epoch = 0 };
    const struct bb_option *tables[] = { bb_service_options, bb_storage_service.options, NULL };
    struct bb_service *service;
    struct bb_conf *conf;

    (void)argc;
    must(bb_conf_parse(&ctx, "storage", "", tables, 1, argv, &conf) == BB_OK);
    must(bb_conf_set(&ctx, conf, "memory", "true") == BB_OK);
    must(bb_conf_set(&ctx, conf, "flush-ms", "50") == BB_OK);
    must(bb_conf_set(&ctx, conf, "listen", URL) == BB_OK);
    must(bb_service_start(&ctx, &bb_storage_service, conf, env, NULL, on_event, NULL, &service) ==
         BB_OK);
    race.loop = bb_loop_new(env, NULL, "race");
    race.ctx = bb_loop_ctx(race.loop);
    race.timer = bb_timer_new(race.loop, begin_claim, &race);
    must(bb_peer_open(race.ctx, race.loop, &(struct bb_peer_options){ .url = URL }, &race.peer) ==
         BB_OK);
    bb_timer_start(race.timer, 1, 0);
    bb_loop_run(race.loop);
    printf("%zu batches, %zu reads\n", race.batches, race.reads);
    bb_peer_close(race.peer);
    bb_timer_free(race.timer);
    bb_loop_free(race.loop);
    bb_service_stop(service);
    bb_service_join(service);
    bb_conf_free(conf);
    return 0;
}
