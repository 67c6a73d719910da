/*
 * Consumers of the durable feed: one for each storage node, which it leaves for another one when it
 * does not answer, and goes on where it was. What they got must be one chain without a gap.
 */
#include <stdio.h>

#include "parts.h"
#include "world.h"

#include "bb/wire_validate.h"
#include "common.pb-c.h"
#include "storage.pb-c.h"

#define WAIT_MS    500
#define TIMEOUT_MS 800 /* short: the checkers know what happened from here only */
#define POLL_US    5000

struct follower {
    struct sim_node *node;
    uint32_t source;
    size_t current;
    uint64_t cursor;
    struct bb_peer *peers[8];
    size_t peer_count;
    struct bb_arena *arena;
};
static struct follower followers[8];
static size_t follower_count;

static void ask(void *arg);

static struct bb_slice id_of(struct bb_slice log)
{
    if (log.size == 0 || bb_value_tag(log) != BB_TAG_ARRAY || bb_value_count(log) == 0)
        return BB_SLICE_EMPTY;
    struct bb_slice step = bb_value_at(log, 0);
    if (bb_value_tag(step) != BB_TAG_ARRAY || bb_value_count(step) != 2 ||
        bb_value_tag(bb_value_at(step, 1)) != BB_TAG_STRING)
        return BB_SLICE_EMPTY;
    return bb_value_bytes(bb_value_at(step, 1));
}

static void take_record(struct follower *follower, struct bb_slice bytes)
{
    struct bb_ctx ctx = { .env = NULL };
    Bb__Proto__TxRecord *record = NULL;
    Bb__Proto__TxBody *body = NULL;
    int rc = bb_unpack(&ctx, follower->arena, &bb__proto__tx_record__descriptor, bytes, &record);

    if (rc == BB_OK) {
        rc = bb_unpack(&ctx, follower->arena, &bb__proto__tx_body__descriptor,
                       bb_pb_slice(record->body), &body);
    }
    if (rc != BB_OK) {
        sim_fail("feed: a record cannot be read: %s", ctx.error);
        return;
    }
    if (record->prev != follower->cursor) {
        sim_fail("feed: follower %" PRIu32 " at %" PRIu64 " got %" PRIu64 " after %" PRIu64,
                 follower->source, follower->cursor, record->tx, record->prev);
        return;
    }
    follower->cursor = record->tx;
    struct bb_slice log = bb_slice_dup(bb_pb_slice(body->value));
    struct bb_slice id = id_of(log);
    check_add_record(&world.history,
                     &(struct check_record){ .source = follower->source,
                                             .tx = record->tx,
                                             .prev = record->prev,
                                             .id = id,
                                             .log = id.size > 0 ? log : BB_SLICE_EMPTY });
}

/*
 * A node that takes a checkpoint has no records of before. Where nodes are replaced all of them may
 * have come that way, and who was far behind is told so: it is not heard of again.
 */
static void position_gone(struct follower *follower)
{
    const struct sim_scenario *scenario = world.scenario;

    if (!scenario->is_growing && scenario->faults.lose_disk == 0)
        sim_fail("feed: position %" PRIu64 " is gone", follower->cursor);
    sim_trace("feed: follower %" PRIu32 " ends at %" PRIu64 ", which is gone", follower->source,
              follower->cursor);
    follower->cursor = UINT64_MAX;
}

static void on_tail(void *arg, int status, struct bb_slice bytes)
{
    struct follower *follower = arg;
    struct bb_ctx ctx = { .env = NULL };
    Bb__Proto__StorageReply *reply = NULL;

    bb_arena_reset(follower->arena);
    if (status == BB_OK)
        status =
            bb_unpack(&ctx, follower->arena, &bb__proto__storage_reply__descriptor, bytes, &reply);
    if (status == BB_OK && reply->status == BB_OK && reply->tail != NULL) {
        for (size_t i = 0; i < reply->tail->n_records && !sim.is_over; i++)
            take_record(follower, bb_pb_slice(reply->tail->records[i]));
    } else {
        if (status == BB_OK && reply->status == BB_TX_TRUNCATED) {
            position_gone(follower);
            return;
        }
        follower->current = sim_below(follower->peer_count);
    }
    (void)sim_after(follower->node, POLL_US + sim_below(POLL_US), ask, follower);
}

static void ask(void *arg)
{
    struct follower *follower = arg;
    struct bb_ctx ctx = { .env = &follower->node->env };
    Bb__Proto__StorageRequest request = BB__PROTO__STORAGE_REQUEST__INIT;
    Bb__Proto__Tail tail = BB__PROTO__TAIL__INIT;

    tail.after = follower->cursor;
    tail.wait_ms = WAIT_MS;
    request.op_case = BB__PROTO__STORAGE_REQUEST__OP_TAIL;
    request.tail = &tail;
    int rc = bb_peer_request(&ctx, follower->peers[follower->current], &request.base, TIMEOUT_MS,
                             on_tail, follower);
    bb_assert(rc == BB_OK);
}

static void open_peers(void *arg)
{
    struct follower *follower = arg;
    struct bb_ctx ctx = { .env = &follower->node->env };
    char url[64];

    for (size_t i = 0; i < sim.node_count; i++) {
        if (sim.nodes[i].role != SIM_STORAGE)
            continue;
        struct bb_peer_options options = { .url = url };
        (void)snprintf(url, sizeof url, "tcp://%s:3501", sim.nodes[i].name);
        int rc = bb_peer_open(&ctx, NULL, &options, &follower->peers[follower->peer_count++]);
        bb_assert(rc == BB_OK);
    }
    follower->current = (follower->source - 1) % follower->peer_count;
    follower->arena = bb_arena_new(0);
    ask(follower);
}

void sim_followers_start(void)
{
    follower_count = world.scenario->storages;
    for (size_t i = 0; i < follower_count; i++) {
        followers[i] = (struct follower){ .node = world.checker, .source = (uint32_t)i + 1 };
        (void)sim_after(world.checker, 1000, open_peers, &followers[i]);
    }
}

bool sim_followers_have(uint64_t tx)
{
    for (size_t i = 0; i < follower_count; i++) {
        if (followers[i].cursor < tx)
            return false;
    }
    return true;
}
