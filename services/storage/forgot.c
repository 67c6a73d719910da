/*
 * A node that was started on an older copy of its whole folder does not know that it has forgotten
 * what it acknowledged, and could help to elect one that never had it. Its leader knows: the log
 * there counts how far this node has come in the present term. So each node asks once a second
 * after its start, until the answer is that it has all. One that is told several times in a row
 * that it had more ends. Several times, because what the leader counts may be a moment ahead of a
 * follower that is just being brought forward.
 *
 * Once another node leads, nobody remembers. But each node knows of some entries that they were
 * committed, and while none leads all ask each other for that: who was told of more than it has, or
 * than another one has, helps to elect neither. So of all that were stopped one that is there with
 * the newest entries leads, whatever the folders of the others are.
 */
#include <stdio.h>

#include "storage.h"

#define ASK_TIMEOUT_MS 1000
#define ASK_US         1000000u
#define TIMES          3u

enum forgot_verdict storage_forgot_judge(struct forgot *forgot, const struct forgot_facts *facts)
{
    if (facts->term == 0 || facts->term != facts->own_term) {
        forgot->times = 0;
        return FORGOT_NOT_TOLD;
    }
    if (facts->acknowledged <= facts->last_index) {
        return FORGOT_NOTHING;
    }
    forgot->times = forgot->term == facts->term ? forgot->times + 1 : 1;
    forgot->term = facts->term;
    return forgot->times < TIMES ? FORGOT_MAYBE : FORGOT_SURELY;
}

static void take_answer(struct storage *node, uint64_t term, uint64_t acknowledged)
{
    struct forgot *forgot = &node->forgot;
    struct bb_replog_status log;
    enum forgot_verdict verdict;
    char why[256];

    bb_replog_status(node->replog, &log);
    verdict = storage_forgot_judge(forgot, &(struct forgot_facts){ .term = term,
                                                                   .acknowledged = acknowledged,
                                                                   .own_term = log.term,
                                                                   .last_index = log.last_index });
    if (verdict == FORGOT_NOTHING) {
        forgot->is_settled = true;
    }
    if (verdict == FORGOT_NOTHING || verdict == FORGOT_NOT_TOLD) {
        return;
    }
    bb_warn(node->ctx, "storage.forgot",
            "term=%" PRIu64 " last_index=%" PRIu64 " acknowledged=%" PRIu64 " times=%u", term,
            log.last_index, acknowledged, forgot->times);
    if (verdict == FORGOT_MAYBE) {
        return;
    }
    (void)snprintf(why, sizeof why,
                   "this node had all up to entry %" PRIu64 ", and its log ends at entry %" PRIu64
                   ": the folder is an older copy of its own",
                   acknowledged, log.last_index);
    storage_die(node, "comparison with the node that leads", why, STORAGE_THEN_REPLACE);
}

static void on_reply(void *arg, int status, struct bb_slice bytes)
{
    struct storage *node = bb_cast(struct storage, arg, STORAGE_MAGIC);
    struct bb_ctx ctx = { .env = node->ctx->env };
    struct bb_arena *arena = bb_arena_new(1 << 16);
    Bb__Proto__StorageReply *reply = NULL;

    node->forgot.is_asking = false;
    if (status == BB_OK) {
        status = bb_unpack(&ctx, arena, &bb__proto__storage_reply__descriptor, bytes, &reply);
    }
    if (status == BB_OK && reply->op_case == BB__PROTO__STORAGE_REPLY__OP_COMPARE &&
        !node->is_stopping) {
        take_answer(node, reply->compare->term, reply->compare->acknowledged);
    }
    bb_arena_free(arena);
}

/* ---- what was committed ---- */

struct asked {
    struct storage *node;
    uint64_t id;
};

static bool has_heard(const struct forgot *forgot, uint64_t id)
{
    for (size_t i = 0; i < forgot->heard_count; i++) {
        if (forgot->heard[i] == id) {
            return true;
        }
    }
    return forgot->heard_count == BB_REPLOG_MEMBERS_MAX;
}

static void take_committed(struct storage *node, uint64_t id, const Bb__Proto__CompareReply *reply)
{
    struct forgot *forgot = &node->forgot;
    struct bb_replog_status log;

    /* One of another cluster may be where a member was. */
    if (!storage_fence_has_cluster(&node->fence) ||
        !bb_slice_equal(bb_pb_slice(reply->cluster_id),
                        bb_slice(node->fence.cluster, FENCE_CLUSTER)) ||
        has_heard(forgot, id)) {
        return;
    }
    forgot->heard[forgot->heard_count++] = id;
    bb_replog_committed(node->replog, reply->committed);
    bb_replog_status(node->replog, &log);
    if (reply->committed > log.last_index) {
        bb_info(node->ctx, "storage.lacks",
                "last_index=%" PRIu64 " committed=%" PRIu64 " as_says=%" PRIu64, log.last_index,
                reply->committed, id);
    }
}

