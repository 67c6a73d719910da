#include "validate.h"

static int check_commit(struct bb_ctx *ctx, const void *message)
{
    const Bb__Proto__Commit *commit = message;

    return wire_validate_size(ctx, commit->request_id, ID_BYTES, "Commit: request_id");
}

static int check_status_of(struct bb_ctx *ctx, const void *message)
{
    const Bb__Proto__StatusOf *status_of = message;

    return wire_validate_size(ctx, status_of->request_id, ID_BYTES, "StatusOf: request_id");
}

const struct wire_validate_rule wire_validate_sequencer[] = {
    { &bb__proto__commit__descriptor, check_commit },
    { &bb__proto__status_of__descriptor, check_status_of },
    { NULL, NULL },
};

int bb_sequencer_request_validate(struct bb_ctx *ctx, const Bb__Proto__SequencerRequest *request)
{
    int rc = wire_validate_that(ctx, request->op_case != BB__PROTO__SEQUENCER_REQUEST__OP__NOT_SET,
                                "SequencerRequest: no operation that is known here");

    return rc == BB_OK ? wire_validate_walk(ctx, &request->base, wire_validate_sequencer) : rc;
}

int bb_sequencer_reply_validate(struct bb_ctx *ctx, const Bb__Proto__SequencerReply *reply)
{
    int rc = wire_validate_that(
        ctx, reply->status != BB_OK || reply->op_case != BB__PROTO__SEQUENCER_REPLY__OP__NOT_SET,
        "SequencerReply: no result that is known here");

    return rc == BB_OK ? wire_validate_walk(ctx, &reply->base, wire_validate_sequencer) : rc;
}
