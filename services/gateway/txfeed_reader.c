/*
 * One consumer of the feed: takes records while its client has room, says where it is when there
 * are none, ends with a reason.
 */
#include <stdio.h>

#include "answer.h"
#include "routes.h"
#include "txfeed_internal.h"
#include "txfeed_rule.h"

static uint64_t now_of(const struct txfeed *txfeed)
{
    return bb_loop_now_us(txfeed->gateway->loop);
}

/* ---- begin and end ---- */

static void reader_free(struct txfeed_reader *reader)
{
    struct txfeed *txfeed = reader->txfeed;

    gateway_txfeed_rule_free(reader->rule);
    gateway_txfeed_pull_leave(reader);
    gateway_txfeed_consumer_leave(reader);
    bb_list_remove(&reader->link);
    bb_list_remove(&reader->queued);
    txfeed->reader_count--;
    txfeed->left_us = now_of(txfeed);
    bb_metric_set(txfeed->readers_now, (int64_t)txfeed->reader_count);
    gateway_txfeed_view_release(txfeed, reader->view);
    bb_free(reader->consumer);
    bb_buf_fini(&reader->records);
    reader->magic = 0;
    bb_free(reader);
}

static void on_gone(void *arg)
{
    struct txfeed_reader *reader = bb_cast(struct txfeed_reader, arg, TXFEED_READER_MAGIC);
    struct bb_http_request *request = reader->request;

    reader->request = NULL;
    reader_free(reader);
    bb_http_respond_error(request, 503, "Cancelled", "The client has left.");
}

struct txfeed_reader *gateway_txfeed_reader_new(struct txfeed *txfeed,
                                                struct bb_http_request *request,
                                                struct txfeed_shared_view *view)
{
    struct txfeed_reader *reader = bb_alloc_zero(1, sizeof(*reader));

    reader->magic = TXFEED_READER_MAGIC;
    reader->txfeed = txfeed;
    reader->request = request;
    reader->view = view;
    reader->reported = UINT64_MAX;
    bb_list_init(&reader->queued);
    bb_buf_init(&reader->records);
    bb_list_push_back(&txfeed->readers, &reader->link);
    txfeed->reader_count++;
    bb_metric_set(txfeed->readers_now, (int64_t)txfeed->reader_count);
    bb_http_on_gone(request, on_gone, reader);
    return reader;
}

static void on_stream_end(void *arg, enum bb_http_end end)
{
    struct txfeed_reader *reader = bb_cast(struct txfeed_reader, arg, TXFEED_READER_MAGIC);

    if (end == BB_HTTP_END_STUCK || end == BB_HTTP_END_FULL) {
        bb_info(reader->txfeed->gateway->ctx, "gateway.feed_reader_dropped", "why=%s tx=%" PRIu64,
                bb_http_end_name(end), reader->position);
    }
    reader_free(reader);
}

static void on_stream_sent(void *arg)
{
    gateway_txfeed_go(bb_cast(struct txfeed_reader, arg, TXFEED_READER_MAGIC));
}

bool gateway_txfeed_begin(struct txfeed_reader *reader)
{
    struct bb_http_request *request = reader->request;

    if (reader->stream != NULL)
        return true;
    bb_http_on_gone(request, NULL, NULL);
    reader->request = NULL;
    reader->stream = bb_http_stream_begin(
        request, "text/event-stream; charset=utf-8",
        &(struct bb_http_stream_events){
            .on_end = on_stream_end, .on_sent = on_stream_sent, .arg = reader });
    if (reader->stream == NULL) {
        reader_free(reader);
        return false;
    }
    bb_http_stream_send(reader->stream, reader->txfeed->hello);
    return true;
}

static void append_failure(struct bb_buf *json, int status, const char *message, uint64_t earliest)
{
    bb_buf_append_str(json, "{\"code\":");
    bb_json_string(json, bb_slice_str(bb_status_name(status)));
    bb_buf_append_str(json, ",\"message\":");
    bb_json_string(json, bb_slice_str(message));
    if (status == BB_TX_TRUNCATED)
        bb_buf_printf(json, ",\"earliest\":%" PRIu64, earliest);
    bb_buf_append_byte(json, '}');
}

