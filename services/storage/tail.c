/*
 * The durable feed for those who ask what came after a tx: at once, from memory; from the files
 * when it is long ago; when something comes if nothing is there yet.
 */
#include <stdio.h>

#include "storage.h"

struct tail_scan {
    struct bb_feed_scan scan; /* in the exchange's arena */
    struct storage *node;
    struct bb_exchange *exchange;
};

/* What a reply gathers. */
struct gather {
    struct storage *node;
    size_t bytes, bytes_max;
};

static size_t bytes_max_of(const Bb__Proto__Tail *tail)
{
    if (tail->max_bytes == 0) {
        return STORAGE_TAIL_BYTES;
    }
    return tail->max_bytes > STORAGE_TAIL_BYTES_MAX ? STORAGE_TAIL_BYTES_MAX : tail->max_bytes;
}

static bool gather_record(void *arg, struct bb_txtime prev, struct bb_txtime tx,
                          struct bb_slice record)
{
    struct gather *gather = arg;
    struct storage *node = gather->node;

    (void)prev;
    (void)tx;
    if (node->record_count == node->record_capacity) {
        node->record_capacity = node->record_capacity == 0 ? 256 : node->record_capacity * 2;
        node->records = bb_realloc(node->records, node->record_capacity * sizeof *node->records);
    }
    node->records[node->record_count++] = bb_slice_pb(record);
    gather->bytes += record.size;
    return gather->bytes < gather->bytes_max;
}

/* Answers with what node->records holds. */
static void reply_tail(struct storage *node, struct bb_exchange *exchange)
{
    Bb__Proto__TailReply tail = BB__PROTO__TAIL_REPLY__INIT;
    Bb__Proto__StorageReply reply = storage_new_reply();

    tail.n_records = node->record_count;
    tail.records = node->records;
    tail.last_tx = bb_feed_newest(node->feed).us;
    tail.earliest = bb_feed_earliest(node->feed).us;
    tail.epoch = node->fence.epoch;
    reply.op_case = BB__PROTO__STORAGE_REPLY__OP_TAIL;
    reply.tail = &tail;
    storage_reply(exchange, &reply);
    node->record_count = 0;
    bb_metric_add(node->tails, 1);
}

/* The refusal says where one can start. */
static void refuse_tail(struct storage *node, struct bb_exchange *exchange, int status, char *error)
{
    Bb__Proto__TailReply tail = BB__PROTO__TAIL_REPLY__INIT;
    Bb__Proto__StorageReply reply = storage_new_reply();

    tail.last_tx = bb_feed_newest(node->feed).us;
    tail.earliest = bb_feed_earliest(node->feed).us;
    tail.epoch = node->fence.epoch;
    reply.status = (uint32_t)status;
    reply.error = error;
    reply.op_case = BB__PROTO__STORAGE_REPLY__OP_TAIL;
    reply.tail = &tail;
    storage_reply(exchange, &reply);
}

static void on_scanned(struct bb_feed_scan *scan, int status, const char *error)
{
    struct tail_scan *tail = bb_container(scan, struct tail_scan, scan);
    struct storage *node = tail->node;
    struct gather gather = { .node = node, .bytes_max = STORAGE_TAIL_BYTES_MAX };
    char text[BB_ERROR_MAX];

    node->scans -= 1;
    if (status == BB_OK) {
        bb_feed_scan_each(scan, gather_record, &gather);
        reply_tail(node, tail->exchange);
    } else {
        (void)snprintf(text, sizeof text, "%s", error); /* both have one size */
        refuse_tail(node, tail->exchange, status, text);
    }
    storage_stop_if_idle(node);
}

static void scan_tail(struct storage *node, struct bb_exchange *exchange,
                      const Bb__Proto__Tail *tail)
{
    struct bb_ctx ctx = { .env = node->ctx->env };
    struct tail_scan *work = bb_arena_zero(bb_exchange_arena(exchange), 1, sizeof *work);
    int rc;

    if (work == NULL) {
        storage_refuse(exchange, BB_TOO_LARGE, "the request leaves no memory for its answer");
        return;
    }
    work->node = node;
    work->exchange = exchange;
    work->scan.after = BB_TX(tail->after);
    work->scan.max_bytes = bytes_max_of(tail);
    work->scan.done = on_scanned;
    rc = bb_feed_scan_start(&ctx, node->feed, &work->scan);
    if (rc == BB_OK) {
        node->scans += 1;
    } else {
        refuse_tail(node, exchange, rc, ctx.error);
    }
}

void storage_tail(struct storage *node, struct bb_exchange *exchange,
                  const Bb__Proto__StorageRequest *request)
{
    const Bb__Proto__Tail *tail = request->tail;
    struct bb_ctx ctx = { .env = node->ctx->env };
    struct gather gather = { .node = node, .bytes_max = bytes_max_of(tail) };
    uint64_t newest = bb_feed_newest(node->feed).us;
    uint64_t wait_ms = tail->wait_ms > STORAGE_WAIT_MAX_MS ? STORAGE_WAIT_MAX_MS : tail->wait_ms;
    bool has_news =
        newest > tail->after || (tail->durable_seen != 0 && newest > tail->durable_seen);
    int rc;

    if (!node->has_been_ready || (!has_news && wait_ms > 0)) {
        if (node->tail_count >= STORAGE_TAILS_MAX) {
            storage_refuse(exchange, BB_BUSY, "too many feeds are waiting here");
            return;
        }
        storage_wait(node, STORAGE_WAIT_TAIL, exchange, request,
                     bb_loop_now_us(node->loop) + wait_ms * 1000);
        return;
    }
    rc = bb_feed_read(&ctx, node->feed, BB_TX(tail->after), gather_record, &gather);
    if (rc == BB_PENDING) {
        node->record_count = 0;
        scan_tail(node, exchange, tail);
    } else if (rc == BB_OK) {
        reply_tail(node, exchange);
    } else if (rc == BB_TX_TRUNCATED && !tail->is_relayed && node->self.listen[0] != 0) {
        storage_relay_tail(node, exchange, tail);
    } else {
        refuse_tail(node, exchange, rc, ctx.error);
    }
}

void storage_refuse_truncated(struct storage *node, struct bb_exchange *exchange,
                              const Bb__Proto__Tail *tail)
{
    struct bb_ctx ctx = { .env = node->ctx->env };

    (void)bb_fail(&ctx, BB_TX_TRUNCATED,
                  "position %" PRIu64 " is older than the feed keeps; start at %" PRIu64
                  " or later",
                  tail->after, bb_feed_earliest(node->feed).us);
    refuse_tail(node, exchange, BB_TX_TRUNCATED, ctx.error);
}
