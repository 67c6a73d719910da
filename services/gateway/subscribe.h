/*
 * Live queries over SSE: binds the decisions of live.h to calls of workers and to HTTP streams.
 */
#ifndef GATEWAY_SUBSCRIBE_H
#define GATEWAY_SUBSCRIBE_H

#include "gateway.h"

void gateway_subscriptions_open(struct bb_ctx *ctx, struct gateway *gateway, size_t bytes_max);
/* No query is run any more. Before the workers are closed. */
void gateway_subscriptions_stop(struct gateway *gateway);
/* After workers and HTTP server are closed. Accepts NULL. */
void gateway_subscriptions_close(struct subscriptions *subscriptions);
/* A graceful end: every stream is told to come back after a while, and closed. */
void gateway_subscriptions_bye(struct gateway *gateway);
/* Workers or the feed are there again. */
void gateway_subscriptions_retry(struct gateway *gateway);

/* What the feed brings. */
void gateway_subscriptions_write(struct gateway *gateway, uint64_t tx, const struct bb_slice *keys,
                                 size_t key_count);
void gateway_subscriptions_advance(struct gateway *gateway, uint64_t cursor);
void gateway_subscriptions_skip(struct gateway *gateway, uint64_t cursor);
void gateway_subscriptions_restart(struct gateway *gateway, uint64_t cursor);

size_t gateway_subscriptions_count(const struct gateway *gateway);
size_t gateway_subscriptions_entry_count(const struct gateway *gateway);

#endif
