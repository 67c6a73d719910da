#include "session_internal.h"

#define RESTARTS_MAX 2u
#define STALE_US     250000u

/* ---- lists ---- */

static void push_once(struct bb_list *head, struct bb_list *item)
{
    if (bb_list_is_empty(item))
        bb_list_push_back(head, item);
}

void gateway_round_mark(struct session *session)
{
    push_once(&session->sessions->dirty, &session->dirty);
}

static void add_hit(struct session_query *query)
{
    push_once(&query->session->hits, &query->hit);
}

/* ---- what live.c tells ---- */

static void on_evaluate(void *arg, struct live_entry *entry, uint64_t tx)
{
    struct sessions *sessions = arg;

    sessions->ops->evaluate(sessions->arg, entry, tx);
}

static void on_hit(void *arg, struct live_watch *watch)
{
    struct session_query *query = bb_container(watch, struct session_query, watch);

    (void)arg;
    add_hit(query);
    if (watch->entry->is_void)
        query->session->has_void = true;
    gateway_round_mark(query->session);
}

/* The round has its result. When that is not the newest any more, the next round looks again. */
static void pin(struct session_query *query, struct live_result *result)
{
    bb_assert(query->pinned == NULL && !query->is_wanted);
    query->pinned = gateway_live_retain(result);
    if (!gateway_live_is_current(&query->watch, result))
        add_hit(query);
}

static void stop_wanting(struct session_query *query)
{
    struct session *session = query->session;

    if (!query->is_wanted)
        return;
    query->is_wanted = false;
    session->wanted_count--;
    if (session->wanted_count == 0)
        gateway_round_mark(session);
}

static void on_came(void *arg, struct live_watch *watch, struct live_result *result)
{
    struct session_query *query = bb_container(watch, struct session_query, watch);

    (void)arg;
    bb_assert(query->session->is_open && query->is_wanted);
    stop_wanting(query);
    pin(query, result);
}

static void on_too_old(void *arg, struct live_watch *watch)
{
    struct session_query *query = bb_container(watch, struct session_query, watch);
    struct session *session = query->session;

    (void)arg;
    /* No newer moment is known here, as the feed is behind: asking again at once is of no use. */
    if (session->round_tx == gateway_live_cursor(session->sessions->live))
        session->next_us = bb_now_us(&session->sessions->ctx) + STALE_US;
    gateway_round_abort(session);
    if (++session->restarts >= RESTARTS_MAX)
        session->first = query;
    gateway_round_mark(session);
}

static void on_forget(void *arg, struct live_result *result)
{
    struct sessions *sessions = arg;

    if (sessions->ops->forget != NULL)
        sessions->ops->forget(sessions->arg, result);
}

const struct live_ops gateway_round_live_ops = { .evaluate = on_evaluate,
                                                 .hit = on_hit,
                                                 .came = on_came,
                                                 .too_old = on_too_old,
                                                 .forget = on_forget };

/* ---- queries of a round ---- */

/* Into the open round: its result now, or wanted. */
static void take_part(struct session_query *query)
{
    struct session *session = query->session;
    struct live_result *result = gateway_live_get(&query->watch, session->round_tx);

    bb_list_remove(&query->hit);
    bb_list_push_back(&session->round, &query->round);
    if (result != NULL) {
        pin(query, result);
        return;
    }
    query->is_wanted = true;
    session->wanted_count++;
    gateway_live_want(&query->watch, session->round_tx);
}

void gateway_round_join(struct session_query *query)
{
    add_hit(query);
    if (query->session->is_open && !query->session->is_first_alone)
        take_part(query);
    gateway_round_mark(query->session);
}

void gateway_round_leave(struct session_query *query)
{
    struct session *session = query->session;

    gateway_live_unwant(&query->watch);
    stop_wanting(query);
    gateway_live_release(query->pinned);
    query->pinned = NULL;
    bb_list_remove(&query->round);
    bb_list_remove(&query->hit);
    if (session->first == query)
        session->first = NULL;
    gateway_round_mark(session);
}

void gateway_round_abort(struct session *session)
{
    while (!bb_list_is_empty(&session->round)) {
        struct session_query *query =
            bb_container(session->round.next, struct session_query, round);

        gateway_round_leave(query);
        add_hit(query);
    }
    bb_assert(session->wanted_count == 0);
    /* What began it may have been a hit that holds nowhere, at the moment of the last event. */
    session->has_void = session->has_void || session->is_open;
    session->is_open = false;
}

/* ---- the end of a round ---- */

void gateway_session_hash(const struct live_result *result, uint64_t hash[2])
{
    hash[0] = (result->hash[0] & ~(uint64_t)1) | (result->is_failure ? 1 : 0);
    hash[1] = result->hash[1];
}

static bool differs(const struct session_query *query)
{
    uint64_t hash[2];

    gateway_session_hash(query->pinned, hash);
    return !query->has_sent || hash[0] != query->sent[0] || hash[1] != query->sent[1];
}

static size_t collect(struct session *session)
{
    struct sessions *sessions = session->sessions;
    size_t count = 0;

    bb_list_each(item, &session->round) {
        struct session_query *query = bb_container(item, struct session_query, round);

        bb_assert(query->pinned != NULL);
        if (!differs(query))
            continue;
        if (count == sessions->change_capacity) {
            sessions->change_capacity = count == 0 ? 16 : count * 2;
            sessions->changes = bb_realloc(sessions->changes,
                                           sessions->change_capacity * sizeof(*sessions->changes));
        }
        sessions->changes[count++] = (struct session_change){ query->id, query->pinned };
        gateway_session_hash(query->pinned, query->sent);
        query->has_sent = true;
    }
    return count;
}

