/*
 * Sessions against a model: random writes, queries, clients, faults of every kind. After each event
 * the whole view of the client is compared with what the queries give at the event's tx.
 */
#include <criterion/criterion.h>
#include <stdio.h>

#include "bb/env.h"
#include "session.h"

#define KEYS         12
#define HISTORY_MAX  4000
#define CLIENTS      6
#define QUERIES      8 /* different ones */
#define IDS_MAX      10
#define RUNS_MAX     256
#define IDENTITY_MIN 6 /* queries from here on look at the identity */
#define STEPS        3000

static uint64_t clock_us;

static uint64_t fake_now(struct bb_env *env)
{
    (void)env;
    return clock_us;
}

struct model_client {
    struct session *session;
    char identity[8];
    bool is_blocked;
    uint64_t tx;
    bool has_event;
    uint32_t set_version, sent_set_version, identity_version, sent_identity_version;
    bool has_query[IDS_MAX], has_value[IDS_MAX];
    int query[IDS_MAX];
    char value[IDS_MAX][64];
    uint64_t hash[IDS_MAX][2];
    size_t events, changes;
};

struct model_run {
    struct live_entry *entry;
    uint64_t tx;
};

struct model {
    struct bb_env_ops env_ops;
    struct bb_env env;
    struct bb_ctx ctx;
    struct sessions *sessions;
    uint64_t random;
    /* key of each write by tx (tx 1 is the first); the feed has told up to `told` */
    int writes[HISTORY_MAX];
    uint64_t newest, told, floor;
    struct model_run runs[RUNS_MAX];
    size_t run_count, evaluations;
    struct model_client clients[CLIENTS];
    bool drops_invalidations, tears;
};

static uint64_t below(struct model *model, uint64_t n)
{
    uint64_t z = model->random += 0x9e3779b97f4a7c15u;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (z ^ (z >> 31)) % n;
}

/* A query reads the keys [low, high): its value is how often they were written, and by whom asked.
 */
static void query_range(int query, int *low, int *high)
{
    *low = (query * 3) % KEYS;
    *high = *low + 1 + query % 4;
    if (*high > KEYS)
        *high = KEYS;
}

static void value_at(const struct model *model, int query, const char *identity, uint64_t tx,
                     char text[64])
{
    int low;
    int high;
    int count = 0;

    query_range(query, &low, &high);
    for (uint64_t at = 1; at <= tx; at++)
        count += model->writes[at] >= low && model->writes[at] < high;
    /* Pairs of writes look equal, so that some runs change nothing. */
    (void)snprintf(text, 64, "%d:%d:%s", query, count / 2, query >= IDENTITY_MIN ? identity : "");
}

static void model_evaluate(void *arg, struct live_entry *entry, uint64_t tx)
{
    struct model *model = arg;

    cr_assert_lt(model->run_count, RUNS_MAX);
    model->runs[model->run_count++] = (struct model_run){ entry, tx };
    model->evaluations++;
}

static bool model_is_blocked(void *arg, const struct session *session)
{
    const struct model_client *client = gateway_session_owner(session);

    (void)arg;
    return client->is_blocked;
}

static size_t wrong_views;

/* The oracle: everything this client shows is what its queries give at this one moment. */
static void check_view(struct model *model, struct model_client *client)
{
    for (int id = 0; id < IDS_MAX; id++) {
        char text[64];

        if (!client->has_query[id])
            continue;
        value_at(model, client->query[id], client->identity, client->tx, text);
        if (!client->has_value[id] || strcmp(client->value[id], text) != 0)
            wrong_views++;
    }
}

static void model_deliver(void *arg, struct session *session, const struct session_event *event)
{
    struct model *model = arg;
    struct model_client *client = gateway_session_owner(session);

    cr_assert_not(client->is_blocked, "an event for a client that does not take it");
    cr_assert(event->is_resync || event->tx >= client->tx, "time went back");
    cr_assert_leq(event->tx, model->told, "a moment that is not here yet");
    client->tx = event->tx;
    client->has_event = true;
    client->sent_set_version = event->set_version;
    client->sent_identity_version = event->identity_version;
    client->events++;
    for (size_t i = 0; i < event->change_count; i++) {
        const struct session_change *change = &event->changes[i];
        int id = (int)change->query_id;

        if (model->tears && i > 0)
            break;
        cr_assert(client->has_query[id], "a change of a query that was removed");
        client->has_value[id] = true;
        (void)snprintf(client->value[id], sizeof(client->value[id]), "%.*s",
                       BB_SLICE_ARG(bb_buf_slice(&change->result->payload)));
        gateway_session_hash(change->result, client->hash[id]);
        client->changes++;
    }
    check_view(model, client);
}

static const struct session_ops model_ops = { .evaluate = model_evaluate,
                                              .deliver = model_deliver,
                                              .is_blocked = model_is_blocked };

