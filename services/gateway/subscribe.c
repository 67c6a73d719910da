#include "subscribe.h"

#include <stdio.h>

#include "evaluate.h"
#include "feed.h"
#include "routes.h"

#define RUNNING_MAX       128u
#define RING_BYTES        (8u << 20)
#define IDLE_US           10000000u
#define TICK_MS           50u
#define TICKS_A_SECOND    (1000u / TICK_MS)
#define HEARTBEAT_SECONDS 15u
#define RETRY_MS          1000u
#define AFTER_WAIT_US     5000000u /* how long a tx that nobody has seen here is waited for */

/* One stream that watches one query. */
struct watch {
    struct live_subscriber subscriber;
    struct subscriptions *owner;
    struct bb_list link;
    struct bb_http_stream *stream;
    enum bb_json_format format;
    struct bb_slice identity; /* owned */
    uint64_t wait_until_us;   /* for a tx it has seen elsewhere; 0: it does not wait */
    uint32_t beat;            /* the second, modulo HEARTBEAT_SECONDS, of its heartbeat */
};

struct subscriptions {
    struct gateway *gateway;
    struct live *live;
    struct bb_list watches;
    size_t watch_count;
    struct bb_timer *tick;
    uint64_t tick_count;
    struct bb_http_buffer *heartbeat, *hello, *resync;
    struct bb_metric *evaluations, *events, *entries, *ranges;
    bool is_closing;
};

/* ---- running a live query ---- */

static void evaluate(void *arg, struct live_entry *entry, uint64_t min_tx)
{
    struct subscriptions *owner = arg;

    if (owner->is_closing)
        return;
    bb_metric_add(owner->evaluations, 1);
    gateway_evaluate(owner->gateway, entry, min_tx);
}

/* ---- sending results ---- */

/* The event of an entry's result: made once for all subscribers of a format. */
static struct bb_http_buffer *make_event(struct subscriptions *owner,
                                         const struct live_entry *entry, enum bb_json_format format,
                                         uint64_t tx)
{
    struct bb_buf *json = &owner->gateway->json;
    struct bb_http_buffer *event;

    bb_buf_clear(json);
    bb_buf_printf(json,
                  "event: %s\nid: %" PRIu64 "\ndata: ", entry->is_failure ? "failed" : "value", tx);
    if (!entry->is_failure)
        bb_buf_append_str(json, "{\"value\":");
    bb_json_encode(bb_buf_slice(&entry->payload), format, json);
    if (entry->is_failure)
        json->size--; /* the closing brace of {code, errorMessage, errorData} */
    bb_buf_printf(json, ",\"tx\":%" PRIu64 "}\n\n", tx);
    event = bb_http_buffer_new(bb_buf_slice(json));
    if (json->capacity > 1u << 20) {
        bb_buf_fini(json);
        bb_buf_init(json);
    }
    return event;
}

static void publish(void *arg, struct live_entry *entry)
{
    struct subscriptions *owner = arg;
    struct bb_http_buffer *events[2] = { NULL, NULL };
    uint64_t tx = gateway_live_result_tx(entry);

    bb_list_each(item, &entry->subscribers) {
        struct live_subscriber *subscriber = bb_container(item, struct live_subscriber, link);
        struct watch *watch = bb_container(subscriber, struct watch, subscriber);

        /* A reader that is behind gets the newest result when it has taken what it has. */
        if (!gateway_live_can_send(subscriber) || bb_http_stream_is_blocked(watch->stream))
            continue;
        if (events[watch->format] == NULL)
            events[watch->format] = make_event(owner, entry, watch->format, tx);
        gateway_live_sent(subscriber, tx);
        watch->wait_until_us = 0;
        bb_metric_add(owner->events, 1);
        bb_http_stream_send(watch->stream, events[watch->format]);
    }
    bb_http_buffer_release(events[0]);
    bb_http_buffer_release(events[1]);
}

static void resync(void *arg, struct live_subscriber *subscriber)
{
    struct subscriptions *owner = arg;
    struct watch *watch = bb_container(subscriber, struct watch, subscriber);

    bb_http_stream_send(watch->stream, owner->resync);
}

