/*
 * A batch from the log, looked at where it lies and checked as a whole before any of it is applied.
 * Nothing is copied: documents may be large, and each of them passes here twice.
 */
#include "bb/field.h"

#include "common.pb-c.h"

#include "store.h"

/*
 * ---- going through it; the numbers are those of common.proto ----
 *
 * What protobuf-c takes is taken, and means the same: a sequencer has read the bodies with it, and
 * would send what is refused here for ever. So an operation is the low 32 bits of its varint.
 */

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

static bool read_record(struct bb_slice bytes, struct store_record *record)
{
    struct bb_field field;
    bool is_sound = true;
    *record = (struct store_record){ .body = BB_SLICE_EMPTY };
    while (is_sound && bb_field_next(&bytes, &field)) {
        switch (field.number) {
        case 1:
            record->tx = BB_TX(field.value);
            is_sound = field.is_varint;
            break;
        case 2:
            record->prev = BB_TX(field.value);
            is_sound = field.is_varint;
            break;
        case 3:
            record->body = field.bytes;
            is_sound = field.is_bytes;
            break;
        default:
            break;
        }
    }
    return is_sound && bytes.size == 0;
}

static bool read_write(struct bb_slice bytes, struct store_write *write)
{
    struct bb_field field;
    bool is_sound = true;
    *write = (struct store_write){ .keys = bytes };
    while (is_sound && bb_field_next(&bytes, &field)) {
        switch (field.number) {
        case 3:
            write->doc = field.bytes;
            is_sound = field.is_bytes;
            break;
        case 4:
            write->is_index_only = field.value != 0;
            is_sound = field.is_varint;
            break;
        case 5:
            write->doc_key = field.bytes;
            is_sound = field.is_bytes;
            break;
        case 7:
            write->doc_op = (uint32_t)field.value;
            is_sound = field.is_varint;
            break;
        default:
            break;
        }
    }
    return is_sound && bytes.size == 0;
}

static bool read_key(struct bb_slice bytes, struct store_key *key)
{
    struct bb_field field;
    bool is_sound = true;
    *key = (struct store_key){ .key = BB_SLICE_EMPTY };
    while (is_sound && bb_field_next(&bytes, &field)) {
        if (field.number == 1) {
            key->op = (uint32_t)field.value;
            is_sound = field.is_varint;
        } else if (field.number == 2) {
            key->key = field.bytes;
            is_sound = field.is_bytes;
        }
    }
    return is_sound && bytes.size == 0;
}

/* The next field of this number; it holds a message. */
static bool next_message(struct bb_slice *rest, uint64_t number, struct bb_slice *bytes)
{
    struct bb_slice from = *rest;
    struct bb_field field;
    while (bb_field_next(&from, &field)) {
        if (field.number == number) {
            *bytes = field.bytes;
            if (field.is_bytes) {
                *rest = from;
            }
            return field.is_bytes;
        }
        *rest = from;
    }
    return false;
}

bool store_next_record(struct bb_slice *batch, struct store_record *record)
{
    struct bb_slice rest = *batch, bytes;
    if (!take_record(&rest, &bytes) || !read_record(bytes, record)) {
        return false;
    }
    *batch = rest;
    return true;
}

bool store_next_write(struct bb_slice *body, struct store_write *write)
{
    struct bb_slice rest = *body, bytes;
    if (!next_message(&rest, 1, &bytes)) {
        *body = rest;
        return false;
    }
    if (!read_write(bytes, write)) {
        return false;
    }
    *body = rest;
    return true;
}

bool store_next_key(struct bb_slice *keys, struct store_key *key)
{
    struct bb_slice rest = *keys, bytes;
    if (!next_message(&rest, 6, &bytes)) {
        *keys = rest;
        return false;
    }
    if (!read_key(bytes, key)) {
        return false;
    }
    *keys = rest;
    return true;
}

/* ---- checking ---- */

