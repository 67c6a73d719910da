/* What an HTTP request asks for: who asks, which function, with which arguments. Pure decoding. */
#ifndef GATEWAY_ASK_H
#define GATEWAY_ASK_H

#include "bb/base.h"
#include "bb/value.h"

#define ASK_PATH_MAX 512u

struct ask {
    const char *path;     /* "dir/module:function", in the arena */
    struct bb_slice args; /* BBV object */
    enum bb_json_format format;
};

/* "dir/mod.js:fn" as "dir/mod:fn"; without a colon the function is `default`. BB_BAD_REQUEST. */
int gateway_ask_path(struct bb_ctx *ctx, struct bb_arena *arena, struct bb_slice text,
                     const char **path);
/* "messages/list" of /api/run/ as "messages:list". */
int gateway_ask_run_path(struct bb_ctx *ctx, struct bb_arena *arena, struct bb_slice text,
                         const char **path);
/* From the BBV of a JSON envelope {path, args, format}; `path` may be given already (then the
 * envelope needs none). Slices borrow from `envelope`. */
int gateway_ask_envelope(struct bb_ctx *ctx, struct bb_arena *arena, struct bb_slice envelope,
                         const char *path, struct ask *ask);
/* The args of an envelope or a URL: an object, or an array with one object or none. */
int gateway_ask_args(struct bb_ctx *ctx, struct bb_slice value, struct bb_slice *args);
/* NULL or empty text: clean. BB_BAD_REQUEST: unknown. */
int gateway_ask_format(struct bb_ctx *ctx, struct bb_slice text, enum bb_json_format *format);

/* ---- who ---- */

struct caller {
    bool is_admin;
    bool is_action;           /* an action that runs: may call internal functions */
    struct bb_slice identity; /* JSON; empty: anonymous; borrows from the arena */
    struct bb_slice job;      /* the action is a job: its id, in the arena; empty: it is none */
    int64_t attempt;          /* of the job */
    uint64_t expires_us;      /* wall clock: the identity ends then; 0: never */
};
/* What functions see of a user that the admin key acts as, as JSON in the arena, from the BBV of an
 * object: `tokenIdentifier` is added where it is missing. */
struct bb_slice gateway_ask_identity(struct bb_arena *arena, struct bb_slice value);
/* Is it `Bearer <token>`? */
bool gateway_ask_bearer(struct bb_slice header, struct bb_slice *token);
/* From the value of an Authorization header (data == NULL: none) that is no token's.
 * BB_UNAUTHORIZED says why. */
int gateway_authorize(struct bb_ctx *ctx, struct bb_arena *arena, struct bb_slice admin_key,
                      struct bb_slice header, struct caller *caller);

#endif