static void on_drain(void *arg)
{
    struct watch *watch = arg;

    publish(watch->owner, watch->subscriber.entry);
}

/* ---- streams ---- */

static void free_identity(struct watch *watch)
{
    union {
        const uint8_t *in;
        uint8_t *out;
    } cast = { .in = watch->identity.data };

    bb_free(cast.out);
}

static void on_end(void *arg, enum bb_http_end end)
{
    struct watch *watch = arg;
    struct subscriptions *owner = watch->owner;

    if (end == BB_HTTP_END_STUCK || end == BB_HTTP_END_FULL)
        bb_info(owner->gateway->ctx, "gateway.stream_dropped", "why=%s", bb_http_end_name(end));
    if (watch->subscriber.entry != NULL)
        gateway_live_unsubscribe(&watch->subscriber);
    bb_list_remove(&watch->link);
    owner->watch_count--;
    free_identity(watch);
    bb_free(watch);
}

struct question {
    struct live_key key;
    struct bb_slice args_json, format, after;
    enum bb_json_format json_format;
    uint64_t after_tx;
    bool is_from_elsewhere; /* it names a tx that cannot exist here */
};

/* Where a reconnecting client was. A tx beyond the clock is of another history: it starts afresh.
 */
static int take_after(struct bb_ctx *ctx, const struct bb_http_request *request,
                      struct question *question)
{
    struct bb_slice after = bb_http_header(request, "last-event-id");
    int rc;

    if (after.size == 0)
        after = bb_http_header(request, "bitbend-after");
    rc = gateway_parse_tx(ctx, after, "Last-Event-ID", &question->after_tx);
    if (rc != BB_TX_IN_FUTURE)
        return rc;
    question->is_from_elsewhere = true;
    question->after_tx = 0;
    return BB_OK;
}

static int take_question(struct bb_ctx *ctx, struct gateway *gateway,
                         struct bb_http_request *request, struct question *question,
                         struct bb_buf *args)
{
    struct caller caller = { .is_admin = false };
    struct bb_slice path;
    struct bb_slice token;
    int rc = gateway_caller(ctx, gateway, request, &caller);

    if (rc == BB_OK)
        rc = bb_http_parameter(ctx, request, "token", &token);
    if (rc == BB_OK && token.size > 0)
        rc = bb_fail(
            ctx, BB_UNAUTHORIZED,
            "A token was sent, but no auth provider is configured. Subscribe without `token`.");
    if (rc == BB_OK)
        rc = bb_http_parameter(ctx, request, "path", &path);
    if (rc == BB_OK)
        rc = gateway_ask_path(ctx, bb_http_arena(request), path, &question->key.path);
    if (rc == BB_OK && question->key.path[0] == '_' && !caller.is_admin)
        rc = bb_fail(ctx, BB_FORBIDDEN, "System functions need the admin key.");
    if (rc == BB_OK)
        rc = bb_http_parameter(ctx, request, "args", &question->args_json);
    if (rc == BB_OK && question->args_json.size > 0)
        rc = bb_json_decode(ctx, question->args_json, false, args);
    if (rc == BB_OK)
        rc = gateway_ask_args(ctx,
                              question->args_json.size > 0 ? bb_buf_slice(args) : BB_SLICE_EMPTY,
                              &question->key.args);
    if (rc == BB_OK)
        rc = bb_http_parameter(ctx, request, "format", &question->format);
    if (rc == BB_OK)
        rc = gateway_ask_format(ctx, question->format, &question->json_format);
    if (rc == BB_OK)
        rc = take_after(ctx, request, question);
    question->key.identity = caller.identity;
    question->key.is_admin = caller.is_admin;
    return rc;
}