/* ---- what happens ---- */

static void tell(struct model *model, uint64_t tx)
{
    char text[8];
    struct bb_slice key;

    (void)snprintf(text, sizeof(text), "k%02d", model->writes[tx]);
    key = bb_slice_str(text);
    gateway_sessions_write(model->sessions, tx, &key,
                           model->drops_invalidations && tx % 16 == 0 ? 0 : 1);
    model->told = tx;
}

static void step_write(struct model *model)
{
    if (model->newest + 2 >= HISTORY_MAX)
        return;
    model->writes[++model->newest] = (int)below(model, KEYS);
}

static void step_feed(struct model *model)
{
    uint64_t count = 1 + below(model, 4);

    while (count-- > 0 && model->told < model->newest)
        tell(model, model->told + 1);
    gateway_sessions_advance(model->sessions, model->told);
}

static void step_lost_feed(struct model *model)
{
    model->told = model->newest;
    if (model->told > 0)
        gateway_sessions_skip(model->sessions, model->told);
}

static void answer_run(struct model *model, size_t at)
{
    struct model_run run = model->runs[at];
    int query = atoi(run.entry->key.path);
    bool looks = query >= IDENTITY_MIN;
    struct live_answer answer = { .end = LIVE_VALUE };
    char low_text[8];
    char high_text[8];
    char identity[8] = "";
    char text[64];
    struct live_range range;
    int low;
    int high;

    model->runs[at] = model->runs[--model->run_count];
    query_range(query, &low, &high);
    (void)snprintf(low_text, sizeof(low_text), "k%02d", low);
    (void)snprintf(high_text, sizeof(high_text), "k%02d", high);
    (void)snprintf(identity, sizeof(identity), "%.*s", BB_SLICE_ARG(run.entry->key.identity));
    value_at(model, query, identity, run.tx, text);
    range = (struct live_range){ bb_slice_str(low_text), bb_slice_str(high_text) };
    answer.payload = bb_slice_str(text);
    answer.hash[0] = bb_hash64(answer.payload, 0);
    answer.hash[1] = bb_hash64(answer.payload, 1);
    answer.ranges = &range;
    answer.range_count = 1;
    if (run.tx < model->floor) {
        answer.end = LIVE_TOO_OLD;
    } else if (looks && run.entry->is_shared) {
        answer.end = LIVE_NEEDS_IDENTITY;
    } else if (below(model, 12) == 0) {
        answer.end = LIVE_AWAY;
    } else if (query % 3 == 0) {
        answer.end = LIVE_FAILURE;
    }
    gateway_sessions_answered(model->sessions, run.entry, &answer);
}

static void step_answer(struct model *model)
{
    if (model->run_count > 0)
        answer_run(model, below(model, model->run_count));
}

static void add(struct model *model, struct model_client *client, int id, int query, bool is_held)
{
    char path[8];

    (void)snprintf(path, sizeof(path), "%d", query);
    client->has_query[id] = true;
    client->query[id] = query;
    if (!is_held)
        client->has_value[id] = false;
    cr_assert_eq(gateway_session_add(&model->ctx, client->session, (uint32_t)id, path,
                                     bb_slice_str("a"), is_held ? client->hash[id] : NULL),
                 BB_OK);
}

static void connect_client(struct model *model, struct model_client *client, uint64_t after)
{
    client->session = gateway_session_new(
        model->sessions, &(struct session_options){ .identity = bb_slice_str(client->identity),
                                                    .after_tx = after,
                                                    .owner = client });
    client->sent_set_version = client->sent_identity_version = 0;
    client->identity_version = 0;
    client->is_blocked = false;
}

/* Away and back, with what it holds, perhaps from a gateway that was ahead. */
static void step_reconnect(struct model *model, struct model_client *client)
{
    gateway_session_free(client->session);
    connect_client(model, client, client->tx);
    for (int id = 0; id < IDS_MAX; id++) {
        if (client->has_query[id])
            add(model, client, id, client->query[id], client->has_value[id]);
    }
    client->set_version = gateway_session_go(client->session);
}

static void step_set(struct model *model, struct model_client *client)
{
    for (uint64_t n = 1 + below(model, 3); n > 0; n--) {
        int id = (int)below(model, IDS_MAX);

        if (client->has_query[id]) {
            client->has_query[id] = false;
            cr_assert(gateway_session_remove(client->session, (uint32_t)id));
        } else {
            add(model, client, id, (int)below(model, QUERIES), false);
        }
    }
    client->set_version = gateway_session_go(client->session);
}

static void step_identify(struct model *model, struct model_client *client)
{
    (void)snprintf(client->identity, sizeof(client->identity), "u%d", (int)below(model, 3));
    client->identity_version =
        gateway_session_identify(client->session, bb_slice_str(client->identity), false);
}

