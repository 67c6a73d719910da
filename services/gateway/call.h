/*
 * One function call on its way to a worker and back: which worker, again after a loss, the
 * deadline.
 *
 * A call's slices belong to the caller and live until `done`, which is called exactly once and
 * never from inside gateway_call_start.
 */
#ifndef GATEWAY_CALL_H
#define GATEWAY_CALL_H

#include "gateway.h"
#include "memo.h"

struct call {
    /* Set by the caller. */
    Bb__Proto__FunctionKind kind;
    const char *path;
    struct bb_slice args;      /* BBV object */
    struct bb_slice identity;  /* JSON; empty: anonymous */
    const uint8_t *client_key; /* 32 bytes, or NULL */
    const uint8_t *client_digest;
    uint64_t client_key_ms; /* when the client made the key; 0: not known */
    uint64_t at_tx, min_tx;
    uint64_t limit_us; /* 0: GATEWAY_CALL_US */
    bool is_admin, is_live, is_shared, wants_trace;
    /* Takes the JSON of a result in this format, see known.h: the reply may leave the value out. */
    bool wants_json;
    enum bb_json_format format;
    Bb__Proto__Profile profile;
    /* `reply` (NULL unless a worker answered) lives during the call only. */
    void (*done)(struct call *call, int status, const char *error,
                 const Bb__Proto__CallReply *reply);
    void *arg;
    /* The rest is call.c's. */
    struct gateway *gateway;
    struct bb_list link; /* waiting for a worker, leaving, or alone */
    struct worker *worker;
    struct errand *errand;  /* the request that its answer is awaited of, or NULL */
    struct memo_json known; /* what its worker need not send; with a reference */
    uint64_t known_worker;
    uint64_t started_us, deadline_us, retry_us;
    uint32_t attempts;
    bool is_left;      /* nobody waits for it any more */
    bool may_have_run; /* a worker had it, and nobody knows what became of it */
    uint8_t request_id[16], seed[16];
};

/* `urls` is a comma list. */
int gateway_workers_open(struct bb_ctx *ctx, struct gateway *gateway, const char *urls,
                         size_t calls_max);
/* Calls under way end with BB_CANCELLED. Accepts NULL. */
void gateway_workers_close(struct workers *workers);
bool gateway_workers_any_up(const struct workers *workers);
size_t gateway_workers_calls(const struct workers *workers);

/* BB_OVERLOADED: too many are under way, `done` will not be called. */
int gateway_call_start(struct bb_ctx *ctx, struct gateway *gateway, struct call *call);

/* The client has gone: what has not begun to run need not. `done` is called as ever, and not from
 * inside. Only between gateway_call_start and `done`. */
void gateway_call_leave(struct call *call);

/* For the admin API. */
size_t gateway_workers_count(const struct workers *workers);
struct worker_view {
    const char *url;
    bool is_up;
    size_t outstanding;
    Bb__Proto__WorkerInfoReply info; /* of the last answer */
    const char *isolation;
};
void gateway_workers_view(const struct workers *workers, size_t index, struct worker_view *view);
struct bb_peer *gateway_workers_peer(const struct workers *workers, size_t index);

/* The status that a user sees for what the inside of the suite says. */
int gateway_public_status(int status);

#endif
