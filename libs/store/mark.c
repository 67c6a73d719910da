/*
 * The state record that lies in LMDB beside the data, as "state".
 *
 * Format 1, little-endian: u32 format, u64 index, u64 epoch, u64 last seq, u64 last tx, u32 size of
 * the caller's part, that part, u32 CRC-32C of all before.
 */
#include "store.h"

enum {
    MARK_FORMAT = 1,
    MARK_HEADER = 40,
    MARK_CRC = 4
};

void store_mark_init(struct store_mark *mark)
{
    *mark = (struct store_mark){ .last_tx = BB_TX_NONE };
    bb_buf_init(&mark->opaque);
}

void store_mark_fini(struct store_mark *mark)
{
    bb_buf_fini(&mark->opaque);
}

static void copy_opaque(struct store_mark *mark, struct bb_slice opaque)
{
    bb_buf_clear(&mark->opaque);
    bb_buf_append_slice(&mark->opaque, opaque);
}

void store_mark_copy(struct store_mark *to, const struct store_mark *from)
{
    struct bb_store_state state = store_mark_state(from);
    store_mark_set(to, &state);
}

void store_mark_set(struct store_mark *mark, const struct bb_store_state *state)
{
    mark->index = state->index;
    mark->epoch = state->epoch;
    mark->last_seq = state->last_seq;
    mark->last_tx = state->last_tx;
    copy_opaque(mark, state->opaque);
}

struct bb_store_state store_mark_state(const struct store_mark *mark)
{
    return (struct bb_store_state){
        .index = mark->index,
        .epoch = mark->epoch,
        .last_seq = mark->last_seq,
        .last_tx = mark->last_tx,
        .opaque = bb_buf_slice(&mark->opaque),
    };
}

void store_mark_encode(const struct store_mark *mark, struct bb_buf *to)
{
    uint8_t header[MARK_HEADER], crc[MARK_CRC];
    bb_put_le32(header, MARK_FORMAT);
    bb_put_le64(header + 4, mark->index);
    bb_put_le64(header + 12, mark->epoch);
    bb_put_le64(header + 20, mark->last_seq);
    bb_put_le64(header + 28, mark->last_tx.us);
    bb_put_le32(header + 36, (uint32_t)mark->opaque.size);
    bb_buf_append(to, header, sizeof(header));
    bb_buf_append_slice(to, bb_buf_slice(&mark->opaque));
    bb_put_le32(crc, bb_crc32c(0, to->data, to->size));
    bb_buf_append(to, crc, sizeof(crc));
}

int store_mark_decode(struct bb_ctx *ctx, struct bb_slice from, struct store_mark *mark)
{
    if (from.size < MARK_HEADER + MARK_CRC ||
        bb_get_le32(from.data + 36) != from.size - MARK_HEADER - MARK_CRC ||
        bb_get_le32(from.data + from.size - MARK_CRC) !=
            bb_crc32c(0, from.data, from.size - MARK_CRC)) {
        return bb_fail(ctx, BB_CORRUPT,
                       "the state record of the store is damaged; restore the folder from a backup "
                       "or from another replica");
    }
    uint32_t format = bb_get_le32(from.data);
    if (format != MARK_FORMAT) {
        return bb_fail(ctx, BB_WRONG_VERSION,
                       "the state record has format %" PRIu32 ", this program reads format %d: "
                       "start the version that wrote it, or name an empty folder",
                       format, MARK_FORMAT);
    }
    mark->index = bb_get_le64(from.data + 4);
    mark->epoch = bb_get_le64(from.data + 12);
    mark->last_seq = bb_get_le64(from.data + 20);
    mark->last_tx = BB_TX(bb_get_le64(from.data + 28));
    copy_opaque(mark, bb_slice(from.data + MARK_HEADER, from.size - MARK_HEADER - MARK_CRC));
    return BB_OK;
}
