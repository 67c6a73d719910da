/*
 * Live queries of this gateway: binds the decisions of session.h to calls of workers, to the feed
 * and to whoever sends (a `sink`: an event stream, a WebSocket).
 */
#ifndef GATEWAY_SUBSCRIBE_H
#define GATEWAY_SUBSCRIBE_H

#include "gateway.h"
#include "session.h"

/* The owner of a session (session_options.owner) begins with one of these. */
struct sink {
    /* As in session_ops. */
    void (*deliver)(struct sink *sink, struct session *session, const struct session_event *event);
    bool (*is_blocked)(const struct sink *sink);
    /* May be NULL: the session goes on without an identity. */
    void (*expired)(struct sink *sink, struct session *session);
};

void gateway_subscriptions_open(struct bb_ctx *ctx, struct gateway *gateway,
                                const struct bb_conf *conf);
/* No query is run any more. Before the workers are closed. */
void gateway_subscriptions_stop(struct gateway *gateway);
/* After workers and HTTP server are closed. Accepts NULL. */
void gateway_subscriptions_close(struct subscriptions *subscriptions);
/* Workers or the feed are there again. */
void gateway_subscriptions_retry(struct gateway *gateway);
struct sessions *gateway_sessions(struct gateway *gateway);
void gateway_subscriptions_answered(struct gateway *gateway, struct live_entry *entry,
                                    const struct live_answer *answer);

/* What the feed brings. */
void gateway_subscriptions_write(struct gateway *gateway, uint64_t tx, const struct bb_slice *keys,
                                 size_t key_count);
void gateway_subscriptions_advance(struct gateway *gateway, uint64_t cursor);
void gateway_subscriptions_skip(struct gateway *gateway, uint64_t cursor);
void gateway_subscriptions_restart(struct gateway *gateway, uint64_t cursor);

size_t gateway_subscriptions_count(const struct gateway *gateway); /* sessions */
size_t gateway_subscriptions_entry_count(const struct gateway *gateway);

#endif
