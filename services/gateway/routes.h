/* Which handler a request goes to, and what every answer carries. */
#ifndef GATEWAY_ROUTES_H
#define GATEWAY_ROUTES_H

#include "ask.h"
#include "gateway.h"

/* bb_http_options.handle, .accepts_brotli and .decorate */
void gateway_route(void *arg, struct bb_http_request *request);
bool gateway_accepts_brotli(void *arg, struct bb_slice path);
void gateway_decorate(void *arg, const struct bb_http_request *request, struct bb_buf *headers);

/* Handlers; each answers the request, now or later. api.c: */
void gateway_api_query(struct gateway *gateway, struct bb_http_request *request);
void gateway_api_mutation(struct gateway *gateway, struct bb_http_request *request);
void gateway_api_function(struct gateway *gateway, struct bb_http_request *request);
void gateway_api_run(struct gateway *gateway, struct bb_http_request *request);
void gateway_api_action(struct gateway *gateway, struct bb_http_request *request);
void gateway_api_query_ts(struct gateway *gateway, struct bb_http_request *request);
void gateway_api_query_at_ts(struct gateway *gateway, struct bb_http_request *request);
void gateway_api_deploy(struct gateway *gateway, struct bb_http_request *request);
void gateway_api_ping(struct gateway *gateway, struct bb_http_request *request);
/* action.c: what is too large for a message, for runners */
void gateway_api_runner_args(struct gateway *gateway, struct bb_http_request *request);
void gateway_api_runner_result(struct gateway *gateway, struct bb_http_request *request);
/* action_logs.c */
void gateway_api_runner_logs(struct gateway *gateway, struct bb_http_request *request);
/* batch.c */
void gateway_api_query_batch(struct gateway *gateway, struct bb_http_request *request);
/* watch.c */
void gateway_api_subscribe(struct gateway *gateway, struct bb_http_request *request);
/* txfeed.c, txfeed_consumers.c */
void gateway_api_tx(struct gateway *gateway, struct bb_http_request *request);
void gateway_api_consumers(struct gateway *gateway, struct bb_http_request *request);
void gateway_api_consumer(struct gateway *gateway, struct bb_http_request *request);
/* sync.c */
void gateway_api_sync(struct gateway *gateway, struct bb_http_request *request);
void gateway_api_sync_change(struct gateway *gateway, struct bb_http_request *request);
/* admin.c */
void gateway_admin_status(struct gateway *gateway, struct bb_http_request *request);
void gateway_admin_logs(struct gateway *gateway, struct bb_http_request *request);
/* Requests for log lines that wait are answered now: the server ends. */
void gateway_admin_bye(struct gateway *gateway);

/* Shared by handlers. `ctx->error` becomes the message of {code, message}. */
void gateway_refuse(struct bb_ctx *ctx, struct bb_http_request *request, int status);
void gateway_respond_json(struct bb_http_request *request, int http_status, struct bb_slice json);
/* The caller, from Authorization (or, for streams, `?token=`). */
int gateway_caller(struct bb_ctx *ctx, struct gateway *gateway, struct bb_http_request *request,
                   struct caller *caller);
int gateway_require_admin(struct bb_ctx *ctx, struct gateway *gateway,
                          struct bb_http_request *request);
/* The body as BBV; appends to `to`. */
int gateway_body_value(struct bb_ctx *ctx, const struct bb_http_request *request,
                       struct bb_buf *to);
/* A tx of header BitBend-After or another decimal text; empty: 0. BB_BAD_REQUEST, BB_TX_IN_FUTURE.
 */
int gateway_parse_tx(struct bb_ctx *ctx, const struct gateway *gateway, struct bb_slice text,
                     const char *what, uint64_t *tx);
/* BB_TX_IN_FUTURE: beyond the clock, and beyond the newest transaction that was heard of. */
int gateway_check_tx(struct bb_ctx *ctx, const struct gateway *gateway, const char *what,
                     uint64_t tx);
/* base64 of a u64, little-endian. */
int gateway_parse_ts(struct bb_ctx *ctx, const struct gateway *gateway, struct bb_slice text,
                     uint64_t *tx);
void gateway_append_ts(struct bb_buf *to, uint64_t tx);

#endif
