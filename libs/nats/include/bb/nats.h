/*
 * What every user of a NATS server needs the same way: its address, and a connection to JetStream
 * on a thread that may block.
 */
#ifndef BB_NATS_H
#define BB_NATS_H

#include <nats/nats.h>

#include "bb/base.h"

#define BB_NATS_TIMEOUT_MS 5000 /* of connecting, and of each request */

/* BB_BAD_REQUEST unless `urls` begins with a nats:// or tls:// url; names the option. */
int bb_nats_check(struct bb_ctx *ctx, const char *urls);

/* A copy of the comma list `urls` for logs and status, without the token or password that opens
 * them. The caller frees it by bb_free. */
char *bb_nats_shown(const char *urls);

struct bb_nats_stream {
    natsConnection *connection;
    jsCtx *js;
};
/* Blocks. A connection that is lost is not made again by itself: its user looks at the stream anew
 * each time. To be closed whatever the answer is. */
natsStatus bb_nats_open(const char *urls, struct bb_nats_stream *stream);
void bb_nats_close(struct bb_nats_stream *stream);

/* The stream `name` of one subject: the sequence of its last message in `last_seq`. It is made when
 * it is not there; what was sent twice within two minutes counts once. */
natsStatus bb_nats_find(struct bb_nats_stream *stream, const char *name, const char *subject,
                        jsRetentionPolicy retention, uint64_t *last_seq);

#endif