static void begin(struct bb_ctx *ctx, struct gateway *gateway, struct bb_http_request *request,
                  const struct question *question)
{
    struct subscriptions *owner = gateway->subscriptions;
    struct watch *watch = bb_alloc_zero(1, sizeof(*watch));
    struct live_key key = question->key;
    char *path = bb_strdup(key.path); /* the request ends when the stream begins */

    key.path = path;
    watch->owner = owner;
    watch->format = question->json_format;
    watch->identity = key.identity.size > 0 ? bb_slice_dup(key.identity) : BB_SLICE_EMPTY;
    watch->subscriber.identity = watch->identity;
    key.identity = watch->identity;
    watch->beat = (uint32_t)(owner->watch_count % HEARTBEAT_SECONDS);
    if (question->after_tx > 0)
        watch->wait_until_us = bb_loop_now_us(gateway->loop) + AFTER_WAIT_US;
    watch->stream = bb_http_stream_begin(
        request, "text/event-stream; charset=utf-8",
        &(struct bb_http_stream_events){ .on_end = on_end, .on_drain = on_drain, .arg = watch });
    if (watch->stream == NULL) {
        free_identity(watch);
        bb_free(watch);
        bb_free(path);
        return;
    }
    bb_list_push_back(&owner->watches, &watch->link);
    owner->watch_count++;
    bb_http_stream_send(watch->stream, owner->hello);
    if (question->is_from_elsewhere)
        bb_http_stream_send(watch->stream, owner->resync);
    if (gateway_live_subscribe(ctx, owner->live, &key, &watch->subscriber, question->after_tx) !=
        BB_OK) {
        /* Memory was checked before the stream began; what is left of it went meanwhile. */
        watch->subscriber.entry = NULL;
        bb_http_stream_close(watch->stream);
    }
    bb_free(path);
}

void gateway_api_subscribe(struct gateway *gateway, struct bb_http_request *request)
{
    struct bb_ctx ctx = *gateway->ctx;
    struct question question = { .after_tx = 0 };
    struct bb_buf args;
    int rc;

    bb_buf_init(&args);
    rc = take_question(&ctx, gateway, request, &question, &args);
    if (rc == BB_OK && gateway->is_stopping)
        rc = bb_fail(&ctx, BB_UNAVAILABLE, "This gateway is stopping; connect again.");
    if (rc == BB_OK && !gateway_live_has_room(gateway->subscriptions->live))
        rc = bb_fail(&ctx, BB_OVERLOADED, "Too many live queries are open; try again later.");
    if (rc == BB_OK)
        begin(&ctx, gateway, request, &question);
    else
        gateway_refuse(&ctx, request, rc);
    bb_buf_fini(&args);
}

/* ---- time ---- */

/* A client may name a tx that this history never had: after a while it gets what there is. */
static void give_up_waiting(struct watch *watch)
{
    watch->wait_until_us = 0;
    bb_http_stream_send(watch->stream, watch->owner->resync);
    gateway_live_forget(&watch->subscriber);
}

static void on_second(struct subscriptions *owner, uint64_t second)
{
    uint64_t now = bb_loop_now_us(owner->gateway->loop);

    bb_list_each_safe(item, &owner->watches) {
        struct watch *watch = bb_container(item, struct watch, link);

        if (watch->beat == second % HEARTBEAT_SECONDS && !bb_http_stream_is_blocked(watch->stream))
            bb_http_stream_send(watch->stream, owner->heartbeat);
        if (watch->wait_until_us != 0 && now > watch->wait_until_us &&
            watch->subscriber.entry != NULL && gateway_feed_is_following(owner->gateway->feed) &&
            watch->subscriber.tx > gateway_live_cursor(owner->live))
            give_up_waiting(watch);
    }
    bb_metric_set(owner->entries, (int64_t)gateway_live_entry_count(owner->live));
    bb_metric_set(owner->ranges, (int64_t)gateway_live_range_count(owner->live));
}

static void on_tick(void *arg)
{
    struct subscriptions *owner = arg;

    gateway_live_tick(owner->live);
    owner->tick_count++;
    if (owner->tick_count % TICKS_A_SECOND == 0)
        on_second(owner, owner->tick_count / TICKS_A_SECOND);
}

/* ---- what the feed brings ---- */

void gateway_subscriptions_write(struct gateway *gateway, uint64_t tx, const struct bb_slice *keys,
                                 size_t key_count)
{
    gateway_live_write(gateway->subscriptions->live, tx, keys, key_count);
}

