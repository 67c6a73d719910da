#include "sequencer.h"

#include <stdio.h>

#include "bb/env.h"
#include "bb/failpoint.h"
#include "bb/wire_validate.h"

/* A new leader is told by RENEW, and a connection that breaks by itself: this is for what neither
 * shows, and a large batch takes its time on the way and on three disks. */
#define APPEND_TIMEOUT_MS   2000
#define APPEND_BYTES_PER_MS 4096
#define RESEND_MS           20
#define RENEW_TIMEOUT_MS    600
#define RENEW_SOON_MS       30
#define PASS_RENEW_US       250000 /* the last one has no answer */

int sequencer_read_answer(struct sequencer *sequencer, int status, struct bb_slice bytes,
                          Bb__Proto__StorageReply **reply)
{
    *reply = NULL;
    if (status != BB_OK)
        return status;
    bb_arena_reset(sequencer->answers);
    int rc = bb_unpack(sequencer->ctx, sequencer->answers, &bb__proto__storage_reply__descriptor,
                       bytes, reply);
    if (rc == BB_OK)
        rc = bb_storage_reply_validate(sequencer->ctx, *reply);
    if (rc != BB_OK) {
        bb_warn(sequencer->ctx, "sequencer.bad_answer", "from=storage");
        *reply = NULL;
        return rc;
    }
    return (int)(*reply)->status;
}

void sequencer_fenced(struct sequencer *sequencer, const char *why)
{
    char text[BB_ERROR_MAX];

    bb_error(sequencer->ctx, "sequencer.fenced", "epoch=%" PRIu64 " durable=%" PRIu64 " why=%s",
             sequencer->core.epoch, sequencer->core.durable, bb_log_quote(why, text, sizeof text));
    sequencer->phase = SEQUENCER_LOOKING; /* nothing is answered any more */
    sequencer->is_standby = false;
    (void)snprintf(sequencer->waits_for, sizeof sequencer->waits_for, "the epoch is over");
    bb_timer_stop(sequencer->claim_timer);
    bb_timer_stop(sequencer->load_timer);
    bb_timer_stop(sequencer->renew_timer);
    bb_timer_stop(sequencer->resend_timer);
    bb_alarm_stop(sequencer->gather_alarm);
    bb_service_failed(sequencer->service);
}

/* ---- the way to the leader ---- */

static size_t fill_lines(const struct sequencer *sequencer, struct sequencer_line *lines)
{
    for (size_t i = 0; i < sequencer->voter_count; i++) {
        const struct sequencer_voter *voter = &sequencer->voters[i];
        lines[i] = (struct sequencer_line){ .is_connected = bb_peer_is_connected(voter->peer),
                                            .asked_us = voter->asked_us,
                                            .answers = voter->answers,
                                            .node = sequencer_voters_number(voter),
                                            .term = sequencer->lease.answers[i].term,
                                            .leader = sequencer->lease.answers[i].leader };
    }
    return sequencer->voter_count;
}

static size_t choose_way(const struct sequencer *sequencer, size_t leader, uint64_t patience_us)
{
    struct sequencer_line lines[SEQUENCER_VOTER_MAX];
    size_t count = fill_lines(sequencer, lines);
    size_t via = leader == sequencer->leader ? sequencer->via : SEQUENCER_STRAIGHT;

    return sequencer_way_choose(lines, count, leader, via, bb_now_us(sequencer->ctx), patience_us);
}

static void go_by(struct sequencer *sequencer, size_t leader, size_t via)
{
    sequencer->leader = leader;
    sequencer->via = via;
}

/*
 * A follower's word of who leads. One that is reached is asked itself. Else the follower is the way
 * there; the one that was asked to pass on, and refused, has none.
 */
static void take_named(struct sequencer *sequencer, size_t by, size_t leader)
{
    struct sequencer_line lines[SEQUENCER_VOTER_MAX];
    size_t count = fill_lines(sequencer, lines);
    uint64_t now_us = bb_now_us(sequencer->ctx);

    if (!sequencer_line_is_silent(&lines[leader], now_us, SEQUENCER_SILENT_US) || by == leader) {
        go_by(sequencer, leader, SEQUENCER_STRAIGHT);
    } else if (by == sequencer->via) {
        go_by(sequencer, leader, sequencer_way_next(lines, count, leader, by, now_us));
    } else {
        go_by(sequencer, leader, by);
    }
}

