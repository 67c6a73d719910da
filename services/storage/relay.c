/*
 * A feed position that this replica does not have, because it was seeded by a checkpoint behind it
 * or cannot read its file: the other replicas are asked one after the other, and what one of them
 * has is passed on.
 */
#include <stdio.h>

#include "bb/wire_validate.h"

#include "storage.h"

enum {
    RELAY_MS = 5000
};

struct relay {
    struct storage *node; /* in the exchange's arena */
    struct bb_exchange *exchange;
    const Bb__Proto__Tail *tail;
    struct tail_lack lack;
    size_t next;       /* member to ask */
    bool is_undecided; /* one that may have it could not be asked, or was not ready */
};

static void ask_next(struct relay *relay);

/* After the reply, with which the relay has gone. */
static void end(struct storage *node)
{
    node->scans -= 1;
    storage_stop_if_idle(node);
}

/* A peer's answer without records. Only one that says so does not have them, or cannot read them:
 * one that starts, stops or lags may have them. */
static void take_lack(struct relay *relay, const Bb__Proto__StorageReply *reply)
{
    struct tail_lack *lack = &relay->lack;
    int status = reply == NULL ? BB_UNAVAILABLE : (int)reply->status;
    bool is_damaged = status == BB_CORRUPT || status == BB_IO;

    if (reply == NULL || reply->op_case != BB__PROTO__STORAGE_REPLY__OP_TAIL ||
        (status != BB_TX_TRUNCATED && !is_damaged)) {
        relay->is_undecided = true;
        return;
    }
    if (status == BB_CORRUPT || (status == BB_IO && lack->status == BB_TX_TRUNCATED)) {
        lack->status = status;
        (void)snprintf(lack->error, sizeof lack->error, "%s", reply->error);
    }
    lack->is_damaged = lack->is_damaged || is_damaged;
    if (reply->tail->earliest > relay->tail->after && reply->tail->earliest < lack->goes_on)
        lack->goes_on = reply->tail->earliest;
}

/* The records of a peer's answer, as they are; false: it has them no more than this one. */
static bool pass_on(struct relay *relay, struct bb_slice bytes)
{
    struct bb_arena *arena = bb_arena_new(0);
    struct bb_ctx ctx = { .env = relay->node->ctx->env };
    Bb__Proto__StorageReply *reply = NULL;

    if (bb_unpack(&ctx, arena, &bb__proto__storage_reply__descriptor, bytes, &reply) != BB_OK ||
        bb_storage_reply_validate(&ctx, reply) != BB_OK)
        reply = NULL;
    bool has_some = reply != NULL && reply->status == BB_OK &&
                    reply->op_case == BB__PROTO__STORAGE_REPLY__OP_TAIL &&
                    reply->tail->n_records > 0;

    if (has_some) {
        bb_metric_add(relay->node->tails, 1);
        storage_reply(relay->exchange, reply);
    } else {
        take_lack(relay, reply);
    }
    bb_arena_free(arena);
    return has_some;
}

static void on_reply(void *arg, int status, struct bb_slice bytes)
{
    struct relay *relay = arg;
    struct storage *node = relay->node;

    if (status == BB_OK && pass_on(relay, bytes)) {
        end(node);
        return;
    }
    relay->is_undecided = relay->is_undecided || status != BB_OK;
    ask_next(relay);
}

static bool ask(struct relay *relay, uint64_t id)
{
    Bb__Proto__StorageRequest request = BB__PROTO__STORAGE_REQUEST__INIT;
    Bb__Proto__Tail tail = BB__PROTO__TAIL__INIT;
    struct bb_ctx ctx = { .env = relay->node->ctx->env };
    struct bb_peer *peer = storage_member_peer(relay->node, id);

    tail.after = relay->tail->after;
    tail.max_bytes = relay->tail->max_bytes;
    tail.is_relayed = true;
    request.op_case = BB__PROTO__STORAGE_REQUEST__OP_TAIL;
    request.tail = &tail;
    return peer != NULL &&
           bb_peer_request(&ctx, peer, &request.base, RELAY_MS, on_reply, relay) == BB_OK;
}

static void ask_next(struct relay *relay)
{
    struct storage *node = relay->node;
    const struct members *members = &node->fence.members;

    while (relay->next < members->count && !node->is_stopping) {
        const struct member *member = &members->list[relay->next++];
        if (member->id == node->self.id || member->is_removed || member->url[0] == 0) {
            continue;
        }
        if (ask(relay, member->id)) {
            return;
        }
        relay->is_undecided = true;
    }
    if (relay->is_undecided || node->is_stopping) {
        relay->lack.status = BB_UNAVAILABLE;
        (void)snprintf(relay->lack.error, sizeof relay->lack.error,
                       "the storage nodes that may have this position do not answer; try again");
    }
    storage_refuse_tail(node, relay->exchange, &relay->lack);
    end(node);
}

/* The others are not known before their leader has told where it is, soon after it leads. */
static bool is_leader_known(const struct storage *node)
{
    return node->leader == node->self.id ||
           (node->leader != 0 && storage_member_url(node, node->leader) != NULL);
}

void storage_relay_tail(struct storage *node, struct bb_exchange *exchange,
                        const Bb__Proto__Tail *tail, const struct tail_lack *lack)
{
    struct relay *relay = bb_arena_zero(bb_exchange_arena(exchange), 1, sizeof *relay);

    if (relay == NULL) {
        storage_refuse(exchange, BB_TOO_LARGE, "the request leaves no memory for its answer");
        return;
    }
    *relay = (struct relay){
        .node = node,
        .exchange = exchange,
        .tail = tail,
        .lack = *lack,
        .is_undecided = !is_leader_known(node),
    };
    node->scans += 1;
    ask_next(relay);
}
