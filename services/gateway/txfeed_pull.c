/* What readers of the feed ask storage for: pages of the tail, and the names of all tables. */
#include <stdio.h>

#include "bb/wire.h"
#include "txfeed_internal.h"

#define ASK_TIMEOUT_MS 5000u

/* ---- pages ---- */

static void start_queued(struct txfeed *txfeed)
{
    while (txfeed->pull_count < TXFEED_PULLS_MAX && !bb_list_is_empty(&txfeed->queue)) {
        struct txfeed_reader *reader =
            bb_container(txfeed->queue.next, struct txfeed_reader, queued);

        bb_list_remove(&reader->queued);
        gateway_txfeed_go(reader);
    }
}

static void retry_later(struct txfeed_reader *reader)
{
    reader->retry_us = bb_loop_now_us(reader->txfeed->gateway->loop) + TXFEED_RETRY_US;
}

/* The page's records, up to what the reader wants; then it goes on. */
static void take_page(struct txfeed_reader *reader, const Bb__Proto__TailReply *tail)
{
    struct bb_ctx ctx = *reader->txfeed->gateway->ctx;
    struct bb_buf page;
    bool goes_on = true;
    int rc = BB_OK;

    reader->is_behind = true;
    bb_buf_init(&page);
    for (size_t i = 0; goes_on && i < tail->n_records; i++) {
        rc = gateway_txfeed_reader_take(&ctx, reader, bb_pb_slice(tail->records[i]), &page,
                                        &goes_on);
    }
    if (rc != BB_OK) {
        bb_warn(reader->txfeed->gateway->ctx, "gateway.feed_page", "status=%s why=\"%s\"",
                bb_status_name(rc), ctx.error);
    }
    /* A first page shows that the position is good, even if nothing in it is for this view. */
    if (!reader->is_poll && tail->n_records > 0 && !gateway_txfeed_begin(reader))
        reader = NULL;
    if (reader != NULL && page.size > 0)
        gateway_txfeed_reader_send(reader, bb_buf_slice(&page));
    bb_buf_fini(&page);
    if (reader == NULL)
        return;
    if (rc != BB_OK || tail->n_records == 0)
        retry_later(reader);
    else
        gateway_txfeed_go(reader);
}

/* Where the feed begins is known, though a node that does not answer may have more; not where a
 * part of it is there and cannot be read. */
static bool says_earliest(const Bb__Proto__StorageReply *reply)
{
    return reply->status == BB_OK || reply->status == BB_TX_TRUNCATED ||
           (reply->status == BB_UNAVAILABLE && !reply->tail->is_damaged);
}

static void on_position(struct txfeed_reader *reader, const Bb__Proto__TailReply *tail)
{
    reader->position = tail->earliest;
    reader->from = TXFEED_FROM_TX;
    gateway_txfeed_found(reader);
}

static void take_reply(struct txfeed_reader *reader, int status,
                       const Bb__Proto__StorageReply *reply)
{
    bool has_tail = status == BB_OK && reply->op_case == BB__PROTO__STORAGE_REPLY__OP_TAIL;
    char text[160];

    if (has_tail && reader->from == TXFEED_FROM_EARLIEST && says_earliest(reply)) {
        on_position(reader, reply->tail);
    } else if (has_tail && reply->status == BB_TX_TRUNCATED) {
        (void)snprintf(text, sizeof(text),
                       "The feed does not go back to %" PRIu64 ": the earliest position is %" PRIu64
                       ".",
                       reader->position, reply->tail->earliest);
        gateway_txfeed_reader_fail(reader, BB_TX_TRUNCATED, text, reply->tail->earliest);
    } else if (has_tail && reply->status == BB_CORRUPT) {
        (void)snprintf(text, sizeof(text),
                       "A part of the feed behind %" PRIu64
                       " is damaged on the storage nodes; it goes on at %" PRIu64 ".",
                       reader->position, reply->tail->earliest);
        gateway_txfeed_reader_fail(reader, BB_CORRUPT, text, 0);
    } else if (has_tail && reply->status == BB_OK) {
        take_page(reader, reply->tail);
    } else {
        retry_later(reader);
    }
}

static void on_tail(void *arg, int status, const Bb__Proto__StorageReply *reply)
{
    struct txfeed_pull *pull = arg;
    struct txfeed *txfeed = pull->txfeed;
    struct txfeed_reader *reader = pull->reader;

    bb_free(pull);
    txfeed->pull_count--;
    if (reader != NULL) {
        reader->pull = NULL;
        if (!txfeed->is_closing)
            take_reply(reader, status, reply);
    }
    if (!txfeed->is_closing)
        start_queued(txfeed);
}

