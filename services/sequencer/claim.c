#include "sequencer.h"

#include <stdio.h>

#include "bb/env.h"
#include "bb/failpoint.h"
#include "bb/wire_validate.h"

#define RETRY_MS        50
#define INFO_TIMEOUT_MS 300
#define CLAIM_TIMEOUT_MS                                                     \
    1200 /* a node that is silent may be paused: another one may lead by now \
          */

/* Say once what keeps us from serving, not every 50 ms. */
static void retry(struct sequencer *sequencer, const char *why)
{
    if (strcmp(sequencer->waits_for, why) != 0) {
        char text[256];
        (void)snprintf(sequencer->waits_for, sizeof sequencer->waits_for, "%s", why);
        if (!sequencer->is_standby)
            bb_service_not_ready(sequencer->service, sequencer->waits_for);
        bb_info(sequencer->ctx, "sequencer.waits", "why=%s",
                bb_log_quote(sequencer->waits_for, text, sizeof text));
    }
    sequencer->phase = SEQUENCER_LOOKING;
    bb_timer_start(sequencer->claim_timer, RETRY_MS, 0);
}

/* ---- the claim ---- */

static void begin_loading(struct sequencer *sequencer, const Bb__Proto__ClaimReply *claim)
{
    uint64_t last_tx = claim->last_tx;

    bb_failpoint(sequencer->ctx->env, BB_FAILPOINT_SEQUENCER_CLAIM_AFTER);
    bb_info(sequencer->ctx, "sequencer.claimed", "epoch=%" PRIu64 " claim_tx=%" PRIu64,
            claim->epoch, last_tx);
    sequencer->phase = SEQUENCER_LOADING;
    sequencer->is_standby = false;
    sequencer->want = 0;
    sequencer_core_claimed(sequencer->ctx, &sequencer->core, claim->epoch, claim->last_seq,
                           last_tx);
    bb_metric_set(sequencer->metrics.epoch, (int64_t)claim->epoch);
    (void)snprintf(sequencer->waits_for, sizeof sequencer->waits_for,
                   "reading the request ids of the last minutes");
    bb_service_not_ready(sequencer->service, sequencer->waits_for);
    sequencer_renew(sequencer);
    bb_timer_start(sequencer->renew_timer, SEQUENCER_LEASE_US / 2000, SEQUENCER_LEASE_US / 2000);
    sequencer_load_claimed(sequencer);
}

static void on_claimed(void *arg, int status, struct bb_slice bytes)
{
    struct sequencer *sequencer = bb_cast(struct sequencer, arg, SEQUENCER_MAGIC);
    Bb__Proto__StorageReply *reply = NULL;
    char text[160];

    if (sequencer->phase != SEQUENCER_CLAIMING)
        return;
    bb_assert(sequencer->core.epoch == 0);
    status = sequencer_read_answer(sequencer, status, bytes, &reply);
    if (status == BB_OK && reply != NULL && reply->op_case == BB__PROTO__STORAGE_REPLY__OP_CLAIM) {
        begin_loading(sequencer, reply->claim);
        return;
    }
    /* Refused: the next try starts from what storage says then. One that was passed on and had no
     * answer may have succeeded. */
    if (reply != NULL && status != BB_UNAVAILABLE)
        sequencer->want = 0;
    (void)snprintf(text, sizeof text, "storage did not grant the epoch: %s",
                   reply != NULL && reply->error[0] != '\0' ? reply->error
                                                            : bb_status_name(status));
    retry(sequencer, text);
}

/* Each one says what it has applied: the highest one is the newest. */
static uint64_t newest_epoch(const struct sequencer *sequencer)
{
    uint64_t epoch = 0;

    for (size_t i = 0; i < sequencer->voter_count; i++) {
        const struct sequencer_voter *voter = &sequencer->voters[i];
        if (voter->has_answered && voter->epoch > epoch)
            epoch = voter->epoch;
    }
    return epoch;
}

/* `from`: the leader, or the follower by which the claim goes to it. */
static void claim(struct sequencer *sequencer, const struct sequencer_voter *from)
{
    Bb__Proto__StorageRequest request;
    Bb__Proto__Claim message;

    /* A claim whose answer got lost may have succeeded; then the same one is asked for again. */
    uint64_t epoch = newest_epoch(sequencer);
    if (sequencer->want == 0 || sequencer->want != epoch)
        sequencer->want = epoch + 1;
    bb__proto__storage_request__init(&request);
    bb__proto__claim__init(&message);
    message.holder = bb_slice_pb(bb_slice(sequencer->holder, sizeof sequencer->holder));
    message.want = sequencer->want;
    message.address = sequencer->address;
    request.op_case = BB__PROTO__STORAGE_REQUEST__OP_CLAIM;
    request.claim = &message;
    request.pass_on = !from->is_leader;
    sequencer->phase = SEQUENCER_CLAIMING;
    bb_failpoint(sequencer->ctx->env, BB_FAILPOINT_SEQUENCER_CLAIM_BEFORE);
    if (bb_peer_request(sequencer->ctx, from->peer, &request.base, CLAIM_TIMEOUT_MS, on_claimed,
                        sequencer) != BB_OK)
        retry(sequencer, sequencer->ctx->error);
}

/* ---- who leads ---- */

