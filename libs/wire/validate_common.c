#include "validate.h"

static int check_range(struct bb_ctx *ctx, const void *message)
{
    const Bb__Proto__Range *range = message;

    return wire_validate_range(ctx, range->low, range->high, "Range");
}

static int check_index_key(struct bb_ctx *ctx, const void *message)
{
    const Bb__Proto__IndexKey *key = message;

    return wire_validate_key(ctx, key->key, "IndexKey: key");
}

static int check_write(struct bb_ctx *ctx, const void *message)
{
    const Bb__Proto__Write *write = message;

    int rc = wire_validate_that(ctx, write->table != 0, "Write: table is 0");
    if (rc == BB_OK)
        rc = wire_validate_size(ctx, write->id, ID_BYTES, "Write: id");
    if (rc == BB_OK)
        rc = wire_validate_key(ctx, write->doc_key, "Write: doc_key");
    if (rc != BB_OK || write->is_index_only)
        return rc;
    bool is_removed = write->doc_op == BB__PROTO__KEY_OP__KEY_REMOVE;
    return wire_validate_that(ctx, is_removed == (write->doc.len == 0),
                              "Write: there is a document exactly unless it is removed");
}

static int check_body(struct bb_ctx *ctx, const void *message)
{
    const Bb__Proto__TxBody *body = message;

    return wire_validate_size(ctx, body->request_id, ID_BYTES, "TxBody: request_id");
}

static int check_record(struct bb_ctx *ctx, const void *message)
{
    const Bb__Proto__TxRecord *record = message;

    return wire_validate_that(ctx, record->tx > record->prev, "TxRecord: tx is not above prev");
}

const struct wire_validate_rule wire_validate_common[] = {
    { &bb__proto__range__descriptor, check_range },
    { &bb__proto__index_key__descriptor, check_index_key },
    { &bb__proto__write__descriptor, check_write },
    { &bb__proto__tx_body__descriptor, check_body },
    { &bb__proto__tx_record__descriptor, check_record },
    { NULL, NULL },
};

int bb_tx_body_validate(struct bb_ctx *ctx, const Bb__Proto__TxBody *body)
{
    return wire_validate_walk(ctx, &body->base, wire_validate_common);
}

int bb_tx_record_validate(struct bb_ctx *ctx, const Bb__Proto__TxRecord *record)
{
    return wire_validate_walk(ctx, &record->base, wire_validate_common);
}
