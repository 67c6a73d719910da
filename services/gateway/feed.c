#include "feed.h"

#include <stdio.h>

#include "bb/wire_validate.h"
#include "behind.h"
#include "nats.h"
#include "subscribe.h"
#include "txfeed.h"
#include "websocket.h"

#define STORAGES_MAX    BEHIND_NODES_MAX
#define TAIL_BYTES      (4u << 20)
#define TAIL_WAIT_MS    10000u
#define INFO_TIMEOUT_MS 2000u
#define PAUSE_MS        50u

struct feed {
    struct gateway *gateway;
    struct bb_peer *storages[STORAGES_MAX];
    size_t count, current;
    struct bb_timer *pause;
    struct bb_arena *arena;
    uint64_t cursor;
    struct behind behind;
    bool has_cursor, is_following, is_closing;
    bool is_void; /* what we have seen is of another history: it begins anew */
    uint8_t cluster_id[16];
    bool has_cluster_id;
    struct bb_slice *keys;
    size_t key_count, key_capacity;
};

static void ask_tail(struct feed *feed);
static void ask_start(struct feed *feed);

static void set_following(struct feed *feed, bool is_following)
{
    if (feed->is_following == is_following)
        return;
    feed->is_following = is_following;
    bb_info(feed->gateway->ctx, is_following ? "gateway.feed_following" : "gateway.feed_lost",
            "storage=%s tx=%" PRIu64, bb_peer_url(feed->storages[feed->current]), feed->cursor);
}

static void go_on(void *arg)
{
    struct feed *feed = arg;

    if (feed->has_cursor) {
        ask_tail(feed);
    } else {
        ask_start(feed);
    }
}

/* Another storage node that is there, after a pause. */
static void pass_over(struct feed *feed)
{
    set_following(feed, false);
    for (size_t i = 1, first = feed->current; i < feed->count; i++) {
        feed->current = (first + i) % feed->count;
        if (bb_peer_is_connected(feed->storages[feed->current]))
            break;
    }
    bb_timer_start(feed->pause, PAUSE_MS, 0);
}

/* The present one does not answer. */
static void try_next(struct feed *feed)
{
    gateway_behind_leave(&feed->behind, feed->current);
    pass_over(feed);
}

/* What the present node's newest transaction says about it, and about the history. */
static enum behind_verdict judge(struct feed *feed, uint64_t last_tx)
{
    enum behind_verdict verdict = gateway_behind_say(
        &feed->behind, feed->current, last_tx, feed->cursor, bb_loop_now_us(feed->gateway->loop));

    if (verdict == BEHIND_HISTORY) {
        bb_warn(feed->gateway->ctx, "gateway.history_went_back",
                "cursor=%" PRIu64 " newest=%" PRIu64, feed->cursor, last_tx);
    }
    return verdict;
}

/* ---- where the feed begins ---- */

static void begin_at(struct feed *feed, uint64_t cursor, bool is_new_history)
{
    feed->cursor = cursor;
    feed->has_cursor = true;
    feed->is_void = false;
    gateway_txfeed_skip(feed->gateway, cursor, is_new_history);
    if (is_new_history) {
        gateway_subscriptions_restart(feed->gateway, cursor);
    } else {
        gateway_subscriptions_skip(feed->gateway, cursor);
    }
}

static int unpack_reply(struct feed *feed, int status, struct bb_slice bytes,
                        Bb__Proto__StorageReply **reply)
{
    struct bb_ctx ctx = *feed->gateway->ctx;

    if (status == BB_OK)
        status = bb_unpack(&ctx, feed->arena, &bb__proto__storage_reply__descriptor, bytes, reply);
    if (status == BB_OK)
        status = bb_storage_reply_validate(&ctx, *reply);
    return status;
}

/* From where the node is. False: it lags behind what we have seen. */
static bool begin_with(struct feed *feed, const Bb__Proto__InfoReply *info)
{
    bool is_other = feed->has_cluster_id && info->cluster_id.len > 0 &&
                    memcmp(feed->cluster_id, info->cluster_id.data, info->cluster_id.len) != 0;
    enum behind_verdict verdict =
        is_other || feed->is_void ? BEHIND_HISTORY : judge(feed, info->last_tx);

    if (verdict == BEHIND_LAGS)
        return false;
    if (info->cluster_id.len > 0)
        memcpy(feed->cluster_id, info->cluster_id.data, info->cluster_id.len);
    feed->has_cluster_id = info->cluster_id.len > 0;
    begin_at(feed, info->last_tx, verdict == BEHIND_HISTORY);
    return true;
}

