/* A checkpoint on its way: what is sent, what is refused, and that nothing is left of what failed.
 */
#include <criterion/criterion.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "bb/storage_service.h"
#include "bb/store.h"

#include "client.h"
#include "fetch.h"

#define URL  "inproc://test-checkpoint"
#define FAKE "inproc://test-fake-sender"

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *where)
{
    (void)info, (void)kind, (void)where;
    return remove(path);
}

/* ---- the format ---- */

static struct checkpoint_head head_of(uint64_t index)
{
    return (struct checkpoint_head){ .cluster = { 1, 2, 3 },
                                     .index = index,
                                     .chain = index * 77,
                                     .epoch = 4,
                                     .last_seq = 5,
                                     .last_tx = BB_TX(1000) };
}

Test(checkpoint, head_and_tail_come_back_and_damage_is_noticed)
{
    struct bb_ctx ctx = { 0 };
    struct checkpoint_head head = head_of(9), again;
    struct checkpoint_tail tail = { .total = 123, .hash = 456 }, tail_again;
    uint8_t bytes[CHECKPOINT_HEAD + CHECKPOINT_TAIL];
    storage_checkpoint_head_encode(&head, bytes);
    storage_checkpoint_tail_encode(&tail, bytes + CHECKPOINT_HEAD);
    struct bb_slice first = bb_slice(bytes, CHECKPOINT_HEAD);
    struct bb_slice second = bb_slice(bytes + CHECKPOINT_HEAD, CHECKPOINT_TAIL);
    cr_assert_eq(storage_checkpoint_head_decode(&ctx, first, &again), BB_OK);
    cr_assert_eq(memcmp(again.cluster, head.cluster, sizeof head.cluster), 0);
    cr_assert(again.index == 9 && again.chain == 9 * 77 && again.epoch == 4);
    cr_assert(again.last_seq == 5 && again.last_tx.us == 1000);
    cr_assert_eq(storage_checkpoint_tail_decode(&ctx, second, &tail_again), BB_OK);
    cr_assert(tail_again.total == 123 && tail_again.hash == 456);
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] ^= 0x10;
        bool is_head = i < CHECKPOINT_HEAD;
        int rc = is_head ? storage_checkpoint_head_decode(&ctx, first, &again)
                         : storage_checkpoint_tail_decode(&ctx, second, &tail_again);
        cr_assert_eq(rc, BB_CORRUPT, "byte %d", (int)i);
        bytes[i] ^= 0x10;
    }
    for (size_t cut = 0; cut < CHECKPOINT_TAIL; cut++) {
        cr_assert_eq(storage_checkpoint_head_decode(&ctx, bb_slice(bytes, cut), &again),
                     BB_CORRUPT);
        cr_assert_eq(storage_checkpoint_tail_decode(&ctx, bb_slice(second.data, cut), &tail_again),
                     BB_CORRUPT);
    }
}

Test(checkpoint, golden_head_and_tail_are_what_is_written)
{
    uint8_t made[CHECKPOINT_HEAD + CHECKPOINT_TAIL], golden[256];
    struct checkpoint_head head = head_of(9);
    struct checkpoint_tail tail = { .total = 123456, .hash = 0x1122334455667788 };
    storage_checkpoint_head_encode(&head, made);
    storage_checkpoint_tail_encode(&tail, made + CHECKPOINT_HEAD);
    FILE *file = fopen("tests/golden/checkpoint/parts.1.bin", "rb");
    cr_assert_not_null(file);
    cr_assert_eq(fread(golden, 1, sizeof golden, file), sizeof made);
    fclose(file);
    cr_assert_eq(memcmp(made, golden, sizeof made), 0);
}

Test(checkpoint, only_a_state_of_this_cluster_and_history_is_taken)
{
    struct bb_ctx ctx = { 0 };
    struct checkpoint_head head = head_of(9), wanted = head_of(9);
    struct fence fence = { .index = 9, .chain = 9 * 77, .epoch = 4, .last_seq = 5 };
    fence.last_tx = BB_TX(1000);
    memcpy(fence.cluster, head.cluster, sizeof fence.cluster);
    cr_assert_eq(storage_checkpoint_check(&ctx, &fence, &head, &wanted), BB_OK);
    fence.index = 10;
    cr_assert_eq(storage_checkpoint_check(&ctx, &fence, &head, &wanted), BB_OK, "newer is fine");
    fence.last_seq = 4;
    cr_assert_eq(storage_checkpoint_check(&ctx, &fence, &head, &wanted), BB_CORRUPT);
    fence.last_seq = 5;
    wanted.index = 11;
    cr_assert_eq(storage_checkpoint_check(&ctx, &fence, &head, &wanted), BB_CORRUPT, "too old");
    wanted.index = 10;
    wanted.chain = 1;
    cr_assert_eq(storage_checkpoint_check(&ctx, &fence, &head, &wanted), BB_CORRUPT,
                 "another history");
    wanted = (struct checkpoint_head){ .index = 3 };
    cr_assert_eq(storage_checkpoint_check(&ctx, &fence, &head, &wanted), BB_OK,
                 "a new replica has no cluster yet");
    fence.cluster[0] = 9;
    cr_assert_eq(storage_checkpoint_check(&ctx, &fence, &head, &wanted), BB_CORRUPT);
}

