/*
 * Shared between the files of the WebSocket.
 *
 * A client's life: opened -> Connect (it has a session) -> any number of messages -> closing (by a
 * close frame of either side) -> ended. What it sees:
 *
 * - A transition starts where the last one ended, in all three parts of its version; the first at
 * 0.
 * - A mutation's response goes out before any transition that shows the mutation: while one is
 * under way the feed tells when it was committed, and a round at that moment or later waits.
 * - After a response comes a transition at its tx or later, even when nothing differs.
 * - The first transition after a reconnect waits (2 s at most) for the mutations that were sent
 *   again with it, so that what the client shows optimistically is not shown twice. Whether there
 *   are any tells a ping that is sent when its query set comes: the pong is behind them.
 */
#ifndef GATEWAY_WEBSOCKET_INTERNAL_H
#define GATEWAY_WEBSOCKET_INTERNAL_H

#include "answer.h"
#include "ask.h"
#include "call.h"
#include "subscribe.h"
#include "websocket.h"
#include "websocket_message.h"

#define WEBSOCKET_MAGIC         0x77656273u
#define WEBSOCKET_MUTATIONS_MAX 1000u
#define WEBSOCKET_ACTIONS_MAX   1000u
#define WEBSOCKET_QUEUE_BYTES   (32u << 20) /* of mutations that wait */
#define WEBSOCKET_CHANGES_MAX   4096u       /* of the query set, not covered by a transition yet */
#define WEBSOCKET_NOTES_MAX     16384u      /* of removals and failures, not told yet */
#define WEBSOCKET_REPLIES_MAX   32u         /* events in the queue: no mutation starts beyond */
#define WEBSOCKET_PING_SECONDS  15u
#define WEBSOCKET_CONNECT_S     30u /* for the first message */
#define WEBSOCKET_HOLD_US       2000000u

/* A version of the query set, and of the session that covers it. */
struct websocket_set {
    uint32_t set_version, query_set;
};

/* A query that is removed or cannot run: part of the transition that covers `set_version`. */
struct websocket_note {
    struct bb_list link;
    uint32_t set_version, query_id;
    char *failure; /* NULL: removed */
};

/* A page whose end is fixed by its first result. */
struct websocket_page {
    struct bb_list link;
    uint32_t query_id;
    char *path;
    struct bb_buf args;    /* as the client sent them */
    struct bb_buf journal; /* empty: its end is open */
    uint64_t hash[2];      /* of what the client holds while it is due */
    bool is_due;           /* the session shall run it with its end from now on */
};

struct websocket_mutation {
    struct bb_list link; /* in client->mutations while it waits, in websockets->running */
    struct websocket_client *client; /* NULL: it has left */
    struct websockets *websockets;
    struct call call;
    uint32_t request_id;
    size_t size_bytes;
    uint64_t committed_tx; /* the feed has shown it; 0: not */
    uint8_t key[32], digest[32];
    char *path;
    struct bb_buf args, identity; /* of who sent it, whoever the client is when it runs */
    bool is_admin;
};

struct websocket_client {
    uint32_t magic;
    struct sink sink; /* the owner of its session */
    struct websockets *websockets;
    struct bb_list link;
    struct bb_http_stream *http;
    struct session *session; /* NULL: no Connect yet */
    struct bb_buf session_id;
    struct websocket_version version; /* of the last transition */
    uint32_t query_set, identity;     /* of the client's last change */
    struct websocket_set *sets;       /* not covered yet, oldest first */
    size_t set_count, set_capacity;
    uint32_t go_count; /* of gateway_session_go */
    struct bb_list notes, pages;
    size_t note_count;
    struct bb_list mutations; /* that wait */
    size_t mutation_count, mutation_bytes;
    struct websocket_mutation *running;
    struct bb_list actions; /* under way */
    size_t action_count;
    struct bb_http_buffer *held; /* a transition that waits for responses */
    uint64_t hold_until_us;      /* 0: the first transition was sent */
    bool is_back;                /* it was connected before: mutations may follow its query set */
    bool awaits_pong;            /* what followed its first query set may not be here yet */
    uint64_t seconds;            /* since it was sent anything */
    bool is_closing, was_blocked;
    bool takes_chunks;
    uint64_t transition_count;
    bool is_expired; /* its token: nothing happens in its name before the next one */
};

struct websockets {
    struct gateway *gateway;
    struct bb_list clients, running;
    size_t count;
    struct bb_timer *tick, *later;
    bool is_later; /* the timer is set */
    uint64_t ticks;
    struct bb_metric *clients_now, *mutations, *transitions;
};

/* websocket.c */
void gateway_websocket_send(struct websocket_client *client, struct bb_slice json);
/* `reason` selects how long the client waits before it comes back. */
void gateway_websocket_shut(struct websocket_client *client, uint16_t code, const char *reason);
/* Soon, outside of whatever runs: pages are fixed, sessions woken. */
void gateway_websocket_later(struct websockets *websockets);

/* websocket_chunk.c: may a client of this version be sent a transition in pieces? */
bool gateway_websocket_takes_chunks(struct bb_slice version);
/* A transition as it is sent: one message, or a large one in pieces. `id` tells it from others. One
 * reference, the caller's. */
struct bb_http_buffer *gateway_websocket_pack(struct bb_slice json, bool takes_chunks, uint64_t id);

/* websocket_query.c */
void gateway_websocket_modify(struct bb_ctx *ctx, struct websocket_client *client,
                              const struct websocket_message *message);
void gateway_websocket_deliver(struct sink *sink, struct session *session,
                               const struct session_event *event);
bool gateway_websocket_is_blocked(const struct sink *sink);
/* What was held may go, what was blocked may go on. */
void gateway_websocket_release(struct websocket_client *client);
void gateway_websocket_fix_pages(struct websocket_client *client);
void gateway_websocket_forget_queries(struct websocket_client *client);

/* websocket_mutation.c */
void gateway_websocket_mutate(struct bb_ctx *ctx, struct websocket_client *client,
                              const struct websocket_message *message);
/* {"type": type, "requestId":..}: how a request of the client ended. */
void gateway_websocket_respond(struct websocket_client *client, const char *type,
                               uint32_t request_id, const struct outcome *outcome);
void gateway_websocket_respond_failure(struct websocket_client *client, const char *type,
                                       uint32_t request_id, const char *message);
/* websocket_action.c */
void gateway_websocket_act(struct bb_ctx *ctx, struct websocket_client *client,
                           const struct websocket_message *message);
void gateway_websocket_leave_actions(struct websocket_client *client);

/* websocket_mutation.c: the next one, when there is room for its answer. */
void gateway_websocket_run_next(struct websocket_client *client);
void gateway_websocket_leave_mutations(struct websocket_client *client);

#endif