static void on_start_info(void *arg, int status, struct bb_slice bytes)
{
    struct feed *feed = arg;
    Bb__Proto__StorageReply *reply = NULL;
    bool is_usable;
    bool has_begun = false;

    if (feed->is_closing)
        return;
    status = unpack_reply(feed, status, bytes, &reply);
    is_usable = status == BB_OK && reply->status == BB_OK &&
                reply->op_case == BB__PROTO__STORAGE_REPLY__OP_INFO &&
                reply->info->cluster_id.len <= sizeof(feed->cluster_id);
    if (is_usable)
        has_begun = begin_with(feed, reply->info);
    bb_arena_reset(feed->arena);
    if (has_begun) {
        ask_tail(feed);
    } else if (is_usable) {
        pass_over(feed);
    } else {
        try_next(feed);
    }
}

static void ask_start(struct feed *feed)
{
    Bb__Proto__StorageRequest request = BB__PROTO__STORAGE_REQUEST__INIT;
    Bb__Proto__Info info = BB__PROTO__INFO__INIT;
    struct bb_ctx ctx = *feed->gateway->ctx;

    request.op_case = BB__PROTO__STORAGE_REQUEST__OP_INFO;
    request.info = &info;
    if (bb_peer_request(&ctx, feed->storages[feed->current], &request.base, INFO_TIMEOUT_MS,
                        on_start_info, feed) != BB_OK)
        try_next(feed);
}

/* ---- what comes ---- */

static void add_key(struct feed *feed, ProtobufCBinaryData key)
{
    if (feed->key_count == feed->key_capacity) {
        feed->key_capacity = feed->key_capacity == 0 ? 64 : feed->key_capacity * 2;
        feed->keys = bb_realloc(feed->keys, feed->key_capacity * sizeof(struct bb_slice));
    }
    feed->keys[feed->key_count++] = bb_pb_slice(key);
}

/* One record into the live queries. BB_GAP: it does not follow on what we have. */
static int take_record(struct bb_ctx *ctx, struct feed *feed, ProtobufCBinaryData bytes)
{
    Bb__Proto__TxRecord *record = NULL;
    Bb__Proto__TxBody *body = NULL;
    int rc =
        bb_unpack(ctx, feed->arena, &bb__proto__tx_record__descriptor, bb_pb_slice(bytes), &record);

    if (rc == BB_OK)
        rc = bb_tx_record_validate(ctx, record);
    if (rc == BB_OK && (record->prev != feed->cursor || record->tx <= record->prev)) {
        return bb_fail(ctx, BB_GAP, "record %" PRIu64 " follows %" PRIu64 ", we are at %" PRIu64,
                       record->tx, record->prev, feed->cursor);
    }
    if (rc == BB_OK) {
        rc = bb_unpack(ctx, feed->arena, &bb__proto__tx_body__descriptor, bb_pb_slice(record->body),
                       &body);
    }
    if (rc != BB_OK)
        return rc;
    feed->key_count = 0;
    for (size_t i = 0; i < body->n_writes; i++) {
        const Bb__Proto__Write *write = body->writes[i];

        if (!write->is_index_only && write->doc_key.len > 0)
            add_key(feed, write->doc_key);
        for (size_t k = 0; k < write->n_keys; k++)
            add_key(feed, write->keys[k]->key);
    }
    feed->cursor = record->tx;
    gateway_txfeed_record(feed->gateway, bb_pb_slice(bytes), record, body);
    gateway_websockets_record(feed->gateway, record->tx, bb_pb_slice(body->request_id));
    gateway_subscriptions_write(feed->gateway, record->tx, feed->keys, feed->key_count);
    return BB_OK;
}

