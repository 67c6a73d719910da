/* The durable feed as the gateway follows it: what comes goes to the live queries, the readers of
 * the transaction feed, WebSocket clients and NATS. */
#ifndef GATEWAY_FEED_H
#define GATEWAY_FEED_H

#include "bb/follow.h"

#include "gateway.h"

/* Sets gateway->feed at once. `urls` is a comma list. */
int gateway_feed_open(struct bb_ctx *ctx, struct gateway *gateway, const char *urls);
void gateway_feed_close(struct gateway *gateway);

#endif
