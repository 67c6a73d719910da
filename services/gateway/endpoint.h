/*
 * Endpoints of the application (http.ts): a request of a client becomes an action of kind "http",
 * and the client's connection is held meanwhile. Small bodies travel with the action and with its
 * reply; others go between the client's connection and connections that the runner makes to
 * /api/runner/http/<id>/request and /response, piece by piece, as fast as the slower side takes
 * them.
 *
 * Everything is on the owner thread. Durability: none.
 */
#ifndef GATEWAY_ENDPOINT_H
#define GATEWAY_ENDPOINT_H

#include "gateway.h"

struct endpoints;
int gateway_endpoints_open(struct bb_ctx *ctx, struct gateway *gateway, const struct bb_conf *conf);
/* No request comes after it; what is under way may end. */
void gateway_endpoints_stop(struct gateway *gateway, uint32_t limit_ms, void (*done)(void *arg),
                            void *arg);
/* Closes the second server. After gateway_actions_stop. */
void gateway_endpoints_close(struct gateway *gateway);
/* After both servers have been closed. */
void gateway_endpoints_free(struct gateway *gateway);

/* A request below /http of the API's server. */
void gateway_api_endpoint(struct gateway *gateway, struct bb_http_request *request);
bool gateway_endpoint_is_path(struct bb_slice path);
/* bb_http_options.wants_stream of the API's server. */
bool gateway_endpoint_wants_stream(void *arg, const struct bb_http_request *request);
/* /api/runner/http/<id>/request and /response: of the runner. */
void gateway_api_runner_http(struct gateway *gateway, struct bb_http_request *request);

#endif
