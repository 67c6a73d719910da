/*
 * What the log applies to: committed entries go to the application, a snapshot is a small manifest.
 *
 * The state itself never passes through the log's snapshots. A manifest says which index X it
 * stands for; the log keeps the entries that the application's disk does not have yet, (F, X],
 * behind it, and the load wrapper in shims.c shows them to the application at the next start.
 */
#include <stdlib.h>

#include "replog_internal.h"

#include <stdio.h>

enum {
    MANIFEST_MAGIC_AT = 0,
    MANIFEST_VERSION_AT = 4,
    MANIFEST_INDEX_AT = 8,
    MANIFEST_LENGTH_AT = 16,
    MANIFEST_CRC_AT = 20,
    MANIFEST_END = 24
};
#define MANIFEST_MAGIC   0x4d4c4242u /* "BBLM" */
#define MANIFEST_VERSION 1u

static uint32_t manifest_crc(const uint8_t *header, struct bb_slice application)
{
    uint32_t crc = bb_crc32c(0, header, MANIFEST_CRC_AT);
    return bb_crc32c(crc, application.data, application.size);
}

void replog_manifest_encode(uint64_t index, struct bb_slice application, struct bb_buf *to)
{
    uint8_t header[MANIFEST_END];
    static const uint8_t zeros[8] = { 0 };

    bb_put_le32(header + MANIFEST_MAGIC_AT, MANIFEST_MAGIC);
    bb_put_le32(header + MANIFEST_VERSION_AT, MANIFEST_VERSION);
    bb_put_le64(header + MANIFEST_INDEX_AT, index);
    bb_put_le32(header + MANIFEST_LENGTH_AT, (uint32_t)application.size);
    bb_put_le32(header + MANIFEST_CRC_AT, manifest_crc(header, application));
    bb_buf_append(to, header, sizeof header);
    bb_buf_append_slice(to, application);
    bb_buf_append(to, zeros, (8 - application.size % 8) % 8);
}

int replog_manifest_decode(struct bb_ctx *ctx, struct bb_slice bytes, uint64_t *index,
                           struct bb_slice *application)
{
    uint32_t length;

    if (bytes.size < MANIFEST_END ||
        bb_get_le32(bytes.data + MANIFEST_MAGIC_AT) != MANIFEST_MAGIC) {
        return bb_fail(ctx, BB_CORRUPT, "the log's snapshot holds no manifest");
    }
    if (bb_get_le32(bytes.data + MANIFEST_VERSION_AT) != MANIFEST_VERSION) {
        return bb_fail(ctx, BB_WRONG_VERSION, "the log's manifest has format %" PRIu32,
                       bb_get_le32(bytes.data + MANIFEST_VERSION_AT));
    }
    length = bb_get_le32(bytes.data + MANIFEST_LENGTH_AT);
    if (length > bytes.size - MANIFEST_END) {
        return bb_fail(ctx, BB_CORRUPT, "the log's manifest is cut short");
    }
    *application = bb_slice(bytes.data + MANIFEST_END, length);
    if (bb_get_le32(bytes.data + MANIFEST_CRC_AT) != manifest_crc(bytes.data, *application)) {
        return bb_fail(ctx, BB_CORRUPT, "the log's manifest has a wrong checksum");
    }
    *index = bb_get_le64(bytes.data + MANIFEST_INDEX_AT);
    return BB_OK;
}

/* The proposal of this node that became the entry at `index`, if it still waits. */
static struct replog_proposal *proposal_of(struct bb_replog *replog, uint64_t index,
                                           const struct raft_buffer *buffer)
{
    bb_list_each(item, &replog->proposals) {
        struct replog_proposal *proposal = bb_container(item, struct replog_proposal, link);
        if (proposal->request.index == index && proposal->size == buffer->len &&
            memcmp(proposal->head, buffer->base, sizeof proposal->head) == 0) {
            return proposal;
        }
    }
    return NULL;
}

void replog_show(struct bb_replog *replog, uint64_t index, const struct raft_buffer *buffer)
{
    struct replog_proposal *proposal;
    struct bb_replog_entry entry;

    if (index <= replog->applied) {
        return; /* the application has it, whatever the log believes */
    }
    proposal = proposal_of(replog, index, buffer);
    entry = (struct bb_replog_entry){
        .index = index,
        .bytes = bb_slice(buffer->base, buffer->len),
        .tag = proposal == NULL ? NULL : proposal->tag,
    };
    replog->applied = index;
    replog->shown = index;
    replog->callbacks.apply(replog->callbacks.arg, &entry);
}

void replog_note_size(struct bb_replog *replog, uint64_t index, size_t bytes)
{
    replog->sizes[index % REPLOG_TRAILING_MAX] =
        (struct replog_size){ .index = index, .bytes = bytes };
    replog->hold.bytes += bytes;
}

