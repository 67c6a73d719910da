/*
 * The files of a log as they lie on the disk (docs/formats/log.md): metadata1 and 2, the ballot,
 * closed segments FIRST-LAST, open ones open-N, snapshots. A segment is a format word and batches:
 *
 *     u32 CRC of the header, u32 CRC of the data, header, data
 *     header: u64 count, then for each entry u64 term, u8 type, 3 zero bytes, u32 bytes
 *
 * All integers little-endian; the CRC is the one of libraft, most significant bit first.
 */
#include "bb/replog_look.h"

#include <stdio.h>
#include <stdlib.h>

#include "bb/env.h"

#include "ballot.h"

enum {
    LOOK_FORMAT = 1,
    FORMAT_BYTES = 8,
    METADATA_BYTES = 32,
    BATCH_CRCS = 8,
    BATCH_COUNT = 8,
    BATCH_ENTRY = 16,
    ENTRIES_MAX = 8 << 20,
    NAME_BYTES = 128
};
/* Types of entries as libraft numbers them. */
enum {
    TYPE_COMMAND = 1,
    TYPE_BARRIER = 2,
    TYPE_CHANGE = 3
};

/* ---- batches ---- */

static uint32_t look_crc(struct bb_slice bytes)
{
    uint32_t crc = 0;

    for (size_t i = 0; i < bytes.size; i++) {
        crc ^= (uint32_t)bytes.data[i] << 24;
        for (int bit = 0; bit < 8; bit++) {
            crc = (crc & 0x80000000u) != 0 ? crc << 1 ^ 0x04c11db7u : crc << 1;
        }
    }
    return crc;
}

static bool is_zero(struct bb_slice bytes)
{
    for (size_t i = 0; i < bytes.size; i++) {
        if (bytes.data[i] != 0) {
            return false;
        }
    }
    return true;
}

static void show_entry(const uint8_t *header, struct bb_slice data,
                       struct bb_replog_look_entry *entry)
{
    struct bb_ctx ctx = { .env = NULL };

    entry->term = bb_get_le64(header);
    entry->bytes = data.size;
    entry->has_frame = false;
    entry->damage = NULL;
    switch (header[8]) {
    case TYPE_COMMAND:
        entry->kind = BB_REPLOG_LOOK_ENTRY;
        entry->has_frame = bb_replog_frame_decode(&ctx, data, &entry->frame) == BB_OK;
        entry->damage = entry->has_frame ? NULL : "no frame of this version";
        break;
    case TYPE_BARRIER:
        entry->kind = BB_REPLOG_LOOK_BARRIER;
        break;
    case TYPE_CHANGE:
        entry->kind = BB_REPLOG_LOOK_CHANGE;
        break;
    default:
        entry->kind = BB_REPLOG_LOOK_UNKNOWN;
        break;
    }
}

int bb_replog_look_batch(struct bb_ctx *ctx, struct bb_slice from,
                         const struct bb_replog_look_entry *first, size_t *used, uint64_t *count,
                         void (*each)(void *arg, const struct bb_replog_look_entry *entry),
                         void *arg)
{
    struct bb_replog_look_entry entry = { .file = first->file };
    size_t at = BATCH_CRCS, header_bytes, data_bytes = 0;

    if (is_zero(bb_slice(from.data, from.size < 24 ? from.size : 24))) {
        return BB_NOT_FOUND;
    }
    if (from.size < BATCH_CRCS + BATCH_COUNT) {
        return bb_fail(ctx, BB_CORRUPT, "%zu bytes are no batch", from.size);
    }
    *count = bb_get_le64(from.data + at);
    if (*count == 0 || *count > ENTRIES_MAX ||
        *count * BATCH_ENTRY > from.size - BATCH_CRCS - BATCH_COUNT) {
        return bb_fail(ctx, BB_CORRUPT, "a batch of %" PRIu64 " entries", *count);
    }
    header_bytes = BATCH_COUNT + (size_t)*count * BATCH_ENTRY;
    if (bb_get_le32(from.data) != look_crc(bb_slice(from.data + at, header_bytes))) {
        return bb_fail(ctx, BB_CORRUPT, "the checksum of a batch's header is wrong");
    }
    const uint8_t *headers = from.data + at + BATCH_COUNT;
    at += header_bytes;
    for (uint64_t i = 0; i < *count; i++) {
        data_bytes += bb_get_le32(headers + i * BATCH_ENTRY + 12);
    }
    if (data_bytes > from.size - at ||
        bb_get_le32(from.data + 4) != look_crc(bb_slice(from.data + at, data_bytes))) {
        return bb_fail(ctx, BB_CORRUPT, "the checksum of a batch's entries is wrong");
    }
    for (uint64_t i = 0; i < *count && each != NULL; i++) {
        const uint8_t *header = headers + i * BATCH_ENTRY;
        size_t size = bb_get_le32(header + 12);
        entry.index = first->index + i;
        show_entry(header, bb_slice(from.data + at, size), &entry);
        at += size;
        each(arg, &entry);
    }
    *used = BATCH_CRCS + header_bytes + data_bytes;
    return BB_OK;
}

