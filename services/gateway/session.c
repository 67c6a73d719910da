#include "session_internal.h"

/* ---- all sessions ---- */

struct sessions *gateway_sessions_new(struct bb_ctx *ctx, const struct sessions_options *options)
{
    struct sessions *sessions = bb_alloc_zero(1, sizeof(*sessions));

    sessions->ops = options->ops;
    sessions->arg = options->arg;
    sessions->options = *options;
    sessions->ctx = (struct bb_ctx){ .env = ctx->env, .log = ctx->log };
    bb_list_init(&sessions->all);
    bb_list_init(&sessions->dirty);
    bb_list_init(&sessions->behind);
    bb_list_init(&sessions->early);
    bb_list_init(&sessions->mortal);
    sessions->live =
        gateway_live_new(ctx, &(struct live_options){ .ops = &gateway_round_live_ops,
                                                      .arg = sessions,
                                                      .running_max = options->running_max,
                                                      .bytes_max = options->bytes_max,
                                                      .ring_bytes_max = options->ring_bytes_max,
                                                      .idle_us = options->idle_us });
    return sessions;
}

void gateway_sessions_free(struct sessions *sessions)
{
    if (sessions == NULL)
        return;
    bb_assert(sessions->count == 0);
    gateway_live_free(sessions->live);
    bb_free(sessions->changes);
    bb_free(sessions);
}

struct live *gateway_sessions_live(struct sessions *sessions)
{
    return sessions->live;
}

size_t gateway_sessions_count(const struct sessions *sessions)
{
    return sessions->count;
}

void gateway_sessions_answered(struct sessions *sessions, struct live_entry *entry,
                               const struct live_answer *answer)
{
    gateway_live_answered(entry, answer);
    gateway_round_run(sessions);
}

void gateway_sessions_write(struct sessions *sessions, uint64_t tx, const struct bb_slice *keys,
                            size_t key_count)
{
    gateway_live_write(sessions->live, tx, keys, key_count);
}

static void mark_all_of(struct bb_list *waiting, size_t offset)
{
    while (!bb_list_is_empty(waiting)) {
        struct bb_list *item = waiting->next;
        uint8_t *base = (uint8_t *)(void *)item - offset;

        bb_list_remove(item);
        gateway_round_mark((struct session *)(void *)base);
    }
}

static void mark_behind(struct sessions *sessions)
{
    mark_all_of(&sessions->behind, offsetof(struct session, behind));
}

void gateway_sessions_advance(struct sessions *sessions, uint64_t cursor)
{
    gateway_live_advance(sessions->live, cursor);
    mark_behind(sessions);
    gateway_round_run(sessions);
}

void gateway_sessions_skip(struct sessions *sessions, uint64_t cursor)
{
    gateway_live_skip(sessions->live, cursor);
    mark_behind(sessions);
    gateway_round_run(sessions);
}

/* What the client has seen means nothing here: it takes what there is. */
static void forget_past(struct session *session)
{
    session->tx = 0;
    session->min_tx = 0;
    session->reach_tx = 0;
    session->wait_until_us = 0;
    session->is_resync = true;
    bb_list_each(item, &session->queries) {
        struct session_query *query = bb_container(item, struct session_query, link);

        if (!session->resends)
            continue;
        query->has_sent = false;
        gateway_round_join(query);
    }
    gateway_round_mark(session);
}

void gateway_sessions_restart(struct sessions *sessions, uint64_t cursor)
{
    gateway_live_restart(sessions->live, cursor);
    bb_list_each(item, &sessions->all) {
        struct session *session = bb_container(item, struct session, link);

        gateway_round_abort(session);
        bb_list_each(at, &session->queries) {
            gateway_round_join(bb_container(at, struct session_query, link));
        }
        forget_past(session);
    }
    mark_behind(sessions);
    gateway_round_run(sessions);
}

void gateway_sessions_retry_now(struct sessions *sessions)
{
    gateway_live_retry_now(sessions->live);
    gateway_round_run(sessions);
}

static void give_up_waiting(struct sessions *sessions, uint64_t now)
{
    bb_list_each_safe(item, &sessions->behind) {
        struct session *session = bb_container(item, struct session, behind);

        if (session->min_tx == 0 || session->wait_until_us == 0 || now < session->wait_until_us)
            continue;
        bb_list_remove(item);
        forget_past(session);
    }
}

