#include "validate.h"

#define SESSION_BYTES 16

static int check_change(struct bb_ctx *ctx, const void *message)
{
    const Bb__Proto__ChangeSession *change = message;

    return wire_validate_size(ctx, change->session, SESSION_BYTES, "ChangeSession: session");
}

const struct wire_validate_rule wire_validate_gateway[] = {
    { &bb__proto__change_session__descriptor, check_change },
    { NULL, NULL },
};

int bb_gateway_request_validate(struct bb_ctx *ctx, const Bb__Proto__GatewayRequest *request)
{
    int rc = wire_validate_that(ctx, request->op_case != BB__PROTO__GATEWAY_REQUEST__OP__NOT_SET,
                                "GatewayRequest: no operation that is known here");

    return rc == BB_OK ? wire_validate_walk(ctx, &request->base, wire_validate_gateway) : rc;
}
