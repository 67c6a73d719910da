/*
 * Sending a checkpoint: one at a time, piece by piece as it is asked for. The last piece is kept,
 * so that an answer that got lost can be given again. A receiver that is not heard of for a while
 * is given up, because the copy keeps pages of the file from being used again.
 */
#include "send.h"

#include "storage.h"

#define SILENCE_US_MAX 10000000u
/* One who was killed begins again: whoever is silent for this long makes room for another. */
#define SILENCE_US_YIELD 2000000u

enum send_step {
    SEND_BEGIN,
    SEND_NEXT,
    SEND_CLOSE
};

struct send_job {
    struct bb_job job;
    struct storage *node;
    struct bb_exchange *exchange; /* NULL: nobody waits for it */
    enum send_step step;
    uint64_t index_min;
    int status;
    char error[BB_ERROR_MAX];
};

/* ---- on a care thread, which has the sender to itself meanwhile ---- */

static void end_copy(struct storage_sender *sender)
{
    bb_store_copy_close(sender->copy);
    sender->copy = NULL;
}

static int read_piece(struct bb_ctx *ctx, struct storage_sender *sender)
{
    struct checkpoint_tail tail;
    size_t done = 0;
    int rc;

    bb_buf_clear(&sender->piece);
    rc = bb_store_copy_read(ctx, sender->copy, bb_buf_reserve(&sender->piece, CHECKPOINT_PIECE),
                            CHECKPOINT_PIECE, &done);
    if (rc != BB_OK) {
        return rc;
    }
    sender->piece.size = done;
    sender->offset += done;
    sender->hash = storage_checkpoint_hash(sender->hash, bb_buf_slice(&sender->piece));
    if (done < CHECKPOINT_PIECE) {
        tail = (struct checkpoint_tail){ .total = sender->offset, .hash = sender->hash };
        storage_checkpoint_tail_encode(&tail, sender->tail);
        sender->has_ended = true;
        end_copy(sender);
    }
    return BB_OK;
}

static int begin(struct bb_ctx *ctx, struct storage *node, struct send_job *work)
{
    struct storage_sender *sender = &node->sender;
    struct bb_arena *arena = bb_arena_new(0);
    struct bb_ctx own = { .env = ctx->env, .log = ctx->log, .arena = arena };
    struct bb_store_state state;
    struct fence fence;
    struct checkpoint_head head;
    int rc;

    end_copy(sender);
    rc = bb_store_copy_open(&own, node->store, work->index_min, &sender->copy, &state);
    if (rc == BB_OK) {
        rc = storage_fence_decode(&own, state.opaque, &fence);
    }
    if (rc == BB_OK) {
        head = (struct checkpoint_head){ .index = fence.index,
                                         .chain = fence.chain,
                                         .epoch = fence.epoch,
                                         .last_seq = fence.last_seq,
                                         .last_tx = fence.last_tx };
        memcpy(head.cluster, fence.cluster, FENCE_CLUSTER);
        storage_checkpoint_head_encode(&head, sender->head);
        sender->offset = sender->hash = 0;
        sender->has_ended = false;
        rc = read_piece(&own, sender);
    }
    if (rc != BB_OK) {
        (void)bb_fail(ctx, rc, "%s", own.error);
    }
    bb_arena_free(arena);
    return rc;
}

static void send_work(struct bb_job *job, size_t thread_index)
{
    struct send_job *work = bb_container(job, struct send_job, job);
    struct storage *node = work->node;
    struct bb_ctx ctx = { .env = node->ctx->env,
                          .log = node->ctx->log,
                          .is_cancelled = &node->is_care_cancelled };

    (void)thread_index;
    switch (work->step) {
    case SEND_BEGIN:
        work->status = begin(&ctx, node, work);
        break;
    case SEND_NEXT:
        work->status = read_piece(&ctx, &node->sender);
        break;
    case SEND_CLOSE:
        work->status = BB_OK;
        break;
    }
    if (work->step == SEND_CLOSE || work->status != BB_OK) {
        end_copy(&node->sender);
    }
    memcpy(work->error, ctx.error, sizeof work->error);
}

/* ---- on the owner thread ---- */

static void reply_piece(struct storage_sender *sender, struct bb_exchange *exchange, bool is_first)
{
    Bb__Proto__CheckpointReply checkpoint = BB__PROTO__CHECKPOINT_REPLY__INIT;
    Bb__Proto__StorageReply reply = storage_new_reply();
    struct bb_slice data = bb_buf_slice(&sender->piece);

    checkpoint.id = sender->id;
    if (is_first) {
        checkpoint.head = bb_slice_pb(bb_slice(sender->head, sizeof sender->head));
    }
    checkpoint.data = bb_slice_pb(data);
    checkpoint.crc = bb_crc32c(0, data.data, data.size);
    if (sender->has_ended) {
        checkpoint.tail = bb_slice_pb(bb_slice(sender->tail, sizeof sender->tail));
    }
    reply.op_case = BB__PROTO__STORAGE_REPLY__OP_CHECKPOINT;
    reply.checkpoint = &checkpoint;
    storage_reply(exchange, &reply);
}

