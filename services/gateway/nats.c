#include "nats.h"

#include <stdio.h>
#include <stdlib.h>

#include "bb/conf.h"
#include "bb/nats.h"
#include "bb/wire.h"
#include "bus.h"
#include "nats_position.h"
#include "txfeed_internal.h"

#define PAGE_BYTES (256u << 10)
#define INLINE_MAX (512u << 10) /* larger records go by reference */
#define ASK_MS     5000u
#define PAUSE_MS   1000u
#define RETRY_MS   100u
#define SAVE_US    1000000u /* between two saved positions */

struct nats_record {
    uint64_t tx, prev;
    struct bb_buf json;
};

enum page_state {
    PAGE_NONE,   /* nobody asks */
    PAGE_ASKED,  /* the thread wants what comes after `after` */
    PAGE_FETCHED /* `records` are there */
};

struct nats_publisher {
    struct gateway *gateway;
    struct bb_thread *thread;
    struct bb_mutex *mutex;
    struct bb_cond *cond;
    char *url, *shown_url, *stream, *subject;
    struct bb_timer *retry;
    struct bb_arena *arena;
    /* under the mutex */
    enum page_state state;
    bool is_stopping, is_connected, is_posted;
    uint64_t after, published_tx;
    struct nats_record *records;
    size_t count;
    struct bb_task task; /* tells the owner that a page is wanted */
    /* the owner's */
    bool is_asking, is_closing;
    struct bb_metric *published, *lag;
};

/* ---- the owner: pages ---- */

static void fetch(struct nats_publisher *publisher);

static void try_later(struct nats_publisher *publisher)
{
    bb_timer_start(publisher->retry, RETRY_MS, 0);
}

static uint64_t wanted(struct nats_publisher *publisher, bool *is_wanted)
{
    uint64_t after;

    bb_mutex_lock(publisher->mutex);
    *is_wanted = publisher->state == PAGE_ASKED && !publisher->is_stopping;
    after = publisher->after;
    bb_mutex_unlock(publisher->mutex);
    return after;
}

/* A record as the feed shows it; what is too large for a message names where it can be read. */
static int write_record(struct bb_ctx *ctx, struct nats_publisher *publisher, struct bb_slice bytes,
                        struct nats_record *to)
{
    struct txfeed *txfeed = publisher->gateway->txfeed;
    struct txfeed_view view = { .include = TXFEED_AFTER, .format = BB_JSON_ENCODED };
    Bb__Proto__TxRecord *record = NULL;
    Bb__Proto__TxBody *body = NULL;
    int rc = gateway_txfeed_unpack(ctx, publisher->arena, bytes, &record, &body);

    if (rc != BB_OK)
        return rc;
    gateway_txfeed_learn(&txfeed->tables, body);
    to->tx = record->tx;
    to->prev = record->prev;
    bb_buf_init(&to->json);
    (void)gateway_txfeed_encode(&to->json, record, body, &txfeed->tables, &view);
    if (to->json.size > INLINE_MAX) {
        bb_buf_clear(&to->json);
        bb_buf_printf(&to->json,
                      "{\"tx\":%" PRIu64 ",\"prev\":%" PRIu64 ",\"ref\":\"/api/tx?from=%" PRIu64
                      "&limit=1\"}",
                      to->tx, to->prev, to->prev);
    }
    bb_arena_reset(publisher->arena);
    return BB_OK;
}

static void hand_over(struct nats_publisher *publisher, const Bb__Proto__TailReply *tail)
{
    struct bb_ctx ctx = *publisher->gateway->ctx;
    struct nats_record *records = bb_alloc_zero(tail->n_records, sizeof(*records));
    size_t count = 0;

    while (count < tail->n_records &&
           write_record(&ctx, publisher, bb_pb_slice(tail->records[count]), &records[count]) ==
               BB_OK)
        count++;
    bb_mutex_lock(publisher->mutex);
    publisher->records = records;
    publisher->count = count;
    publisher->state = PAGE_FETCHED;
    bb_cond_broadcast(publisher->cond);
    bb_mutex_unlock(publisher->mutex);
}

/* The stream ends before what storage keeps, or can read: what lies between is shown by `BB-Prev`.
 */
static void skip_to(struct nats_publisher *publisher, uint64_t earliest)
{
    bb_error(publisher->gateway->ctx, "gateway.nats_gap", "after=%" PRIu64 " earliest=%" PRIu64,
             publisher->after, earliest);
    bb_mutex_lock(publisher->mutex);
    publisher->after = earliest;
    bb_mutex_unlock(publisher->mutex);
}

