/*
 * Replies and the validation of requests.
 */
#include <stdio.h>

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

void storage_refuse_not_leader(struct storage *node, struct bb_exchange *exchange)
{
    Bb__Proto__StorageReply reply = storage_new_reply();
    struct bb_replog_status log;
    const char *url = NULL;
    char error[BB_ERROR_MAX], leader[MEMBER_TEXT_MAX + 1];

    bb_replog_status(node->replog, &log);
    reply.status = log.is_leader ? BB_NOT_YET : BB_NOT_LEADER;
    if (log.is_leader) {
        (void)snprintf(error, sizeof error, "this storage node leads and is not ready yet");
    } else if (log.leader == 0) {
        (void)snprintf(error, sizeof error, "no storage node leads at the moment");
    } else {
        url = storage_member_url(node, log.leader);
        (void)snprintf(error, sizeof error, "storage node %" PRIu64 " leads%s%s", log.leader,
                       url == NULL ? "" : " at ", url == NULL ? "" : url);
    }
    (void)snprintf(leader, sizeof leader, "%s", url == NULL ? "" : url);
    reply.error = error;
    reply.leader = leader;
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