/* ---- files ---- */

struct looking {
    struct bb_ctx *ctx;
    const char *dir;
    struct bb_replog_look *look;
    uint64_t next;    /* index that follows the last closed segment */
    uint64_t version; /* of the newer metadata file */
    char (*names)[NAME_BYTES];
    size_t count, capacity;
};

static void note_name(void *arg, const char *name)
{
    struct looking *looking = arg;

    if (looking->count == looking->capacity) {
        looking->capacity = looking->capacity * 2 + 64;
        looking->names = bb_realloc(looking->names, looking->capacity * NAME_BYTES);
    }
    (void)snprintf(looking->names[looking->count++], NAME_BYTES, "%s", name); /* ours are short */
}

static int read_file(struct looking *looking, const char *name, struct bb_buf *bytes)
{
    char path[4096];

    (void)snprintf(path, sizeof path, "%s/%s", looking->dir, name); /* too long is not found */
    return bb_file_read_all(looking->ctx, path, bytes);
}

/* "N1-N2", both with digits only. */
static bool is_closed_name(const char *name, uint64_t *first, uint64_t *last)
{
    char *end = NULL;

    if (name[0] < '0' || name[0] > '9') {
        return false;
    }
    *first = strtoull(name, &end, 10);
    if (*end != '-' || end[1] < '0' || end[1] > '9') {
        return false;
    }
    *last = strtoull(end + 1, &end, 10);
    return *end == 0;
}

static int look_metadata(struct looking *looking, const char *name)
{
    struct bb_buf bytes;
    int rc;

    bb_buf_init(&bytes);
    rc = read_file(looking, name, &bytes);
    if (rc == BB_OK && bytes.size >= METADATA_BYTES && bb_get_le64(bytes.data) == LOOK_FORMAT &&
        bb_get_le64(bytes.data + 8) > looking->version) {
        looking->version = bb_get_le64(bytes.data + 8);
        looking->look->term = bb_get_le64(bytes.data + 16);
        looking->look->voted_for = bb_get_le64(bytes.data + 24);
    }
    bb_buf_fini(&bytes);
    return rc;
}

static void look_snapshot(struct looking *looking, const char *name)
{
    struct bb_replog_look_snapshot snapshot = { .file = name };
    char *end = NULL;

    snapshot.term = strtoull(name + strlen("snapshot-"), &end, 10);
    if (*end != '-') {
        return;
    }
    snapshot.index = strtoull(end + 1, &end, 10);
    if (looking->look->snapshot != NULL) {
        looking->look->snapshot(looking->look->arg, &snapshot);
    }
}

static void look_batches(struct looking *looking, struct bb_slice bytes,
                         struct bb_replog_look_segment *segment, char *damage, size_t damage_size)
{
    struct bb_ctx ctx = { .env = looking->ctx->env };
    size_t at = FORMAT_BYTES, used = 0;
    uint64_t count = 0;
    int rc = BB_OK;

    while (at < bytes.size && rc == BB_OK) {
        const struct bb_replog_look_entry first = { .file = segment->file,
                                                    .index = segment->last + 1 };
        rc = bb_replog_look_batch(&ctx, bb_slice(bytes.data + at, bytes.size - at), &first, &used,
                                  &count, looking->look->entry, looking->look->arg);
        if (rc == BB_OK) {
            at += used;
            segment->last += count;
        }
    }
    if (rc == BB_CORRUPT) {
        (void)snprintf(damage, damage_size, "at byte %zu: %s", at, ctx.error); /* cut is fine */
        segment->damage = damage;
    }
}

