/*
 * One action on its way to a runner and back: is there such a function, a runner that is free, a
 * runner that goes on telling that it lives, the end.
 *
 * Everything is on the owner thread. An action's slices belong to the caller and live until `done`,
 * which is called exactly once and never from inside gateway_action_start.
 */
#ifndef GATEWAY_ACTION_H
#define GATEWAY_ACTION_H

#include "bus.h"
#include "call.h"
#include "routes.h"

enum action_state {
    ACTION_ASKING,  /* a worker is asked which function this is */
    ACTION_WAITING, /* for a runner that is free */
    ACTION_SENT,    /* no runner has said yet that it has it */
    ACTION_RUNNING,
    ACTION_OVER
};

struct action {
    /* Set by the caller. */
    const char *path;
    struct bb_slice args;     /* BBV object */
    struct bb_slice identity; /* JSON; empty: anonymous */
    bool may_call_internal;
    bool ends_when_left;           /* gateway_action_leave cancels it */
    const char *question;          /* the system query that is asked first; NULL: _system:action */
    struct bb_slice question_args; /* BBV object: arguments of another one */
    /* May be NULL. What it answered, which lives during the call: BB_OK, or why nothing is run. It
     * may set `path`, and append fields (`,"name":..`) to what runners get. */
    int (*on_answer)(struct bb_ctx *ctx, struct action *action, struct bb_slice value,
                     struct bb_buf *fields);
    /* `reply` as that of a call; it lives during the call only. */
    void (*done)(struct action *action, int status, const char *error,
                 const Bb__Proto__CallReply *reply);
    void *arg;
    /* The rest is action.c's. */
    struct gateway *gateway;
    struct bb_list link;
    struct bus_request request;
    struct call call;
    struct bb_buf asked;   /* BBV arguments of `call` */
    struct bb_buf payload; /* what runners get */
    struct bb_buf fields;  /* of it, by on_answer */
    enum action_state state;
    uint64_t since_us;   /* it is in this state */
    uint64_t offered_us; /* it was offered to runners for the first time */
    uint8_t id[16];
    char runner[40];
    bool is_left;
};

struct actions;
void gateway_actions_open(struct gateway *gateway, const struct bb_conf *conf);
/* What is under way ends as unavailable, or unknown. */
void gateway_actions_stop(struct gateway *gateway);
void gateway_actions_close(struct gateway *gateway);

/* BB_UNSUPPORTED: no --nats; BB_OVERLOADED, BB_UNAVAILABLE: not now. Then `done` is not called. */
int gateway_action_start(struct bb_ctx *ctx, struct gateway *gateway, struct action *action);
/* Nobody waits for it any more. It goes on, unless it asked to end then. */
void gateway_action_leave(struct action *action);

/* For bus.c: a runner tells that it lives; NATS came or went. */
void gateway_actions_beat(struct gateway *gateway, struct bb_slice json);
void gateway_actions_bus_changed(struct gateway *gateway);

/* Where runners reach this gateway, unless --http-address tells. */
void gateway_actions_listening(struct gateway *gateway, const char *listen);

/* Appends `,"runners":[..],"bus":{..}` to the status, when there is a bus. */
void gateway_actions_append_status(struct gateway *gateway, struct bb_buf *json);

#endif