void sequencer_other_leader(struct sequencer *sequencer, size_t by, const char *named)
{
    size_t count = sequencer->voter_count;
    size_t next = (sequencer->leader + 1) % count;

    for (size_t i = 0; named != NULL && by != SEQUENCER_STRAIGHT && i < count; i++) {
        if (strcmp(bb_peer_url(sequencer->voters[i].peer), named) == 0) {
            take_named(sequencer, by, i);
            return;
        }
    }
    for (size_t i = 1; i < count; i++) {
        next = (sequencer->leader + i) % count;
        if (bb_peer_is_connected(sequencer->voters[next].peer))
            break;
    }
    go_by(sequencer, next, SEQUENCER_STRAIGHT);
}

/* ---- batches ---- */

/* One time that the batch under way was sent. */
struct attempt {
    struct sequencer *sequencer;
    uint64_t number;
    uint64_t epoch, seq; /* of the batch */
    size_t target;       /* the voter that got it */
};

/* What came for the next batch. */
static size_t count_pending(const struct sequencer_core *core)
{
    return (size_t)(core->ring.next - core->append_number);
}

/*
 * An older copy of the batch under way may be the first to be done, as each one of a large batch
 * takes longer than a follower that receives it is given: the batch counts, whichever copy it was.
 * What else became of an older one says nothing of the newest.
 */
static bool is_heard(const struct sequencer *sequencer, const struct attempt *attempt, int status,
                     const Bb__Proto__AppendReply *reply)
{
    const struct sequencer_core *core = &sequencer->core;

    return sequencer_core_is_under_way(core, attempt->epoch, attempt->seq) &&
           (attempt->number == sequencer->append_tries ||
            sequencer_core_is_done(core, status, reply != NULL,
                                   reply == NULL ? 0 : reply->last_seq));
}

static void on_appended(void *arg, int status, struct bb_slice bytes)
{
    struct attempt attempt = *(struct attempt *)arg;
    struct sequencer *sequencer = bb_cast(struct sequencer, attempt.sequencer, SEQUENCER_MAGIC);
    Bb__Proto__StorageReply *reply = NULL;

    bb_free(arg);
    if (sequencer->core.epoch == 0 || sequencer->phase == SEQUENCER_LOOKING)
        return; /* closing, or over */
    status = sequencer_read_answer(sequencer, status, bytes, &reply);
    bool has_seq = reply != NULL && reply->op_case == BB__PROTO__STORAGE_REPLY__OP_APPEND;
    if (!is_heard(sequencer, &attempt, status, has_seq ? reply->append : NULL))
        return;
    struct sequencer_core *core = &sequencer->core;
    struct sequencer_gathered batch = { .pending = count_pending(core),
                                        .storages = sequencer->voter_count };
    batch.commits = (size_t)(core->append_number - core->durable_number);
    batch.took_us = bb_now_us(sequencer->ctx) - sequencer->append_sent_us;
    enum sequencer_verdict verdict = sequencer_core_appended(
        sequencer->ctx, &sequencer->core, status, has_seq, has_seq ? reply->append->last_seq : 0);
    switch (verdict) {
    case SEQUENCER_DONE:
        bb_timer_stop(sequencer->resend_timer); /* of a newer copy that was refused */
        bb_failpoint(sequencer->ctx->env, BB_FAILPOINT_SEQUENCER_APPEND_AFTER);
        bb_histogram_observe(sequencer->metrics.append_seconds, batch.took_us);
        bb_metric_add(sequencer->metrics.batches, 1);
        sequencer->drain_until_us = bb_now_us(sequencer->ctx) + SEQUENCER_DRAIN_US;
        sequencer_gather_begin(&sequencer->gather, &batch, bb_now_us(sequencer->ctx));
        sequencer_append_next(sequencer); /* first, so that the disk is not idle for long */
        sequencer_wake_waiters(sequencer, false);
        break;
    case SEQUENCER_OTHER_LEADER:
        sequencer_other_leader(sequencer, attempt.target, reply == NULL ? NULL : reply->leader);
        bb_timer_start(sequencer->resend_timer, RESEND_MS, 0);
        break;
    case SEQUENCER_AGAIN:
        bb_timer_start(sequencer->resend_timer, RESEND_MS, 0);
        break;
    case SEQUENCER_OVER:
        sequencer_fenced(sequencer, status == BB_FENCED
                                        ? "storage has given the next epoch to another sequencer"
                                        : sequencer->ctx->error);
        break;
    }
}

