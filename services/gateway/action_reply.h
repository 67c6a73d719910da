/* What runners say, decoded from JSON. Pure decoding: a runner is ours, and may still be wrong. */
#ifndef GATEWAY_ACTION_REPLY_H
#define GATEWAY_ACTION_REPLY_H

#include "worker.pb-c.h"

#include "bb/value.h"

/* An answer: {accepted: runner}, or {status: "success", value, logLines} or
 * {status: "error", code, errorMessage, errorData, stack, logLines}. */
struct action_reply {
    bool is_busy;             /* {busy: true}: the runner has no room; another one may */
    struct bb_slice accepted; /* the runner's id; empty: this is the end */
    int status;
    const char *error; /* NULL: none */
    Bb__Proto__CallReply reply;
    /* what the fields above borrow from */
    struct bb_buf value;
    struct bb_arena *arena;
};
/* BB_BAD_REQUEST, BB_BAD_JSON. `reply` is initialised in any case. */
int gateway_action_reply_decode(struct bb_ctx *ctx, struct bb_slice json,
                                struct action_reply *reply);
void gateway_action_reply_fini(struct action_reply *reply);

/* {id, running, slots, version, gone?} */
struct runner_beat {
    char id[40];
    int64_t running, slots, version;
    bool is_gone;
};
int gateway_runner_beat_decode(struct bb_ctx *ctx, struct bb_slice json, struct runner_beat *beat);

#endif
