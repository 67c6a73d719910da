#include "validate.h"

static int check_append(struct bb_ctx *ctx, const void *message)
{
    const Bb__Proto__Append *append = message;

    int rc = wire_validate_that(ctx, append->epoch != 0, "Append: epoch is 0");
    if (rc == BB_OK) {
        rc = wire_validate_that(ctx, append->last_tx > append->base_tx,
                                "Append: last_tx is not above base_tx");
    }
    if (rc == BB_OK)
        rc = wire_validate_that(ctx, append->batch.len > 0, "Append: the batch is empty");
    return rc;
}

static int check_claim(struct bb_ctx *ctx, const void *message)
{
    const Bb__Proto__Claim *claim = message;

    int rc = wire_validate_size(ctx, claim->holder, ID_BYTES, "Claim: holder");
    if (rc == BB_OK)
        rc = wire_validate_that(ctx, claim->want != 0, "Claim: want is 0");
    return rc;
}

static int check_read_op(struct bb_ctx *ctx, const void *message)
{
    const Bb__Proto__ReadOp *op = message;

    if (op->high.len == 0)
        return wire_validate_key(ctx, op->low, "ReadOp: low");
    return wire_validate_range(ctx, op->low, op->high, "ReadOp");
}

static int check_checkpoint(struct bb_ctx *ctx, const void *message)
{
    const Bb__Proto__Checkpoint *checkpoint = message;

    return wire_validate_size_or_none(ctx, checkpoint->cluster_id, ID_BYTES,
                                      "Checkpoint: cluster_id");
}

static int check_info_reply(struct bb_ctx *ctx, const void *message)
{
    const Bb__Proto__InfoReply *reply = message;

    return wire_validate_size_or_none(ctx, reply->cluster_id, ID_BYTES, "InfoReply: cluster_id");
}

static int check_member(struct bb_ctx *ctx, const void *message)
{
    const Bb__Proto__Member *member = message;

    int rc = wire_validate_that(ctx, member->id != 0, "Member: id is 0");
    if (rc == BB_OK)
        rc = wire_validate_size_or_none(ctx, member->incarnation, ID_BYTES, "Member: incarnation");
    return rc;
}

static int check_announce(struct bb_ctx *ctx, const void *message)
{
    const Bb__Proto__Announce *announce = message;

    return wire_validate_that(ctx, announce->member != NULL, "Announce: no member");
}

static int check_members(struct bb_ctx *ctx, const void *message)
{
    const Bb__Proto__Members *members = message;

    int rc = wire_validate_that(ctx, members->change <= BB__PROTO__MEMBER_CHANGE__MEMBER_REMOVE,
                                "Members: a change that is not known here");
    if (rc == BB_OK) {
        rc = wire_validate_that(ctx,
                                members->change == BB__PROTO__MEMBER_CHANGE__MEMBER_LIST ||
                                    members->member != NULL,
                                "Members: a change without its member");
    }
    return rc;
}

const struct wire_validate_rule wire_validate_storage[] = {
    { &bb__proto__append__descriptor, check_append },
    { &bb__proto__claim__descriptor, check_claim },
    { &bb__proto__read_op__descriptor, check_read_op },
    { &bb__proto__checkpoint__descriptor, check_checkpoint },
    { &bb__proto__info_reply__descriptor, check_info_reply },
    { &bb__proto__member__descriptor, check_member },
    { &bb__proto__announce__descriptor, check_announce },
    { &bb__proto__members__descriptor, check_members },
    { NULL, NULL },
};

int bb_storage_request_validate(struct bb_ctx *ctx, const Bb__Proto__StorageRequest *request)
{
    int rc = wire_validate_that(ctx, request->op_case != BB__PROTO__STORAGE_REQUEST__OP__NOT_SET,
                                "StorageRequest: no operation that is known here");

    return rc == BB_OK ? wire_validate_walk(ctx, &request->base, wire_validate_storage) : rc;
}

int bb_storage_reply_validate(struct bb_ctx *ctx, const Bb__Proto__StorageReply *reply)
{
    int rc = wire_validate_that(
        ctx, reply->status != BB_OK || reply->op_case != BB__PROTO__STORAGE_REPLY__OP__NOT_SET,
        "StorageReply: no result that is known here");

    return rc == BB_OK ? wire_validate_walk(ctx, &reply->base, wire_validate_storage) : rc;
}
