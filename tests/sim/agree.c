/*
 * Do the storage nodes hold the same? Each is asked for the hash of its content at one tx. And the
 * operator's request to write the data file anew.
 */
#include <stdio.h>

#include "parts.h"
#include "world.h"

#include "bb/wire_validate.h"
#include "common.pb-c.h"
#include "storage.pb-c.h"

#define ASK_MS   5000
#define AGAIN_US 50000

static struct {
    uint64_t tx, hash;
    size_t at; /* the node that is asked */
    bool has_hash;
    struct bb_peer *peers[SIM_NODES_MAX];
    struct bb_arena *arena;
    void (*done)(void);
} agree;

static void ask(void *arg);

static struct bb_peer *peer_of(struct sim_node *node)
{
    struct bb_ctx ctx = { .env = &world.checker->env };
    struct bb_peer **peer = &agree.peers[node->index];
    char url[64];

    if (*peer == NULL) {
        struct bb_peer_options options = { .url = url };
        (void)snprintf(url, sizeof url, "tcp://%s:3501", node->name);
        int rc = bb_peer_open(&ctx, NULL, &options, peer);
        bb_assert(rc == BB_OK);
    }
    return *peer;
}

static void take_hash(const Bb__Proto__StateHashReply *reply)
{
    const struct sim_node *node = &sim.nodes[agree.at];

    sim_trace("%s holds %016" PRIx64 " at %" PRIu64, node->name, reply->hash, reply->tx);
    if (agree.has_hash && reply->hash != agree.hash)
        sim_fail("agree: %s holds %016" PRIx64 " at %" PRIu64 ", another one %016" PRIx64,
                 node->name, reply->hash, reply->tx, agree.hash);
    agree.hash = reply->hash;
    agree.has_hash = true;
    agree.at++;
}

static void on_hash(void *arg, int status, struct bb_slice bytes)
{
    struct bb_ctx ctx = { .env = NULL };
    Bb__Proto__StorageReply *reply = NULL;

    (void)arg;
    bb_arena_reset(agree.arena);
    if (status == BB_OK)
        status = bb_unpack(&ctx, agree.arena, &bb__proto__storage_reply__descriptor, bytes, &reply);
    if (status == BB_OK && reply->status == BB_OK && reply->state_hash != NULL)
        take_hash(reply->state_hash);
    (void)sim_after(world.checker, AGAIN_US, ask, NULL);
}

static void ask(void *arg)
{
    struct bb_ctx ctx = { .env = &world.checker->env };
    Bb__Proto__StorageRequest request = BB__PROTO__STORAGE_REQUEST__INIT;
    Bb__Proto__StateHash hash = BB__PROTO__STATE_HASH__INIT;

    (void)arg;
    while (agree.at < sim.node_count && !sim_is_member(&sim.nodes[agree.at]))
        agree.at++;
    if (agree.at == sim.node_count) {
        agree.done();
        return;
    }
    hash.tx = agree.tx;
    request.op_case = BB__PROTO__STORAGE_REQUEST__OP_STATE_HASH;
    request.state_hash = &hash;
    int rc =
        bb_peer_request(&ctx, peer_of(&sim.nodes[agree.at]), &request.base, ASK_MS, on_hash, NULL);
    bb_assert(rc == BB_OK);
}

void sim_agree(uint64_t tx, void (*done)(void))
{
    agree.tx = tx;
    agree.done = done;
    agree.arena = bb_arena_new(0);
    (void)sim_after(world.checker, 1, ask, NULL);
}

static void on_compacted(void *arg, int status, struct bb_slice bytes)
{
    (void)arg;
    (void)status; /* it may be busy, or gone */
    (void)bytes;
}

static void compact(void *arg)
{
    struct bb_ctx ctx = { .env = &world.checker->env };
    Bb__Proto__StorageRequest request = BB__PROTO__STORAGE_REQUEST__INIT;
    Bb__Proto__Compact order = BB__PROTO__COMPACT__INIT;

    request.op_case = BB__PROTO__STORAGE_REQUEST__OP_COMPACT;
    request.compact = &order;
    int rc = bb_peer_request(&ctx, peer_of(arg), &request.base, ASK_MS, on_compacted, NULL);
    bb_assert(rc == BB_OK);
}

void sim_compact(struct sim_node *node)
{
    (void)sim_after(world.checker, 1, compact, node);
}