void gateway_txfeed_reader_send(struct txfeed_reader *reader, struct bb_slice text)
{
    struct bb_http_buffer *event = bb_http_buffer_new(text);

    bb_http_stream_send(reader->stream, event);
    bb_http_buffer_release(event);
    reader->heard_us = now_of(reader->txfeed);
}

void gateway_txfeed_reader_fail(struct txfeed_reader *reader, int status, const char *message,
                                uint64_t earliest)
{
    struct bb_buf json;

    bb_buf_init(&json);
    if (reader->stream != NULL) {
        bb_buf_append_str(&json, "event: failed\ndata: ");
        append_failure(&json, status, message, earliest);
        bb_buf_append_str(&json, "\n\n");
        gateway_txfeed_reader_send(reader, bb_buf_slice(&json));
        reader->is_ended = true; /* nothing more is sent */
        bb_http_stream_close(reader->stream);
    } else {
        struct bb_http_request *request = reader->request;

        append_failure(&json, status, message, earliest);
        bb_http_on_gone(request, NULL, NULL);
        reader_free(reader);
        gateway_respond_json(request, bb_status_http(status), bb_buf_slice(&json));
    }
    bb_buf_fini(&json);
}

/* ---- a poll's answer ---- */

static void append_cluster(const struct txfeed *txfeed, struct bb_buf *json)
{
    bb_buf_append_str(json, ",\"cluster\":\"");
    bb_hex_append(json, bb_follow_cluster(txfeed->gateway->feed));
    bb_buf_append_str(json, "\"}");
}

static void answer_poll(struct txfeed_reader *reader)
{
    struct txfeed *txfeed = reader->txfeed;
    struct bb_http_request *request = reader->request;
    struct bb_buf json;

    bb_buf_init(&json);
    bb_buf_append_str(&json, "{\"txs\":[");
    bb_buf_append_slice(&json, bb_buf_slice(&reader->records));
    bb_buf_printf(&json, "],\"next\":%" PRIu64 ",\"closed\":%" PRIu64, reader->position,
                  reader->position > gateway_txfeed_head(txfeed) ? reader->position
                                                                 : gateway_txfeed_head(txfeed));
    append_cluster(txfeed, &json);
    bb_http_on_gone(request, NULL, NULL);
    reader_free(reader);
    gateway_respond_json(request, 200, bb_buf_slice(&json));
    bb_buf_fini(&json);
}

static bool poll_is_full(const struct txfeed_reader *reader)
{
    return reader->count >= reader->limit || reader->records.size >= TXFEED_POLL_BYTES;
}

static void poll_add(struct txfeed_reader *reader, struct bb_slice json)
{
    if (reader->count++ > 0)
        bb_buf_append_byte(&reader->records, ',');
    bb_buf_append_slice(&reader->records, json);
}

/* ---- records ---- */

/* The text of a record in the reader's view, as an event; false: not shown. */
static bool write_event(struct txfeed_reader *reader, const Bb__Proto__TxRecord *record,
                        const Bb__Proto__TxBody *body, struct bb_buf *to, size_t *json_at)
{
    size_t start = to->size;

    bb_buf_printf(to, "id: %" PRIu64 "\ndata: ", record->tx);
    *json_at = to->size;
    if (!gateway_txfeed_encode(to, record, body, &reader->txfeed->tables, &reader->view->view)) {
        to->size = start;
        return false;
    }
    bb_buf_append_str(to, "\n\n");
    return true;
}