/* ---- a replica that fetches ---- */

struct receiver {
    char dir[64];
    struct bb_loop *loop;
    struct bb_ctx ctx;
    struct bb_pool *pool;
    struct bb_store *store;
    struct storage_fetch *fetch;
    struct checkpoint_head wanted;
    bool is_told, is_freed;
    int status;
    char error[BB_ERROR_MAX];
    struct bb_store_incoming *incoming;
    struct fence fence;
};

static void receiver_open(struct receiver *receiver)
{
    memset(receiver, 0, sizeof *receiver);
    snprintf(receiver->dir, sizeof receiver->dir, "/tmp/bb-fetch-XXXXXX");
    cr_assert_not_null(mkdtemp(receiver->dir));
    receiver->loop = bb_loop_new(bb_env_real(), NULL, "receiver");
    receiver->ctx = (struct bb_ctx){ .env = bb_env_real(), .arena = bb_arena_new(0) };
    receiver->pool = bb_pool_new("care", 1, 16);
    struct bb_store_options options = { .dir = receiver->dir,
                                        .reader_count = 1,
                                        .has_no_thread = true };
    cr_assert_eq(bb_store_open(&receiver->ctx, &options, &receiver->store), BB_OK, "%s",
                 receiver->ctx.error);
}

static void receiver_close(struct receiver *receiver)
{
    bb_pool_free(receiver->pool);
    cr_assert_eq(bb_store_close(&receiver->ctx, receiver->store), BB_OK);
    bb_loop_free(receiver->loop);
    bb_arena_free(receiver->ctx.arena);
    nftw(receiver->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void on_done(void *arg, int status, const char *error, struct bb_store_incoming *incoming,
                    const struct fence *fence)
{
    struct receiver *receiver = arg;
    receiver->is_told = true;
    receiver->status = status;
    receiver->incoming = incoming;
    receiver->fence = *fence;
    snprintf(receiver->error, sizeof receiver->error, "%s", error);
    uv_stop(bb_loop_uv(receiver->loop));
}

static void on_freed(void *arg)
{
    struct receiver *receiver = arg;
    receiver->is_freed = true;
    uv_stop(bb_loop_uv(receiver->loop));
}

static int fetch(struct receiver *receiver, const char *url)
{
    struct storage_fetch_options options = { .loop = receiver->loop,
                                             .pool = receiver->pool,
                                             .store = receiver->store,
                                             .url = url,
                                             .wanted = receiver->wanted,
                                             .done = on_done,
                                             .arg = receiver };
    receiver->is_told = receiver->is_freed = false;
    cr_assert_eq(storage_fetch_start(&receiver->ctx, &options, &receiver->fetch), BB_OK);
    while (!receiver->is_told)
        uv_run(bb_loop_uv(receiver->loop), UV_RUN_ONCE);
    return receiver->status;
}

static void free_fetch(struct receiver *receiver)
{
    storage_fetch_free(receiver->fetch, on_freed, receiver);
    while (!receiver->is_freed)
        uv_run(bb_loop_uv(receiver->loop), UV_RUN_ONCE);
    char path[128];
    snprintf(path, sizeof path, "%s/incoming", receiver->dir);
    cr_assert_neq(access(path, F_OK), 0, "nothing is left of it");
}

/* ---- a node that sends ---- */

struct sending {
    char dir[64];
    struct bb_ctx ctx;
    struct bb_conf *conf;
    struct bb_service *service;
    struct client client;
};

static void on_event(void *arg, enum bb_service_state state)
{
    (void)arg, (void)state;
}

static void sending_open(struct sending *node, size_t batches)
{
    const struct bb_option *tables[] = { bb_service_options, bb_storage_service.options, NULL };
    char name[] = "test", *argv[] = { name, NULL };
    memset(node, 0, sizeof *node);
    node->ctx.env = bb_env_real();
    snprintf(node->dir, sizeof node->dir, "/tmp/bb-send-XXXXXX");
    cr_assert_not_null(mkdtemp(node->dir));
    cr_assert_eq(bb_conf_parse(&node->ctx, "storage", "", tables, 1, argv, &node->conf), BB_OK);
    cr_assert_eq(bb_conf_set(&node->ctx, node->conf, "data", node->dir), BB_OK);
    cr_assert_eq(bb_conf_set(&node->ctx, node->conf, "listen", URL), BB_OK);
    cr_assert_eq(bb_service_start(&node->ctx, &bb_storage_service, node->conf, node->ctx.env, NULL,
                                  on_event, NULL, &node->service),
                 BB_OK, "%s", node->ctx.error);
    client_open(&node->client, URL);
    client_claim_next(&node->client);
    for (uint64_t i = 0; i < batches; i++)
        cr_assert_eq(client_append(&node->client, i * 10, 10, 50000), BB_OK);
}

static void sending_close(struct sending *node)
{
    client_close(&node->client);
    bb_service_stop(node->service);
    bb_service_join(node->service);
    bb_conf_free(node->conf);
    nftw(node->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static int ask_piece(struct client *client, uint64_t id, uint64_t offset)
{
    Bb__Proto__StorageRequest request = BB__PROTO__STORAGE_REQUEST__INIT;
    Bb__Proto__Checkpoint checkpoint = BB__PROTO__CHECKPOINT__INIT;
    checkpoint.id = id;
    checkpoint.offset = offset;
    request.op_case = BB__PROTO__STORAGE_REQUEST__OP_CHECKPOINT;
    request.checkpoint = &checkpoint;
    return client_call(client, &request, 20000);
}

static int give_up(struct client *client, uint64_t id)
{
    Bb__Proto__StorageRequest request = BB__PROTO__STORAGE_REQUEST__INIT;
    Bb__Proto__Checkpoint checkpoint = BB__PROTO__CHECKPOINT__INIT;
    checkpoint.id = id;
    checkpoint.is_given_up = true;
    request.op_case = BB__PROTO__STORAGE_REQUEST__OP_CHECKPOINT;
    request.checkpoint = &checkpoint;
    return client_call(client, &request, 20000);
}

static const Bb__Proto__StateHashReply *hash_of(struct client *client, uint64_t tx)
{
    Bb__Proto__StorageRequest request = BB__PROTO__STORAGE_REQUEST__INIT;
    Bb__Proto__StateHash hash = BB__PROTO__STATE_HASH__INIT;
    hash.tx = tx;
    request.op_case = BB__PROTO__STORAGE_REQUEST__OP_STATE_HASH;
    request.state_hash = &hash;
    cr_assert_eq(client_call(client, &request, 20000), BB_OK);
    return client->reply->state_hash;
}

Test(checkpoint, a_replica_that_fetches_it_holds_the_same, .timeout = 60)
{
    struct sending node;
    struct receiver receiver;
    struct bb_store_sum sum;
    sending_open(&node, 10);
    receiver_open(&receiver);
    cr_assert_eq(client_info(&node.client), BB_OK);
    receiver.wanted.index = node.client.reply->info->applied_index;
    memcpy(receiver.wanted.cluster, node.client.reply->info->cluster_id.data, FENCE_CLUSTER);
    receiver.wanted.chain = 1; /* of another history than the node's at that entry */
    cr_assert_eq(fetch(&receiver, URL), BB_CORRUPT);
    cr_assert(strstr(receiver.error, "another history") != NULL, "%s", receiver.error);
    free_fetch(&receiver);

    receiver.wanted.index -= 1;
    cr_assert_eq(fetch(&receiver, URL), BB_OK, "%s", receiver.error);
    cr_assert_gt(storage_fetch_bytes(receiver.fetch), 100u * 50000);
    cr_assert_eq(bb_store_install(&receiver.ctx, receiver.store, receiver.incoming), BB_OK);
    free_fetch(&receiver);
    cr_assert_eq(receiver.fence.last_tx.us, node.client.tx);
    cr_assert_eq(bb_store_hash(&receiver.ctx, receiver.store, 0, BB_TX_NONE, &sum), BB_OK);
    const Bb__Proto__StateHashReply *hash = hash_of(&node.client, node.client.tx);
    cr_assert_eq(sum.hash, hash->hash);
    cr_assert_eq(sum.entries, hash->entries);
    cr_assert_eq(sum.tx.us, hash->tx);
    cr_assert_eq(client_append(&node.client, 5, 1, 100), BB_OK, "the node goes on");
    cr_assert_neq(hash_of(&node.client, 0)->hash, sum.hash);
    receiver_close(&receiver);
    sending_close(&node);
}

Test(checkpoint, a_node_that_cannot_give_what_is_wanted_says_so, .timeout = 60)
{
    struct sending node;
    struct receiver receiver;
    sending_open(&node, 1);
    receiver_open(&receiver);
    receiver.wanted.index = 1000000;
    cr_assert_eq(fetch(&receiver, URL), BB_NOT_YET, "%s", receiver.error);
    free_fetch(&receiver);
    receiver.wanted = (struct checkpoint_head){ .cluster = { 7 } };
    cr_assert_eq(fetch(&receiver, URL), BB_BAD_REQUEST, "%s", receiver.error);
    free_fetch(&receiver);
    receiver.wanted = (struct checkpoint_head){ .index = 0 };
    cr_assert_eq(fetch(&receiver, "inproc://nobody-is-here"), BB_PEER_GONE, "%s", receiver.error);
    free_fetch(&receiver);
    cr_assert_eq(fetch(&receiver, URL), BB_OK, "%s", receiver.error);
    free_fetch(&receiver);
    receiver_close(&receiver);
    sending_close(&node);
}

Test(checkpoint, one_at_a_time_is_sent_and_a_lost_answer_is_given_again, .timeout = 60)
{
    struct sending node;
    sending_open(&node, 6);
    struct client *client = &node.client;
    cr_assert_eq(ask_piece(client, 0, 0), BB_OK);
    uint64_t id = client->reply->checkpoint->id;
    size_t size = client->reply->checkpoint->data.len;
    uint32_t crc = client->reply->checkpoint->crc;
    cr_assert_eq(size, CHECKPOINT_PIECE);
    cr_assert_eq(client->reply->checkpoint->head.len, CHECKPOINT_HEAD);
    cr_assert_eq(ask_piece(client, 0, 0), BB_BUSY);
    cr_assert_eq(ask_piece(client, id, 0), BB_OK);
    cr_assert_eq(client->reply->checkpoint->crc, crc, "the same piece once more");
    cr_assert_eq(ask_piece(client, id, size), BB_OK);
    cr_assert_neq(client->reply->checkpoint->crc, crc);
    cr_assert_eq(ask_piece(client, id, 0), BB_BAD_REQUEST, "what lies further back is gone");
    cr_assert_eq(ask_piece(client, id + 2, 0), BB_NOT_FOUND);
    cr_assert_eq(give_up(client, id), BB_OK);
    int rc;
    while ((rc = ask_piece(client, 0, 0)) == BB_BUSY)
        usleep(1000);
    cr_assert_eq(rc, BB_OK, "the next one can begin");
    cr_assert_eq(ask_piece(client, id, size), BB_NOT_FOUND);
    sending_close(&node);
}

/* ---- a sender that lies, or dies ---- */

enum lie {
    LIE_DAMAGED_PIECE,
    LIE_SHORT,
    LIE_WRONG_HASH,
    LIE_DAMAGED_HEAD,
    LIE_NO_STORE,
    LIE_DIES,
    LIE_COUNT
};

struct fake {
    struct bb_server *server;
    struct bb_loop *loop;
    enum lie lie;
    uint64_t pieces;
    struct bb_exchange *unanswered;
};

static void lie(void *arg, struct bb_exchange *exchange, struct bb_slice bytes)
{
    struct fake *fake = arg;
    Bb__Proto__CheckpointReply checkpoint = BB__PROTO__CHECKPOINT_REPLY__INIT;
    Bb__Proto__StorageReply reply;
    static uint8_t data[3000], head_bytes[CHECKPOINT_HEAD], tail_bytes[CHECKPOINT_TAIL];
    struct checkpoint_head head = head_of(9);
    struct bb_slice piece = bb_slice(data, sizeof data);
    struct checkpoint_tail tail = { .total = 4 * sizeof data };
    (void)bytes;
    bb__proto__storage_reply__init(&reply);
    if (fake->lie == LIE_DIES && fake->pieces == 2) {
        fake->unanswered = exchange;
        return;
    }
    for (int i = 0; i < 4; i++)
        tail.hash = storage_checkpoint_hash(tail.hash, piece);
    storage_checkpoint_head_encode(&head, head_bytes);
    tail.total += fake->lie == LIE_SHORT ? 1 : 0;
    tail.hash += fake->lie == LIE_WRONG_HASH ? 1 : 0;
    storage_checkpoint_tail_encode(&tail, tail_bytes);
    head_bytes[30] ^= fake->lie == LIE_DAMAGED_HEAD ? 1 : 0;
    checkpoint.id = 5;
    checkpoint.head = bb_slice_pb(bb_slice(head_bytes, sizeof head_bytes));
    checkpoint.data = bb_slice_pb(piece);
    checkpoint.crc = bb_crc32c(0, data, sizeof data);
    if (fake->lie == LIE_DAMAGED_PIECE && fake->pieces == 2)
        checkpoint.crc ^= 1;
    if (++fake->pieces == 4)
        checkpoint.tail = bb_slice_pb(bb_slice(tail_bytes, sizeof tail_bytes));
    reply.op_case = BB__PROTO__STORAGE_REPLY__OP_CHECKPOINT;
    reply.checkpoint = &checkpoint;
    bb_exchange_reply(exchange, &reply.base);
}

Test(checkpoint, what_is_damaged_short_or_no_store_is_refused_and_removed, .timeout = 60)
{
    static const char *const told[LIE_COUNT] = {
        [LIE_DAMAGED_PIECE] = "damaged on its way",
        [LIE_SHORT] = "should have",
        [LIE_WRONG_HASH] = "hash",
        [LIE_DAMAGED_HEAD] = "head",
        [LIE_NO_STORE] = "another program wrote it",
    };
    struct receiver receiver;
    receiver_open(&receiver);
    for (enum lie kind = LIE_DAMAGED_PIECE; kind < LIE_DIES; kind++) {
        struct fake fake = { .lie = kind };
        struct bb_server_options options = { .url = FAKE, .handle = lie, .arg = &fake };
        cr_assert_eq(bb_server_open(&receiver.ctx, receiver.loop, &options, &fake.server), BB_OK);
        int rc = fetch(&receiver, FAKE);
        cr_assert_eq(rc, kind == LIE_NO_STORE ? BB_WRONG_VERSION : BB_CORRUPT, "%d: %s", (int)kind,
                     receiver.error);
        cr_assert(strstr(receiver.error, told[kind]) != NULL, "%d: %s", (int)kind, receiver.error);
        free_fetch(&receiver);
        bb_server_close(fake.server);
    }
    struct bb_store_state state;
    bb_store_state(&receiver.ctx, receiver.store, &state);
    cr_assert_eq(state.index, 0, "the store is what it was");
    receiver_close(&receiver);
}

static void die(void *arg)
{
    struct fake *fake = arg;
    Bb__Proto__StorageReply reply;
    bb__proto__storage_reply__init(&reply);
    bb_server_close(fake->server);
    bb_exchange_reply(fake->unanswered, &reply.base); /* nobody hears it */
}

Test(checkpoint, a_sender_that_dies_ends_the_fetch_and_the_next_one_can_begin, .timeout = 60)
{
    struct sending node;
    struct receiver receiver;
    struct fake fake = { .lie = LIE_DIES };
    struct bb_server_options options = { .url = FAKE, .handle = lie, .arg = &fake };
    receiver_open(&receiver);
    cr_assert_eq(bb_server_open(&receiver.ctx, receiver.loop, &options, &fake.server), BB_OK);
    struct bb_timer *timer = bb_timer_new(receiver.loop, die, &fake);
    bb_timer_start(timer, 200, 0);
    cr_assert_eq(fetch(&receiver, FAKE), BB_PEER_GONE, "%s", receiver.error);
    free_fetch(&receiver);
    bb_timer_free(timer);
    sending_open(&node, 1);
    cr_assert_eq(fetch(&receiver, URL), BB_OK, "%s", receiver.error);
    free_fetch(&receiver);
    sending_close(&node);
    receiver_close(&receiver);
}

Test(checkpoint, a_receiver_that_is_cancelled_leaves_nothing, .timeout = 60)
{
    struct sending node;
    struct receiver receiver;
    sending_open(&node, 4);
    receiver_open(&receiver);
    struct storage_fetch_options fetch_options = { .loop = receiver.loop,
                                                   .pool = receiver.pool,
                                                   .store = receiver.store,
                                                   .url = URL,
                                                   .done = on_done,
                                                   .arg = &receiver };
    cr_assert_eq(storage_fetch_start(&receiver.ctx, &fetch_options, &receiver.fetch), BB_OK);
    while (storage_fetch_bytes(receiver.fetch) == 0)
        uv_run(bb_loop_uv(receiver.loop), UV_RUN_ONCE);
    storage_fetch_cancel(receiver.fetch);
    while (!receiver.is_told)
        uv_run(bb_loop_uv(receiver.loop), UV_RUN_ONCE);
    cr_assert_eq(receiver.status, BB_CANCELLED);
    free_fetch(&receiver);
    receiver_close(&receiver);
    sending_close(&node);
}
