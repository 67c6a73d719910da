/*
 * The segment file: header, records and marks one after the other, encoder and decoder side by
 * side. All integers little-endian. The layout is described in docs/formats/feed.md.
 */
#include <assert.h>
#include <stdio.h>

#include "feed_internal.h"

#define SEGMENT_MAGIC   0x53464242u /* "BBFS" */
#define SEGMENT_VERSION 1u

enum {
    SEGMENT_MAGIC_AT = 0,
    SEGMENT_VERSION_AT = 4,
    SEGMENT_PREV_AT = 8,
    SEGMENT_FIRST_AT = 16,
    SEGMENT_FLAGS_AT = 24,
    SEGMENT_CRC_AT = 28,
    SEGMENT_END = 32
};
static_assert((int)SEGMENT_END == (int)FEED_SEGMENT_HEADER,
              "the header's size is part of the format");

enum {
    RECORD_LENGTH_AT = 0,
    RECORD_CRC_AT = 4,
    RECORD_KIND_AT = 8,
    RECORD_ZERO_AT = 12,
    RECORD_NUMBER_AT = 16,
    RECORD_PREV_AT = 24,
    RECORD_END = 32
};
static_assert((int)RECORD_END == (int)FEED_RECORD_HEADER,
              "the header's size is part of the format");

#define FLAG_BEGINS_ANEW 1u

void feed_header_encode(const struct feed_header *header, uint8_t *to)
{
    bb_put_le32(to + SEGMENT_MAGIC_AT, SEGMENT_MAGIC);
    bb_put_le32(to + SEGMENT_VERSION_AT, SEGMENT_VERSION);
    bb_put_le64(to + SEGMENT_PREV_AT, header->prev);
    bb_put_le64(to + SEGMENT_FIRST_AT, header->first);
    bb_put_le32(to + SEGMENT_FLAGS_AT, header->begins_anew ? FLAG_BEGINS_ANEW : 0);
    bb_put_le32(to + SEGMENT_CRC_AT, bb_crc32c(0, to, SEGMENT_CRC_AT));
}

int feed_header_decode(struct bb_ctx *ctx, struct bb_slice from, const char *path,
                       struct feed_header *header)
{
    uint32_t flags;

    if (from.size < SEGMENT_END ||
        bb_get_le32(from.data + SEGMENT_CRC_AT) != bb_crc32c(0, from.data, SEGMENT_CRC_AT) ||
        bb_get_le32(from.data + SEGMENT_MAGIC_AT) != SEGMENT_MAGIC) {
        return bb_fail(ctx, BB_CORRUPT, "%s has no valid header of a feed segment", path);
    }
    if (bb_get_le32(from.data + SEGMENT_VERSION_AT) != SEGMENT_VERSION) {
        return bb_fail(ctx, BB_WRONG_VERSION,
                       "%s has format %" PRIu32 "; this program reads format %u", path,
                       bb_get_le32(from.data + SEGMENT_VERSION_AT), SEGMENT_VERSION);
    }
    flags = bb_get_le32(from.data + SEGMENT_FLAGS_AT);
    if ((flags & ~FLAG_BEGINS_ANEW) != 0) {
        return bb_fail(ctx, BB_WRONG_VERSION,
                       "%s was written by a newer version of this program (flags %" PRIx32 ")",
                       path, flags);
    }
    *header = (struct feed_header){
        .prev = bb_get_le64(from.data + SEGMENT_PREV_AT),
        .first = bb_get_le64(from.data + SEGMENT_FIRST_AT),
        .begins_anew = (flags & FLAG_BEGINS_ANEW) != 0,
    };
    return BB_OK;
}

static uint32_t record_crc(const uint8_t *from, size_t size)
{
    uint32_t crc = bb_crc32c(0, from, RECORD_CRC_AT);
    return bb_crc32c(crc, from + RECORD_KIND_AT, RECORD_END - RECORD_KIND_AT + size);
}

void feed_record_encode(const struct feed_record *record, uint8_t *to)
{
    bb_assert(record->bytes.size <= FEED_RECORD_MAX);
    bb_put_le32(to + RECORD_LENGTH_AT, (uint32_t)record->bytes.size);
    bb_put_le32(to + RECORD_KIND_AT, (uint32_t)record->kind);
    bb_put_le32(to + RECORD_ZERO_AT, 0);
    bb_put_le64(to + RECORD_NUMBER_AT, record->number);
    bb_put_le64(to + RECORD_PREV_AT, record->prev);
    if (record->bytes.size > 0) {
        memcpy(to + RECORD_END, record->bytes.data, record->bytes.size);
    }
    bb_put_le32(to + RECORD_CRC_AT, record_crc(to, record->bytes.size));
}

int feed_record_decode(struct bb_slice from, struct feed_record *record, size_t *used,
                       size_t *needed)
{
    uint32_t length, kind;

    *needed = RECORD_END;
    if (from.size < RECORD_END) {
        return BB_PENDING;
    }
    length = bb_get_le32(from.data + RECORD_LENGTH_AT);
    kind = bb_get_le32(from.data + RECORD_KIND_AT);
    if (length > FEED_RECORD_MAX || (kind != FEED_KIND_RECORD && kind != FEED_KIND_MARK)) {
        return BB_CORRUPT;
    }
    *needed = RECORD_END + (size_t)length;
    if (from.size < *needed) {
        return BB_PENDING;
    }
    if (bb_get_le32(from.data + RECORD_CRC_AT) != record_crc(from.data, length)) {
        return BB_CORRUPT;
    }
    *record = (struct feed_record){
        .kind = (enum feed_kind)kind,
        .number = bb_get_le64(from.data + RECORD_NUMBER_AT),
        .prev = bb_get_le64(from.data + RECORD_PREV_AT),
        .bytes = bb_slice(from.data + RECORD_END, length),
    };
    *used = *needed;
    return BB_OK;
}