/* The text of an item of the ring: made by the first who asks. NULL: it cannot be read. */
static struct txfeed_text *text_of(struct txfeed_reader *reader, struct txfeed_item *item)
{
    struct txfeed *txfeed = reader->txfeed;
    struct txfeed_text *text = gateway_txfeed_ring_text(item, &reader->view->view);
    struct bb_ctx ctx = *txfeed->gateway->ctx;
    Bb__Proto__TxRecord *record = NULL;
    Bb__Proto__TxBody *body = NULL;
    struct bb_http_buffer *event = NULL;
    size_t json_at = 0;

    if (text != NULL) {
        bb_metric_add(txfeed->shared, 1);
        return text;
    }
    if (gateway_txfeed_unpack(&ctx, txfeed->arena, item->bytes, &record, &body) != BB_OK) {
        bb_error(txfeed->gateway->ctx, "gateway.feed_record", "tx=%" PRIu64 " why=\"%s\"", item->tx,
                 ctx.error);
        bb_arena_reset(txfeed->arena);
        return NULL;
    }
    bb_buf_clear(&txfeed->text);
    if (write_event(reader, record, body, &txfeed->text, &json_at))
        event = bb_http_buffer_new(bb_buf_slice(&txfeed->text));
    bb_arena_reset(txfeed->arena);
    return gateway_txfeed_ring_keep(&txfeed->ring, item, &reader->view->view, event, json_at,
                                    event == NULL ? 0 : event->size - json_at - 2);
}

/* One item of the ring. False: the reader is gone. */
static bool take_item(struct txfeed_reader *reader, struct txfeed_item *item)
{
    struct txfeed *txfeed = reader->txfeed;
    struct txfeed_text *text = text_of(reader, item);

    if (text == NULL) {
        gateway_txfeed_reader_fail(reader, BB_CORRUPT, "A transaction could not be read.", 0);
        return false;
    }
    reader->position = item->tx;
    if (text->event == NULL)
        return true;
    bb_metric_add(txfeed->records, 1);
    if (reader->is_poll) {
        poll_add(reader, bb_slice(text->event->data + text->json_at, text->json_size));
        return true;
    }
    /* Beginning a stream may end the reader; the text must live until it is sent. */
    struct bb_http_buffer *event = bb_http_buffer_retain(text->event);
    bool is_there = gateway_txfeed_begin(reader);
    if (is_there) {
        bb_http_stream_send(reader->stream, event);
        reader->heard_us = now_of(txfeed);
    }
    bb_http_buffer_release(event);
    return is_there;
}

int gateway_txfeed_reader_take(struct bb_ctx *ctx, struct txfeed_reader *reader,
                               struct bb_slice bytes, struct bb_buf *page, bool *goes_on)
{
    struct txfeed *txfeed = reader->txfeed;
    Bb__Proto__TxRecord *record = NULL;
    Bb__Proto__TxBody *body = NULL;
    size_t json_at = 0;
    int rc = gateway_txfeed_unpack(ctx, txfeed->arena, bytes, &record, &body);

    if (rc == BB_OK && (record->prev > reader->position || record->tx <= reader->position)) {
        rc = bb_fail(ctx, BB_GAP, "record %" PRIu64 " follows %" PRIu64 ", not %" PRIu64,
                     record->tx, record->prev, reader->position);
    }
    if (rc == BB_OK) {
        size_t start = page->size;

        gateway_txfeed_learn(&txfeed->tables, body);
        reader->position = record->tx;
        if (write_event(reader, record, body, page, &json_at)) {
            bb_metric_add(txfeed->records, 1);
            if (reader->is_poll) {
                poll_add(reader, bb_slice(page->data + json_at, page->size - json_at - 2));
                page->size = start;
            }
        }
    }
    bb_arena_reset(txfeed->arena);
    *goes_on = rc == BB_OK && (!reader->is_poll || !poll_is_full(reader));
    return rc;
}

/* ---- at the head ---- */