static void send_done(struct bb_job *job)
{
    struct send_job *work = bb_container(job, struct send_job, job);
    struct storage *node = work->node;
    struct storage_sender *sender = &node->sender;

    sender->is_busy = false;
    sender->heard_us = bb_loop_now_us(node->loop);
    if (work->step == SEND_CLOSE || work->status != BB_OK) {
        sender->id = 0;
        bb_buf_fini(&sender->piece);
        bb_buf_init(&sender->piece);
    }
    if (work->exchange != NULL && work->status != BB_OK) {
        storage_refuse(work->exchange, work->status, work->error);
    } else if (work->exchange != NULL) {
        reply_piece(sender, work->exchange, work->step == SEND_BEGIN);
    }
    bb_free(work);
    storage_care_ended(node);
}

static void start(struct storage *node, struct bb_exchange *exchange, enum send_step step,
                  uint64_t index_min)
{
    struct bb_ctx ctx = { .env = node->ctx->env };
    struct send_job *work = bb_alloc_zero(1, sizeof *work);
    int rc;

    work->job.work = send_work;
    work->job.done = send_done;
    work->job.loop = node->loop;
    work->node = node;
    work->exchange = exchange;
    work->step = step;
    work->index_min = index_min;
    rc = bb_pool_submit(&ctx, node->care, &work->job);
    if (rc == BB_OK) {
        node->cares += 1;
        node->sender.is_busy = true;
        return;
    }
    bb_free(work);
    if (exchange != NULL) {
        storage_refuse(exchange, rc, ctx.error);
    }
}

static void begin_sending(struct storage *node, struct bb_exchange *exchange,
                          const Bb__Proto__Checkpoint *checkpoint)
{
    struct storage_sender *sender = &node->sender;

    if (checkpoint->cluster_id.len > 0 &&
        !bb_slice_equal(bb_pb_slice(checkpoint->cluster_id),
                        bb_slice(node->fence.cluster, FENCE_CLUSTER))) {
        storage_refuse(exchange, BB_BAD_REQUEST, "this node belongs to another cluster");
        return;
    }
    bool is_alive = sender->id != 0 && !sender->has_ended &&
                    bb_loop_now_us(node->loop) - sender->heard_us < SILENCE_US_YIELD;
    if (sender->is_busy || is_alive) {
        storage_refuse(exchange, BB_BUSY, "a checkpoint is being sent already");
        return;
    }
    bb_random(node->ctx, &sender->id, sizeof sender->id);
    sender->id |= 1;
    sender->has_ended = false;
    start(node, exchange, SEND_BEGIN, checkpoint->index_min);
    if (!sender->is_busy) {
        sender->id = 0;
    }
}

void storage_send(struct storage *node, struct bb_exchange *exchange,
                  const Bb__Proto__StorageRequest *request)
{
    const Bb__Proto__Checkpoint *checkpoint = request->checkpoint;
    struct storage_sender *sender = &node->sender;

    if (checkpoint->id == 0) {
        begin_sending(node, exchange, checkpoint);
        return;
    }
    if (checkpoint->id != sender->id) {
        storage_refuse(exchange, BB_NOT_FOUND, "that checkpoint is not sent any more: begin anew");
        return;
    }
    if (sender->is_busy) {
        storage_refuse(exchange, BB_BUSY, "the last piece is still being read");
        return;
    }
    sender->heard_us = bb_loop_now_us(node->loop);
    if (checkpoint->is_given_up) {
        Bb__Proto__CheckpointReply ended = BB__PROTO__CHECKPOINT_REPLY__INIT;
        Bb__Proto__StorageReply reply = storage_new_reply();
        reply.op_case = BB__PROTO__STORAGE_REPLY__OP_CHECKPOINT;
        reply.checkpoint = &ended;
        storage_reply(exchange, &reply);
        start(node, NULL, SEND_CLOSE, 0);
        return;
    }
    if (checkpoint->offset == sender->offset - sender->piece.size) {
        reply_piece(sender, exchange, checkpoint->offset == 0);
    } else if (checkpoint->offset == sender->offset && !sender->has_ended) {
        start(node, exchange, SEND_NEXT, 0);
    } else {
        storage_refuse(exchange, BB_BAD_REQUEST,
                       "a checkpoint is read from its beginning to its end");
    }
}

void storage_send_tick(struct storage *node)
{
    struct storage_sender *sender = &node->sender;

    if (sender->id != 0 && !sender->is_busy &&
        bb_loop_now_us(node->loop) - sender->heard_us > SILENCE_US_MAX) {
        bb_info(node->ctx, "storage.checkpoint_given_up", "sent=%" PRIu64, sender->offset);
        start(node, NULL, SEND_CLOSE, 0);
    }
}

void storage_send_fini(struct storage *node)
{
    end_copy(&node->sender);
    bb_buf_fini(&node->sender.piece);
}