static void empty_round(struct session *session)
{
    while (!bb_list_is_empty(&session->round)) {
        struct session_query *query =
            bb_container(session->round.next, struct session_query, round);

        bb_list_remove(&query->round);
        gateway_live_release(query->pinned);
        query->pinned = NULL;
    }
    session->is_open = false;
    session->restarts = 0;
    session->first = NULL;
}

static void finish(struct session *session)
{
    struct sessions *sessions = session->sessions;
    size_t count = collect(session);
    bool has_reached = session->reach_tx != 0 && session->round_tx >= session->reach_tx;
    struct session_event event = { .tx = session->round_tx,
                                   .set_version = session->set_version,
                                   .identity_version = session->identity_version,
                                   .is_resync = session->is_resync,
                                   .changes = sessions->changes,
                                   .change_count = count };

    bb_assert(session->round_tx >= session->tx && session->round_tx >= session->min_tx);
    session->tx = session->round_tx;
    session->min_tx = 0;
    if (has_reached)
        session->reach_tx = 0;
    if (count > 0 || session->has_news || session->is_resync || has_reached) {
        session->has_news = false;
        session->is_resync = false;
        if (session->refresh_us > 0)
            session->next_us = bb_now_us(&sessions->ctx) + session->refresh_us;
        sessions->ops->deliver(sessions->arg, session, &event);
    }
    empty_round(session);
    gateway_round_mark(session);
}

/* ---- the beginning of a round ---- */

/* A query may have changed since the last event. */
static bool has_hits(const struct session *session, uint64_t cursor)
{
    return !bb_list_is_empty(&session->hits) && (cursor > session->tx || session->has_void);
}

/* Something to show, or to confirm. A moment that was promised must have come. */
static bool has_work(const struct session *session, uint64_t cursor)
{
    return has_hits(session, cursor) || session->has_news || session->is_resync ||
           (session->reach_tx != 0 && session->reach_tx <= cursor);
}

static bool must_wait(struct session *session, uint64_t cursor)
{
    struct sessions *sessions = session->sessions;

    if (sessions->ops->is_blocked(sessions->arg, session))
        return true; /* gateway_session_wake marks it again */
    /* Before the first word of the feed there is no moment to begin at. */
    if (cursor == 0 || session->min_tx > cursor || session->tx > cursor ||
        (!has_work(session, cursor) &&
         (session->reach_tx > cursor || !bb_list_is_empty(&session->hits)))) {
        push_once(&sessions->behind, &session->behind);
        return true;
    }
    if (session->next_us != 0 && has_work(session, cursor) &&
        bb_now_us(&sessions->ctx) < session->next_us) {
        push_once(&sessions->early, &session->early);
        return true;
    }
    return !has_work(session, cursor);
}

/* The newest moment, or one that others wait for already: then one run serves all. */
static uint64_t choose_moment(const struct session *session, uint64_t cursor)
{
    uint64_t least = session->tx > session->min_tx ? session->tx : session->min_tx;
    uint64_t joined = 0;

    if (session->reach_tx <= cursor && session->reach_tx > least)
        least = session->reach_tx;
    if (session->restarts > 0)
        return cursor;
    bb_list_each(item, &session->hits) {
        const struct session_query *query = bb_container(item, struct session_query, hit);
        uint64_t wanted = gateway_live_wanted_tx(&query->watch);

        if (wanted > joined && gateway_live_get(&query->watch, cursor) == NULL)
            joined = wanted;
    }
    return joined > least && joined < cursor ? joined : cursor;
}

static void take_hits(struct session *session)
{
    struct bb_list taken;

    bb_list_init(&taken);
    while (!bb_list_is_empty(&session->hits)) {
        struct bb_list *item = session->hits.next;

        bb_list_remove(item);
        bb_list_push_back(&taken, item);
    }
    while (!bb_list_is_empty(&taken)) {
        struct session_query *query = bb_container(taken.next, struct session_query, hit);

        bb_list_remove(&query->hit);
        if (bb_list_is_empty(&query->round)) {
            take_part(query);
        } else {
            add_hit(query); /* it has its result of this round, and that is not the newest */
        }
    }
}

static void begin(struct session *session)
{
    uint64_t cursor = gateway_live_cursor(session->sessions->live);

    if (must_wait(session, cursor))
        return;
    session->is_open = true;
    session->has_void = false;
    session->is_first_alone = session->first != NULL;
    session->round_tx = session->first != NULL ? cursor : choose_moment(session, cursor);
    if (session->first != NULL) {
        take_part(session->first);
    } else {
        take_hits(session);
    }
    if (session->wanted_count == 0)
        gateway_round_mark(session);
}

static void move_on(struct session *session)
{
    if (!session->is_open) {
        begin(session);
    } else if (session->wanted_count == 0 && session->is_first_alone) {
        session->is_first_alone = false;
        take_hits(session);
        gateway_round_mark(session);
    } else if (session->wanted_count == 0 &&
               session->sessions->ops->is_blocked(session->sessions->arg, session)) {
        gateway_round_abort(session); /* it will see the moment at which it is back, not this one */
    } else if (session->wanted_count == 0) {
        finish(session);
    }
}

void gateway_round_run(struct sessions *sessions)
{
    if (sessions->is_running)
        return;
    sessions->is_running = true;
    do {
        while (!bb_list_is_empty(&sessions->dirty)) {
            struct session *session = bb_container(sessions->dirty.next, struct session, dirty);

            bb_list_remove(&session->dirty);
            move_on(session);
        }
        gateway_live_go(sessions->live);
    } while (!bb_list_is_empty(&sessions->dirty));
    sessions->is_running = false;
}