static void send_progress(struct txfeed_reader *reader)
{
    struct txfeed *txfeed = reader->txfeed;
    uint64_t closed = reader->position;
    struct bb_buf *text = &txfeed->text;

    bb_buf_clear(text);
    bb_buf_printf(text, "event: progress\nid: %" PRIu64 "\ndata: {\"closed\":%" PRIu64, closed,
                  closed);
    append_cluster(txfeed, text);
    bb_buf_append_str(text, "\n\n");
    reader->reported = closed;
    gateway_txfeed_reader_send(reader, bb_buf_slice(text));
}

/* There is nothing newer. May free the reader. */
static void at_head(struct txfeed_reader *reader)
{
    struct txfeed *txfeed = reader->txfeed;

    /* A position that this gateway has not reached: it follows, or there is no such transaction. */
    if (reader->position > gateway_txfeed_head(txfeed))
        return;
    if (reader->is_poll) {
        if (reader->count > 0 || !reader->is_patient)
            answer_poll(reader);
        return;
    }
    if (reader->stream == NULL ? gateway_txfeed_begin(reader) : reader->is_behind) {
        reader->is_behind = false;
        send_progress(reader);
    }
}

/* ---- going on ---- */

void gateway_txfeed_found(struct txfeed_reader *reader)
{
    if (reader->consumer != NULL && !reader->is_consumer_open) {
        gateway_txfeed_consumer_open(reader);
        return;
    }
    reader->is_found = true;
    gateway_txfeed_go(reader);
}

/* Where does it begin? */
static void find_position(struct txfeed_reader *reader)
{
    struct txfeed *txfeed = reader->txfeed;

    if (reader->open != NULL || reader->pull != NULL || !bb_list_is_empty(&reader->queued) ||
        reader->retry_us != 0 || !bb_follow_is_following(txfeed->gateway->feed))
        return;
    switch (reader->from) {
    case TXFEED_FROM_NOW:
        reader->position = gateway_txfeed_head(txfeed);
        break;
    case TXFEED_FROM_EARLIEST:
        gateway_txfeed_pull(reader);
        return;
    case TXFEED_FROM_TX:
        break;
    }
    gateway_txfeed_found(reader);
}

/* A name that no table has ever had is a mistake, and silence would hide it. False: it ended. */
static bool check_tables(struct txfeed_reader *reader)
{
    struct bb_slice rest = reader->view->view.tables;
    char text[640];

    while (!reader->is_checked && rest.size > 0) {
        const char *name = (const char *)rest.data;
        size_t size = strlen(name) + 1;

        if (!gateway_txfeed_table_known(&reader->txfeed->tables, bb_slice_str(name))) {
            (void)snprintf(text, sizeof(text), "There is no table \"%s\" in this deployment.",
                           name);
            gateway_txfeed_reader_fail(reader, BB_BAD_REQUEST, text, 0);
            return false;
        }
        rest = bb_slice(rest.data + size, rest.size - size);
    }
    reader->is_checked = true;
    return true;
}

static bool has_room(const struct txfeed_reader *reader)
{
    size_t bytes;

    if (reader->is_poll)
        return !poll_is_full(reader);
    return reader->stream == NULL ||
           (bb_http_stream_queued(reader->stream, &bytes) < TXFEED_BURST_EVENTS &&
            bytes < TXFEED_BURST_BYTES);
}

void gateway_txfeed_go(struct txfeed_reader *reader)
{
    struct txfeed *txfeed = reader->txfeed;

    if (reader->is_ended || !gateway_txfeed_is_admitted(reader))
        return;
    if (!reader->is_found) {
        find_position(reader);
        return;
    }
    if (!txfeed->has_tables || reader->pull != NULL || !bb_list_is_empty(&reader->queued) ||
        reader->retry_us != 0 || !check_tables(reader))
        return;
    for (;;) {
        struct txfeed_item *item;

        if (!has_room(reader)) {
            if (reader->is_poll)
                answer_poll(reader);
            return;
        }
        if (reader->position >= gateway_txfeed_head(txfeed)) {
            at_head(reader);
            return;
        }
        item = gateway_txfeed_ring_after(&txfeed->ring, reader->position);
        if (item == NULL) {
            gateway_txfeed_pull(reader);
            return;
        }
        if (!take_item(reader, item))
            return;
    }
}