static void on_tail(void *arg, int status, const Bb__Proto__StorageReply *reply)
{
    struct nats_publisher *publisher = arg;
    bool has_tail = status == BB_OK && reply->op_case == BB__PROTO__STORAGE_REPLY__OP_TAIL;

    publisher->is_asking = false;
    if (publisher->is_closing)
        return;
    if (has_tail && reply->status == BB_OK && reply->tail->n_records > 0) {
        hand_over(publisher, reply->tail);
    } else if (has_tail && (reply->status == BB_TX_TRUNCATED || reply->status == BB_CORRUPT)) {
        skip_to(publisher, reply->tail->earliest);
        try_later(publisher);
    } else if (!has_tail || reply->status != BB_OK) {
        try_later(publisher);
    } else if (bb_follow_cursor(publisher->gateway->feed) > publisher->after) {
        try_later(publisher); /* the feed went on meanwhile, or this node is behind */
    }
    /* Else nothing is there yet: the feed's advance asks again. */
}

static void fetch(struct nats_publisher *publisher)
{
    struct gateway *gateway = publisher->gateway;
    Bb__Proto__StorageRequest request = BB__PROTO__STORAGE_REQUEST__INIT;
    Bb__Proto__Tail tail = BB__PROTO__TAIL__INIT;
    struct bb_ctx ctx = *gateway->ctx;
    bool is_wanted;
    uint64_t after = wanted(publisher, &is_wanted);

    if (!is_wanted || publisher->is_asking || publisher->is_closing)
        return;
    if (!gateway->txfeed->has_tables) {
        gateway_txfeed_load_tables(gateway->txfeed);
        try_later(publisher);
        return;
    }
    request.op_case = BB__PROTO__STORAGE_REQUEST__OP_TAIL;
    request.tail = &tail;
    tail.after = after;
    tail.max_bytes = PAGE_BYTES;
    publisher->is_asking =
        bb_follow_ask(&ctx, gateway->feed, &request, ASK_MS, on_tail, publisher) == BB_OK;
    if (!publisher->is_asking)
        try_later(publisher);
}

static void on_retry(void *arg)
{
    fetch(arg);
}

static void on_task(struct bb_task *task)
{
    struct nats_publisher *publisher = bb_container(task, struct nats_publisher, task);

    bb_mutex_lock(publisher->mutex);
    publisher->is_posted = false;
    bb_mutex_unlock(publisher->mutex);
    fetch(publisher);
}

void gateway_nats_advance(struct gateway *gateway)
{
    struct nats_publisher *publisher = gateway->nats;
    uint64_t head = bb_follow_cursor(gateway->feed);

    if (publisher == NULL)
        return;
    bb_mutex_lock(publisher->mutex);
    bb_metric_set(publisher->lag,
                  head > publisher->published_tx ? (int64_t)(head - publisher->published_tx) : 0);
    bb_mutex_unlock(publisher->mutex);
    fetch(publisher);
}

/* ---- the thread: NATS ---- */

static bool is_stopping(struct nats_publisher *publisher)
{
    bool result;

    bb_mutex_lock(publisher->mutex);
    result = publisher->is_stopping;
    bb_mutex_unlock(publisher->mutex);
    return result;
}

static void pause(struct nats_publisher *publisher)
{
    bb_mutex_lock(publisher->mutex);
    if (!publisher->is_stopping)
        (void)bb_cond_wait_ms(publisher->cond, publisher->mutex, PAUSE_MS);
    bb_mutex_unlock(publisher->mutex);
}

static void set_connected(struct nats_publisher *publisher, bool is_connected, const char *why)
{
    bool was;

    bb_mutex_lock(publisher->mutex);
    was = publisher->is_connected;
    publisher->is_connected = is_connected;
    bb_mutex_unlock(publisher->mutex);
    if (was != is_connected) {
        bb_info(publisher->gateway->ctx, is_connected ? "gateway.nats_up" : "gateway.nats_away",
                "url=%s why=\"%s\"", publisher->shown_url, why);
    }
}

static void free_records(struct nats_record *records, size_t count)
{
    for (size_t i = 0; i < count; i++)
        bb_buf_fini(&records[i].json);
    bb_free(records);
}

/* Waits for the page behind `after`. NULL: the end. */
static struct nats_record *ask_page(struct nats_publisher *publisher, uint64_t after, size_t *count)
{
    struct nats_record *records = NULL;

    bb_mutex_lock(publisher->mutex);
    publisher->after = after;
    publisher->published_tx = after;
    publisher->state = PAGE_ASKED;
    if (!publisher->is_stopping && !publisher->is_posted) {
        publisher->is_posted = true;
        bb_loop_post(publisher->gateway->loop, &publisher->task);
    }
    while (publisher->state == PAGE_ASKED && !publisher->is_stopping)
        bb_cond_wait(publisher->cond, publisher->mutex);
    if (publisher->state == PAGE_FETCHED) {
        records = publisher->records;
        *count = publisher->count;
    }
    publisher->records = NULL;
    publisher->state = PAGE_NONE;
    bb_mutex_unlock(publisher->mutex);
    return records;
}