static void on_committed(void *arg, int status, struct bb_slice bytes)
{
    struct asked asked = *(struct asked *)arg;
    struct bb_ctx ctx = { .env = asked.node->ctx->env };
    struct bb_arena *arena = bb_arena_new(1 << 16);
    Bb__Proto__StorageReply *reply = NULL;

    bb_free(arg);
    asked.node->forgot.asking_count -= 1;
    if (status == BB_OK) {
        status = bb_unpack(&ctx, arena, &bb__proto__storage_reply__descriptor, bytes, &reply);
    }
    if (status == BB_OK && reply->op_case == BB__PROTO__STORAGE_REPLY__OP_COMPARE &&
        !asked.node->is_stopping) {
        take_committed(asked.node, asked.id, reply->compare);
    }
    bb_arena_free(arena);
}

static void ask_committed(struct storage *node, uint64_t id)
{
    struct bb_ctx ctx = { .env = node->ctx->env };
    Bb__Proto__StorageRequest request = BB__PROTO__STORAGE_REQUEST__INIT;
    Bb__Proto__Compare compare = BB__PROTO__COMPARE__INIT;
    struct bb_peer *peer = storage_member_peer(node, id);
    struct asked *asked;

    if (peer == NULL) {
        return;
    }
    asked = bb_alloc_zero(1, sizeof *asked);
    *asked = (struct asked){ .node = node, .id = id };
    request.op_case = BB__PROTO__STORAGE_REQUEST__OP_COMPARE;
    request.compare = &compare;
    if (bb_peer_request(&ctx, peer, &request.base, ASK_TIMEOUT_MS, on_committed, asked) == BB_OK) {
        node->forgot.asking_count += 1;
    } else {
        bb_free(asked);
    }
}

/* All voters whose word is missing, one round at a time. */
static void ask_all(struct storage *node)
{
    struct bb_replog_member list[BB_REPLOG_MEMBERS_MAX];
    size_t count;

    if (node->leader != 0 || node->is_ready || node->forgot.asking_count > 0) {
        return;
    }
    count = bb_replog_members(node->replog, list, BB_REPLOG_MEMBERS_MAX);
    for (size_t i = 0; i < count; i++) {
        if (list[i].role == BB_REPLOG_VOTER && list[i].id != node->folder.node &&
            !has_heard(&node->forgot, list[i].id)) {
            ask_committed(node, list[i].id);
        }
    }
}

void storage_forgot_tick(struct storage *node, uint64_t now_us)
{
    struct forgot *forgot = &node->forgot;
    struct bb_ctx ctx = { .env = node->ctx->env };
    Bb__Proto__StorageRequest request = BB__PROTO__STORAGE_REQUEST__INIT;
    Bb__Proto__Compare compare = BB__PROTO__COMPARE__INIT;
    struct bb_peer *leader;

    ask_all(node);
    if (node->is_ready) {
        forgot->is_settled = true; /* it leads: what it lacks was nobody's */
    }
    if (forgot->is_settled || forgot->is_asking || node->leader == 0 ||
        node->leader == node->folder.node || now_us < forgot->asked_us + ASK_US) {
        return;
    }
    forgot->asked_us = now_us;
    leader = storage_member_peer(node, node->leader);
    if (leader == NULL) {
        return;
    }
    compare.node = node->folder.node;
    request.op_case = BB__PROTO__STORAGE_REQUEST__OP_COMPARE;
    request.compare = &compare;
    forgot->is_asking =
        bb_peer_request(&ctx, leader, &request.base, ASK_TIMEOUT_MS, on_reply, node) == BB_OK;
}

void storage_forgot_answer(struct storage *node, uint64_t asker, Bb__Proto__CompareReply *reply)
{
    struct bb_replog_status log;

    bb_replog_status(node->replog, &log);
    if (asker != 0 && log.is_leader) {
        reply->term = log.term;
        reply->acknowledged = bb_replog_acknowledged(node->replog, asker);
    }
    reply->committed = bb_replog_logged(node->replog);
    if (node->fence.index > reply->committed) {
        reply->committed = node->fence.index;
    }
    if (storage_fence_has_cluster(&node->fence)) {
        reply->cluster_id = bb_slice_pb(bb_slice(node->fence.cluster, FENCE_CLUSTER));
    }
}
