/*
 * Work on the data as a whole, beside the serving of requests: compaction, on request or when much
 * of the file is free, and the hash by which replicas are compared.
 */
#include "storage.h"

/* Looking at the list of free pages costs little, but not nothing. */
#define LOOK_US 60000000u
/* A smaller file is not worth it. */
#define COMPACT_BYTES_MIN (256u << 20)
/* After a compaction that had to be given up. */
#define AGAIN_US 600000000u

struct care_job {
    struct bb_job job;
    struct storage *node;
    struct bb_exchange *exchange; /* NULL: by the rule */
    uint64_t tx;
    bool is_hash, was_due;
    struct bb_store_compaction compaction;
    struct bb_store_sum sum;
    int status;
    char error[BB_ERROR_MAX];
};

void storage_care_ended(struct storage *node)
{
    bb_assert(node->cares > 0);
    node->cares -= 1;
    storage_stop_if_idle(node);
}

/* ---- on a care thread ---- */

static int compact_if_due(struct bb_ctx *ctx, struct care_job *work)
{
    struct storage *node = work->node;
    uint64_t used = 0, free_bytes = 0;
    int rc = BB_OK;

    work->was_due = true;
    if (work->exchange == NULL) {
        rc = bb_store_free_bytes(ctx, node->store, &used, &free_bytes);
        work->was_due =
            used >= COMPACT_BYTES_MIN && free_bytes >= used / 100 * node->compact_percent;
    }
    if (rc != BB_OK || !work->was_due) {
        return rc;
    }
    return bb_store_compact(ctx, node->store, &work->compaction);
}

static void care_work(struct bb_job *job, size_t thread_index)
{
    struct care_job *work = bb_container(job, struct care_job, job);
    struct storage *node = work->node;
    struct bb_arena *arena = bb_arena_new(0);
    struct bb_ctx ctx = { .env = node->ctx->env,
                          .log = node->ctx->log,
                          .arena = arena,
                          .is_cancelled = &node->is_care_cancelled };

    (void)thread_index;
    work->status = work->is_hash ? bb_store_hash(&ctx, node->store, node->reader_count,
                                                 BB_TX(work->tx), &work->sum)
                                 : compact_if_due(&ctx, work);
    memcpy(work->error, ctx.error, sizeof work->error);
    bb_arena_free(arena);
}

/* ---- on the owner thread ---- */

static void reply_care(const struct care_job *work)
{
    Bb__Proto__CompactReply compact = BB__PROTO__COMPACT_REPLY__INIT;
    Bb__Proto__StateHashReply hash = BB__PROTO__STATE_HASH_REPLY__INIT;
    Bb__Proto__StorageReply reply = storage_new_reply();

    if (work->is_hash) {
        hash.tx = work->sum.tx.us;
        hash.hash = work->sum.hash;
        hash.entries = work->sum.entries;
        hash.bytes = work->sum.bytes;
        reply.op_case = BB__PROTO__STORAGE_REPLY__OP_STATE_HASH;
        reply.state_hash = &hash;
    } else {
        compact.before_bytes = work->compaction.before_bytes;
        compact.after_bytes = work->compaction.after_bytes;
        compact.took_us = work->compaction.took_us;
        reply.op_case = BB__PROTO__STORAGE_REPLY__OP_COMPACT;
        reply.compact = &compact;
    }
    storage_reply(work->exchange, &reply);
}

static void tell_compaction(struct storage *node, const struct care_job *work)
{
    if (work->status != BB_OK) {
        bb_warn(node->ctx, "storage.compaction_given_up", "status=%s why=\"%s\"",
                bb_status_name(work->status), work->error);
        node->compact_look_us = bb_loop_now_us(node->loop) + AGAIN_US;
        return;
    }
    bb_info(node->ctx, "storage.compacted",
            "before_bytes=%" PRIu64 " after_bytes=%" PRIu64 " took_ms=%" PRIu64,
            work->compaction.before_bytes, work->compaction.after_bytes,
            work->compaction.took_us / 1000);
}

static void care_done(struct bb_job *job)
{
    struct care_job *work = bb_container(job, struct care_job, job);
    struct storage *node = work->node;

    if (work->is_hash) {
        node->is_hashing = false;
    } else {
        node->is_compacting = false;
        if (work->was_due) {
            tell_compaction(node, work);
        }
    }
    if (work->exchange != NULL && work->status != BB_OK) {
        storage_refuse(work->exchange, work->status, work->error);
    } else if (work->exchange != NULL) {
        reply_care(work);
    }
    bb_free(work);
    storage_care_ended(node);
}

static void start(struct storage *node, struct bb_exchange *exchange, bool is_hash, uint64_t tx)
{
    struct bb_ctx ctx = { .env = node->ctx->env };
    struct care_job *work = bb_alloc_zero(1, sizeof *work);
    int rc;

    work->job.work = care_work;
    work->job.done = care_done;
    work->job.loop = node->loop;
    work->node = node;
    work->exchange = exchange;
    work->is_hash = is_hash;
    work->tx = tx;
    rc = bb_pool_submit(&ctx, node->care, &work->job);
    if (rc == BB_OK) {
        node->cares += 1;
        if (is_hash) {
            node->is_hashing = true;
        } else {
            node->is_compacting = true;
        }
        return;
    }
    bb_free(work);
    if (exchange != NULL) {
        storage_refuse(exchange, rc, ctx.error);
    }
}

void storage_compact(struct storage *node, struct bb_exchange *exchange)
{
    if (node->is_compacting) {
        storage_refuse(exchange, BB_BUSY, "the data is being compacted already");
        return;
    }
    start(node, exchange, false, 0);
}

void storage_state_hash(struct storage *node, struct bb_exchange *exchange,
                        const Bb__Proto__StorageRequest *request)
{
    if (node->is_hashing) {
        storage_refuse(exchange, BB_BUSY, "another hash is being made");
        return;
    }
    start(node, exchange, true, request->state_hash->tx);
}

void storage_care_tick(struct storage *node)
{
    uint64_t now_us = bb_loop_now_us(node->loop);

    storage_send_tick(node);
    if (node->compact_percent == 0 || node->is_compacting || now_us < node->compact_look_us) {
        return;
    }
    node->compact_look_us = now_us + LOOK_US;
    start(node, NULL, false, 0);
}