void gateway_txfeed_pull(struct txfeed_reader *reader)
{
    struct txfeed *txfeed = reader->txfeed;
    Bb__Proto__StorageRequest request = BB__PROTO__STORAGE_REQUEST__INIT;
    Bb__Proto__Tail tail = BB__PROTO__TAIL__INIT;
    struct bb_ctx ctx = *txfeed->gateway->ctx;
    struct txfeed_pull *pull;

    if (txfeed->pull_count >= TXFEED_PULLS_MAX) {
        bb_list_push_back(&txfeed->queue, &reader->queued);
        return;
    }
    pull = bb_alloc(sizeof(*pull));
    *pull = (struct txfeed_pull){ .txfeed = txfeed, .reader = reader };
    request.op_case = BB__PROTO__STORAGE_REQUEST__OP_TAIL;
    request.tail = &tail;
    tail.after = reader->from == TXFEED_FROM_EARLIEST ? 0 : reader->position;
    tail.max_bytes = reader->from == TXFEED_FROM_EARLIEST ? 1 : TXFEED_PAGE_BYTES;
    if (bb_follow_ask(&ctx, txfeed->gateway->feed, &request, ASK_TIMEOUT_MS, on_tail, pull) !=
        BB_OK) {
        bb_free(pull);
        retry_later(reader);
        return;
    }
    reader->pull = pull;
    txfeed->pull_count++;
    bb_metric_add(txfeed->pulls, 1);
}

void gateway_txfeed_pull_leave(struct txfeed_reader *reader)
{
    if (reader->pull != NULL)
        reader->pull->reader = NULL;
    reader->pull = NULL;
}

/* ---- names of tables ---- */

static void on_tables(void *arg, int status, const Bb__Proto__StorageReply *reply)
{
    struct txfeed *txfeed = arg;
    const Bb__Proto__ReadResult *result = NULL;
    struct bb_ctx ctx = *txfeed->gateway->ctx;

    txfeed->is_loading_tables = false;
    if (txfeed->is_closing)
        return;
    if (status == BB_OK && reply->status == BB_OK &&
        reply->op_case == BB__PROTO__STORAGE_REPLY__OP_READ && reply->read->n_results == 1)
        result = reply->read->results[0];
    if (result == NULL)
        return; /* the next tick asks again */
    for (size_t i = 0; i < result->n_entries; i++) {
        struct bb_slice row = bb_pb_slice(result->entries[i]->value);

        if (bb_value_validate(&ctx, row) == BB_OK)
            gateway_txfeed_tables_learn(&txfeed->tables, row);
        bb_buf_clear(&txfeed->tables_from);
        bb_buf_append_slice(&txfeed->tables_from, bb_pb_slice(result->entries[i]->key));
        bb_buf_append_byte(&txfeed->tables_from, 0);
    }
    if (!result->is_complete && result->n_entries > 0) {
        gateway_txfeed_load_tables(txfeed);
        return;
    }
    bb_buf_clear(&txfeed->tables_from);
    txfeed->has_tables = true;
    gateway_txfeed_go_all(txfeed);
}

void gateway_txfeed_load_tables(struct txfeed *txfeed)
{
    Bb__Proto__StorageRequest request = BB__PROTO__STORAGE_REQUEST__INIT;
    Bb__Proto__Read read = BB__PROTO__READ__INIT;
    Bb__Proto__ReadOp op = BB__PROTO__READ_OP__INIT;
    Bb__Proto__ReadOp *ops[] = { &op };
    struct bb_ctx ctx = *txfeed->gateway->ctx;
    uint8_t range[8];

    if (txfeed->is_loading_tables || txfeed->has_tables)
        return;
    bb_put_be32(range, BB_INDEX_BY_ID(BB_TABLE_TABLES));
    bb_put_be32(range + 4, BB_INDEX_BY_ID(BB_TABLE_TABLES) + 1);
    op.low = bb_slice_pb(txfeed->tables_from.size > 0 ? bb_buf_slice(&txfeed->tables_from)
                                                      : bb_slice(range, 4));
    op.high = bb_slice_pb(bb_slice(range + 4, 4));
    read.n_ops = 1;
    read.ops = ops;
    request.op_case = BB__PROTO__STORAGE_REQUEST__OP_READ;
    request.read = &read;
    txfeed->is_loading_tables = bb_follow_ask(&ctx, txfeed->gateway->feed, &request, ASK_TIMEOUT_MS,
                                              on_tables, txfeed) == BB_OK;
}