uint64_t replog_trailing(const struct bb_replog *replog, uint64_t last)
{
    uint64_t count = 0;
    size_t bytes = 0;

    bb_assert(replog->trailing_max <= REPLOG_TRAILING_MAX);
    while (count < replog->trailing_max && count < last) {
        uint64_t index = last - count;
        const struct replog_size *size = &replog->sizes[index % REPLOG_TRAILING_MAX];
        bytes += size->index == index ? size->bytes : 0; /* the log's own are small */
        if (bytes > REPLOG_TRAILING_BYTES && count >= REPLOG_TRAILING_FEW) {
            break;
        }
        count += 1;
    }
    return count;
}

static int machine_apply(struct raft_fsm *fsm, const struct raft_buffer *buffer, void **result)
{
    struct bb_replog *replog = bb_cast(struct bb_replog, fsm->data, REPLOG_MAGIC);
    uint64_t index = raft_last_applied(&replog->raft) + 1;

    *result = NULL;
    replog_note_size(replog, index, buffer->len);
    replog_show(replog, index, buffer);
    return 0;
}

/*
 * Runs on the loop at any event once the log has grown enough; an error return is tried again at
 * the next event, so all of this is cheap.
 */
static int machine_snapshot(struct raft_fsm *fsm, struct raft_buffer **buffers, unsigned *count)
{
    struct bb_replog *replog = bb_cast(struct bb_replog, fsm->data, REPLOG_MAGIC);
    uint64_t last = raft_last_applied(&replog->raft);
    uint64_t durable = replog->callbacks.durable_index(replog->callbacks.arg);
    uint64_t trailing = (last > durable ? last - durable : 0) + 1; /* else the data has a hole */
    uint64_t for_others = replog_trailing(replog, last);
    uint64_t held = replog_hold_trailing(replog, last, for_others);
    struct bb_buf application, manifest;
    struct raft_buffer *list;

    if (trailing > REPLOG_LAG_ENTRIES_MAX) {
        if (bb_loop_now_us(replog->loop) - replog->lag_warned_us > 10000000) {
            replog->lag_warned_us = bb_loop_now_us(replog->loop);
            bb_error(&replog->ctx, "replog.data_lags", "last=%" PRIu64 " durable=%" PRIu64, last,
                     durable);
        }
        return RAFT_BUSY;
    }
    if (trailing < for_others) {
        trailing = for_others;
    }
    if (trailing < held) {
        trailing = held;
    }
    bb_buf_init(&application);
    bb_buf_init(&manifest);
    replog->callbacks.manifest(replog->callbacks.arg, &application);
    replog_manifest_encode(last, bb_buf_slice(&application), &manifest);
    list = raft_malloc(sizeof *list);
    if (list != NULL) {
        list->len = manifest.size;
        list->base = raft_malloc(manifest.size);
    }
    if (list == NULL || list->base == NULL) {
        replog_die(replog, REPLOG_EXIT_IO, "snapshot", "out of memory", REPLOG_THEN_START);
    }
    memcpy(list->base, manifest.data, manifest.size);
    bb_buf_fini(&manifest);
    bb_buf_fini(&application);

    *buffers = list;
    *count = 1;
    raft_set_snapshot_trailing(&replog->raft, (unsigned)trailing);
    raft_set_snapshot_threshold(&replog->raft, REPLOG_THRESHOLD_NEVER);
    replog->is_snapshot_due = false;
    replog->log_bytes = 0;
    return 0;
}

/* Never returns an error: the library would free the buffer twice. */
static int machine_restore(struct raft_fsm *fsm, struct raft_buffer *buffer)
{
    struct bb_replog *replog = bb_cast(struct bb_replog, fsm->data, REPLOG_MAGIC);
    struct bb_slice application = BB_SLICE_EMPTY;
    uint64_t index = 0;

    if (replog_manifest_decode(&replog->ctx, bb_slice(buffer->base, buffer->len), &index,
                               &application) != BB_OK) {
        char reason[BB_ERROR_MAX + 64];
        (void)snprintf(reason, sizeof reason, "%s; the newest file snapshot-* is damaged",
                       replog->ctx.error);
        replog_die(replog, REPLOG_EXIT_IO, "restore", reason, REPLOG_THEN_REPLACE);
    }
    if (!replog->callbacks.covers(replog->callbacks.arg, application)) {
        replog_die(replog, REPLOG_EXIT_IO, "restore",
                   "the data on this node does not reach the log's snapshot", REPLOG_THEN_REPLACE);
    }
    if (replog->applied < index) {
        replog->applied = index;
    }
    raft_free(buffer->base);
    return 0;
}

void replog_machine_init(struct bb_replog *replog)
{
    replog->fsm = (struct raft_fsm){
        .version = 1,
        .data = replog,
        .apply = machine_apply,
        .snapshot = machine_snapshot,
        .restore = machine_restore,
    };
}