static void take_records(struct feed *feed, const Bb__Proto__TailReply *tail)
{
    struct bb_ctx ctx = *feed->gateway->ctx;

    for (size_t i = 0; i < tail->n_records; i++) {
        int rc = take_record(&ctx, feed, tail->records[i]);

        if (rc != BB_OK) {
            bb_warn(feed->gateway->ctx, "gateway.feed_gap", "status=%s why=\"%s\"",
                    bb_status_name(rc), ctx.error);
            feed->has_cursor = false;
            return;
        }
    }
    gateway_subscriptions_advance(feed->gateway, feed->cursor);
    gateway_txfeed_advance(feed->gateway, feed->cursor);
    gateway_nats_advance(feed->gateway);
}

/* False: the node lags behind what we have seen. */
static bool take_tail(struct feed *feed, const Bb__Proto__TailReply *tail)
{
    switch (judge(feed, tail->last_tx)) {
    case BEHIND_LAGS:
        return false;
    case BEHIND_HISTORY:
        feed->has_cursor = false;
        feed->is_void = true;
        break;
    case BEHIND_NOT:
        take_records(feed, tail);
        break;
    }
    set_following(feed, true);
    return true;
}

static void on_tail(void *arg, int status, struct bb_slice bytes)
{
    struct feed *feed = arg;
    Bb__Proto__StorageReply *reply = NULL;
    bool is_away;
    bool lags = false;

    if (feed->is_closing)
        return;
    status = unpack_reply(feed, status, bytes, &reply);
    is_away = status != BB_OK;
    if (status == BB_OK && reply->status == BB_OK &&
        reply->op_case == BB__PROTO__STORAGE_REPLY__OP_TAIL) {
        lags = !take_tail(feed, reply->tail);
    } else if (status == BB_OK &&
               (reply->status == BB_TX_TRUNCATED || reply->status == BB_TX_IN_FUTURE)) {
        bb_warn(feed->gateway->ctx, "gateway.feed_position", "cursor=%" PRIu64 " status=%s",
                feed->cursor, bb_status_name((int)reply->status));
        feed->has_cursor = false;
    } else if (status == BB_OK) {
        is_away = true;
    }
    bb_arena_reset(feed->arena);
    if (lags) {
        pass_over(feed);
    } else if (is_away) {
        try_next(feed);
    } else {
        go_on(feed);
    }
}

static void ask_tail(struct feed *feed)
{
    Bb__Proto__StorageRequest request = BB__PROTO__STORAGE_REQUEST__INIT;
    Bb__Proto__Tail tail = BB__PROTO__TAIL__INIT;
    struct bb_ctx ctx = *feed->gateway->ctx;

    request.op_case = BB__PROTO__STORAGE_REQUEST__OP_TAIL;
    request.tail = &tail;
    tail.after = feed->cursor;
    tail.max_bytes = TAIL_BYTES;
    /* The first answer shows that the node is there; it need not wait for news. */
    tail.wait_ms = feed->is_following ? TAIL_WAIT_MS : 0;
    if (bb_peer_request(&ctx, feed->storages[feed->current], &request.base, TAIL_WAIT_MS + 5000,
                        on_tail, feed) != BB_OK)
        try_next(feed);
}

/* ---- the rest ---- */

bool gateway_feed_is_following(const struct feed *feed)
{
    return feed->is_following;
}

uint64_t gateway_feed_cursor(const struct feed *feed)
{
    return feed->cursor;
}

struct bb_slice gateway_feed_cluster(const struct feed *feed)
{
    return feed->has_cluster_id ? bb_slice(feed->cluster_id, sizeof(feed->cluster_id))
                                : BB_SLICE_EMPTY;
}

/* ---- questions of others ---- */

struct question {
    struct feed *feed;
    void (*done)(void *arg, int status, const Bb__Proto__StorageReply *reply);
    void *arg;
};

static void on_answer(void *arg, int status, struct bb_slice bytes)
{
    struct question *question = arg;
    struct feed *feed = question->feed;
    Bb__Proto__StorageReply *reply = NULL;

    status = unpack_reply(feed, status, bytes, &reply);
    question->done(question->arg, status, status == BB_OK ? reply : NULL);
    bb_arena_reset(feed->arena);
    bb_free(question);
}

int gateway_feed_ask(struct bb_ctx *ctx, struct feed *feed,
                     const Bb__Proto__StorageRequest *request, uint32_t timeout_ms,
                     void (*done)(void *arg, int status, const Bb__Proto__StorageReply *reply),
                     void *arg)
{
    struct question *question = bb_alloc(sizeof(*question));
    int rc;

    *question = (struct question){ .feed = feed, .done = done, .arg = arg };
    rc = bb_peer_request(ctx, feed->storages[feed->current], &request->base, timeout_ms, on_answer,
                         question);
    if (rc != BB_OK)
        bb_free(question);
    return rc;
}