static uint32_t append_timeout_ms(const struct sequencer_append *append)
{
    return APPEND_TIMEOUT_MS + (uint32_t)(append->batch.size / APPEND_BYTES_PER_MS);
}

/* A connection ended while nothing was asked. */
static void check_target(struct sequencer *sequencer)
{
    if (bb_peer_is_connected(sequencer_target(sequencer)->peer))
        return;
    sequencer->via = choose_way(sequencer, sequencer->leader, SEQUENCER_SILENT_US);
    if (!bb_peer_is_connected(sequencer_target(sequencer)->peer))
        sequencer_other_leader(sequencer, SEQUENCER_STRAIGHT, NULL);
}

void sequencer_append_again(struct sequencer *sequencer)
{
    const struct sequencer_append *next = &sequencer->core.append;
    Bb__Proto__StorageRequest request;
    Bb__Proto__Append append;

    bb_failpoint(sequencer->ctx->env, BB_FAILPOINT_SEQUENCER_APPEND_BEFORE);
    check_target(sequencer);
    bool is_straight = sequencer->via == SEQUENCER_STRAIGHT;
    struct sequencer_voter *target = sequencer_target(sequencer);
    bb__proto__storage_request__init(&request);
    bb__proto__append__init(&append);
    append.epoch = next->epoch;
    append.seq = next->seq;
    append.base_tx = next->base_tx;
    append.last_tx = next->last_tx;
    append.batch = bb_slice_pb(next->batch);
    request.op_case = BB__PROTO__STORAGE_REQUEST__OP_APPEND;
    request.append = &append;
    request.pass_on = !is_straight;
    bb_metric_add(sequencer->metrics.passed_on, is_straight ? 0 : 1);
    struct attempt *attempt = bb_alloc(sizeof *attempt);
    sequencer->append_target = target->index;
    *attempt = (struct attempt){ .sequencer = sequencer,
                                 .number = ++sequencer->append_tries,
                                 .epoch = next->epoch,
                                 .seq = next->seq,
                                 .target = target->index };
    int rc = bb_peer_request(sequencer->ctx, target->peer, &request.base,
                             append_timeout_ms(next) * (is_straight ? 1 : 2), on_appended, attempt);
    if (rc != BB_OK) {
        bb_free(attempt);
        bb_timer_start(sequencer->resend_timer, RESEND_MS, 0);
    }
}

/* Until when the next batch shall wait; 0: it need not. */
static uint64_t wait_until(const struct sequencer *sequencer, uint64_t now_us)
{
    const struct sequencer_core *core = &sequencer->core;
    const struct sequencer_gather *gather = &sequencer->gather;
    bool may_wait = sequencer->phase == SEQUENCER_ACTIVE &&
                    core->pending_bytes < core->limits.batch_bytes &&
                    sequencer_gather_waits(gather, count_pending(core), now_us);

    return may_wait ? gather->until_us : 0;
}

static void wait_for_more(struct sequencer *sequencer, uint64_t us)
{
    if (sequencer->is_gathering)
        return;
    sequencer->is_gathering = true;
    bb_metric_add(sequencer->metrics.gathers, 1);
    bb_alarm_set(sequencer->gather_alarm, us);
}

