/*
 * A sequencer reaches this node and not the one that leads: what only the leader may do goes on to
 * it, and its answer back.
 *
 * This node adds nothing and keeps nothing, so it is a part of the way. An Append counts once
 * however often and however late it comes. A Renew is answered by the leader itself after it was
 * sent, which is all that the sequencer's lease asks for. The copy that goes on does not ask to be
 * passed on: whoever leads no more by then refuses it, and nothing goes in circles.
 */
#include <inttypes.h>

#include "bb/wire_validate.h"

#include "storage.h"

enum {
    PASSES_MAX = 32, /* under way: a sequencer has about four */
    APPEND_MS = 2000,
    APPEND_BYTES_PER_MS = 4096,
    CLAIM_MS = 1100,
    RENEW_MS = 500,
    QUIET_MS = 10000 /* a request after so long without one is worth a line */
};

struct pass {
    struct storage *node; /* in the exchange's arena */
    struct bb_exchange *exchange;
};

/* The answer as it is; false: it cannot be read. */
static bool pass_back(struct pass *pass, struct bb_slice bytes)
{
    struct bb_arena *arena = bb_arena_new(0);
    struct bb_ctx ctx = { .env = pass->node->ctx->env };
    Bb__Proto__StorageReply *reply = NULL;
    bool is_readable =
        bb_unpack(&ctx, arena, &bb__proto__storage_reply__descriptor, bytes, &reply) == BB_OK &&
        bb_storage_reply_validate(&ctx, reply) == BB_OK;

    if (is_readable) {
        storage_reply(pass->exchange, reply);
    }
    bb_arena_free(arena);
    return is_readable;
}

static void on_reply(void *arg, int status, struct bb_slice bytes)
{
    struct pass *pass = arg;
    struct storage *node = pass->node;

    if (status != BB_OK || !pass_back(pass, bytes)) {
        storage_refuse(pass->exchange, BB_UNAVAILABLE,
                       "the storage node that leads does not answer: send the same again");
    }
    node->passes -= 1;
    node->scans -= 1;
    storage_stop_if_idle(node);
}

static uint32_t timeout_ms(const Bb__Proto__StorageRequest *request)
{
    switch ((int)request->op_case) {
    case BB__PROTO__STORAGE_REQUEST__OP_APPEND:
        return APPEND_MS + (uint32_t)(request->append->batch.len / APPEND_BYTES_PER_MS);
    case BB__PROTO__STORAGE_REQUEST__OP_CLAIM:
        return CLAIM_MS;
    default:
        return RENEW_MS;
    }
}

static void tell(struct storage *node, uint64_t leader)
{
    uint64_t now = bb_loop_now_us(node->loop);

    if (node->passed_us == 0 || now >= node->passed_us + (uint64_t)QUIET_MS * 1000) {
        bb_info(node->ctx, "storage.passes_on",
                "leader=%" PRIu64 " why=\"a sequencer does not reach it\"", leader);
    }
    node->passed_us = now;
    bb_metric_add(node->passed_on, 1);
}

bool storage_pass_on(struct storage *node, struct bb_exchange *exchange,
                     const Bb__Proto__StorageRequest *request)
{
    Bb__Proto__StorageRequest copy = *request;
    struct bb_ctx ctx = { .env = node->ctx->env };
    struct bb_replog_status log;
    struct bb_peer *peer;
    struct pass *pass;

    if (!request->pass_on || node->is_stopping || node->passes >= PASSES_MAX) {
        return false;
    }
    bb_replog_status(node->replog, &log);
    if (log.is_leader || log.leader == 0) {
        return false;
    }
    peer = storage_member_peer(node, log.leader);
    pass = bb_arena_zero(bb_exchange_arena(exchange), 1, sizeof *pass);
    if (peer == NULL || !bb_peer_is_connected(peer) || pass == NULL) {
        return false;
    }
    *pass = (struct pass){ .node = node, .exchange = exchange };
    copy.pass_on = false;
    if (bb_peer_request(&ctx, peer, &copy.base, timeout_ms(request), on_reply, pass) != BB_OK) {
        return false;
    }
    node->passes += 1;
    node->scans += 1;
    tell(node, log.leader);
    return true;
}