void gateway_subscriptions_advance(struct gateway *gateway, uint64_t cursor)
{
    gateway_live_advance(gateway->subscriptions->live, cursor);
}

void gateway_subscriptions_skip(struct gateway *gateway, uint64_t cursor)
{
    gateway_live_skip(gateway->subscriptions->live, cursor);
}

void gateway_subscriptions_restart(struct gateway *gateway, uint64_t cursor)
{
    gateway_live_restart(gateway->subscriptions->live, cursor);
}

void gateway_subscriptions_retry(struct gateway *gateway)
{
    gateway_live_retry_now(gateway->subscriptions->live);
}

/* ---- open and close ---- */

static struct bb_http_buffer *text_buffer(const char *text)
{
    return bb_http_buffer_new(bb_slice_str(text));
}

void gateway_subscriptions_open(struct bb_ctx *ctx, struct gateway *gateway, size_t bytes_max)
{
    static const struct live_ops ops = { .evaluate = evaluate,
                                         .publish = publish,
                                         .resync = resync };
    struct subscriptions *owner = bb_alloc_zero(1, sizeof(*owner));
    char hello[64];

    gateway->subscriptions = owner;
    owner->gateway = gateway;
    bb_list_init(&owner->watches);
    owner->live = gateway_live_new(ctx, &(struct live_options){ .ops = &ops,
                                                                .arg = owner,
                                                                .running_max = RUNNING_MAX,
                                                                .bytes_max = bytes_max,
                                                                .ring_bytes_max = RING_BYTES,
                                                                .idle_us = IDLE_US });
    (void)snprintf(hello, sizeof(hello), ": ok\nretry: %u\n\n", RETRY_MS);
    owner->hello = text_buffer(hello);
    owner->heartbeat = text_buffer(":\n\n");
    owner->resync = text_buffer("event: resync\ndata: {}\n\n");
    owner->evaluations =
        bb_metric("bb_gateway_live_evaluations_total", BB_COUNTER, "Runs of live queries.");
    owner->events =
        bb_metric("bb_gateway_live_events_total", BB_COUNTER, "Results sent to subscribers.");
    owner->entries = bb_metric("bb_gateway_live_queries", BB_GAUGE, "Distinct live queries.");
    owner->ranges = bb_metric("bb_gateway_live_ranges", BB_GAUGE, "Read ranges of live queries.");
    owner->tick = bb_timer_new(gateway->loop, on_tick, owner);
    bb_timer_start(owner->tick, TICK_MS, TICK_MS);
}

void gateway_subscriptions_bye(struct gateway *gateway)
{
    struct subscriptions *owner = gateway->subscriptions;
    struct bb_ctx ctx = *gateway->ctx;

    bb_list_each_safe(item, &owner->watches) {
        struct watch *watch = bb_container(item, struct watch, link);
        struct bb_http_buffer *bye;
        uint16_t jitter;
        char text[96];

        /* Everybody comes back at another moment. */
        bb_random(&ctx, &jitter, sizeof(jitter));
        (void)snprintf(text, sizeof(text), "event: bye\nretry: %u\ndata: {}\n\n",
                       500u + jitter % 2500u);
        bye = text_buffer(text);
        bb_http_stream_send(watch->stream, bye);
        bb_http_buffer_release(bye);
        bb_http_stream_close(watch->stream);
    }
}

void gateway_subscriptions_stop(struct gateway *gateway)
{
    if (gateway->subscriptions != NULL)
        gateway->subscriptions->is_closing = true;
}

void gateway_subscriptions_close(struct subscriptions *owner)
{
    if (owner == NULL)
        return;
    bb_timer_free(owner->tick);
    gateway_live_free(owner->live);
    bb_http_buffer_release(owner->heartbeat);
    bb_http_buffer_release(owner->hello);
    bb_http_buffer_release(owner->resync);
    bb_free(owner);
}

size_t gateway_subscriptions_count(const struct gateway *gateway)
{
    return gateway->subscriptions->watch_count;
}

size_t gateway_subscriptions_entry_count(const struct gateway *gateway)
{
    return gateway_live_entry_count(gateway->subscriptions->live);
}
