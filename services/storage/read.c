/*
 * Reads at one tx. A tx that is not applied yet is waited for a moment.
 *
 * Reader threads answer them, as a page that is not in memory comes from the disk. Gets of a few
 * keys take less time than it takes to wake such a thread, so they are answered at once, by the
 * owner thread, as long as it does not have to wait: after a wait it leaves them to the readers for
 * a second, and for ever longer times while it meets waits again.
 */
#include "bb/kv.h"

#include "storage.h"

enum {
    HERE_OPS_MAX = 16,
    PAUSE_MS_MIN = 1000,
    PAUSE_MS_MAX = 60000,
    WARM_READS = 1000 /* without a wait: what was cold before counts no more */
};

struct read_job {
    struct bb_job job; /* in the exchange's arena */
    struct storage *node;
    struct bb_exchange *exchange;
    const Bb__Proto__Read *read;
    uint64_t start_us;
};

/* ---- on a reader thread ---- */

static int fill_result(struct bb_ctx *ctx, const struct bb_store_result *from,
                       Bb__Proto__ReadResult *to)
{
    Bb__Proto__Entry *entries = bb_arena_zero(ctx->arena, from->count + 1, sizeof *entries);
    Bb__Proto__Entry **list = bb_arena_zero(ctx->arena, from->count + 1, sizeof *list);

    if (entries == NULL || list == NULL) {
        return bb_fail(ctx, BB_TOO_LARGE, "a read of %zu entries", from->count);
    }
    for (size_t i = 0; i < from->count; i++) {
        bb__proto__entry__init(&entries[i]);
        entries[i].key = bb_slice_pb(from->entries[i].key);
        entries[i].value = bb_slice_pb(from->entries[i].value);
        entries[i].tx = from->entries[i].tx.us;
        list[i] = &entries[i];
    }
    to->n_entries = from->count;
    to->entries = list;
    to->is_complete = from->is_complete;
    return BB_OK;
}

static int read_ops(struct bb_ctx *ctx, struct bb_store_snapshot *snapshot,
                    const Bb__Proto__Read *read, Bb__Proto__ReadReply *reply, size_t *entry_count)
{
    Bb__Proto__ReadResult *results = bb_arena_zero(ctx->arena, read->n_ops + 1, sizeof *results);
    Bb__Proto__ReadResult **list = bb_arena_zero(ctx->arena, read->n_ops + 1, sizeof *list);
    size_t left = read->max_bytes == 0                        ? STORAGE_REPLY_BYTES
                  : read->max_bytes > STORAGE_REPLY_BYTES_MAX ? STORAGE_REPLY_BYTES_MAX
                                                              : read->max_bytes;
    int rc = BB_OK;

    if (results == NULL || list == NULL) {
        return bb_fail(ctx, BB_TOO_LARGE, "%zu reads in one request", read->n_ops);
    }
    for (size_t i = 0; i < read->n_ops && rc == BB_OK; i++) {
        const Bb__Proto__ReadOp *from = read->ops[i];
        struct bb_store_op op = { .low = bb_pb_slice(from->low),
                                  .high = bb_pb_slice(from->high),
                                  .is_descending = from->is_descending,
                                  .limit = from->limit,
                                  .doc_index = from->doc_index };
        struct bb_store_result result = { 0 };
        bb__proto__read_result__init(&results[i]);
        list[i] = &results[i];
        if (left > 0) {
            rc = bb_store_read(ctx, snapshot, &op, &left, &result);
        }
        if (rc == BB_OK) {
            rc = fill_result(ctx, &result, &results[i]);
        }
        *entry_count += result.count;
    }
    reply->tx = bb_store_snapshot_tx(snapshot).us;
    reply->n_results = read->n_ops;
    reply->results = list;
    return rc;
}

