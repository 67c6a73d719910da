/*
 * Who a caller is: the admin key, or the JSON Web Token of a user of one of the application's
 * issuers. The providers come from the deployment (`auth.config.ts`), which is watched as a live
 * query is, and from the file of --auth-config; key sets are fetched in the background, kept, and
 * fetched again when a token names a key that is not among them.
 */
#ifndef GATEWAY_AUTH_H
#define GATEWAY_AUTH_H

#include "ask.h"
#include "gateway.h"

struct bb_conf;

/* After gateway_subscriptions_open. BB_BAD_REQUEST: the file of --auth-config is wrong. */
int gateway_auth_open(struct bb_ctx *ctx, struct gateway *gateway, const struct bb_conf *conf);
/* Before gateway_subscriptions_close. */
void gateway_auth_close(struct gateway *gateway);

/* From the value of an Authorization header (data == NULL: none). BB_UNAUTHORIZED says why;
 * BB_UNAVAILABLE: the issuer's keys are not here now, the same token may be good later. */
int gateway_auth_caller(struct bb_ctx *ctx, struct gateway *gateway, struct bb_arena *arena,
                        struct bb_slice header, struct caller *caller);
/* The same from a token by itself. */
int gateway_auth_token(struct bb_ctx *ctx, struct gateway *gateway, struct bb_arena *arena,
                       struct bb_slice token, struct caller *caller);

/* How many sessions and live queries are the gateway's own. */
size_t gateway_auth_session_count(const struct gateway *gateway);

#endif
