#include "sequencer.h"

#include <stdio.h>

#include "bb/env.h"
#include "bb/wire_validate.h"

#define RETRY_MS        50
#define LOAD_TIMEOUT_MS 5000
#define LOAD_BYTES      (4u << 20)
#define STAND_BY_MS     300 /* a Tail of a standby waits so long for news */
#define IO_TRIES        20  /* an error of the disk may pass: one second */

struct loading {
    struct sequencer *sequencer;
    uint64_t number;
};

static void ask(struct sequencer *sequencer);

static void ask_later(struct sequencer *sequencer)
{
    bb_timer_start(sequencer->load_timer, RETRY_MS, 0);
}

static bool is_loading(const struct sequencer *sequencer)
{
    return sequencer->phase == SEQUENCER_LOADING;
}

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
        sequencer_other_leader(sequencer, SEQUENCER_STRAIGHT, NULL);
}

/*
 * All ids are known that are in a feed. Some may be in none any more (all replicas were seeded, or
 * keep very little): a call of which such an id is may still be sent again for as long as ids are
 * loaded for, and would happen twice.
 */
static void finish(struct sequencer *sequencer)
{
    uint64_t lost_us = sequencer->ids_lost_us;

    if (lost_us != 0 && bb_wall_us(sequencer->ctx) < lost_us + SEQUENCER_IDS_LOAD_US) {
        ask_later(sequencer);
    } else {
        sequencer_became_active(sequencer);
    }
}

/* What lies before `earliest` is in no feed that can be read. A node that does not answer now may
 * have it, and is waited for as long as an id of that time could come again. */
static bool is_lost(const struct sequencer *sequencer, int status, uint64_t earliest)
{
    return status == BB_TX_TRUNCATED || status == BB_CORRUPT ||
           (status == BB_IO && sequencer->load_io_count >= IO_TRIES) ||
           (status == BB_UNAVAILABLE &&
            bb_wall_us(sequencer->ctx) >= earliest + SEQUENCER_IDS_LOAD_US);
}

static void lose(struct sequencer *sequencer, int status, uint64_t earliest)
{
    bb_warn(sequencer->ctx, "sequencer.ids_lost", "after=%" PRIu64 " to=%" PRIu64 " status=%s",
            sequencer->load_after, earliest, bb_status_name(status));
    sequencer->load_after = sequencer->ids_lost_us = earliest;
    if (is_loading(sequencer)) {
        (void)snprintf(sequencer->waits_for, sizeof sequencer->waits_for,
                       "request ids of the last minutes are in no feed that can be read; it waits "
                       "until none of them can come again");
        bb_service_not_ready(sequencer->service, sequencer->waits_for);
    }
}

/* All up to load_after is known. */
static void go_on(struct sequencer *sequencer, size_t record_count, uint64_t newest)
{
    if (!is_loading(sequencer)) {
        if (sequencer->load_after >= newest) /* it has caught up */
            bb_service_ready(sequencer->service);
        ask(sequencer);
    } else if (sequencer->load_after >= sequencer->core.claim_tx) {
        finish(sequencer);
    } else if (record_count == 0) {
        ask_later(sequencer); /* the node has not applied all yet */
    } else {
        ask(sequencer);
    }
}

static void take(struct sequencer *sequencer, int status, struct bb_slice bytes)
{
    Bb__Proto__StorageReply *reply = NULL;

    status = sequencer_read_answer(sequencer, status, bytes, &reply);
    bool has_tail = reply != NULL && reply->op_case == BB__PROTO__STORAGE_REPLY__OP_TAIL;
    sequencer->load_io_count = status == BB_IO ? sequencer->load_io_count + 1 : 0;
    if (has_tail && reply->tail->earliest > sequencer->load_after &&
        is_lost(sequencer, status, reply->tail->earliest)) {
        lose(sequencer, status, reply->tail->earliest);
        ask(sequencer);
        return;
    }
    if (status != BB_OK || !has_tail) {
        try_other(sequencer, status);
        ask_later(sequencer);
        return;
    }
    for (size_t i = 0; i < reply->tail->n_records; i++) {
        int rc = load_record(sequencer, bb_pb_slice(reply->tail->records[i]));
        if (rc != BB_OK) {
            sequencer_fenced(sequencer, sequencer->ctx->error);
            return;
        }
    }
    go_on(sequencer, reply->tail->n_records, reply->tail->last_tx);
}

static void on_tail(void *arg, int status, struct bb_slice bytes)
{
    struct loading loading = *(struct loading *)arg;
    struct sequencer *sequencer = loading.sequencer;
    bool is_wanted = is_loading(sequencer) || sequencer->is_standby;

    bb_free(arg);
    if (loading.number != sequencer->load_number)
        return;
    sequencer->is_load_asked = false;
    if (is_wanted)
        take(sequencer, status, bytes);
}

static void ask(struct sequencer *sequencer)
{
    struct loading *loading = bb_alloc(sizeof *loading);
    Bb__Proto__StorageRequest request;
    Bb__Proto__Tail tail;

    bb__proto__storage_request__init(&request);
    bb__proto__tail__init(&tail);
    tail.after = sequencer->load_after;
    tail.max_bytes = LOAD_BYTES;
    tail.wait_ms = is_loading(sequencer) ? 0 : STAND_BY_MS;
    request.op_case = BB__PROTO__STORAGE_REQUEST__OP_TAIL;
    request.tail = &tail;
    *loading = (struct loading){ .sequencer = sequencer, .number = ++sequencer->load_number };
    if (bb_peer_request(sequencer->ctx, sequencer_target(sequencer)->peer, &request.base,
                        LOAD_TIMEOUT_MS, on_tail, loading) == BB_OK) {
        sequencer->is_load_asked = true;
    } else {
        bb_free(loading);
        sequencer->is_load_asked = false; /* an answer to an earlier one does not count any more */
        ask_later(sequencer);
    }
}

void sequencer_load_again(struct sequencer *sequencer)
{
    if ((is_loading(sequencer) || sequencer->is_standby) && !sequencer->is_load_asked)
        ask(sequencer);
}

/* The cursor is not before `oldest`. What storage has no more it says when it is asked: the
 * leader's own feed may begin late, because it was seeded, and the other replicas have what is
 * before that. */
static void begin_at(struct sequencer *sequencer, uint64_t oldest)
{
    if (!sequencer->has_load_begun || sequencer->load_after < oldest)
        sequencer->load_after = oldest;
    sequencer->has_load_begun = true;
}

void sequencer_load_stand_by(struct sequencer *sequencer, uint64_t last_tx)
{
    if (sequencer->has_load_begun) {
        sequencer_load_again(sequencer); /* an answer came while nobody else held the epoch */
        return;
    }
    bb_info(sequencer->ctx, "sequencer.stands_by", "holder=%s", sequencer->holder_address);
    begin_at(sequencer, last_tx > SEQUENCER_IDS_US ? last_tx - SEQUENCER_IDS_US : 0);
    ask(sequencer);
}

void sequencer_load_claimed(struct sequencer *sequencer)
{
    uint64_t last_tx = sequencer->core.claim_tx;

    begin_at(sequencer, last_tx > SEQUENCER_IDS_LOAD_US ? last_tx - SEQUENCER_IDS_LOAD_US : 0);
    bb_timer_stop(sequencer->load_timer);
    if (sequencer->load_after >= last_tx) {
        finish(sequencer);
    } else {
        ask(sequencer); /* the answer to one that waits for news does not count any more */
    }
}
