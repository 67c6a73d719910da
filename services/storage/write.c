/*
 * The write path: a batch or a claim goes into the log, is decided when it is applied, and is
 * answered when the log says that it is synced.
 */
#include <inttypes.h>

#include "bb/failpoint.h"
#include "bb/field.h"

#include "storage.h"

#define NO_ROOM "the log takes no entry: the disks of most storage nodes are full, or too slow"

/* One proposal under way; lives from propose to done. */
struct pending {
    struct storage *node;
    struct bb_exchange *exchange; /* NULL for an entry about a member: */
    storage_member_done_fn *done;
    void *arg;
    enum bb_replog_kind kind;
    struct fence_answer answer; /* written by storage_apply */
    uint64_t start_us;
};

/* ---- answers ---- */

static void reply_append(struct bb_exchange *exchange, const struct fence_answer *answer)
{
    Bb__Proto__AppendReply append = BB__PROTO__APPEND_REPLY__INIT;
    Bb__Proto__StorageReply reply = storage_new_reply();
    char error[BB_ERROR_MAX];

    memcpy(error, answer->error, sizeof error);
    append.epoch = answer->epoch;
    append.last_seq = answer->last_seq;
    append.last_tx = answer->last_tx.us;
    reply.status = (uint32_t)answer->status;
    reply.error = error;
    reply.op_case = BB__PROTO__STORAGE_REPLY__OP_APPEND;
    reply.append = &append;
    storage_reply(exchange, &reply);
}

static void reply_claim(struct storage *node, struct bb_exchange *exchange,
                        const struct fence_answer *answer)
{
    Bb__Proto__ClaimReply claim = BB__PROTO__CLAIM_REPLY__INIT;
    Bb__Proto__StorageReply reply = storage_new_reply();
    char error[BB_ERROR_MAX];

    memcpy(error, answer->error, sizeof error);
    claim.epoch = answer->epoch;
    claim.last_seq = answer->last_seq;
    claim.last_tx = answer->last_tx.us;
    claim.wall_us = bb_wall_us(node->ctx);
    reply.status = (uint32_t)answer->status;
    reply.error = error;
    reply.op_case = BB__PROTO__STORAGE_REPLY__OP_CLAIM;
    reply.claim = &claim;
    storage_reply(exchange, &reply);
}

static void tell_member(const struct pending *pending, int status)
{
    const char *why = status == BB_NO_SPACE ? NO_ROOM : "the leader changed meanwhile";

    if (status == BB_OK) {
        pending->done(pending->arg, pending->answer.status, pending->answer.error);
    } else {
        pending->done(pending->arg, status, why);
    }
}

static void on_proposed(void *tag, int status)
{
    struct pending *pending = tag;
    struct storage *node = pending->node;

    bb_failpoint(node->ctx->env, BB_FAILPOINT_STORAGE_REPLY_BEFORE);
    node->proposals -= 1;
    node->claims -= pending->kind == BB_REPLOG_CLAIM;
    if (pending->kind == BB_REPLOG_MEMBER) {
        tell_member(pending, status);
    } else if (status == BB_NOT_LEADER) {
        storage_refuse_not_leader(node, pending->exchange);
    } else if (status == BB_NO_SPACE) {
        storage_refuse(pending->exchange, status, NO_ROOM);
    } else if (status != BB_OK) {
        storage_refuse(pending->exchange, status,
                       "the log lost its leader or ended: send the same batch again");
    } else if (pending->kind == BB_REPLOG_APPEND) {
        bb_histogram_observe(node->append_time, bb_loop_now_us(node->loop) - pending->start_us);
        reply_append(pending->exchange, &pending->answer);
    } else {
        reply_claim(node, pending->exchange, &pending->answer);
    }
    bb_failpoint(node->ctx->env, BB_FAILPOINT_STORAGE_REPLY_AFTER);
    bb_free(pending);
    storage_stop_if_idle(node);
}

