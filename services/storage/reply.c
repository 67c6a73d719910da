/*
 * Replies and the validation of requests.
 */
#include "bb/wire_validate.h"

#include "storage.h"

void storage_reply(struct bb_exchange *exchange, Bb__Proto__StorageReply *reply)
{
    bb_exchange_reply(exchange, &reply->base);
}

void storage_refuse(struct bb_exchange *exchange, int status, const char *error)
{
    Bb__Proto__StorageReply reply = storage_new_reply();
    union {
        const char *in;
        char *out;
    } text = { .in = error };

    reply.status = (uint32_t)status;
    reply.error = text.out;
    storage_reply(exchange, &reply);
}

/* What the wire's own checks cannot know: this service's limits. */
static int check_limits(struct bb_ctx *ctx, const Bb__Proto__StorageRequest *request)
{
    if (request->op_case == BB__PROTO__STORAGE_REQUEST__OP_APPEND &&
        (request->append->batch.len > STORAGE_BATCH_MAX || request->append->seq == 0)) {
        return bb_fail(ctx, BB_BAD_REQUEST,
                       "a batch of %zu bytes, number %" PRIu64 "; the limit is %d bytes",
                       request->append->batch.len, request->append->seq, STORAGE_BATCH_MAX);
    }
    if (request->op_case == BB__PROTO__STORAGE_REQUEST__OP_CLAIM &&
        strlen(request->claim->address) > FENCE_ADDRESS_MAX) {
        return bb_fail(ctx, BB_BAD_REQUEST, "a claim with an address of more than %d characters",
                       FENCE_ADDRESS_MAX);
    }
    if (request->op_case == BB__PROTO__STORAGE_REQUEST__OP_READ &&
        request->read->n_ops > STORAGE_OPS_MAX) {
        return bb_fail(ctx, BB_BAD_REQUEST, "%zu reads in one request; the limit is %d",
                       request->read->n_ops, STORAGE_OPS_MAX);
    }
    return BB_OK;
}

int storage_validate(struct bb_ctx *ctx, const Bb__Proto__StorageRequest *request)
{
    int rc = bb_storage_request_validate(ctx, request);

    return rc == BB_OK ? check_limits(ctx, request) : rc;
}
