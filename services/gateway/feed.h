/*
 * The durable feed as the gateway follows it: a long poll to one storage node, another one when
 * that is away. What comes goes to the live queries.
 */
#ifndef GATEWAY_FEED_H
#define GATEWAY_FEED_H

#include "storage.pb-c.h"

#include "gateway.h"

/* Sets gateway->feed at once. `urls` is a comma list. */
int gateway_feed_open(struct bb_ctx *ctx, struct gateway *gateway, const char *urls);
void gateway_feed_close(struct feed *feed); /* accepts NULL */
bool gateway_feed_is_following(const struct feed *feed);
uint64_t gateway_feed_cursor(const struct feed *feed);

/* One request to the storage node that is followed; `done` is called once, later, with a reply that
 * lives during the call (NULL unless status is BB_OK). Its own status is in the reply. Not BB_OK:
 * `done` will not be called. */
int gateway_feed_ask(struct bb_ctx *ctx, struct feed *feed,
                     const Bb__Proto__StorageRequest *request, uint32_t timeout_ms,
                     void (*done)(void *arg, int status, const Bb__Proto__StorageReply *reply),
                     void *arg);
/* 16 bytes; empty: not known yet. */
struct bb_slice gateway_feed_cluster(const struct feed *feed);

/* Ask every storage node for its Info; `done` is called once for each that could be asked, later.
 * `info` is NULL unless status is BB_OK. Returns how many calls will come. */
size_t gateway_feed_ask_info(struct feed *feed,
                             void (*done)(void *arg, const char *url, int status,
                                          const Bb__Proto__InfoReply *info),
                             void *arg);

#endif