/* Where publishing goes on. */
struct nats_end {
    uint64_t tx, seq; /* the last message of the stream */
    uint64_t skips;   /* transactions behind `tx` whose messages the stream had, and removed */
    uint64_t saved_us;
};

/* All messages were removed by the stream's own limits: the position beside it tells which ones. */
static natsStatus find_removed(struct nats_publisher *publisher, jsCtx *js, struct nats_end *end)
{
    struct nats_position position = { 0, 0 };
    natsStatus status = gateway_nats_position_load(js, publisher->stream, &position);

    if (status == NATS_NOT_FOUND || (status == NATS_OK && position.seq > end->seq))
        return NATS_OK; /* nothing is known of this stream: from the beginning */
    end->tx = position.tx;
    end->skips = end->seq - position.seq;
    return status;
}

/* Where the stream ends; made when it is not there. */
static natsStatus find_end(struct nats_publisher *publisher, struct bb_nats_stream *stream,
                           struct nats_end *end)
{
    natsMsg *msg = NULL;
    jsErrCode code = 0;
    const char *text = NULL;
    natsStatus status =
        bb_nats_find(stream, publisher->stream, publisher->subject, js_LimitsPolicy, &end->seq);

    if (status != NATS_OK || end->seq == 0)
        return status;
    status = js_GetLastMsg(&msg, stream->js, publisher->stream, publisher->subject, NULL, &code);
    if (status == NATS_NOT_FOUND)
        return find_removed(publisher, stream->js, end);
    if (status != NATS_OK)
        return status;
    if (natsMsgHeader_Get(msg, "BB-Tx", &text) == NATS_OK)
        end->tx = strtoull(text, NULL, 10);
    natsMsg_Destroy(msg);
    return NATS_OK;
}

/* Now and then; without it publishing goes on, and only a stream that is emptied suffers. */
static void save_position(struct nats_publisher *publisher, jsCtx *js, struct nats_end *end)
{
    struct nats_position position = { .seq = end->seq, .tx = end->tx };
    uint64_t now = bb_now_us(publisher->gateway->ctx);
    natsStatus status;

    if (end->seq == 0 || end->skips > 0 || (end->saved_us != 0 && now < end->saved_us + SAVE_US))
        return;
    end->saved_us = now;
    status = gateway_nats_position_save(js, publisher->stream, &position);
    if (status != NATS_OK) {
        bb_warn(publisher->gateway->ctx, "gateway.nats_position", "why=\"%s\"",
                natsStatus_GetText(status));
    }
}

/* What the stream had before it was emptied is not published again. */
static bool is_removed(struct nats_end *end, const struct nats_record *record)
{
    if (end->skips == 0 || record->prev != end->tx) {
        end->skips = 0;
        return false;
    }
    end->skips--;
    return true;
}

static natsStatus publish(struct nats_publisher *publisher, jsCtx *js,
                          const struct nats_record *record, uint64_t *seq)
{
    jsPubOptions options;
    jsPubAck *ack = NULL;
    natsMsg *msg = NULL;
    jsErrCode code = 0;
    char tx[24];
    char prev[24];
    natsStatus status = natsMsg_Create(&msg, publisher->subject, NULL,
                                       (const char *)record->json.data, (int)record->json.size);

    (void)snprintf(tx, sizeof(tx), "%" PRIu64, record->tx);
    (void)snprintf(prev, sizeof(prev), "%" PRIu64, record->prev);
    (void)jsPubOptions_Init(&options);
    options.MsgId = tx;
    options.ExpectLastSeq = *seq;
    options.MaxWait = BB_NATS_TIMEOUT_MS;
    if (status == NATS_OK)
        status = natsMsgHeader_Set(msg, "BB-Tx", tx);
    if (status == NATS_OK)
        status = natsMsgHeader_Set(msg, "BB-Prev", prev);
    if (status == NATS_OK)
        status = js_PublishMsg(&ack, js, msg, &options, &code);
    /* Somebody published it before: the end of the stream is not where we thought. */
    if (status == NATS_OK && ack->Duplicate)
        status = NATS_MISMATCH;
    if (status == NATS_OK) {
        *seq = ack->Sequence;
        bb_metric_add(publisher->published, 1);
    }
    jsPubAck_Destroy(ack);
    natsMsg_Destroy(msg);
    return status;
}

