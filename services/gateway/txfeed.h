/*
 * The transaction feed for applications: GET /api/tx as server-sent events or long-poll, and
 * durable named consumers.
 *
 * A consumer is a cursor. Near the head it reads records from a ring that the gateway's one pull of
 * the storage tail fills; further back it pulls pages of its own, one at a time and only when its
 * client has taken the last one. So a slow or stopped consumer lags, and costs no memory.
 */
#ifndef GATEWAY_TXFEED_H
#define GATEWAY_TXFEED_H

#include "common.pb-c.h"
#include "gateway.h"

struct txfeed;

/* Sets gateway->txfeed. */
void gateway_txfeed_open(struct gateway *gateway, size_t ring_bytes);
/* Every request is answered; before workers, feed and HTTP server are closed. */
void gateway_txfeed_stop(struct gateway *gateway);
/* After the HTTP server and the feed are closed. Accepts NULL. */
void gateway_txfeed_close(struct txfeed *txfeed);
/* A graceful end: polls are answered, streams told to come back and closed. */
void gateway_txfeed_bye(struct gateway *gateway);

/* What the gateway's feed brings: each record in order, then `advance` once for what gathered. */
void gateway_txfeed_record(struct gateway *gateway, struct bb_slice bytes,
                           const Bb__Proto__TxRecord *record, const Bb__Proto__TxBody *body);
void gateway_txfeed_advance(struct gateway *gateway, uint64_t cursor);
/* The feed goes on from `cursor`; `is_new_history`: in another history than before. */
void gateway_txfeed_skip(struct gateway *gateway, uint64_t cursor, bool is_new_history);

size_t gateway_txfeed_reader_count(const struct gateway *gateway);
/* What waits for readers to take it. */
size_t gateway_txfeed_queued_bytes(const struct gateway *gateway);

#endif