static int look_segment(struct looking *looking, const char *name, bool is_open, uint64_t first,
                        uint64_t last)
{
    struct bb_replog_look_segment segment = {
        .file = name, .is_open = is_open, .first = first, .last = first - 1
    };
    char damage[BB_ERROR_MAX + 64];
    struct bb_buf bytes;
    int rc;

    bb_buf_init(&bytes);
    rc = read_file(looking, name, &bytes);
    if (rc != BB_OK) {
        bb_buf_fini(&bytes);
        return rc;
    }
    segment.bytes = bytes.size;
    if (bytes.size >= FORMAT_BYTES && bb_get_le64(bytes.data) == LOOK_FORMAT) {
        look_batches(looking, bb_buf_slice(&bytes), &segment, damage, sizeof damage);
    } else if (!is_open || !is_zero(bb_buf_slice(&bytes))) {
        segment.damage = "no segment of this format";
    }
    if (!is_open && segment.damage == NULL && segment.last != last) {
        (void)snprintf(damage, sizeof damage, "it ends at entry %" PRIu64, segment.last);
        segment.damage = damage;
    }
    looking->next = segment.last + 1;
    bb_buf_fini(&bytes);
    if (looking->look->segment != NULL) {
        looking->look->segment(looking->look->arg, &segment);
    }
    return BB_OK;
}

static int look_name(struct looking *looking, const char *name)
{
    uint64_t first, last;

    if (strcmp(name, "metadata1") == 0 || strcmp(name, "metadata2") == 0) {
        return look_metadata(looking, name);
    }
    if (strncmp(name, "snapshot-", 9) == 0 && strstr(name, ".meta") != NULL) {
        look_snapshot(looking, name);
        return BB_OK;
    }
    if (is_closed_name(name, &first, &last)) {
        return look_segment(looking, name, false, first, last);
    }
    return BB_OK;
}

static int compare_open(const void *a, const void *b)
{
    uint64_t left = strtoull((const char *)a + strlen("open-"), NULL, 10);
    uint64_t right = strtoull((const char *)b + strlen("open-"), NULL, 10);

    return left < right ? -1 : left > right;
}

/* By their numbers, which have no leading zeros; they follow the closed ones. */
static int look_open(struct looking *looking)
{
    size_t count = 0;
    int rc = BB_OK;

    for (size_t i = 0; i < looking->count; i++) {
        if (strncmp(looking->names[i], "open-", 5) == 0) {
            memmove(looking->names[count++], looking->names[i], NAME_BYTES);
        }
    }
    qsort(looking->names, count, NAME_BYTES, compare_open);
    for (size_t i = 0; i < count && rc == BB_OK; i++) {
        rc = look_segment(looking, looking->names[i], true, looking->next, 0);
    }
    return rc;
}

/* A folder of a version that kept none is whole. */
static void look_ballot(struct looking *looking)
{
    struct bb_replog_look *look = looking->look;
    struct bb_ctx ctx = { .env = looking->ctx->env };
    struct replog_ballots ballots;
    int rc = replog_ballots_read(&ctx, looking->dir, &ballots);

    if (rc != BB_OK && rc != BB_NOT_FOUND) {
        (void)snprintf(look->ballot_damage, sizeof look->ballot_damage, "%.150s", ctx.error);
    } else if (rc == BB_OK &&
               replog_ballots_match(&ballots, look->term, look->voted_for) == REPLOG_BALLOT_OTHER) {
        (void)snprintf(look->ballot_damage, sizeof look->ballot_damage,
                       "the file ballot says term %" PRIu64 ", vote %" PRIu64
                       ": it or metadata1 and 2 are damaged or older",
                       ballots.newest.term, ballots.newest.vote);
    }
}

int bb_replog_look(struct bb_ctx *ctx, const char *dir, struct bb_replog_look *look)
{
    struct looking looking = { .ctx = ctx, .dir = dir, .look = look, .next = 1 };
    int rc = ctx->env->ops->list_dir(ctx, ctx->env, dir, note_name, &looking);

    look->term = look->voted_for = 0;
    look->ballot_damage[0] = 0;
    for (size_t i = 0; i < looking.count && rc == BB_OK; i++) {
        rc = look_name(&looking, looking.names[i]);
    }
    if (rc == BB_OK && looking.count > 0) {
        rc = look_open(&looking);
    }
    if (rc == BB_OK) {
        look_ballot(&looking);
    }
    bb_free(looking.names);
    return rc;
}
