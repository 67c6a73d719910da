/*
 * Sessions: any number of live queries that move through time together. Decisions only.
 *
 * A session moves in rounds. A round fixes one durable moment T, asks for the result of each query
 * that may have changed at exactly T, and when all are there hands over what differs from what the
 * client holds, as one event; then the next round begins at the newest moment. So a client never
 * sees two queries at different moments, and its time never goes back. Writes that come while a
 * round is open wait for the next one: a storm of writes costs one run per query and round, and
 * every round ends. A query that is slow delays its own sessions only, as each has its own rounds;
 * a session that begins a round joins a moment that others already wait for, so that sessions of
 * the same queries share their runs.
 *
 *   state      event                                   next
 *   resting    a query is hit, added; identity; reach  round (when not blocked, not too early, and
 *                                                      the moment that the client has seen is here)
 *   round      the last result came                    event when something differs, then resting
 *   round      too old                                 round at a newer moment; after two of these
 *                                                      the slow query runs first, alone
 *   round      query added, removed                    the same round, with it or without it
 *   round      identity changed                        round anew
 *   any        another history                         resting, tx forgotten, `is_resync`
 *
 * Whoever sends decides how: an event borrows results, which hold their bytes and a place for
 * encoded forms. A client that does not take what it was sent (`is_blocked`) begins no round: it
 * gets the newest state when it is back, not all between.
 *
 * Ownership: all is copied. Threads: one. Durability: none.
 */
#ifndef GATEWAY_SESSION_H
#define GATEWAY_SESSION_H

#include "live.h"

struct sessions;
struct session;

struct session_change {
    uint32_t query_id;
    struct live_result *result; /* borrowed; gateway_live_retain keeps it */
};

/* What one client sees next. */
struct session_event {
    uint64_t tx;          /* the moment of all of it */
    uint32_t set_version; /* of gateway_session_go: that change and all before it are in here */
    uint32_t identity_version;            /* of gateway_session_identify */
    bool is_resync;                       /* tx may be older than the last one: another history */
    const struct session_change *changes; /* others are as they were */
    size_t change_count;
};

struct session_ops {
    /* As live_ops.evaluate; gateway_sessions_answered follows. */
    void (*evaluate)(void *arg, struct live_entry *entry, uint64_t tx);
    /* Send it. The session must not be changed or freed from inside. */
    void (*deliver)(void *arg, struct session *session, const struct session_event *event);
    /* The client does not take what it was sent. gateway_session_wake when it does again. */
    bool (*is_blocked)(void *arg, const struct session *session);
    /* The time of its identity is over: identify it anew, or end it. May be NULL: nobody's ends. */
    void (*expired)(void *arg, struct session *session);
    /* As live_ops.forget. May be NULL. */
    void (*forget)(void *arg, struct live_result *result);
};

/* ---- all sessions of a gateway ---- */

struct sessions_options {
    const struct session_ops *ops;
    void *arg;
    size_t running_max, bytes_max, ring_bytes_max;
    uint64_t idle_us;
    size_t queries_max;     /* of one session */
    size_t query_bytes_max; /* paths and arguments of one session */
    uint64_t wait_us;       /* how long a tx that was seen elsewhere is waited for */
};

struct sessions *gateway_sessions_new(struct bb_ctx *ctx, const struct sessions_options *options);
/* All sessions must be freed. Accepts NULL. */
void gateway_sessions_free(struct sessions *sessions);
struct live *gateway_sessions_live(struct sessions *sessions);
size_t gateway_sessions_count(const struct sessions *sessions);

void gateway_sessions_answered(struct sessions *sessions, struct live_entry *entry,
                               const struct live_answer *answer);
/* As those of live.h. */
void gateway_sessions_write(struct sessions *sessions, uint64_t tx, const struct bb_slice *keys,
                            size_t key_count);
void gateway_sessions_advance(struct sessions *sessions, uint64_t cursor);
void gateway_sessions_skip(struct sessions *sessions, uint64_t cursor);
void gateway_sessions_restart(struct sessions *sessions, uint64_t cursor);
void gateway_sessions_retry_now(struct sessions *sessions);
/* Some times a second. `is_following`: the feed is there, so what has not come does not exist. */
void gateway_sessions_tick(struct sessions *sessions, bool is_following);

/* ---- one session ---- */

struct session_options {
    struct bb_slice identity; /* JSON; empty: anonymous */
    bool is_admin;
    uint64_t expires_us; /* of the wall clock: when the identity ends; 0: never */
    uint64_t after_tx;   /* what the client has seen: nothing older is sent */
    bool is_resync;      /* what it has seen is of another history */
    bool resends;        /* with another history all results are sent, those that equal what the
                            client holds as well */
    uint32_t refresh_us; /* at least this long between two events */
    void *owner;         /* whatever sends */
};

struct session *gateway_session_new(struct sessions *sessions,
                                    const struct session_options *options);
/* Not from inside deliver. Accepts NULL. */
void gateway_session_free(struct session *session);
void *gateway_session_owner(const struct session *session);
uint64_t gateway_session_tx(const struct session *session); /* of the last event; 0: none */
size_t gateway_session_query_count(const struct session *session);
bool gateway_session_is_admin(const struct session *session);
struct bb_slice gateway_session_identity(const struct session *session);

/* One more query. `held`: the hash (gateway_session_hash) of what the client holds, or NULL.
 * BB_BAD_REQUEST: the id is taken. BB_TOO_LARGE: more than a session may have. BB_OVERLOADED: more
 * than the gateway may have. Nothing runs before gateway_session_go. */
int gateway_session_add(struct bb_ctx *ctx, struct session *session, uint32_t query_id,
                        const char *path, struct bb_slice args, const uint64_t *held);
/* False: there was none. */
bool gateway_session_remove(struct session *session, uint32_t query_id);
/* Another user: results of the old one are never sent again. Returns the version. */
uint32_t gateway_session_identify(struct session *session, struct bb_slice identity, bool is_admin);
/* The same for some time: until the wall clock shows `expires_us` (0: for ever). */
void gateway_session_become(struct session *session, struct bb_slice identity, bool is_admin,
                            uint64_t expires_us);
/* Additions and removals are done: an event comes that covers them, even when nothing differs.
 * Returns the version. */
uint32_t gateway_session_go(struct session *session);
/* An event at `tx` or later comes, even when nothing differs. */
void gateway_session_reach(struct session *session, uint64_t tx);
void gateway_session_set_refresh(struct session *session, uint32_t refresh_us);
/* The client takes what it is sent again. */
void gateway_session_wake(struct session *session);

/* What a client names when it comes back. */
void gateway_session_hash(const struct live_result *result, uint64_t hash[2]);

#endif
