/*
 * The transaction feed in a NATS JetStream stream: every record once, in order, under
 * `--nats-feed`.
 *
 * A thread of its own holds the connection, as the library blocks. It asks the owner for the page
 * behind the last message of the stream, publishes each record with that message's sequence as the
 * expected one, and asks for the next. So it resumes by itself after any restart, several gateways
 * may publish into one stream (who loses a race reads the stream's end again), nothing but one page
 * is held in memory, and while NATS is away the feed waits in storage.
 */
#ifndef GATEWAY_NATS_H
#define GATEWAY_NATS_H

#include "gateway.h"

struct nats_publisher;

/* Without nats-feed nothing is published. BB_BAD_REQUEST. */
int gateway_nats_open(struct bb_ctx *ctx, struct gateway *gateway, const struct bb_conf *conf);
/* Ends the thread. While the feed is still open. */
void gateway_nats_close(struct gateway *gateway);
/* After the feed is closed. */
void gateway_nats_free(struct gateway *gateway);
/* The feed moved on. */
void gateway_nats_advance(struct gateway *gateway);
/* Appends `,"nats":{..}` to the status: the connection of the bus, and of what is published. */
void gateway_nats_append_status(const struct gateway *gateway, struct bb_buf *json);

#endif
