/*
 * A session belongs to the gateway that holds its stream; a change of it may reach any other one
 * and is passed on, over nng.
 *
 * A session's name is 16 bytes in hex, and where its gateway listens for others (--peer-address):
 * `<id>.<address>.<mac>`. The address is hidden and signed with a key made of the admin key, which
 * all gateways share; so a name cannot be made up to send a gateway anywhere.
 */
#ifndef GATEWAY_FORWARD_H
#define GATEWAY_FORWARD_H

#include "stream.h"

struct session_name {
    uint8_t id[STREAM_ID_SIZE];
    bool is_here;
    char address[256]; /* of its gateway, when it is not here */
};

int gateway_forward_open(struct bb_ctx *ctx, struct gateway *gateway, const struct bb_conf *conf);
/* Requests under way are answered before the HTTP server is closed. */
void gateway_forward_close(struct gateway *gateway);

void gateway_forward_name(const struct gateway *gateway, const uint8_t id[STREAM_ID_SIZE],
                          struct bb_buf *to);
/* BB_NOT_FOUND: no gateway of this deployment made it. */
int gateway_forward_parse(struct bb_ctx *ctx, const struct gateway *gateway, struct bb_slice text,
                          struct session_name *name);
/* Passes the body of the request on and answers it with what comes back. */
void gateway_forward(struct gateway *gateway, struct bb_http_request *request,
                     const struct session_name *name, const struct caller *caller);

#endif
