#include "subscribe.h"

#include "auth.h"
#include "call.h"
#include "evaluate.h"
#include "feed.h"
#include "result.h"
#include "stream.h"

#include "bb/conf.h"

#define RUNNING_MIN    8u
#define RUNNING_MAX    128u
#define RUNS_A_SLOT    4u /* under way at once: enough to keep slots busy, few enough for calls */
#define RING_BYTES     (8u << 20)
#define IDLE_US        10000000u
#define TICK_MS        50u
#define TICKS_A_SECOND (1000u / TICK_MS)
#define AFTER_WAIT_US  5000000u /* how long a tx that nobody has seen here is waited for */

struct subscriptions {
    struct gateway *gateway;
    struct sessions *sessions;
    struct bb_timer *tick;
    uint64_t tick_count;
    struct bb_metric *evaluations, *events, *entries, *ranges, *count, *bytes;
    bool is_closing;
};

/* ---- between sessions and the world ---- */

static void evaluate(void *arg, struct live_entry *entry, uint64_t tx)
{
    struct subscriptions *owner = arg;

    if (owner->is_closing)
        return;
    bb_metric_add(owner->evaluations, 1);
    gateway_evaluate(owner->gateway, entry, tx);
}

static void deliver(void *arg, struct session *session, const struct session_event *event)
{
    struct subscriptions *owner = arg;
    struct sink *sink = gateway_session_owner(session);

    bb_metric_add(owner->events, 1);
    sink->deliver(sink, session, event);
}

static bool is_blocked(void *arg, const struct session *session)
{
    const struct sink *sink = gateway_session_owner(session);

    (void)arg;
    return sink->is_blocked(sink);
}

static void expired(void *arg, struct session *session)
{
    struct sink *sink = gateway_session_owner(session);

    (void)arg;
    if (sink->expired != NULL)
        sink->expired(sink, session);
    else
        (void)gateway_session_identify(session, BB_SLICE_EMPTY, false);
}

void gateway_subscriptions_answered(struct gateway *gateway, struct live_entry *entry,
                                    const struct live_answer *answer)
{
    gateway_sessions_answered(gateway->subscriptions->sessions, entry, answer);
}

struct sessions *gateway_sessions(struct gateway *gateway)
{
    return gateway->subscriptions->sessions;
}

/* ---- time ---- */

/* As many runs at once as keep the workers busy; a flood of them leaves room for calls. */
static size_t running_max(const struct gateway *gateway)
{
    size_t slots = 0;
    size_t max;

    for (size_t i = 0; i < gateway_workers_count(gateway->workers); i++) {
        struct worker_view view;

        gateway_workers_view(gateway->workers, i, &view);
        slots += view.is_up ? view.info.slots : 0;
    }
    max = slots * RUNS_A_SLOT;
    return max < RUNNING_MIN ? RUNNING_MIN : max > RUNNING_MAX ? RUNNING_MAX : max;
}

static void on_second(struct subscriptions *owner)
{
    struct live *live = gateway_sessions_live(owner->sessions);

    gateway_live_set_running_max(live, running_max(owner->gateway));
    gateway_streams_second(owner->gateway);
    bb_metric_set(owner->entries, (int64_t)gateway_subscriptions_entry_count(owner->gateway));
    bb_metric_set(owner->ranges, (int64_t)gateway_live_range_count(live));
    bb_metric_set(owner->bytes, (int64_t)gateway_live_bytes(live));
    bb_metric_set(owner->count, (int64_t)gateway_subscriptions_count(owner->gateway));
}

static void on_tick(void *arg)
{
    struct subscriptions *owner = arg;

    if (owner->is_closing)
        return;
    gateway_sessions_tick(owner->sessions, bb_follow_is_following(owner->gateway->feed));
    owner->tick_count++;
    if (owner->tick_count % TICKS_A_SECOND == 0)
        on_second(owner);
}

/* ---- what the feed brings ---- */

void gateway_subscriptions_write(struct gateway *gateway, uint64_t tx, const struct bb_slice *keys,
                                 size_t key_count)
{
    gateway_sessions_write(gateway->subscriptions->sessions, tx, keys, key_count);
}

void gateway_subscriptions_advance(struct gateway *gateway, uint64_t cursor)
{
    gateway_sessions_advance(gateway->subscriptions->sessions, cursor);
}

void gateway_subscriptions_skip(struct gateway *gateway, uint64_t cursor)
{
    gateway_sessions_skip(gateway->subscriptions->sessions, cursor);
}

void gateway_subscriptions_restart(struct gateway *gateway, uint64_t cursor)
{
    gateway_sessions_restart(gateway->subscriptions->sessions, cursor);
}

void gateway_subscriptions_retry(struct gateway *gateway)
{
    gateway_sessions_retry_now(gateway->subscriptions->sessions);
}

/* ---- open and close ---- */

void gateway_subscriptions_open(struct bb_ctx *ctx, struct gateway *gateway,
                                const struct bb_conf *conf)
{
    static const struct session_ops ops = { .evaluate = evaluate,
                                            .deliver = deliver,
                                            .is_blocked = is_blocked,
                                            .expired = expired,
                                            .forget = gateway_result_forget };
    struct subscriptions *owner = bb_alloc_zero(1, sizeof(*owner));
    struct sessions_options options = {
        .ops = &ops,
        .arg = owner,
        .running_max = RUNNING_MIN,
        .bytes_max = (size_t)bb_conf_number(conf, "live-bytes"),
        .ring_bytes_max = RING_BYTES,
        .idle_us = IDLE_US,
        .queries_max = (size_t)bb_conf_number(conf, "session-queries"),
        .query_bytes_max = (size_t)bb_conf_number(conf, "session-bytes"),
        .wait_us = AFTER_WAIT_US,
    };

    gateway->subscriptions = owner;
    owner->gateway = gateway;
    owner->sessions = gateway_sessions_new(ctx, &options);
    owner->evaluations =
        bb_metric("bb_gateway_live_evaluations_total", BB_COUNTER, "Runs of live queries.");
    owner->events =
        bb_metric("bb_gateway_live_events_total", BB_COUNTER, "Events sent to sessions.");
    owner->entries = bb_metric("bb_gateway_live_queries", BB_GAUGE, "Distinct live queries.");
    owner->ranges = bb_metric("bb_gateway_live_ranges", BB_GAUGE, "Read ranges of live queries.");
    owner->bytes =
        bb_metric("bb_gateway_live_bytes", BB_GAUGE, "Memory of live queries and their results.");
    owner->count = bb_metric("bb_gateway_sessions", BB_GAUGE, "Sessions, one-query streams too.");
    gateway_streams_open(gateway, conf);
    owner->tick = bb_timer_new(gateway->loop, on_tick, owner);
    bb_timer_start(owner->tick, TICK_MS, TICK_MS);
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
    gateway_streams_close(owner->gateway);
    gateway_sessions_free(owner->sessions);
    bb_free(owner);
}

size_t gateway_subscriptions_count(const struct gateway *gateway)
{
    return gateway_sessions_count(gateway->subscriptions->sessions) -
           gateway_auth_session_count(gateway);
}

size_t gateway_subscriptions_entry_count(const struct gateway *gateway)
{
    return gateway_live_entry_count(gateway_sessions_live(gateway->subscriptions->sessions)) -
           gateway_auth_session_count(gateway);
}