void sequencer_append_next(struct sequencer *sequencer)
{
    uint64_t now_us = bb_now_us(sequencer->ctx);

    if (sequencer->core.is_appending || count_pending(&sequencer->core) == 0)
        return;
    uint64_t until_us = wait_until(sequencer, now_us);
    if (until_us > now_us) {
        wait_for_more(sequencer, until_us - now_us);
        return;
    }
    sequencer->is_gathering = false;
    bb_alarm_stop(sequencer->gather_alarm);
    if (sequencer_core_next_append(&sequencer->core) == NULL)
        return;
    sequencer->append_sent_us = now_us;
    sequencer_append_again(sequencer);
}

/* The batch under way goes where batches go now. */
static void send_again(struct sequencer *sequencer)
{
    if (!sequencer->core.is_appending)
        return;
    bb_timer_stop(sequencer->resend_timer);
    bb_metric_add(sequencer->metrics.resends, 1);
    sequencer_append_again(sequencer);
}

/*
 * The voters have elected another one. A batch that the former leader has and does not answer, as
 * it hangs or is cut off, goes to the new one at once: whatever became of the first copy, a batch
 * counts once. In one term others are heard once, so that an old word moves nothing. The leader
 * itself is heard again while a batch is under way: it may have been asked before it was ready, and
 * the batch went on from it to the former one.
 */
static void heed_leader(struct sequencer *sequencer, const struct sequencer_renewed *answer)
{
    bool is_own_word = answer->node == answer->leader && sequencer->core.is_appending;
    bool is_news = answer->term > sequencer->leader_term ||
                   (answer->term == sequencer->leader_term && is_own_word);
    size_t leader;

    if (!is_news || !sequencer_voters_find(sequencer, answer->leader, &leader))
        return;
    size_t via = choose_way(sequencer, leader, SEQUENCER_SILENT_US);
    if (via == SEQUENCER_STRAIGHT && !bb_peer_is_connected(sequencer->voters[leader].peer))
        return;
    sequencer->leader_term = answer->term;
    if (leader == sequencer->leader)
        return;
    go_by(sequencer, leader, via);
    send_again(sequencer);
}

/* That it changed, and lasts. */
static void tell_way(struct sequencer *sequencer)
{
    bool is_by_other = sequencer->via != SEQUENCER_STRAIGHT;

    if (is_by_other == sequencer->is_by_other)
        return;
    sequencer->is_by_other = is_by_other;
    bb_info(sequencer->ctx, "sequencer.way", "leader=%s by=%s",
            bb_peer_url(sequencer->voters[sequencer->leader].peer),
            is_by_other ? bb_peer_url(sequencer_target(sequencer)->peer) : "itself");
}

/*
 * Before each RENEW. A large batch on its way to a node lets nothing else pass. It follows the way
 * to a follower at once. When requests go straight again it is left where it is, as long as that
 * one is there.
 */
static void look_at_way(struct sequencer *sequencer)
{
    const struct sequencer_core *core = &sequencer->core;
    struct sequencer_line lines[SEQUENCER_VOTER_MAX];
    uint64_t now_us = bb_now_us(sequencer->ctx);
    size_t count = fill_lines(sequencer, lines);
    struct sequencer_line *has_batch = &lines[sequencer->append_target];

    if (core->is_appending)
        has_batch->busy_us = core->append.batch.size * 1000 / APPEND_BYTES_PER_MS;
    size_t via = sequencer_way_choose(lines, count, sequencer->leader, sequencer->via, now_us,
                                      SEQUENCER_SILENT_US);
    bool is_left = via != sequencer->via && via != SEQUENCER_STRAIGHT;
    sequencer->via = via;
    const struct sequencer_line *target = &lines[sequencer_target(sequencer)->index];
    if (is_left || sequencer_way_is_other(has_batch, target, now_us))
        send_again(sequencer);
    tell_way(sequencer);
}

/* ---- RENEW ---- */

struct renewal {
    struct sequencer_voter *voter; /* that was asked */
    uint64_t sent_us;
    bool is_passed; /* on to the leader, whose answer it is then */
};

