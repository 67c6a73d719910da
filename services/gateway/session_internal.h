/*
 * Shared between session.c, which keeps sessions and their queries, and round.c, which moves them
 * through time.
 */
#ifndef GATEWAY_SESSION_INTERNAL_H
#define GATEWAY_SESSION_INTERNAL_H

#include "session.h"

#include "bb/env.h"

#define SESSION_MAGIC 0x73657373u

struct session_query {
    struct live_watch watch;
    struct session *session;
    struct bb_list link;  /* in session->queries */
    struct bb_list hit;   /* in session->hits, or alone */
    struct bb_list round; /* in session->round, or alone */
    uint32_t id;
    size_t size_bytes;
    bool is_wanted; /* in the round, and not there yet */
    bool has_sent;
    uint64_t sent[2];           /* the hash of what the client holds */
    struct live_result *pinned; /* its result in the open round */
};

struct session {
    uint32_t magic;
    struct sessions *sessions;
    struct bb_list link;   /* in sessions->all */
    struct bb_list dirty;  /* in sessions->dirty, or alone */
    struct bb_list behind; /* in sessions->behind while it waits for a moment, or alone */
    struct bb_list early;  /* in sessions->early while it waits for its time, or alone */
    struct bb_list mortal; /* in sessions->mortal while its identity may expire, or alone */
    uint64_t expires_us;
    struct bb_list queries;
    struct bb_list hits;  /* may have changed since they were sent, or were never */
    struct bb_list round; /* of the open round */
    size_t query_count, query_bytes;
    struct bb_slice identity; /* owned */
    bool is_admin;
    void *owner;
    uint64_t tx;       /* of the last event */
    uint64_t min_tx;   /* what the client has seen elsewhere; 0 when that is behind us */
    uint64_t reach_tx; /* an event at this tx or later was promised; 0: none */
    uint64_t wait_until_us;
    uint64_t refresh_us, next_us; /* no event before that */
    uint32_t set_version, identity_version;
    bool has_news; /* an event was promised, whatever differs */
    bool is_resync;
    bool resends;  /* see session_options */
    bool has_void; /* one of the hits holds nowhere, not even at `tx` */
    /* the open round */
    bool is_open, is_first_alone;
    uint64_t round_tx;
    size_t wanted_count;
    uint32_t restarts;
    struct session_query *first; /* runs alone at first: it was too slow twice */
};

struct sessions {
    const struct session_ops *ops;
    void *arg;
    struct bb_ctx ctx;
    struct sessions_options options;
    struct live *live;
    struct bb_list all, dirty, behind, early, mortal;
    size_t count;
    bool is_running;
    struct session_change *changes; /* of the event that is being made */
    size_t change_capacity;
};

/* round.c */
extern const struct live_ops gateway_round_live_ops;
/* Something may be to do for this session. */
void gateway_round_mark(struct session *session);
/* Do it, for all that are marked. */
void gateway_round_run(struct sessions *sessions);
/* The query takes part in the open round, when there is one. */
void gateway_round_join(struct session_query *query);
void gateway_round_leave(struct session_query *query);
/* Everything of the open round waits for the next one. */
void gateway_round_abort(struct session *session);

#endif
