#include "validate.h"

static int check_call(struct bb_ctx *ctx, const void *message)
{
    const Bb__Proto__Call *call = message;

    int rc = wire_validate_size(ctx, call->request_id, ID_BYTES, "Call: request_id");
    if (rc == BB_OK)
        rc = wire_validate_size(ctx, call->seed, ID_BYTES, "Call: seed");
    if (rc == BB_OK)
        rc = wire_validate_that(ctx, call->path[0] != '\0', "Call: path is empty");
    if (rc == BB_OK)
        rc = wire_validate_size_or_none(ctx, call->client_key, HASH_BYTES, "Call: client_key");
    if (rc == BB_OK && call->client_key.len > 0)
        rc = wire_validate_size(ctx, call->client_digest, HASH_BYTES, "Call: client_digest");
    return rc;
}

static int check_cancel(struct bb_ctx *ctx, const void *message)
{
    const Bb__Proto__Cancel *cancel = message;
    int rc = wire_validate_that(ctx, cancel->n_request_ids > 0, "Cancel: names no call");

    for (size_t i = 0; i < cancel->n_request_ids && rc == BB_OK; i++)
        rc = wire_validate_size(ctx, cancel->request_ids[i], ID_BYTES, "Cancel: request_ids");
    return rc;
}

const struct wire_validate_rule wire_validate_worker[] = {
    { &bb__proto__call__descriptor, check_call },
    { &bb__proto__cancel__descriptor, check_cancel },
    { NULL, NULL },
};

int bb_worker_request_validate(struct bb_ctx *ctx, const Bb__Proto__WorkerRequest *request)
{
    int rc = wire_validate_that(ctx, request->op_case != BB__PROTO__WORKER_REQUEST__OP__NOT_SET,
                                "WorkerRequest: no operation that is known here");

    return rc == BB_OK ? wire_validate_walk(ctx, &request->base, wire_validate_worker) : rc;
}

int bb_worker_reply_validate(struct bb_ctx *ctx, const Bb__Proto__WorkerReply *reply)
{
    int rc = wire_validate_that(
        ctx, reply->status != BB_OK || reply->op_case != BB__PROTO__WORKER_REPLY__OP__NOT_SET,
        "WorkerReply: no result that is known here");

    return rc == BB_OK ? wire_validate_walk(ctx, &reply->base, wire_validate_worker) : rc;
}