struct info_question {
    struct feed *feed;
    struct bb_peer *peer;
    void (*done)(void *arg, const char *url, int status, const Bb__Proto__InfoReply *info);
    void *arg;
};

static void on_info(void *arg, int status, struct bb_slice bytes)
{
    struct info_question *question = arg;
    struct feed *feed = question->feed;
    Bb__Proto__StorageReply *reply = NULL;
    const Bb__Proto__InfoReply *info = NULL;

    status = unpack_reply(feed, status, bytes, &reply);
    if (status == BB_OK && reply->status != BB_OK)
        status = (int)reply->status;
    if (status == BB_OK && reply->op_case == BB__PROTO__STORAGE_REPLY__OP_INFO)
        info = reply->info;
    question->done(question->arg, bb_peer_url(question->peer),
                   info == NULL ? BB_UNAVAILABLE : BB_OK, info);
    bb_arena_reset(feed->arena);
    bb_free(question);
}

size_t gateway_feed_ask_info(struct feed *feed,
                             void (*done)(void *arg, const char *url, int status,
                                          const Bb__Proto__InfoReply *info),
                             void *arg)
{
    size_t count = 0;

    for (size_t i = 0; i < feed->count; i++) {
        Bb__Proto__StorageRequest request = BB__PROTO__STORAGE_REQUEST__INIT;
        Bb__Proto__Info info = BB__PROTO__INFO__INIT;
        struct info_question *question = bb_alloc_zero(1, sizeof(*question));
        struct bb_ctx ctx = *feed->gateway->ctx;

        *question = (struct info_question){ feed, feed->storages[i], done, arg };
        request.op_case = BB__PROTO__STORAGE_REQUEST__OP_INFO;
        request.info = &info;
        if (bb_peer_request(&ctx, feed->storages[i], &request.base, INFO_TIMEOUT_MS, on_info,
                            question) == BB_OK) {
            count++;
        } else {
            bb_free(question);
        }
    }
    return count;
}

static int add_storage(struct bb_ctx *ctx, struct feed *feed, struct bb_slice url)
{
    char text[512];

    if (feed->count == STORAGES_MAX || url.size >= sizeof(text)) {
        return bb_fail(ctx, BB_BAD_REQUEST,
                       "option storage: at most %u urls of at most 511 characters", STORAGES_MAX);
    }
    (void)snprintf(text, sizeof(text), "%.*s", BB_SLICE_ARG(url));
    return bb_peer_open(ctx, feed->gateway->loop, &(struct bb_peer_options){ .url = text },
                        &feed->storages[feed->count++]);
}

int gateway_feed_open(struct bb_ctx *ctx, struct gateway *gateway, const char *urls)
{
    struct feed *feed = bb_alloc_zero(1, sizeof(*feed));
    struct bb_slice rest = bb_slice_str(urls);

    gateway->feed = feed;
    feed->gateway = gateway;
    feed->arena = bb_arena_new(0);
    while (rest.size > 0) {
        const uint8_t *comma = memchr(rest.data, ',', rest.size);
        size_t size = comma == NULL ? rest.size : (size_t)(comma - rest.data);
        int rc = size == 0 ? BB_OK : add_storage(ctx, feed, bb_slice(rest.data, size));

        if (rc != BB_OK)
            return rc;
        size += comma != NULL;
        rest = bb_slice(rest.data + size, rest.size - size);
    }
    if (feed->count == 0)
        return bb_fail(ctx, BB_BAD_REQUEST, "option storage: names no storage node");
    feed->behind.count = feed->count;
    feed->pause = bb_timer_new(gateway->loop, go_on, feed);
    ask_start(feed);
    return BB_OK;
}

void gateway_feed_close(struct feed *feed)
{
    if (feed == NULL)
        return;
    feed->is_closing = true;
    for (size_t i = 0; i < feed->count; i++)
        bb_peer_close(feed->storages[i]);
    bb_timer_free(feed->pause);
    bb_arena_free(feed->arena);
    bb_free(feed->keys);
    bb_free(feed);
}