/* ---- sparse index ---- */

void feed_index_fini(struct feed_index *index)
{
    bb_free(index->points);
    *index = (struct feed_index){ 0 };
}

void feed_index_add(struct feed_index *index, uint64_t prev, uint64_t offset)
{
    if (index->count > 0 && offset < index->next) {
        return;
    }
    if (index->count == index->capacity) {
        index->capacity = index->capacity == 0 ? 16 : index->capacity * 2;
        index->points = bb_realloc(index->points, index->capacity * sizeof(struct feed_point));
    }
    index->points[index->count++] = (struct feed_point){ .prev = prev, .offset = offset };
    index->next = offset + FEED_INDEX_STEP;
}

uint64_t feed_index_find(const struct feed_index *index, uint64_t after)
{
    size_t low = 0, high = index->count; /* the last point with prev <= after is in [low, high) */

    /* The first point need not be the first record. */
    if (index->count == 0 || index->points[0].prev > after) {
        return FEED_SEGMENT_HEADER;
    }
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (index->points[middle].prev <= after) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return index->points[low].offset;
}

/* ---- walking a file ---- */

void feed_segment_path(const char *dir, uint64_t first, char *path, size_t size)
{
    (void)snprintf(path, size, "%s/%020" PRIu64 ".feed", dir, first); /* dir's length is checked */
}

/* One record of a walk; false ends it. */
static bool walk_record(struct feed_walk *walk, const struct feed_record *record,
                        struct bb_slice raw)
{
    if (record->kind == FEED_KIND_MARK) {
        walk->mark_index = record->number;
        if (walk->mark_state != NULL) {
            bb_buf_clear(walk->mark_state);
            bb_buf_append_slice(walk->mark_state, record->bytes);
        }
        return true;
    }
    walk->last = record->number;
    if (walk->index != NULL) {
        feed_index_add(walk->index, record->prev, walk->offset);
    }
    return walk->each == NULL || walk->each(walk->arg, record, raw);
}

static int walk_records(struct bb_ctx *ctx, struct feed_walk *walk, struct bb_file *file,
                        uint64_t end)
{
    struct bb_buf chunk;
    size_t at = 0, done, used, needed, want;
    bool goes_on = true;
    int rc = BB_OK;

    bb_buf_init(&chunk);
    (void)bb_buf_reserve(&chunk, FEED_CHUNK_BYTES);
    while (goes_on && walk->offset < end) {
        struct feed_record record;
        int decoded =
            feed_record_decode(bb_slice(chunk.data + at, chunk.size - at), &record, &used, &needed);
        if (decoded == BB_OK) {
            goes_on = walk_record(walk, &record, bb_slice(chunk.data + at, used));
            walk->offset += used;
            at += used;
            continue;
        }
        if (decoded != BB_PENDING || walk->offset + needed > end) {
            walk->is_torn = true;
            break;
        }
        /* Read on behind what the chunk still holds. */
        if (at > 0) {
            memmove(chunk.data, chunk.data + at, chunk.size - at);
            chunk.size -= at;
            at = 0;
        }
        want = needed - chunk.size > FEED_CHUNK_BYTES ? needed - chunk.size : FEED_CHUNK_BYTES;
        if (want > end - walk->offset - chunk.size) {
            want = (size_t)(end - walk->offset - chunk.size);
        }
        rc = ctx->env->ops->read(ctx, file, walk->offset + chunk.size, bb_buf_reserve(&chunk, want),
                                 want, &done);
        if (rc != BB_OK) {
            break;
        }
        chunk.size += done;
        if (done == 0) {
            walk->is_torn = true;
            break;
        }
    }
    bb_buf_fini(&chunk);
    return rc;
}

int feed_walk(struct bb_ctx *ctx, struct feed_walk *walk)
{
    uint8_t bytes[FEED_SEGMENT_HEADER];
    struct feed_header header;
    struct bb_file *file = NULL;
    uint64_t end;
    size_t done;
    int rc = ctx->env->ops->open(ctx, ctx->env, walk->path, BB_OPEN_READ, &file);

    if (rc != BB_OK) {
        return rc;
    }
    rc = ctx->env->ops->size(ctx, file, &end);
    if (rc == BB_OK) {
        rc = ctx->env->ops->read(ctx, file, 0, bytes, sizeof bytes, &done);
    }
    if (rc == BB_OK) {
        rc = feed_header_decode(ctx, bb_slice(bytes, done), walk->path, &header);
    }
    if (rc == BB_OK) {
        walk->prev = header.prev;
        walk->first = header.first;
        walk->begins_anew = header.begins_anew;
        if (walk->limit != 0 && walk->limit < end) {
            end = walk->limit;
        }
        if (walk->offset < FEED_SEGMENT_HEADER) {
            walk->offset = FEED_SEGMENT_HEADER;
        }
        rc = walk_records(ctx, walk, file, end);
    }
    ctx->env->ops->close(file);
    return rc;
}
