/*
 * Sessions on event streams (SSE): the stream of one query (`GET /api/subscribe`) and the session
 * of many (`/api/sync`) differ in how an event is written.
 *
 * A session that POSTs reach has a name: the number of its place here, 12 random bytes, and who
 * owns it (forward.h).
 */
#ifndef GATEWAY_STREAM_H
#define GATEWAY_STREAM_H

#include "gateway.h"
#include "result.h"
#include "routes.h"
#include "subscribe.h"

#define STREAM_ID_SIZE 16u

struct stream {
    struct sink sink;
    struct gateway *gateway;
    struct bb_list link;
    struct bb_http_stream *http;
    struct session *session;
    enum result_event kind;
    enum bb_json_format format;
    uint32_t beat;                          /* the second, modulo the heartbeat, of its heartbeat */
    uint32_t set_version, identity_version; /* of the last event */
    uint8_t id[STREAM_ID_SIZE];
};

struct stream_options {
    enum result_event kind;
    enum bb_json_format format;
    const struct caller *caller;
    uint64_t after_tx;
    bool is_resync; /* what it has seen is of another history */
    uint32_t refresh_us;
};

void gateway_streams_open(struct gateway *gateway, const struct bb_conf *conf);
/* After the HTTP server is closed. */
void gateway_streams_close(struct gateway *gateway);
/* Heartbeats. */
void gateway_streams_second(struct gateway *gateway);
/* A graceful end: every stream is told to come back after a while, and closed. */
void gateway_streams_bye(struct gateway *gateway);

/* The request becomes a stream with a session. NULL: the client has left. */
struct stream *gateway_stream_begin(struct gateway *gateway, struct bb_http_request *request,
                                    const struct stream_options *options);
/* Sends bytes of its own. */
void gateway_stream_send(struct stream *stream, struct bb_slice bytes);
/* The stream with this id; NULL: it is over. */
struct stream *gateway_stream_find(struct gateway *gateway, const uint8_t id[STREAM_ID_SIZE]);
/* Where a reconnecting client was: `Last-Event-ID` or `BitBend-After`. A tx beyond the clock is of
 * another history: it starts afresh. */
/* Authorization, or `?token=` for an EventSource, which has no headers. */
int gateway_stream_caller(struct bb_ctx *ctx, struct gateway *gateway,
                          struct bb_http_request *request, struct caller *caller);
/* "250" as microseconds; empty: 0. At most a minute. */
int gateway_stream_refresh(struct bb_ctx *ctx, struct bb_slice text, uint32_t *refresh_us);
/* BB_UNAVAILABLE, BB_OVERLOADED: no new stream now. */
int gateway_stream_check_room(struct bb_ctx *ctx, struct gateway *gateway);
int gateway_stream_after(struct bb_ctx *ctx, const struct gateway *gateway,
                         const struct bb_http_request *request, struct stream_options *options);

#endif
