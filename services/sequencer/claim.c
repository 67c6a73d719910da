#include "sequencer.h"

#include <stdio.h>

#include "bb/env.h"
#include "bb/failpoint.h"
#include "bb/wire_validate.h"

#define RETRY_MS         50
#define INFO_TIMEOUT_MS  300
#define CLAIM_TIMEOUT_MS 2000
#define LOAD_TIMEOUT_MS  5000
#define LOAD_BYTES       (4u << 20)

/* Say once what keeps us from serving, not every 50 ms. */
static void retry(struct sequencer *sequencer, const char *why)
{
    if (strcmp(sequencer->waits_for, why) != 0) {
        char text[256];
        (void)snprintf(sequencer->waits_for, sizeof sequencer->waits_for, "%s", why);
        bb_service_not_ready(sequencer->service, sequencer->waits_for);
        bb_info(sequencer->ctx, "sequencer.waits", "why=%s",
                bb_log_quote(sequencer->waits_for, text, sizeof text));
    }
    sequencer->phase = SEQUENCER_LOOKING;
    bb_timer_start(sequencer->claim_timer, RETRY_MS, 0);
}

/* ---- the ids of the last minutes ---- */

static void load_more(struct sequencer *sequencer);

static int load_record(struct sequencer *sequencer, struct bb_slice bytes)
{
    struct bb_ctx *ctx = sequencer->ctx;
    Bb__Proto__TxRecord *record = NULL;
    Bb__Proto__TxBody *body = NULL;

    bb_arena_reset(sequencer->scratch);
    int rc = bb_unpack(ctx, sequencer->scratch, &bb__proto__tx_record__descriptor, bytes, &record);
    if (rc == BB_OK)
        rc = bb_tx_record_validate(ctx, record);
    if (rc == BB_OK) {
        rc = bb_unpack(ctx, sequencer->scratch, &bb__proto__tx_body__descriptor,
                       bb_pb_slice(record->body), &body);
    }
    if (rc == BB_OK)
        rc = bb_tx_body_validate(ctx, body);
    if (rc != BB_OK)
        return rc;
    if (record->prev > sequencer->load_after) {
        /* An id that is not seen here could be committed once more. */
        return bb_fail(ctx, BB_CORRUPT,
                       "storage's feed has a gap: tx %" PRIu64 " follows %" PRIu64
                       ", but came after %" PRIu64,
                       record->tx, record->prev, sequencer->load_after);
    }
    sequencer_core_load_id(&sequencer->core, bb_pb_slice(body->request_id), BB_TX(record->tx));
    sequencer->load_after = record->tx;
    return BB_OK;
}

/* Any node has the ids. The next batch finds the leader by itself. */
static void try_other(struct sequencer *sequencer, int status)
{
    if (status == BB_PEER_GONE || status == BB_TIMEOUT)
        sequencer->leader = (sequencer->leader + 1) % sequencer->voter_count;
}

static void on_loaded(void *arg, int status, struct bb_slice bytes)
{
    struct sequencer *sequencer = bb_cast(struct sequencer, arg, SEQUENCER_MAGIC);
    Bb__Proto__StorageReply *reply = NULL;

    if (sequencer->phase != SEQUENCER_LOADING)
        return;
    status = sequencer_read_answer(sequencer, status, bytes, &reply);
    bool has_tail = reply != NULL && reply->op_case == BB__PROTO__STORAGE_REPLY__OP_TAIL;
    if (status == BB_TX_TRUNCATED && has_tail && reply->tail->earliest > sequencer->load_after) {
        sequencer->load_after = reply->tail->earliest;
        load_more(sequencer);
        return;
    }
    if (status != BB_OK || !has_tail) {
        try_other(sequencer, status);
        bb_timer_start(sequencer->claim_timer, RETRY_MS, 0);
        return;
    }
    for (size_t i = 0; i < reply->tail->n_records; i++) {
        int rc = load_record(sequencer, bb_pb_slice(reply->tail->records[i]));
        if (rc != BB_OK) {
            sequencer_fenced(sequencer, sequencer->ctx->error);
            return;
        }
    }
    bool is_all = sequencer->load_after >= sequencer->core.claim_tx;
    if (!is_all && reply->tail->n_records == 0) {
        bb_timer_start(sequencer->claim_timer, RETRY_MS, 0); /* it has not applied all yet */
    } else if (!is_all) {
        load_more(sequencer);
    } else {
        sequencer_became_active(sequencer);
    }
}

static void load_more(struct sequencer *sequencer)
{
    Bb__Proto__StorageRequest request;
    Bb__Proto__Tail tail;

    if (sequencer->load_after >= sequencer->core.claim_tx) {
        sequencer_became_active(sequencer);
        return;
    }
    bb__proto__storage_request__init(&request);
    bb__proto__tail__init(&tail);
    tail.after = sequencer->load_after;
    tail.max_bytes = LOAD_BYTES;
    request.op_case = BB__PROTO__STORAGE_REQUEST__OP_TAIL;
    request.tail = &tail;
    if (bb_peer_request(sequencer->ctx, sequencer->voters[sequencer->leader].peer, &request.base,
                        LOAD_TIMEOUT_MS, on_loaded, sequencer) != BB_OK)
        bb_timer_start(sequencer->claim_timer, RETRY_MS, 0);
}