/* Each that has expired is told once. */
static void expire(struct sessions *sessions)
{
    uint64_t wall;

    if (bb_list_is_empty(&sessions->mortal))
        return;
    wall = bb_wall_us(&sessions->ctx);
    bb_list_each_safe(item, &sessions->mortal) {
        struct session *session = bb_container(item, struct session, mortal);

        if (wall < session->expires_us)
            continue;
        bb_list_remove(item);
        if (sessions->ops->expired != NULL)
            sessions->ops->expired(sessions->arg, session);
    }
}

static void set_expiry(struct session *session, uint64_t expires_us)
{
    session->expires_us = expires_us;
    bb_list_remove(&session->mortal);
    if (expires_us != 0)
        bb_list_push_back(&session->sessions->mortal, &session->mortal);
}

void gateway_sessions_tick(struct sessions *sessions, bool is_following)
{
    uint64_t now = bb_now_us(&sessions->ctx);

    gateway_live_tick(sessions->live);
    expire(sessions);
    if (is_following)
        give_up_waiting(sessions, now);
    bb_list_each_safe(item, &sessions->early) {
        struct session *session = bb_container(item, struct session, early);

        if (now < session->next_us)
            continue;
        bb_list_remove(item);
        gateway_round_mark(session);
    }
    gateway_round_run(sessions);
}

/* ---- one session ---- */

struct session *gateway_session_new(struct sessions *sessions,
                                    const struct session_options *options)
{
    struct session *session = bb_alloc_zero(1, sizeof(*session));

    session->magic = SESSION_MAGIC;
    session->sessions = sessions;
    session->owner = options->owner;
    session->is_admin = options->is_admin;
    session->is_resync = options->is_resync;
    session->resends = options->resends;
    session->min_tx = options->after_tx;
    session->refresh_us = options->refresh_us;
    if (options->identity.size > 0)
        session->identity = bb_slice_dup(options->identity);
    if (session->min_tx > 0)
        session->wait_until_us = bb_now_us(&sessions->ctx) + sessions->options.wait_us;
    bb_list_init(&session->dirty);
    bb_list_init(&session->behind);
    bb_list_init(&session->early);
    bb_list_init(&session->mortal);
    set_expiry(session, options->expires_us);
    bb_list_init(&session->queries);
    bb_list_init(&session->hits);
    bb_list_init(&session->round);
    bb_list_push_back(&sessions->all, &session->link);
    sessions->count++;
    return session;
}

static void free_bytes(struct bb_slice slice)
{
    union {
        const uint8_t *in;
        uint8_t *out;
    } cast = { .in = slice.data };

    bb_free(cast.out);
}

static void query_free(struct session_query *query)
{
    struct session *session = query->session;

    gateway_round_leave(query);
    gateway_live_unwatch(&query->watch);
    bb_list_remove(&query->link);
    session->query_count--;
    session->query_bytes -= query->size_bytes;
    bb_free(query);
}

void gateway_session_free(struct session *session)
{
    struct sessions *sessions;

    if (session == NULL)
        return;
    sessions = session->sessions;
    bb_assert(session->magic == SESSION_MAGIC);
    while (!bb_list_is_empty(&session->queries))
        query_free(bb_container(session->queries.next, struct session_query, link));
    bb_list_remove(&session->link);
    bb_list_remove(&session->dirty);
    bb_list_remove(&session->behind);
    bb_list_remove(&session->early);
    bb_list_remove(&session->mortal);
    sessions->count--;
    free_bytes(session->identity);
    session->magic = 0;
    bb_free(session);
}

void *gateway_session_owner(const struct session *session)
{
    return session->owner;
}

uint64_t gateway_session_tx(const struct session *session)
{
    return session->tx;
}

size_t gateway_session_query_count(const struct session *session)
{
    return session->query_count;
}

bool gateway_session_is_admin(const struct session *session)
{
    return session->is_admin;
}

struct bb_slice gateway_session_identity(const struct session *session)
{
    return session->identity;
}

static struct session_query *find_query(const struct session *session, uint32_t query_id)
{
    bb_list_each(item, &session->queries) {
        struct session_query *query = bb_container(item, struct session_query, link);

        if (query->id == query_id)
            return query;
    }
    return NULL;
}

