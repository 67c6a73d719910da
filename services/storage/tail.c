/*
 * The durable feed for those who ask what came after a tx: at once, from memory; from the files
 * when it is long ago; when something comes if nothing is there yet.
 */
#include <stdio.h>

#include "storage.h"

#define DAMAGE_US 60000000u /* a damaged part is read again and again: it is said this often */

struct tail_scan {
    struct bb_feed_scan scan; /* in the exchange's arena */
    struct storage *node;
    struct bb_exchange *exchange;
    const Bb__Proto__Tail *tail;
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
void storage_refuse_tail(struct storage *node, struct bb_exchange *exchange,
                         const struct tail_lack *lack)
{
    Bb__Proto__TailReply tail = BB__PROTO__TAIL_REPLY__INIT;
    Bb__Proto__StorageReply reply = storage_new_reply();
    char error[BB_ERROR_MAX];

    (void)snprintf(error, sizeof error, "%s", lack->error); /* both have one size */
    tail.last_tx = bb_feed_newest(node->feed).us;
    tail.earliest = lack->goes_on;
    tail.is_damaged = lack->is_damaged;
    tail.epoch = node->fence.epoch;
    reply.status = (uint32_t)lack->status;
    reply.error = error;
    reply.op_case = BB__PROTO__STORAGE_REPLY__OP_TAIL;
    reply.tail = &tail;
    storage_reply(exchange, &reply);
}

static struct tail_lack new_lack(const struct storage *node, int status, const char *error)
{
    struct tail_lack lack = { .status = status, .goes_on = bb_feed_earliest(node->feed).us };

    (void)snprintf(lack.error, sizeof lack.error, "%s", error); /* both have one size */
    return lack;
}

/* Another replica may have what this one dropped, never had or cannot read. */
static void relay_or_refuse(struct storage *node, struct bb_exchange *exchange,
                            const Bb__Proto__Tail *tail, const struct tail_lack *lack)
{
    if (!tail->is_relayed && node->self.listen[0] != 0) {
        storage_relay_tail(node, exchange, tail, lack);
    } else {
        storage_refuse_tail(node, exchange, lack);
    }
}

/* Nothing is wrong with the data, so the node goes on; somebody should look. */
static void say_damaged(struct storage *node, const struct tail_lack *lack)
{
    uint64_t now_us = bb_loop_now_us(node->loop);
    char text[BB_ERROR_MAX];

    if (node->feed_damage_us != 0 && now_us < node->feed_damage_us + DAMAGE_US)
        return;
    node->feed_damage_us = now_us;
    bb_error(node->ctx, "storage.feed_damaged", "status=%s goes_on=%" PRIu64 " why=%s",
             bb_status_name(lack->status), lack->goes_on,
             bb_log_quote(lack->error, text, sizeof text));
}

static void on_scanned(struct bb_feed_scan *scan, int status, const char *error)
{
    struct tail_scan *tail = bb_container(scan, struct tail_scan, scan);
    struct storage *node = tail->node;
    struct gather gather = { .node = node, .bytes_max = STORAGE_TAIL_BYTES_MAX };

    node->scans -= 1;
    if (status == BB_OK) {
        bb_feed_scan_each(scan, gather_record, &gather);
        reply_tail(node, tail->exchange);
    } else {
        struct tail_lack lack = new_lack(node, status, error);
        if (status == BB_CORRUPT || status == BB_IO) {
            lack.is_damaged = true;
            lack.goes_on = scan->goes_on.us;
            say_damaged(node, &lack);
        }
        relay_or_refuse(node, tail->exchange, tail->tail, &lack);
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
    work->tail = tail;
    work->scan.after = BB_TX(tail->after);
    work->scan.max_bytes = bytes_max_of(tail);
    work->scan.done = on_scanned;
    rc = bb_feed_scan_start(&ctx, node->feed, &work->scan);
    if (rc == BB_OK) {
        node->scans += 1;
    } else {
        struct tail_lack lack = new_lack(node, rc, ctx.error);
        storage_refuse_tail(node, exchange, &lack);
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
    } else {
        struct tail_lack lack = new_lack(node, rc, ctx.error);
        if (rc == BB_TX_TRUNCATED) {
            relay_or_refuse(node, exchange, tail, &lack);
        } else {
            storage_refuse_tail(node, exchange, &lack);
        }
    }
}