static void step_block(struct model_client *client)
{
    client->is_blocked = !client->is_blocked;
    if (!client->is_blocked)
        gateway_session_wake(client->session);
}

static void step(struct model *model)
{
    struct model_client *client = &model->clients[below(model, CLIENTS)];
    uint64_t what = below(model, 100);

    clock_us += below(model, 20000);
    if (what < 25)
        step_write(model);
    else if (what < 45)
        step_feed(model);
    else if (what < 75)
        step_answer(model);
    else if (what < 83)
        step_set(model, client);
    else if (what < 86)
        step_block(client);
    else if (what < 88)
        step_identify(model, client);
    else if (what < 90)
        step_reconnect(model, client);
    else if (what < 91)
        model->floor = model->told;
    else if (what < 92)
        step_lost_feed(model);
    else if (what < 94)
        gateway_session_reach(client->session, model->newest);
    else
        gateway_sessions_tick(model->sessions, true);
}

/* Nothing happens any more: everybody must come to the newest moment. */
static void settle_all(struct model *model)
{
    for (int i = 0; i < CLIENTS; i++) {
        if (model->clients[i].is_blocked)
            step_block(&model->clients[i]);
    }
    for (int round = 0; round < 400; round++) {
        step_feed(model);
        while (model->run_count > 0)
            answer_run(model, 0);
        clock_us += 1000000;
        gateway_sessions_tick(model->sessions, true);
    }
}

static void check_settled(struct model *model)
{
    for (int i = 0; i < CLIENTS; i++) {
        struct model_client *client = &model->clients[i];

        cr_assert_eq(client->sent_set_version, client->set_version, "client %d", i);
        cr_assert_eq(client->sent_identity_version, client->identity_version);
        client->tx = model->newest;
        check_view(model, client);
    }
}

static void model_run_all(struct model *model, uint64_t seed, size_t ring_bytes)
{
    model->env_ops.now_us = fake_now;
    model->env.ops = &model->env_ops;
    model->ctx.env = &model->env;
    model->random = seed;
    clock_us = 1000000;
    wrong_views = 0;
    model->sessions = gateway_sessions_new(
        &model->ctx, &(struct sessions_options){ .ops = &model_ops,
                                                 .arg = model,
                                                 .running_max = 1 + below(model, 8),
                                                 .bytes_max = 1 << 24,
                                                 .ring_bytes_max = ring_bytes,
                                                 .idle_us = 100000,
                                                 .queries_max = IDS_MAX,
                                                 .query_bytes_max = 1 << 16,
                                                 .wait_us = 500000 });
    step_write(model);
    step_feed(model);
    for (int i = 0; i < CLIENTS; i++) {
        (void)snprintf(model->clients[i].identity, 8, "u%d", i % 3);
        connect_client(model, &model->clients[i], 0);
        model->clients[i].set_version = gateway_session_go(model->clients[i].session);
    }
    for (int i = 0; i < STEPS; i++)
        step(model);
    settle_all(model);
    check_settled(model);
    for (int i = 0; i < CLIENTS; i++)
        gateway_session_free(model->clients[i].session);
    while (model->run_count > 0)
        answer_run(model, 0);
    clock_us += 1000000;
    gateway_sessions_tick(model->sessions, true);
    cr_assert_eq(gateway_live_bytes(gateway_sessions_live(model->sessions)), 0u,
                 "something is kept for nobody");
    gateway_sessions_free(model->sessions);
}

Test(session_model, b19_every_view_is_one_moment_and_ends_at_the_newest, .timeout = 120)
{
    size_t events = 0;
    size_t changes = 0;

    for (uint64_t seed = 1; seed <= 12; seed++) {
        struct model *model = bb_alloc_zero(1, sizeof(*model));

        model_run_all(model, seed, seed % 3 == 0 ? 300 : 1 << 20);
        cr_assert_eq(wrong_views, 0u, "seed %" PRIu64 ": %zu wrong views", seed, wrong_views);
        for (int i = 0; i < CLIENTS; i++) {
            events += model->clients[i].events;
            changes += model->clients[i].changes;
        }
        bb_free(model);
    }
    cr_expect_gt(events, 2000u, "events: %zu", events);
    cr_expect_gt(changes, 2000u, "changes: %zu", changes);
}

Test(session_model, planted_bugs_are_caught, .timeout = 60)
{
    for (int bug = 0; bug < 2; bug++) {
        struct model *model = bb_alloc_zero(1, sizeof(*model));

        model->drops_invalidations = bug == 0;
        model->tears = bug == 1;
        model_run_all(model, 5, 1 << 20);
        cr_expect_gt(wrong_views, 0u, "bug %d went unseen", bug);
        bb_free(model);
    }
}
