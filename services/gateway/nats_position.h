/*
 * Which transaction a message of the NATS stream was, kept beside the stream in a bucket
 * (`<stream>-position`): what is needed when the stream's own limits have removed all messages.
 *
 * One pair of sequence number and tx is enough, however old: each transaction is one message, so
 * the messages behind it tell how many transactions were published since.
 *
 * Threads: the one that publishes. May block.
 */
#ifndef GATEWAY_NATS_POSITION_H
#define GATEWAY_NATS_POSITION_H

#include <nats/nats.h>
#include <stdint.h>

struct nats_position {
    uint64_t seq, tx;
};

/* NATS_NOT_FOUND: none was kept. */
natsStatus gateway_nats_position_load(jsCtx *js, const char *stream,
                                      struct nats_position *position);
natsStatus gateway_nats_position_save(jsCtx *js, const char *stream,
                                      const struct nats_position *position);

#endif
