/*
 * A batch from the log, decoded and checked as a whole before any of it is applied.
 */
#include <protobuf-c/protobuf-c.h>

#include "common.pb-c.h"

#include "store.h"

static void *arena_alloc(void *arena, size_t size)
{
    return bb_arena_alloc(arena, size);
}

static void arena_free(void *arena, void *pointer)
{
    (void)arena; /* all goes at once, with the arena */
    (void)pointer;
}

static int check_key(struct bb_ctx *ctx, ProtobufCBinaryData key, struct bb_txtime tx)
{
    if (key.len < 4 || key.len > BB_KV_KEY_MAX) {
        return bb_fail(ctx, BB_BAD_REQUEST,
                       "tx %" PRIu64 ": a key has 4 to %d bytes, this one has %zu", tx.us,
                       BB_KV_KEY_MAX, key.len);
    }
    return BB_OK;
}

static bool is_op(Bb__Proto__KeyOp op)
{
    return op == BB__PROTO__KEY_OP__KEY_TOUCH || op == BB__PROTO__KEY_OP__KEY_PUT ||
           op == BB__PROTO__KEY_OP__KEY_REMOVE;
}

static int check_write(struct bb_ctx *ctx, const Bb__Proto__Write *write, struct bb_txtime tx)
{
    if (!write->is_index_only) {
        int rc = check_key(ctx, write->doc_key, tx);
        if (rc != BB_OK) {
            return rc;
        }
        bool is_removed = write->doc_op == BB__PROTO__KEY_OP__KEY_REMOVE;
        if (!is_op(write->doc_op) || is_removed != (write->doc.len == 0)) {
            return bb_fail(ctx, BB_BAD_REQUEST,
                           "tx %" PRIu64 ": a write has %s document and operation %d", tx.us,
                           write->doc.len == 0 ? "no" : "a", (int)write->doc_op);
        }
    }
    for (size_t i = 0; i < write->n_keys; i++) {
        int rc = check_key(ctx, write->keys[i]->key, tx);
        if (rc != BB_OK) {
            return rc;
        }
        if (!is_op(write->keys[i]->op)) {
            return bb_fail(ctx, BB_BAD_REQUEST, "tx %" PRIu64 ": unknown operation %d", tx.us,
                           (int)write->keys[i]->op);
        }
    }
    return BB_OK;
}

static int decode_record(struct bb_ctx *ctx, ProtobufCAllocator *allocator, struct bb_slice bytes,
                         struct bb_txtime previous, struct bb_txtime *tx, Bb__Proto__TxBody **body)
{
    const Bb__Proto__TxRecord *record =
        bb__proto__tx_record__unpack(allocator, bytes.size, bytes.data);
    if (record == NULL) {
        return bb_fail(ctx, BB_BAD_REQUEST, "a record after tx %" PRIu64 " is malformed",
                       previous.us);
    }
    if (record->prev != previous.us || record->tx <= previous.us) {
        return bb_fail(ctx, BB_BAD_REQUEST,
                       "a record names tx %" PRIu64 " and previous %" PRIu64
                       ", but stands after %" PRIu64,
                       record->tx, record->prev, previous.us);
    }
    *tx = BB_TX(record->tx);
    *body = bb__proto__tx_body__unpack(allocator, record->body.len, record->body.data);
    if (*body == NULL) {
        return bb_fail(ctx, BB_BAD_REQUEST, "the body of tx %" PRIu64 " is malformed", tx->us);
    }
    for (size_t i = 0; i < (*body)->n_writes; i++) {
        int rc = check_write(ctx, (*body)->writes[i], *tx);
        if (rc != BB_OK) {
            return rc;
        }
    }
    return BB_OK;
}

/* The record in front of `rest`, which is moved on. */
static bool take_record(struct bb_slice *rest, struct bb_slice *record)
{
    if (rest->size < 4 || rest->size - 4 < bb_get_le32(rest->data)) {
        return false;
    }
    *record = bb_slice(rest->data + 4, bb_get_le32(rest->data));
    *rest = bb_slice(record->data + record->size, rest->size - 4 - record->size);
    return true;
}

static bool count_records(struct bb_slice batch, size_t *count)
{
    struct bb_slice record;
    *count = 0;
    while (batch.size > 0) {
        if (!take_record(&batch, &record)) {
            return false;
        }
        ++*count;
    }
    return true;
}

int store_decode(struct bb_ctx *ctx, struct bb_arena *arena, struct bb_slice batch,
                 struct bb_txtime base_tx, struct bb_txtime last_tx, struct store_records *records)
{
    ProtobufCAllocator allocator = { arena_alloc, arena_free, arena };
    *records = (struct store_records){ 0 };
    size_t count = 0;
    if (!count_records(batch, &count)) {
        return bb_fail(ctx, BB_BAD_REQUEST, "a batch of %zu bytes ends within a record",
                       batch.size);
    }
    records->bodies = bb_arena_zero(arena, count, sizeof(records->bodies[0]));
    records->txs = bb_arena_zero(arena, count, sizeof(records->txs[0]));
    if (count > 0 && (records->bodies == NULL || records->txs == NULL)) {
        return bb_fail(ctx, BB_TOO_LARGE, "a batch of %zu records is too large", count);
    }
    struct bb_txtime previous = base_tx;
    for (size_t i = 0; i < count; i++) {
        struct bb_slice record;
        bb_assert(take_record(&batch, &record));
        int rc =
            decode_record(ctx, &allocator, record, previous, &records->txs[i], &records->bodies[i]);
        if (rc != BB_OK) {
            return rc;
        }
        previous = records->txs[i];
    }
    if (previous.us != last_tx.us) {
        return bb_fail(ctx, BB_BAD_REQUEST,
                       "a batch says that it ends at tx %" PRIu64 ", its records end at %" PRIu64,
                       last_tx.us, previous.us);
    }
    records->count = count;
    return BB_OK;
}

int bb_store_check_batch(struct bb_ctx *ctx, struct bb_slice batch, struct bb_txtime base_tx,
                         struct bb_txtime last_tx)
{
    struct store_records records;
    struct bb_arena *arena = bb_arena_new(0);
    int rc = store_decode(ctx, arena, batch, base_tx, last_tx, &records);
    bb_arena_free(arena);
    return rc;
}