void gateway_txfeed_go_all(struct txfeed *txfeed)
{
    /* A reader that goes on ends itself at most. */
    bb_list_each_safe(item, &txfeed->readers)
        gateway_txfeed_go(bb_container(item, struct txfeed_reader, link));
}

/* ---- time ---- */

/* What it waits for did not come. */
static void give_up(struct txfeed_reader *reader)
{
    struct txfeed *txfeed = reader->txfeed;
    char text[160];

    if (reader->is_found && txfeed->has_tables && bb_follow_is_following(txfeed->gateway->feed) &&
        reader->position > gateway_txfeed_head(txfeed)) {
        (void)snprintf(text, sizeof(text),
                       "There is no transaction %" PRIu64 " here: the newest is %" PRIu64
                       ". Is the position of another deployment?",
                       reader->position, gateway_txfeed_head(txfeed));
        gateway_txfeed_reader_fail(reader, BB_TX_IN_FUTURE, text, 0);
    } else if (reader->is_poll && reader->count > 0) {
        answer_poll(reader);
    } else {
        gateway_txfeed_reader_fail(reader, BB_UNAVAILABLE,
                                   "The feed cannot be read now; try again.", 0);
    }
}

/* It reads, and what it has delivered is a moment of this history. */
static bool is_reading(const struct txfeed_reader *reader)
{
    return reader->is_found && reader->txfeed->has_tables &&
           reader->position <= gateway_txfeed_head(reader->txfeed);
}

static bool is_stuck(const struct txfeed_reader *reader)
{
    return !is_reading(reader) || reader->pull != NULL || reader->retry_us != 0 ||
           !bb_list_is_empty(&reader->queued);
}

static void tick_stream(struct txfeed_reader *reader, uint64_t now_us)
{
    size_t bytes;
    bool is_idle = bb_http_stream_queued(reader->stream, &bytes) == 0;

    if (!is_idle || reader->is_ended)
        return;
    if (now_us >= reader->heard_us + (reader->reported != reader->position ? TXFEED_PROGRESS_US
                                                                           : TXFEED_HEARTBEAT_US))
        send_progress(reader);
}

void gateway_txfeed_reader_tick(struct txfeed_reader *reader, uint64_t now_us)
{
    if (!gateway_txfeed_rule_tick(reader, now_us))
        return;
    if (reader->retry_us != 0 && now_us >= reader->retry_us) {
        reader->retry_us = 0;
        gateway_txfeed_go(reader); /* may end it: the rest comes with the next tick */
        return;
    }
    if (reader->stream != NULL) {
        tick_stream(reader, now_us);
    } else if (reader->is_patient && is_reading(reader) && now_us >= reader->deadline_us) {
        answer_poll(reader);
    } else if (now_us >= reader->arrive_us && is_stuck(reader)) {
        give_up(reader);
    }
}

void gateway_txfeed_reader_bye(struct txfeed_reader *reader)
{
    struct bb_ctx ctx = *reader->txfeed->gateway->ctx;
    uint16_t jitter;
    char text[96];

    if (reader->is_ended)
        return;
    if (reader->stream == NULL) {
        if (reader->is_poll && reader->is_found)
            answer_poll(reader);
        else
            gateway_txfeed_reader_fail(reader, BB_UNAVAILABLE,
                                       "This gateway is stopping; connect again.", 0);
        return;
    }
    /* Everybody comes back at another moment. */
    bb_random(&ctx, &jitter, sizeof(jitter));
    (void)snprintf(text, sizeof(text), "event: bye\nretry: %u\ndata: {}\n\n",
                   500u + jitter % 2500u);
    gateway_txfeed_reader_send(reader, bb_slice_str(text));
    reader->is_ended = true;
    bb_http_stream_close(reader->stream);
}
