/*
 * The frame of a log entry. Layout, all integers little-endian: docs/formats/log.md.
 */
#include "bb/replog.h"

#include <assert.h>

enum {
    FRAME_MAGIC_AT = 0,
    FRAME_VERSION_AT = 4,
    FRAME_KIND_AT = 6,
    FRAME_EPOCH_AT = 8,
    FRAME_SEQ_AT = 16,
    FRAME_BASE_AT = 24,
    FRAME_LAST_AT = 32,
    FRAME_COUNT_AT = 40,
    FRAME_LENGTH_AT = 44,
    FRAME_ZERO_AT = 48,
    FRAME_CRC_AT = 52,
    FRAME_END = 56
};
static_assert(FRAME_END == BB_REPLOG_FRAME_HEADER, "the header's size is part of the format");

#define FRAME_MAGIC   0x314c4242u /* "BBL1" */
#define FRAME_VERSION 1u

/* Checksum of the header up to its checksum field and of the payload. */
static uint32_t frame_crc(const uint8_t *header, struct bb_slice payload)
{
    uint32_t crc = bb_crc32c(0, header, FRAME_CRC_AT);
    return bb_crc32c(crc, payload.data, payload.size);
}

size_t bb_replog_frame_size(size_t payload_size)
{
    return (FRAME_END + payload_size + 7) & ~(size_t)7;
}

void bb_replog_frame_encode(const struct bb_replog_frame *frame, uint8_t *to)
{
    size_t size = bb_replog_frame_size(frame->payload.size);

    bb_assert(frame->kind >= BB_REPLOG_APPEND && frame->kind <= BB_REPLOG_MEMBER);
    bb_assert(frame->payload.size <= UINT32_MAX);
    bb_put_le32(to + FRAME_MAGIC_AT, FRAME_MAGIC);
    bb_put_le32(to + FRAME_VERSION_AT, FRAME_VERSION | (uint32_t)frame->kind << 16);
    bb_put_le64(to + FRAME_EPOCH_AT, frame->epoch);
    bb_put_le64(to + FRAME_SEQ_AT, frame->seq);
    bb_put_le64(to + FRAME_BASE_AT, frame->base_tx.us);
    bb_put_le64(to + FRAME_LAST_AT, frame->last_tx.us);
    bb_put_le32(to + FRAME_COUNT_AT, frame->count);
    bb_put_le32(to + FRAME_LENGTH_AT, (uint32_t)frame->payload.size);
    bb_put_le32(to + FRAME_ZERO_AT, 0);
    if (frame->payload.size > 0 && frame->payload.data != to + FRAME_END) {
        memcpy(to + FRAME_END, frame->payload.data, frame->payload.size);
    }
    memset(to + FRAME_END + frame->payload.size, 0, size - FRAME_END - frame->payload.size);
    bb_put_le32(to + FRAME_CRC_AT, frame_crc(to, bb_slice(to + FRAME_END, frame->payload.size)));
}

int bb_replog_frame_decode(struct bb_ctx *ctx, struct bb_slice entry, struct bb_replog_frame *frame)
{
    const uint8_t *from = entry.data;
    uint32_t length, version, kind;

    if (entry.size < FRAME_END || entry.size % 8 != 0) {
        return bb_fail(ctx, BB_CORRUPT, "log entry of %zu bytes is no frame", entry.size);
    }
    if (bb_get_le32(from + FRAME_MAGIC_AT) != FRAME_MAGIC) {
        return bb_fail(ctx, BB_CORRUPT, "log entry without its magic number");
    }
    version = bb_get_le32(from + FRAME_VERSION_AT) & 0xffff;
    kind = bb_get_le32(from + FRAME_VERSION_AT) >> 16;
    if (version != FRAME_VERSION) {
        return bb_fail(ctx, BB_WRONG_VERSION,
                       "log entry of format %" PRIu32 "; this program reads format %u", version,
                       FRAME_VERSION);
    }
    length = bb_get_le32(from + FRAME_LENGTH_AT);
    if (bb_replog_frame_size(length) != entry.size) {
        return bb_fail(ctx, BB_CORRUPT, "log entry of %zu bytes names a payload of %" PRIu32,
                       entry.size, length);
    }
    frame->payload = bb_slice(from + FRAME_END, length);
    if (bb_get_le32(from + FRAME_CRC_AT) != frame_crc(from, frame->payload)) {
        return bb_fail(ctx, BB_CORRUPT, "log entry with a wrong checksum");
    }
    if (kind < BB_REPLOG_APPEND || kind > BB_REPLOG_MEMBER) {
        return bb_fail(ctx, BB_CORRUPT, "log entry of unknown kind %" PRIu32, kind);
    }
    frame->kind = (enum bb_replog_kind)kind;
    frame->epoch = bb_get_le64(from + FRAME_EPOCH_AT);
    frame->seq = bb_get_le64(from + FRAME_SEQ_AT);
    frame->base_tx = BB_TX(bb_get_le64(from + FRAME_BASE_AT));
    frame->last_tx = BB_TX(bb_get_le64(from + FRAME_LAST_AT));
    frame->count = bb_get_le32(from + FRAME_COUNT_AT);
    return BB_OK;
}