static void answer(struct read_job *work, struct bb_arena *arena, size_t reader_index)
{
    struct storage *node = work->node;
    struct bb_ctx ctx = { .env = node->ctx->env, .log = node->ctx->log, .arena = arena };
    Bb__Proto__ReadReply read = BB__PROTO__READ_REPLY__INIT;
    Bb__Proto__StorageReply reply = storage_new_reply();
    struct bb_store_snapshot *snapshot = NULL;
    uint64_t start_us = work->start_us;
    size_t entry_count = 0;
    int rc =
        bb_store_snapshot_open(&ctx, node->store, reader_index, BB_TX(work->read->tx), &snapshot);

    if (rc == BB_OK) {
        rc = read_ops(&ctx, snapshot, work->read, &read, &entry_count);
    }
    if (rc == BB_OK) {
        reply.op_case = BB__PROTO__STORAGE_REPLY__OP_READ;
        reply.read = &read;
    } else {
        reply.status = (uint32_t)rc;
        reply.error = ctx.error;
    }
    storage_reply(work->exchange, &reply); /* packs: entries borrow from the snapshot until here */
    bb_store_snapshot_close(snapshot);
    bb_arena_reset(arena);
    bb_metric_add(node->reads, 1);
    bb_metric_add(node->read_entries, (int64_t)entry_count);
    bb_histogram_observe(node->read_time, bb_now_us(&ctx) - start_us);
}

static void read_work(struct bb_job *job, size_t thread_index)
{
    struct read_job *work = bb_container(job, struct read_job, job);

    answer(work, work->node->reader_arenas[thread_index], thread_index);
}

/* ---- on the owner thread ---- */

static bool is_quick(const struct storage *node, const Bb__Proto__Read *read)
{
    if (read->n_ops > HERE_OPS_MAX || bb_loop_now_us(node->loop) < node->warmth.since_us ||
        bb_store_wants_look(node->store)) {
        return false;
    }
    for (size_t i = 0; i < read->n_ops; i++) {
        if (read->ops[i]->high.len > 0) {
            return false;
        }
    }
    return true;
}

/* Had this thread to wait for the disk just now? */
static void look_back(struct storage *node)
{
    struct storage_warmth *warmth = &node->warmth;
    uint64_t waits = bb_kv_waits();

    if (waits == warmth->waits) {
        warmth->reads += warmth->reads < WARM_READS;
        return;
    }
    warmth->waits = waits;
    warmth->pause_ms = warmth->reads == WARM_READS || warmth->pause_ms == 0 ? PAUSE_MS_MIN
                       : warmth->pause_ms > PAUSE_MS_MAX / 2                ? PAUSE_MS_MAX
                                                                            : warmth->pause_ms * 2;
    warmth->reads = 0;
    warmth->since_us = bb_loop_now_us(node->loop) + warmth->pause_ms * 1000ull;
}

static void read_here(struct storage *node, struct bb_exchange *exchange,
                      const Bb__Proto__Read *read)
{
    struct read_job work = {
        .node = node, .exchange = exchange, .read = read, .start_us = bb_loop_now_us(node->loop)
    };

    answer(&work, node->scratch, node->reader_count + 1);
    bb_metric_add(node->reads_here, 1);
    look_back(node);
}

void storage_read(struct storage *node, struct bb_exchange *exchange,
                  const Bb__Proto__StorageRequest *request)
{
    const Bb__Proto__Read *read = request->read;
    struct bb_ctx ctx = { .env = node->ctx->env };
    struct read_job *work;
    int rc;

    if (!node->has_been_ready || read->tx > bb_store_applied(node->store).us) {
        storage_wait(node, STORAGE_WAIT_READ, exchange, request,
                     bb_loop_now_us(node->loop) + (uint64_t)STORAGE_READ_WAIT_MS * 1000);
        return;
    }
    if (is_quick(node, read)) {
        read_here(node, exchange, read);
        return;
    }
    work = bb_arena_zero(bb_exchange_arena(exchange), 1, sizeof *work);
    if (work == NULL) {
        storage_refuse(exchange, BB_TOO_LARGE, "the request leaves no memory for its answer");
        return;
    }
    work->job.work = read_work;
    work->node = node;
    work->exchange = exchange;
    work->read = read;
    work->start_us = bb_loop_now_us(node->loop);
    rc = bb_pool_submit(&ctx, node->readers, &work->job);
    if (rc != BB_OK) {
        storage_refuse(exchange, rc, ctx.error);
    }
}
