#include "validate.h"

static int check_start(struct bb_ctx *ctx, const void *message)
{
    const Bb__Proto__SlotStart *start = message;

    int rc = wire_validate_size(ctx, start->seed, ID_BYTES, "SlotStart: seed");
    if (rc == BB_OK)
        rc = wire_validate_size(ctx, start->request_id, ID_BYTES, "SlotStart: request_id");
    if (rc == BB_OK) {
        rc =
            wire_validate_size_or_none(ctx, start->client_key, HASH_BYTES, "SlotStart: client_key");
    }
    if (rc == BB_OK && start->client_key.len > 0)
        rc = wire_validate_size(ctx, start->client_digest, HASH_BYTES, "SlotStart: client_digest");
    if (rc == BB_OK) {
        rc = wire_validate_that(ctx,
                                start->kind == BB__PROTO__FUNCTION_KIND__KIND_QUERY ||
                                    start->kind == BB__PROTO__FUNCTION_KIND__KIND_MUTATION,
                                "SlotStart: kind is neither query nor mutation");
    }
    return rc;
}

static int check_deployment(struct bb_ctx *ctx, const void *message)
{
    const Bb__Proto__SlotDeployment *deployment = message;

    return wire_validate_that(ctx, deployment->deployment != 0, "SlotDeployment: deployment is 0");
}

static int check_read_op(struct bb_ctx *ctx, const void *message)
{
    const Bb__Proto__SlotReadOp *op = message;

    if (op->high.len == 0)
        return wire_validate_key(ctx, op->low, "SlotReadOp: low");
    return wire_validate_range(ctx, op->low, op->high, "SlotReadOp");
}

const struct wire_validate_rule wire_validate_slot[] = {
    { &bb__proto__slot_start__descriptor, check_start },
    { &bb__proto__slot_deployment__descriptor, check_deployment },
    { &bb__proto__slot_read_op__descriptor, check_read_op },
    { NULL, NULL },
};

int bb_to_slot_validate(struct bb_ctx *ctx, const Bb__Proto__ToSlot *frame)
{
    int rc = wire_validate_that(ctx, frame->op_case != BB__PROTO__TO_SLOT__OP__NOT_SET,
                                "ToSlot: no operation that is known here");

    return rc == BB_OK ? wire_validate_walk(ctx, &frame->base, wire_validate_slot) : rc;
}

int bb_from_slot_validate(struct bb_ctx *ctx, const Bb__Proto__FromSlot *frame)
{
    int rc = wire_validate_that(ctx, frame->op_case != BB__PROTO__FROM_SLOT__OP__NOT_SET,
                                "FromSlot: no operation that is known here");

    return rc == BB_OK ? wire_validate_walk(ctx, &frame->base, wire_validate_slot) : rc;
}
