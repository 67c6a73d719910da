/*
 * Key sets of issuers over HTTP: one fetch at a time, on a thread of its own, as libcurl blocks.
 *
 * Ownership: a fetch belongs to these functions until `done` was called. Threads: the owner's;
 * `done` is called there.
 */
#ifndef GATEWAY_AUTH_FETCH_H
#define GATEWAY_AUTH_FETCH_H

#include "bb/base.h"
#include "bb/rt.h"

struct auth_fetcher;

struct auth_fetcher *gateway_auth_fetcher_new(struct bb_loop *loop);
/* Breaks off what is under way: its `done` hears BB_CANCELLED. Accepts NULL. */
void gateway_auth_fetcher_free(struct auth_fetcher *fetcher);

/* The key set at `url`, or, without one, where the issuer's OpenID Connect discovery says. `done`
 * gets the text, or a status and what is wrong; once, never from inside. BB_OVERLOADED: too many
 * wait, `done` is not called. */
int gateway_auth_fetch(struct bb_ctx *ctx, struct auth_fetcher *fetcher, const char *issuer,
                       const char *url,
                       void (*done)(void *arg, int status, const char *error, struct bb_slice json),
                       void *arg);

#endif
