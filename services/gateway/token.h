/*
 * The token of an action that runs: `bbact1.<base64url of JSON {id, job?, attempt?, identity?,
 * exp}>.<hex of its HMAC>`, by a key made of the admin key, which gateways and runners have. What
 * runs in a runner has this token only; it ends when `exp` (milliseconds since 1970) has come.
 */
#ifndef GATEWAY_TOKEN_H
#define GATEWAY_TOKEN_H

#include "ask.h"

/* BB_UNAUTHORIZED says why. */
int gateway_token_check(struct bb_ctx *ctx, struct bb_arena *arena, struct bb_slice admin_key,
                        struct bb_slice token, struct caller *caller);

#endif