/*
 * Another process holds the epoch, as far as storage knows: stand by. The claim goes out all the
 * same. Storage keeps it until the holder has been silent for 0.9 s, so it is granted at once then.
 */
static void consider_holder(struct sequencer *sequencer, const struct sequencer_voter *from)
{
    sequencer->is_standby =
        from->holder[0] != '\0' && strcmp(from->holder, sequencer->address) != 0;
    memcpy(sequencer->holder_address, from->holder, sizeof from->holder);
    if (sequencer->is_standby)
        sequencer_load_stand_by(sequencer, from->last_tx);
}

/*
 * Nobody who answers leads: the follower that names, in the newest term, one that does not answer,
 * another one in each round. NULL: there is none.
 */
static const struct sequencer_voter *find_way(struct sequencer *sequencer)
{
    size_t last = sequencer->via == SEQUENCER_STRAIGHT ? 0 : sequencer->via;
    const struct sequencer_voter *found = NULL;

    for (size_t i = 1; i <= sequencer->voter_count; i++) {
        size_t index = (last + i) % sequencer->voter_count, leader;
        const struct sequencer_voter *voter = &sequencer->voters[index];
        if (!voter->has_answered || (found != NULL && voter->term <= found->term) ||
            !sequencer_voters_find(sequencer, voter->leader, &leader) ||
            sequencer->voters[leader].has_answered)
            continue;
        sequencer->leader = leader;
        sequencer->via = index;
        found = voter;
    }
    return found;
}

/* A node may be asked under two names. */
static bool is_twice(const struct sequencer *sequencer, size_t index)
{
    for (size_t i = 0; i < index; i++) {
        if (sequencer->voters[i].has_answered &&
            sequencer->voters[i].node == sequencer->voters[index].node)
            return true;
    }
    return false;
}

static void look_round_over(struct sequencer *sequencer)
{
    uint64_t walls_us[SEQUENCER_VOTER_MAX];
    size_t count = 0;
    size_t answered = 0;
    const struct sequencer_voter *from = NULL;

    for (size_t i = 0; i < sequencer->voter_count; i++) {
        const struct sequencer_voter *voter = &sequencer->voters[i];
        if (!voter->has_answered)
            continue;
        answered++;
        if ((voter->is_voter && !is_twice(sequencer, i)) || voter->voters == 0)
            walls_us[count++] = voter->wall_us;
        if (voter->is_leader) {
            sequencer->leader = i;
            sequencer->via = SEQUENCER_STRAIGHT;
            from = voter;
        }
    }
    if (from == NULL)
        from = find_way(sequencer);
    if (answered == 0) {
        retry(sequencer, "no storage node answers");
    } else if (from == NULL) {
        retry(sequencer, "no storage node leads yet");
    } else if (sequencer_core_check_clock(sequencer->ctx, walls_us, count,
                                          from->voters == 0 ? sequencer->voter_count
                                                            : from->voters) != BB_OK) {
        retry(sequencer, sequencer->ctx->error);
    } else {
        consider_holder(sequencer, from);
        claim(sequencer, from);
    }
}

static void on_info(void *arg, int status, struct bb_slice bytes)
{
    struct sequencer_voter *voter = arg;
    struct sequencer *sequencer = voter->owner;
    Bb__Proto__StorageReply *reply = NULL;

    if (sequencer->questions == 0)
        return; /* closing */
    status = sequencer_read_answer(sequencer, status, bytes, &reply);
    if (status == BB_OK && reply != NULL && reply->op_case == BB__PROTO__STORAGE_REPLY__OP_INFO) {
        voter->has_answered = true;
        voter->is_leader = reply->info->is_leader;
        voter->is_voter = reply->info->is_voter;
        voter->voters = reply->info->n_voters;
        voter->node = reply->info->node;
        voter->term = reply->info->term;
        voter->leader = reply->info->leader;
        if (voter->is_leader)
            sequencer_voters_learn(voter, reply->info->voters, reply->info->n_voters);
        else
            sequencer_voters_learn_leader(voter, reply->info->voters, reply->info->n_voters,
                                          reply->info->leader);
        voter->wall_us = reply->info->wall_us;
        voter->epoch = reply->info->epoch;
        voter->last_tx = reply->info->last_tx;
        (void)snprintf(voter->holder, sizeof voter->holder, "%s", reply->info->sequencer);
    }
    if (--sequencer->questions == 0)
        look_round_over(sequencer);
}

void sequencer_claim_begin(struct sequencer *sequencer)
{
    Bb__Proto__StorageRequest request;
    Bb__Proto__Info info;

    if (sequencer->phase != SEQUENCER_LOOKING)
        return;
    bb__proto__storage_request__init(&request);
    bb__proto__info__init(&info);
    request.op_case = BB__PROTO__STORAGE_REQUEST__OP_INFO;
    request.info = &info;
    for (size_t i = 0; i < sequencer->voter_count; i++) {
        struct sequencer_voter *voter = &sequencer->voters[i];
        voter->has_answered = voter->is_leader = false;
        if (bb_peer_request(sequencer->ctx, voter->peer, &request.base, INFO_TIMEOUT_MS, on_info,
                            voter) == BB_OK)
            sequencer->questions++;
    }
    if (sequencer->questions == 0)
        retry(sequencer, sequencer->ctx->error);
}