static int propose_pending(struct bb_ctx *ctx, struct storage *node, const struct pending *from,
                           const struct bb_replog_frame *frame)
{
    size_t size = bb_replog_frame_size(frame->payload.size);
    uint8_t *entry = bb_replog_entry_new(size);
    struct pending *pending = bb_alloc_zero(1, sizeof *pending);
    int rc;

    if (size >= BB_REPLOG_LARGE)
        bb_replog_pulse(node->replog); /* it was read and copied, and is copied again */
    bb_replog_frame_encode(frame, entry);
    *pending = *from;
    pending->node = node;
    pending->kind = frame->kind;
    pending->start_us = bb_loop_now_us(node->loop);
    rc = bb_replog_propose_take(ctx, node->replog, entry, size, on_proposed, pending);
    if (rc == BB_OK) {
        node->proposals += 1;
        node->claims += frame->kind == BB_REPLOG_CLAIM;
    } else {
        bb_free(pending);
    }
    return rc;
}

static void propose(struct storage *node, struct bb_exchange *exchange,
                    const struct bb_replog_frame *frame)
{
    struct bb_ctx ctx = { .env = node->ctx->env, .log = node->ctx->log };
    struct pending pending = { .exchange = exchange };
    int rc = propose_pending(&ctx, node, &pending, frame);

    if (rc == BB_NOT_LEADER) {
        storage_refuse_not_leader(node, exchange);
    } else if (rc != BB_OK) {
        storage_refuse(exchange, rc, ctx.error);
    }
}

/* What could not even be proposed is told in a later turn of the loop. */
struct refusal {
    struct bb_task task;
    storage_member_done_fn *done;
    void *arg;
    int status;
    char error[BB_ERROR_MAX];
};

static void tell_refusal(struct bb_task *task)
{
    struct refusal *refusal = bb_container(task, struct refusal, task);

    refusal->done(refusal->arg, refusal->status, refusal->error);
    bb_free(refusal);
}

void storage_propose_member(struct storage *node, const struct member_entry *entry,
                            storage_member_done_fn *done, void *arg)
{
    struct bb_ctx ctx = { .env = node->ctx->env, .log = node->ctx->log };
    struct pending pending = { .done = done, .arg = arg };
    struct bb_buf payload;
    struct refusal *refusal;
    int rc;

    bb_buf_init(&payload);
    storage_member_entry_encode(entry, &payload);
    rc = propose_pending(
        &ctx, node, &pending,
        &(struct bb_replog_frame){ .kind = BB_REPLOG_MEMBER, .payload = bb_buf_slice(&payload) });
    bb_buf_fini(&payload);
    if (rc != BB_OK) {
        refusal = bb_alloc_zero(1, sizeof *refusal);
        *refusal = (struct refusal){
            .task = { .run = tell_refusal }, .done = done, .arg = arg, .status = rc
        };
        memcpy(refusal->error, ctx.error, sizeof refusal->error);
        bb_loop_post(node->loop, &refusal->task);
    }
}

/* ---- requests ---- */

static void refuse_here(struct storage *node, struct bb_exchange *exchange,
                        const Bb__Proto__StorageRequest *request)
{
    if (!storage_pass_on(node, exchange, request)) {
        storage_refuse_not_leader(node, exchange);
    }
}

void storage_append(struct storage *node, struct bb_exchange *exchange,
                    const Bb__Proto__StorageRequest *request)
{
    struct bb_ctx ctx = { .env = node->ctx->env, .log = node->ctx->log };
    const Bb__Proto__Append *append = request->append;
    struct bb_replog_frame frame = { .kind = BB_REPLOG_APPEND,
                                     .epoch = append->epoch,
                                     .seq = append->seq,
                                     .base_tx = BB_TX(append->base_tx),
                                     .last_tx = BB_TX(append->last_tx),
                                     .payload = bb_pb_slice(append->batch) };
    struct fence_answer answer;
    int rc;

    if (!node->is_ready) {
        refuse_here(node, exchange, request);
        return;
    }
    if (storage_fence_foresee(&node->fence, &frame, &answer)) {
        bb_metric_add(node->append_refused, 1);
        reply_append(exchange, &answer);
        return;
    }
    if (bb_store_is_full(node->store)) {
        storage_refuse(exchange, BB_OVERLOADED,
                       "the data file does not keep up with what is written");
        return;
    }
    rc = bb_store_check_batch(&ctx, frame.payload, frame.base_tx, frame.last_tx);
    if (rc != BB_OK) {
        storage_refuse(exchange, rc, ctx.error);
        return;
    }
    propose(node, exchange, &frame);
}