static void on_renewed(void *arg, int status, struct bb_slice bytes)
{
    struct renewal renewal = *(struct renewal *)arg;
    struct sequencer *sequencer = renewal.voter->owner;
    Bb__Proto__StorageReply *reply = NULL;
    size_t from = renewal.voter->index;

    bb_free(arg);
    if (sequencer->phase < SEQUENCER_LOADING)
        return;
    status = sequencer_read_answer(sequencer, status, bytes, &reply);
    bool has_renew = reply != NULL && reply->op_case == BB__PROTO__STORAGE_REPLY__OP_RENEW;
    if (status == BB_FENCED || (has_renew && reply->renew->epoch > sequencer->core.epoch)) {
        sequencer_fenced(sequencer, "storage has given the next epoch to another sequencer");
        return;
    }
    if (status == BB_NOT_YET && reply != NULL) {
        if (!renewal.is_passed) {
            renewal.voter->asked_us = 0; /* the way is well, who holds the epoch is not known */
            renewal.voter->answers++;
        }
        /* A moment of it must not cost the lease. */
        bb_timer_start(sequencer->renew_timer, RENEW_SOON_MS, SEQUENCER_LEASE_US / 2000);
    }
    if (status != BB_OK || !has_renew)
        return;
    struct sequencer_renewed answer = { .sent_us = renewal.sent_us,
                                        .term = reply->renew->term,
                                        .leader = reply->renew->leader,
                                        .node = reply->renew->node };
    if (reply->renew->n_voters > SEQUENCER_VOTER_MAX)
        return;
    answer.voter_count = reply->renew->n_voters;
    for (size_t i = 0; i < answer.voter_count; i++)
        answer.voters[i] = reply->renew->voters[i]->id;
    if (!renewal.is_passed) {
        renewal.voter->node = answer.node;
        renewal.voter->asked_us = 0;
        renewal.voter->answers++;
    } else if (!sequencer_voters_find(sequencer, answer.node, &from)) {
        return;
    }
    /* Who leads as storage says; the one that got the last batch may be gone for ever. */
    size_t leader = sequencer_voters_index(sequencer, answer.leader);
    if (from == leader) {
        sequencer_voters_learn(renewal.voter, reply->renew->voters, reply->renew->n_voters);
    } else {
        sequencer_voters_learn_leader(renewal.voter, reply->renew->voters, reply->renew->n_voters,
                                      answer.leader);
    }
    sequencer_lease_answer(&sequencer->lease, from, leader, &answer);
    heed_leader(sequencer, &answer);
    if (!bb_list_is_empty(&sequencer->marks) || !bb_list_is_empty(&sequencer->submits))
        sequencer_wake_waiters(sequencer, false);
}

static void renew(struct sequencer *sequencer, struct sequencer_voter *voter, bool is_passed)
{
    Bb__Proto__StorageRequest request;
    Bb__Proto__Renew renew;

    bb__proto__storage_request__init(&request);
    bb__proto__renew__init(&renew);
    renew.epoch = sequencer->core.epoch;
    request.op_case = BB__PROTO__STORAGE_REQUEST__OP_RENEW;
    request.renew = &renew;
    request.pass_on = is_passed;
    struct renewal *renewal = bb_alloc(sizeof *renewal);
    *renewal = (struct renewal){ .voter = voter,
                                 .sent_us = bb_now_us(sequencer->ctx),
                                 .is_passed = is_passed };
    if (bb_peer_request(sequencer->ctx, voter->peer, &request.base, RENEW_TIMEOUT_MS, on_renewed,
                        renewal) != BB_OK)
        bb_free(renewal); /* the next round is 300 ms away */
}

/*
 * Each voter answers for itself, and the lease counts that. What a follower brings from the leader
 * is the leader's own answer, given after it was asked for: where the leader has not answered the
 * last time, it comes in time for a lease that does not end.
 */
void sequencer_renew(struct sequencer *sequencer)
{
    look_at_way(sequencer);
    size_t via = choose_way(sequencer, sequencer->leader, PASS_RENEW_US);
    for (size_t i = 0; i < sequencer->voter_count; i++) {
        struct sequencer_voter *voter = &sequencer->voters[i];
        if (voter->asked_us == 0) {
            voter->asked_us = bb_now_us(sequencer->ctx);
        } else {
            voter->answers = 0;
        }
        renew(sequencer, voter, false);
    }
    if (via != SEQUENCER_STRAIGHT)
        renew(sequencer, &sequencer->voters[via], true);
}