static int check_key(struct bb_ctx *ctx, struct bb_slice key, struct bb_txtime tx)
{
    if (key.size < 4 || key.size > BB_KV_KEY_MAX) {
        return bb_fail(ctx, BB_BAD_REQUEST,
                       "tx %" PRIu64 ": a key has 4 to %d bytes, this one has %zu", tx.us,
                       BB_KV_KEY_MAX, key.size);
    }
    return BB_OK;
}

static bool is_op(uint64_t op)
{
    return op == BB__PROTO__KEY_OP__KEY_TOUCH || op == BB__PROTO__KEY_OP__KEY_PUT ||
           op == BB__PROTO__KEY_OP__KEY_REMOVE;
}

static int check_document(struct bb_ctx *ctx, const struct store_write *write, struct bb_txtime tx)
{
    bool is_removed = write->doc_op == BB__PROTO__KEY_OP__KEY_REMOVE;
    if (!is_op(write->doc_op) || is_removed != (write->doc.size == 0)) {
        return bb_fail(ctx, BB_BAD_REQUEST,
                       "tx %" PRIu64 ": a write has %s document and operation %" PRIu64, tx.us,
                       write->doc.size == 0 ? "no" : "a", write->doc_op);
    }
    return check_key(ctx, write->doc_key, tx);
}

static int check_write(struct bb_ctx *ctx, const struct store_write *write, struct bb_txtime tx)
{
    int rc = write->is_index_only ? BB_OK : check_document(ctx, write, tx);
    struct bb_slice keys = write->keys;
    struct store_key key;
    while (rc == BB_OK && store_next_key(&keys, &key)) {
        rc = is_op(key.op) ? check_key(ctx, key.key, tx)
                           : bb_fail(ctx, BB_BAD_REQUEST,
                                     "tx %" PRIu64 ": unknown operation %" PRIu64, tx.us, key.op);
    }
    if (rc == BB_OK && keys.size > 0) {
        rc = bb_fail(ctx, BB_BAD_REQUEST, "tx %" PRIu64 ": an index key is malformed", tx.us);
    }
    return rc;
}

static int check_body(struct bb_ctx *ctx, struct bb_slice body, struct bb_txtime tx)
{
    struct store_write write;
    int rc = BB_OK;
    while (rc == BB_OK && store_next_write(&body, &write)) {
        rc = check_write(ctx, &write, tx);
    }
    if (rc == BB_OK && body.size > 0) {
        rc = bb_fail(ctx, BB_BAD_REQUEST, "the body of tx %" PRIu64 " is malformed", tx.us);
    }
    return rc;
}

static int check_record(struct bb_ctx *ctx, const struct store_record *record,
                        struct bb_txtime previous)
{
    if (record->prev.us != previous.us || record->tx.us <= previous.us) {
        return bb_fail(ctx, BB_BAD_REQUEST,
                       "a record names tx %" PRIu64 " and previous %" PRIu64
                       ", but stands after %" PRIu64,
                       record->tx.us, record->prev.us, previous.us);
    }
    return check_body(ctx, record->body, record->tx);
}

int bb_store_check_batch(struct bb_ctx *ctx, struct bb_slice batch, struct bb_txtime base_tx,
                         struct bb_txtime last_tx)
{
    struct bb_txtime previous = base_tx;
    struct store_record record;
    while (store_next_record(&batch, &record)) {
        int rc = check_record(ctx, &record, previous);
        if (rc != BB_OK) {
            return rc;
        }
        previous = record.tx;
    }
    if (batch.size > 0) {
        return bb_fail(ctx, BB_BAD_REQUEST,
                       "a batch is malformed or ends within a record after tx %" PRIu64,
                       previous.us);
    }
    if (previous.us != last_tx.us) {
        return bb_fail(ctx, BB_BAD_REQUEST,
                       "a batch says that it ends at tx %" PRIu64 ", its records end at %" PRIu64,
                       last_tx.us, previous.us);
    }
    return BB_OK;
}