/* When the present holder's lease ends; 0: nobody else can have one. */
static uint64_t lease_end_us(const struct storage *node, const Bb__Proto__Claim *claim)
{
    bool is_holder =
        bb_slice_equal(bb_pb_slice(claim->holder), bb_slice(node->fence.holder, FENCE_HOLDER));

    if (node->fence.epoch == 0 || is_holder || node->lease_us == 0) {
        return 0;
    }
    return node->lease_us + (uint64_t)STORAGE_LEASE_MS * 1000;
}

void storage_claim(struct storage *node, struct bb_exchange *exchange,
                   const Bb__Proto__StorageRequest *request)
{
    const Bb__Proto__Claim *claim = request->claim;
    struct bb_replog_frame frame = { .kind = BB_REPLOG_CLAIM, .epoch = claim->want };
    uint64_t now = bb_loop_now_us(node->loop);
    uint64_t end = lease_end_us(node, claim);
    struct bb_buf payload;

    if (!node->is_ready) {
        refuse_here(node, exchange, request);
        return;
    }
    if (now < end && claim->want > node->fence.epoch) {
        storage_wait(node, STORAGE_WAIT_CLAIM, exchange, request,
                     now + (uint64_t)STORAGE_CLAIM_WAIT_MS * 1000);
        return;
    }
    bb_buf_init(&payload);
    storage_fence_claim_encode(bb_pb_slice(claim->holder), bb_slice_str(claim->address), &payload);
    frame.payload = bb_buf_slice(&payload);
    propose(node, exchange, &frame);
    bb_buf_fini(&payload);
}

/*
 * Whether this node leads and cannot say who holds the epoch: a claim that it proposed, or one of
 * an earlier leader's in its log, may be applied in the next moment. The sequencer that asks would
 * have a lease then while another one is active.
 */
static bool may_change_hands(const struct storage *node, const struct bb_replog_status *log)
{
    return log->is_leader && (!log->is_ready || !node->is_ready || node->claims > 0);
}

void storage_renew(struct storage *node, struct bb_exchange *exchange,
                   const Bb__Proto__StorageRequest *request)
{
    Bb__Proto__RenewReply renew = BB__PROTO__RENEW_REPLY__INIT;
    Bb__Proto__StorageReply reply = storage_new_reply();
    struct bb_replog_status log;
    struct storage_voter_list voters;

    if (storage_pass_on(node, exchange, request)) {
        return;
    }
    bb_replog_status(node->replog, &log); /* of this moment: the sequencer's lease rests on it */
    if (may_change_hands(node, &log)) {
        storage_refuse(exchange, BB_NOT_YET, "who holds the epoch is being decided");
        return;
    }
    if (request->renew->epoch == node->fence.epoch) {
        node->lease_us = bb_loop_now_us(node->loop);
    }
    renew.term = log.term;
    renew.leader = log.leader;
    renew.epoch = node->fence.epoch;
    renew.node = node->folder.node;
    renew.n_voters = storage_list_voters(node, &voters);
    renew.voters = voters.pointers;
    reply.op_case = BB__PROTO__STORAGE_REPLY__OP_RENEW;
    reply.renew = &renew;
    storage_reply(exchange, &reply);
}

/* ---- applying ---- */

/* Fields tx and prev of a TxRecord, without unpacking its body. */
static bool record_numbers(struct bb_slice record, uint64_t *tx, uint64_t *prev)
{
    struct bb_field field;

    *tx = *prev = 0;
    while (bb_field_next(&record, &field)) {
        if (field.number == 1) {
            *tx = field.value;
        } else if (field.number == 2) {
            *prev = field.value;
        }
    }
    return record.size == 0 && *tx > *prev;
}