static int check_room(struct bb_ctx *ctx, const struct session *session, uint32_t query_id,
                      size_t size)
{
    const struct sessions_options *limits = &session->sessions->options;

    if (find_query(session, query_id) != NULL) {
        return bb_fail(ctx, BB_BAD_REQUEST,
                       "this session has a query %" PRIu32 " already; remove it first, or use "
                       "another id",
                       query_id);
    }
    if (session->query_count >= limits->queries_max) {
        return bb_fail(ctx, BB_TOO_LARGE,
                       "this session has %zu queries, the limit is %zu (--session-queries): remove "
                       "some, or open another session",
                       session->query_count, limits->queries_max);
    }
    if (session->query_bytes + size > limits->query_bytes_max) {
        return bb_fail(ctx, BB_TOO_LARGE,
                       "paths and arguments of this session's queries take %zu bytes and %zu more, "
                       "the limit is %zu (--session-bytes): remove some, or send less",
                       session->query_bytes, size, limits->query_bytes_max);
    }
    return BB_OK;
}

int gateway_session_add(struct bb_ctx *ctx, struct session *session, uint32_t query_id,
                        const char *path, struct bb_slice args, const uint64_t *held)
{
    struct live_key key = {
        .path = path, .args = args, .identity = session->identity, .is_admin = session->is_admin
    };
    size_t size = strlen(path) + args.size;
    struct session_query *query;
    int rc = check_room(ctx, session, query_id, size);

    if (rc != BB_OK)
        return rc;
    query = bb_alloc_zero(1, sizeof(*query));
    query->watch.identity = session->identity;
    rc = gateway_live_watch(ctx, session->sessions->live, &key, &query->watch);
    if (rc != BB_OK) {
        bb_free(query);
        return rc;
    }
    query->session = session;
    query->id = query_id;
    query->size_bytes = size;
    if (held != NULL) {
        query->has_sent = true;
        query->sent[0] = held[0];
        query->sent[1] = held[1];
    }
    bb_list_init(&query->hit);
    bb_list_init(&query->round);
    bb_list_push_back(&session->queries, &query->link);
    session->query_count++;
    session->query_bytes += size;
    gateway_round_join(query);
    return BB_OK;
}

bool gateway_session_remove(struct session *session, uint32_t query_id)
{
    struct session_query *query = find_query(session, query_id);

    if (query == NULL)
        return false;
    query_free(query);
    return true;
}

uint32_t gateway_session_identify(struct session *session, struct bb_slice identity, bool is_admin)
{
    struct bb_slice old = session->identity;

    gateway_round_abort(session);
    set_expiry(session, 0);
    session->identity = identity.size > 0 ? bb_slice_dup(identity) : BB_SLICE_EMPTY;
    session->is_admin = is_admin;
    bb_list_each(item, &session->queries) {
        struct session_query *query = bb_container(item, struct session_query, link);
        struct live_key key = query->watch.entry->key;
        char *path = bb_strdup(key.path); /* the entry may go with its last watch */
        struct bb_slice args = bb_slice_dup(key.args);

        query->watch.identity = session->identity;
        key = (struct live_key){ path, args, session->identity, is_admin };
        gateway_live_rewatch(&query->watch, &key);
        bb_free(path);
        free_bytes(args);
        gateway_round_join(query);
    }
    free_bytes(old);
    session->has_news = true;
    session->identity_version++;
    gateway_round_mark(session);
    gateway_round_run(session->sessions);
    return session->identity_version;
}

void gateway_session_become(struct session *session, struct bb_slice identity, bool is_admin,
                            uint64_t expires_us)
{
    (void)gateway_session_identify(session, identity, is_admin);
    set_expiry(session, expires_us);
}

uint32_t gateway_session_go(struct session *session)
{
    uint32_t version = ++session->set_version;

    session->has_news = true;
    gateway_round_mark(session);
    gateway_round_run(session->sessions);
    return version;
}

void gateway_session_reach(struct session *session, uint64_t tx)
{
    if (tx <= session->tx && !session->is_open)
        tx = session->tx > 0 ? session->tx : 1;
    if (tx > session->reach_tx)
        session->reach_tx = tx;
    gateway_round_mark(session);
    gateway_round_run(session->sessions);
}

void gateway_session_set_refresh(struct session *session, uint32_t refresh_us)
{
    session->refresh_us = refresh_us;
    if (refresh_us == 0)
        session->next_us = 0;
    gateway_round_mark(session);
    gateway_round_run(session->sessions);
}

void gateway_session_wake(struct session *session)
{
    gateway_round_mark(session);
    gateway_round_run(session->sessions);
}