/* ---- the claim ---- */

static void begin_loading(struct sequencer *sequencer, const Bb__Proto__ClaimReply *claim)
{
    const struct sequencer_voter *leader = &sequencer->voters[sequencer->leader];
    uint64_t last_tx = claim->last_tx;

    bb_failpoint(sequencer->ctx->env, BB_FAILPOINT_SEQUENCER_CLAIM_AFTER);
    bb_info(sequencer->ctx, "sequencer.claimed", "epoch=%" PRIu64 " claim_tx=%" PRIu64,
            claim->epoch, last_tx);
    sequencer->phase = SEQUENCER_LOADING;
    sequencer->want = 0;
    sequencer_core_claimed(sequencer->ctx, &sequencer->core, claim->epoch, claim->last_seq,
                           last_tx);
    bb_metric_set(sequencer->metrics.epoch, (int64_t)claim->epoch);
    (void)snprintf(sequencer->waits_for, sizeof sequencer->waits_for,
                   "reading the request ids of the last minutes");
    bb_service_not_ready(sequencer->service, sequencer->waits_for);
    sequencer_renew(sequencer);
    bb_timer_start(sequencer->renew_timer, SEQUENCER_LEASE_US / 2000, SEQUENCER_LEASE_US / 2000);
    sequencer->load_after = last_tx > SEQUENCER_IDS_LOAD_US ? last_tx - SEQUENCER_IDS_LOAD_US : 0;
    if (sequencer->load_after < leader->earliest)
        sequencer->load_after = leader->earliest;
    load_more(sequencer);
}

static void on_claimed(void *arg, int status, struct bb_slice bytes)
{
    struct sequencer *sequencer = bb_cast(struct sequencer, arg, SEQUENCER_MAGIC);
    Bb__Proto__StorageReply *reply = NULL;
    char text[160];

    if (sequencer->phase != SEQUENCER_CLAIMING)
        return;
    status = sequencer_read_answer(sequencer, status, bytes, &reply);
    if (status == BB_OK && reply != NULL && reply->op_case == BB__PROTO__STORAGE_REPLY__OP_CLAIM) {
        begin_loading(sequencer, reply->claim);
        return;
    }
    if (reply != NULL)
        sequencer->want = 0; /* refused: the next try starts from what storage says then */
    (void)snprintf(text, sizeof text, "storage did not grant the epoch: %s",
                   reply != NULL && reply->error[0] != '\0' ? reply->error
                                                            : bb_status_name(status));
    retry(sequencer, text);
}

static void claim(struct sequencer *sequencer)
{
    struct sequencer_voter *leader = &sequencer->voters[sequencer->leader];
    Bb__Proto__StorageRequest request;
    Bb__Proto__Claim message;
    char listen[256];

    /* A claim whose answer got lost may have succeeded; then the same one is asked for again. */
    if (sequencer->want == 0 || sequencer->want != leader->epoch)
        sequencer->want = leader->epoch + 1;
    (void)snprintf(listen, sizeof listen, "%s",
                   bb_conf_text(bb_service_conf(sequencer->service), "listen"));
    bb__proto__storage_request__init(&request);
    bb__proto__claim__init(&message);
    message.holder = bb_slice_pb(bb_slice(sequencer->holder, sizeof sequencer->holder));
    message.want = sequencer->want;
    message.address = listen;
    request.op_case = BB__PROTO__STORAGE_REQUEST__OP_CLAIM;
    request.claim = &message;
    sequencer->phase = SEQUENCER_CLAIMING;
    bb_failpoint(sequencer->ctx->env, BB_FAILPOINT_SEQUENCER_CLAIM_BEFORE);
    if (bb_peer_request(sequencer->ctx, leader->peer, &request.base, CLAIM_TIMEOUT_MS, on_claimed,
                        sequencer) != BB_OK)
        retry(sequencer, sequencer->ctx->error);
}

/* ---- who leads ---- */

static void look_round_over(struct sequencer *sequencer)
{
    uint64_t walls_us[SEQUENCER_VOTER_MAX];
    size_t count = 0;
    bool has_leader = false;

    for (size_t i = 0; i < sequencer->voter_count; i++) {
        const struct sequencer_voter *voter = &sequencer->voters[i];
        if (!voter->has_answered)
            continue;
        walls_us[count++] = voter->wall_us;
        if (voter->is_leader) {
            sequencer->leader = i;
            has_leader = true;
        }
    }
    if (count == 0) {
        retry(sequencer, "no storage node answers");
    } else if (!has_leader) {
        retry(sequencer, "no storage node leads yet");
    } else if (sequencer_core_check_clock(sequencer->ctx, walls_us, count,
                                          sequencer->voter_count) != BB_OK) {
        retry(sequencer, sequencer->ctx->error);
    } else {
        claim(sequencer);
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
        voter->wall_us = reply->info->wall_us;
        voter->epoch = reply->info->epoch;
        voter->earliest = reply->info->earliest;
    }
    if (--sequencer->questions == 0)
        look_round_over(sequencer);
}

void sequencer_claim_begin(struct sequencer *sequencer)
{
    Bb__Proto__StorageRequest request;
    Bb__Proto__Info info;

    if (sequencer->phase == SEQUENCER_LOADING) { /* the timer goes on with what failed */
        load_more(sequencer);
        return;
    }
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