/* Publishes until something fails; where the stream ends is asked anew then. */
static natsStatus publish_on(struct nats_publisher *publisher, struct bb_nats_stream *stream)
{
    struct nats_end end = { 0 };
    natsStatus status = find_end(publisher, stream, &end);

    if (status == NATS_OK)
        set_connected(publisher, true, "");
    while (status == NATS_OK && !is_stopping(publisher)) {
        size_t count = 0;
        struct nats_record *records = ask_page(publisher, end.tx, &count);

        for (size_t i = 0; status == NATS_OK && i < count && !is_stopping(publisher); i++) {
            if (!is_removed(&end, &records[i]))
                status = publish(publisher, stream->js, &records[i], &end.seq);
            if (status == NATS_OK)
                end.tx = records[i].tx;
        }
        free_records(records, count);
        if (status == NATS_OK)
            save_position(publisher, stream->js, &end);
    }
    bb_mutex_lock(publisher->mutex);
    publisher->published_tx = end.tx > publisher->published_tx ? end.tx : publisher->published_tx;
    bb_mutex_unlock(publisher->mutex);
    return status;
}

static void run(void *arg)
{
    struct nats_publisher *publisher = arg;

    while (!is_stopping(publisher)) {
        struct bb_nats_stream stream;
        natsStatus status = bb_nats_open(publisher->url, &stream);

        if (status == NATS_OK)
            status = publish_on(publisher, &stream);
        if (status != NATS_OK)
            set_connected(publisher, false, natsStatus_GetText(status));
        bb_nats_close(&stream);
        if (status != NATS_OK)
            pause(publisher);
    }
}

/* ---- open and close ---- */

int gateway_nats_open(struct bb_ctx *ctx, struct gateway *gateway, const struct bb_conf *conf)
{
    const char *url = bb_conf_text(conf, "nats");
    struct nats_publisher *publisher;

    if (!bb_conf_bool(conf, "nats-feed"))
        return BB_OK;
    if (url == NULL || url[0] == '\0')
        return bb_fail(ctx, BB_BAD_REQUEST, "option nats-feed needs --nats");
    int rc = bb_nats_check(ctx, url);
    if (rc != BB_OK)
        return rc;
    publisher = bb_alloc_zero(1, sizeof(*publisher));
    gateway->nats = publisher;
    publisher->gateway = gateway;
    publisher->url = bb_strdup(url);
    publisher->shown_url = bb_nats_shown(url);
    publisher->stream = bb_strdup(bb_conf_text(conf, "nats-stream"));
    publisher->subject = bb_strdup(bb_conf_text(conf, "nats-subject"));
    publisher->mutex = bb_mutex_new();
    publisher->cond = bb_cond_new();
    publisher->arena = bb_arena_new(0);
    publisher->retry = bb_timer_new(gateway->loop, on_retry, publisher);
    publisher->task.run = on_task;
    publisher->published =
        bb_metric("bb_gateway_nats_published_total", BB_COUNTER, "Transactions published to NATS.");
    publisher->lag = bb_metric("bb_gateway_nats_lag_microseconds", BB_GAUGE,
                               "How far the NATS stream is behind the newest transaction.");
    publisher->thread = bb_thread_start("nats", run, publisher);
    return BB_OK;
}

void gateway_nats_close(struct gateway *gateway)
{
    struct nats_publisher *publisher = gateway->nats;

    if (publisher == NULL)
        return;
    bb_mutex_lock(publisher->mutex);
    publisher->is_stopping = true;
    bb_cond_broadcast(publisher->cond);
    bb_mutex_unlock(publisher->mutex);
    bb_thread_join(publisher->thread);
    publisher->is_closing = true;
    bb_loop_drain(gateway->loop); /* its task may be on its way */
}

void gateway_nats_free(struct gateway *gateway)
{
    struct nats_publisher *publisher = gateway->nats;

    if (publisher == NULL)
        return;
    gateway->nats = NULL;
    bb_timer_free(publisher->retry);
    bb_arena_free(publisher->arena);
    bb_cond_free(publisher->cond);
    bb_mutex_free(publisher->mutex);
    bb_free(publisher->url);
    bb_free(publisher->shown_url);
    bb_free(publisher->stream);
    bb_free(publisher->subject);
    bb_free(publisher);
}

void gateway_nats_append_status(const struct gateway *gateway, struct bb_buf *json)
{
    struct nats_publisher *publisher = gateway->nats;

    if (gateway->bus == NULL) {
        bb_buf_append_str(json, ",\"nats\":{\"isConfigured\":false}");
        return;
    }
    bb_buf_append_str(json, ",\"nats\":{\"isConfigured\":true,\"url\":");
    bb_json_string(json, bb_slice_str(gateway_bus_url(gateway)));
    bb_buf_printf(json, ",\"isUp\":%s", gateway_bus_is_up(gateway) ? "true" : "false");
    if (publisher != NULL) {
        bb_mutex_lock(publisher->mutex);
        bb_buf_printf(json, ",\"feed\":{\"isUp\":%s,\"publishedTx\":%" PRIu64 "}",
                      publisher->is_connected ? "true" : "false", publisher->published_tx);
        bb_mutex_unlock(publisher->mutex);
    }
    bb_buf_append_byte(json, '}');
}