static void append_feed(struct storage *node, struct bb_slice batch)
{
    struct bb_ctx ctx = { .env = node->ctx->env };

    while (batch.size >= 4) {
        struct bb_slice record = bb_slice(batch.data + 4, bb_get_le32(batch.data));
        uint64_t tx, prev;
        int rc;

        if (record.size > batch.size - 4 || !record_numbers(record, &tx, &prev)) {
            storage_die(node, "apply", "a batch in the log is malformed", STORAGE_THEN_CHECK);
        }
        rc = bb_feed_append(&ctx, node->feed, BB_TX(prev), BB_TX(tx), record);
        if (rc != BB_OK && rc != BB_DUPLICATE) {
            storage_die(node, "feed", ctx.error, STORAGE_THEN_CHECK);
        }
        batch = bb_slice(record.data + record.size, batch.size - 4 - record.size);
    }
    if (node->feed_dirty_us == 0) {
        node->feed_dirty_us = bb_loop_now_us(node->loop);
    }
}

/* Both ways to the same moment must agree: what the data holds, and the log up to there. */
static void check_chain(struct storage *node)
{
    if (node->fence.index == node->store_index && node->fence.chain != node->store_chain) {
        storage_die(node, "replay", "the data and the log are of different histories",
                    STORAGE_THEN_RESTORE);
    }
}

void storage_apply(void *arg, const struct bb_replog_entry *entry)
{
    struct storage *node = bb_cast(struct storage, arg, STORAGE_MAGIC);
    struct pending *pending = entry->tag;
    struct bb_ctx ctx = { .env = node->ctx->env, .log = node->ctx->log };
    struct bb_replog_frame frame;
    struct bb_store_state state;
    struct fence_answer answer;
    int rc;

    if (entry->index <= node->fence.index) {
        return; /* a checkpoint that was taken over includes it */
    }
    rc = bb_replog_frame_decode(&ctx, entry->bytes, &frame);
    if (rc != BB_OK) {
        storage_die(node, "apply", ctx.error, STORAGE_THEN_CHECK);
    }
    bb_failpoint(node->ctx->env, BB_FAILPOINT_STORAGE_APPLY_BEFORE);
    storage_compare_note(node, entry->index);
    if (!node->has_been_ready) {
        node->replayed += 1;
        node->replayed_bytes += entry->bytes.size;
    }
    storage_fence_apply(&node->fence, entry->index, entry->bytes, &frame, &answer);
    bb_buf_clear(&node->encoded);
    storage_state_encode(node, &node->encoded);
    if (entry->index > node->store_index) {
        state = (struct bb_store_state){ .index = entry->index,
                                         .epoch = node->fence.epoch,
                                         .last_seq = node->fence.last_seq,
                                         .last_tx = node->fence.last_tx,
                                         .opaque = bb_buf_slice(&node->encoded) };
        rc = bb_store_apply(&ctx, node->store, &state,
                            answer.is_new ? frame.payload : BB_SLICE_EMPTY);
        if (rc != BB_OK) {
            storage_die(node, "apply", ctx.error, STORAGE_THEN_CHECK);
        }
    } else {
        check_chain(node);
    }
    if (answer.is_new) {
        append_feed(node, frame.payload);
        bb_metric_add(node->appends, 1);
        bb_metric_add(node->append_bytes, (int64_t)frame.payload.size);
        bb_metric_set(node->applied_tx, (int64_t)node->fence.last_tx.us);
        node->has_news = true;
    } else if (answer.status != BB_OK) {
        bb_metric_add(node->append_refused, 1);
        bb_warn(node->ctx, "storage.refused", "status=%s why=\"%s\"", bb_status_name(answer.status),
                answer.error);
    }
    if (frame.kind == BB_REPLOG_MEMBER) {
        storage_members_changed(node);
    }
    if (frame.kind == BB_REPLOG_CLAIM && answer.status == BB_OK) {
        node->lease_us = bb_loop_now_us(node->loop);
        bb_info(node->ctx, "storage.claimed", "epoch=%" PRIu64 " last_tx=%" PRIu64 " by=%s",
                answer.epoch, answer.last_tx.us, node->fence.address);
    }
    bb_failpoint(node->ctx->env, BB_FAILPOINT_STORAGE_APPLY_AFTER);
    if (pending != NULL) {
        pending->answer = answer;
    }
}
