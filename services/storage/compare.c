/*
 * Do all replicas hold the same? Each remembers its chain, a hash over all entries, where the log
 * passes a multiple of 1024, and asks the others for theirs. A replica whose chain a majority
 * contradicts stops: what it holds is not what was agreed on.
 */
#include <inttypes.h>
#include <stdio.h>

#include "storage.h"

#define ASK_TIMEOUT_MS 1000
#define COMPARE_US     2000000u

/* Called before the entry at `index` is decided. */
void storage_compare_note(struct storage *node, uint64_t index)
{
    uint64_t mark = index / COMPARE_STEP;

    if (mark > node->fence.index / COMPARE_STEP) {
        struct compare *compare = &node->compare;
        compare->marks[compare->next % COMPARE_KEPT] =
            (struct compare_mark){ .mark = mark, .chain = node->fence.chain };
        compare->next += 1;
    }
}

static uint64_t chain_at(const struct storage *node, uint64_t mark)
{
    for (size_t i = 0; i < COMPARE_KEPT; i++) {
        if (mark != 0 && node->compare.marks[i].mark == mark) {
            return node->compare.marks[i].chain;
        }
    }
    return 0;
}

void storage_compare(struct storage *node, struct bb_exchange *exchange,
                     const Bb__Proto__StorageRequest *request)
{
    Bb__Proto__CompareReply compare = BB__PROTO__COMPARE_REPLY__INIT;
    Bb__Proto__StorageReply reply = storage_new_reply();

    compare.mark = request->compare->mark;
    compare.chain = chain_at(node, compare.mark);
    storage_forgot_answer(node, request->compare->node, &compare);
    reply.op_case = BB__PROTO__STORAGE_REPLY__OP_COMPARE;
    reply.compare = &compare;
    storage_reply(exchange, &reply);
}

/* How many of `voters` must contradict. */
bool storage_compare_is_wrong(const uint64_t *chains, size_t count, uint64_t own, size_t voters)
{
    for (size_t i = 0; i < count; i++) {
        size_t agree = 0;
        for (size_t k = 0; k < count; k++) {
            agree += chains[k] == chains[i];
        }
        if (chains[i] != own && agree >= voters / 2 + 1) {
            return true;
        }
    }
    return false;
}

static size_t voter_count(const struct storage *node)
{
    uint64_t voters[BB_REPLOG_MEMBERS_MAX];

    return storage_voters(node, voters);
}

static void judge(struct storage *node)
{
    struct compare *compare = &node->compare;
    uint64_t chains[COMPARE_ANSWERS], own = chain_at(node, compare->asked);
    size_t count = 0;
    bool has_other = false;

    for (size_t i = 0; i < compare->answer_count; i++) {
        chains[count++] = compare->answers[i].chain;
        has_other = has_other || compare->answers[i].chain != own;
    }
    if (own == 0 || !has_other) {
        return;
    }
    if (storage_compare_is_wrong(chains, count, own, voter_count(node))) {
        storage_die(node, "comparison with the other storage nodes",
                    "most of them hold another state", STORAGE_THEN_REPLACE);
    }
    if (!compare->is_told) {
        compare->is_told = true;
        bb_error(node->ctx, "storage.states_differ", "index=%" PRIu64 " chain=%016" PRIx64,
                 compare->asked * COMPARE_STEP, own);
    }
}

struct question {
    struct storage *node;
    uint64_t id, mark;
};

static void on_compared(void *arg, int status, struct bb_slice bytes)
{
    struct question *question = arg;
    struct storage *node = question->node;
    struct compare *compare = &node->compare;
    struct bb_ctx ctx = { .env = node->ctx->env };
    struct bb_arena *arena = bb_arena_new(1 << 16);
    Bb__Proto__StorageReply *reply = NULL;

    if (status == BB_OK) {
        status = bb_unpack(&ctx, arena, &bb__proto__storage_reply__descriptor, bytes, &reply);
    }
    if (status == BB_OK && reply->op_case == BB__PROTO__STORAGE_REPLY__OP_COMPARE &&
        reply->compare->chain != 0 && compare->asked == question->mark &&
        compare->answer_count < COMPARE_ANSWERS) {
        bool is_new = true;
        for (size_t i = 0; i < compare->answer_count; i++) {
            is_new = is_new && compare->answers[i].id != question->id;
        }
        if (is_new) {
            compare->answers[compare->answer_count++] =
                (struct compare_answer){ .id = question->id, .chain = reply->compare->chain };
            judge(node);
        }
    }
    bb_arena_free(arena);
    bb_free(question);
}

static void ask(struct storage *node, uint64_t id)
{
    struct bb_ctx ctx = { .env = node->ctx->env };
    Bb__Proto__StorageRequest request = BB__PROTO__STORAGE_REQUEST__INIT;
    Bb__Proto__Compare compare = BB__PROTO__COMPARE__INIT;
    struct bb_peer *peer = storage_member_peer(node, id);
    struct question *question;

    if (peer == NULL) {
        return;
    }
    question = bb_alloc_zero(1, sizeof *question);
    *question = (struct question){ .node = node, .id = id, .mark = node->compare.asked };
    compare.mark = node->compare.asked;
    request.op_case = BB__PROTO__STORAGE_REQUEST__OP_COMPARE;
    request.compare = &compare;
    if (bb_peer_request(&ctx, peer, &request.base, ASK_TIMEOUT_MS, on_compared, question) !=
        BB_OK) {
        bb_free(question);
    }
}

static bool has_answer(const struct compare *compare, uint64_t id)
{
    for (size_t i = 0; i < compare->answer_count; i++) {
        if (compare->answers[i].id == id) {
            return true;
        }
    }
    return false;
}

void storage_compare_tick(struct storage *node, uint64_t now_us)
{
    struct compare *compare = &node->compare;
    struct bb_replog_member list[BB_REPLOG_MEMBERS_MAX];
    uint64_t newest = 0;
    size_t count;

    if (now_us < compare->asked_us + COMPARE_US || !node->has_been_ready) {
        return;
    }
    for (size_t i = 0; i < COMPARE_KEPT; i++) {
        newest = compare->marks[i].mark > newest ? compare->marks[i].mark : newest;
    }
    if (newest == 0) {
        return;
    }
    if (newest != compare->asked) {
        compare->asked = newest;
        compare->answer_count = 0;
        compare->is_told = false;
    }
    compare->asked_us = now_us;
    count = bb_replog_members(node->replog, list, BB_REPLOG_MEMBERS_MAX);
    for (size_t i = 0; i < count; i++) {
        if (list[i].role == BB_REPLOG_VOTER && list[i].id != node->folder.node &&
            !has_answer(compare, list[i].id)) {
            ask(node, list[i].id);
        }
    }
}
