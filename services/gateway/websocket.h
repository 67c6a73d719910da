/*
 * The WebSocket of compatible clients, `GET /api/<version>/sync`: queries live, mutations in order
 * and exactly once, all of what a client sees at one moment. On the same sessions as `/api/sync`.
 */
#ifndef GATEWAY_WEBSOCKET_H
#define GATEWAY_WEBSOCKET_H

#include "gateway.h"

struct websockets;

bool gateway_websocket_is_path(struct bb_slice path);
void gateway_api_websocket(struct gateway *gateway, struct bb_http_request *request);

void gateway_websockets_open(struct gateway *gateway);
/* A graceful end: clients are told to come back. */
void gateway_websockets_bye(struct gateway *gateway);
/* After the HTTP server is closed, before the sessions are. Accepts a gateway without. */
void gateway_websockets_close(struct gateway *gateway);
/* What the feed brings: who made each transaction, before the sessions advance. */
void gateway_websockets_record(struct gateway *gateway, uint64_t tx, struct bb_slice request_id);
size_t gateway_websockets_count(const struct gateway *gateway);

#endif
