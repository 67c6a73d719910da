#include "fence.h"

#include <stdio.h>

enum {
    STATE_VERSION_AT = 0,
    STATE_LENGTH_AT = 4, /* of the address */
    STATE_CLUSTER_AT = 8,
    STATE_INDEX_AT = 24,
    STATE_CHAIN_AT = 32,
    STATE_EPOCH_AT = 40,
    STATE_SEQ_AT = 48,
    STATE_TX_AT = 56,
    STATE_HOLDER_AT = 64,
    STATE_COUNT_AT = 80,
    STATE_DIGESTS_AT = 88,
    STATE_ADDRESS_AT = STATE_DIGESTS_AT + 8 * FENCE_DIGESTS
};
#define STATE_VERSION  3u
#define STATE_VERSION2 2u  /* without the log */
#define STATE_LOG_SIZE 16u /* at the end: node, entry */
#define STATE_VERSION1 1u  /* without members */

static uint64_t batch_digest(const struct bb_replog_frame *frame)
{
    return bb_hash64(frame->payload, frame->last_tx.us);
}

static void answer_state(const struct fence *fence, struct fence_answer *answer)
{
    answer->epoch = fence->epoch;
    answer->last_seq = fence->last_seq;
    answer->last_tx = fence->last_tx;
}

static void refuse(struct fence_answer *answer, int status, const char *format, ...)
    BB_PRINTF(3, 4);
static void refuse(struct fence_answer *answer, int status, const char *format, ...)
{
    va_list args;

    answer->status = status;
    va_start(args, format);
    (void)vsnprintf(answer->error, sizeof answer->error, format, args); /* cut is fine */
    va_end(args);
}

bool storage_fence_foresee(const struct fence *fence, const struct bb_replog_frame *frame,
                           struct fence_answer *answer)
{
    *answer = (struct fence_answer){ .status = BB_OK };
    answer_state(fence, answer);
    if (frame->epoch < fence->epoch) {
        refuse(answer, BB_FENCED, "epoch %" PRIu64 " has ended; epoch %" PRIu64 " is held by %s",
               frame->epoch, fence->epoch, fence->address);
        return true;
    }
    if (frame->epoch > fence->epoch || frame->seq > fence->last_seq) {
        return false;
    }
    if (fence->last_seq - frame->seq >= fence->digest_count ||
        fence->digests[frame->seq % FENCE_DIGESTS] != batch_digest(frame)) {
        refuse(answer, BB_FENCED,
               "batch %" PRIu64 " of epoch %" PRIu64 " is another one than was appended before",
               frame->seq, frame->epoch);
    }
    return true;
}

static void apply_append(struct fence *fence, const struct bb_replog_frame *frame,
                         struct fence_answer *answer)
{
    if (storage_fence_foresee(fence, frame, answer)) {
        return;
    }
    if (frame->epoch != fence->epoch) {
        refuse(answer, BB_FENCED, "epoch %" PRIu64 " was never claimed; the epoch is %" PRIu64,
               frame->epoch, fence->epoch);
        return;
    }
    if (frame->seq > fence->last_seq + 1) {
        refuse(answer, BB_GAP, "batch %" PRIu64 " came after batch %" PRIu64, frame->seq,
               fence->last_seq);
        return;
    }
    if (frame->base_tx.us != fence->last_tx.us || frame->last_tx.us <= frame->base_tx.us) {
        refuse(answer, BB_FENCED,
               "batch %" PRIu64 " follows tx %" PRIu64 ", the last one is %" PRIu64, frame->seq,
               frame->base_tx.us, fence->last_tx.us);
        return;
    }
    fence->last_seq = frame->seq;
    fence->last_tx = frame->last_tx;
    fence->digests[frame->seq % FENCE_DIGESTS] = batch_digest(frame);
    if (fence->digest_count < FENCE_DIGESTS) {
        fence->digest_count += 1;
    }
    answer->is_new = true;
    answer_state(fence, answer);
}

static void apply_claim(struct fence *fence, const struct bb_replog_frame *frame,
                        struct fence_answer *answer)
{
    struct bb_slice holder = bb_slice(frame->payload.data, FENCE_HOLDER);
    size_t address_size;

    *answer = (struct fence_answer){ .status = BB_OK };
    answer_state(fence, answer);
    if (frame->payload.size < FENCE_HOLDER ||
        frame->payload.size > FENCE_HOLDER + FENCE_ADDRESS_MAX) {
        refuse(answer, BB_FENCED, "a claim of %zu bytes", frame->payload.size);
        return;
    }
    if (frame->epoch == fence->epoch && fence->epoch > 0 &&
        bb_slice_equal(holder, bb_slice(fence->holder, FENCE_HOLDER))) {
        return; /* the same claim again: its answer got lost */
    }
    if (frame->epoch != fence->epoch + 1) {
        refuse(answer, BB_FENCED,
               "epoch %" PRIu64 " cannot be claimed: epoch %" PRIu64 " is held by %s", frame->epoch,
               fence->epoch, fence->epoch == 0 ? "nobody" : fence->address);
        return;
    }
    address_size = frame->payload.size - FENCE_HOLDER;
    fence->epoch = frame->epoch;
    memcpy(fence->holder, holder.data, FENCE_HOLDER);
    memcpy(fence->address, frame->payload.data + FENCE_HOLDER, address_size);
    fence->address[address_size] = 0;
    answer_state(fence, answer);
}

bool storage_fence_has_cluster(const struct fence *fence)
{
    static const uint8_t nothing[FENCE_CLUSTER];

    return memcmp(fence->cluster, nothing, FENCE_CLUSTER) != 0;
}

/* The first one also tells a new replica which cluster it belongs to. */
static void apply_member(struct fence *fence, const struct bb_replog_frame *frame,
                         struct fence_answer *answer)
{
    struct bb_ctx ctx = { .status = BB_OK };
    struct member_entry entry;
    int rc = storage_member_entry_decode(&ctx, frame->payload, &entry);

    *answer = (struct fence_answer){ .status = BB_OK };
    answer_state(fence, answer);
    if (rc == BB_OK && storage_fence_has_cluster(fence) &&
        memcmp(fence->cluster, entry.cluster, FENCE_CLUSTER) != 0) {
        rc = bb_fail(&ctx, BB_FENCED, "an entry of another cluster");
    }
    if (rc == BB_OK) {
        memcpy(fence->cluster, entry.cluster, FENCE_CLUSTER);
        rc = storage_member_apply(&ctx, &fence->members, &entry);
    }
    if (rc != BB_OK) {
        refuse(answer, BB_FENCED, "%s", ctx.error);
    }
}

void storage_fence_apply(struct fence *fence, uint64_t index, struct bb_slice entry,
                         const struct bb_replog_frame *frame, struct fence_answer *answer)
{
    bb_assert(index > fence->index);
    fence->index = index;
    fence->chain = bb_hash64(entry, fence->chain + index);
    switch (frame->kind) {
    case BB_REPLOG_APPEND:
        apply_append(fence, frame, answer);
        break;
    case BB_REPLOG_CLAIM:
        apply_claim(fence, frame, answer);
        break;
    case BB_REPLOG_MEMBER:
        apply_member(fence, frame, answer);
        break;
    }
}

void storage_fence_claim_encode(struct bb_slice holder, struct bb_slice address, struct bb_buf *to)
{
    bb_assert(holder.size == FENCE_HOLDER && address.size <= FENCE_ADDRESS_MAX);
    bb_buf_append_slice(to, holder);
    bb_buf_append_slice(to, address);
}

void storage_fence_encode(const struct fence *fence, struct bb_buf *to)
{
    size_t address_size = strlen(fence->address);
    uint8_t *at = bb_buf_reserve(to, STATE_ADDRESS_AT + address_size);

    bb_put_le32(at + STATE_VERSION_AT, STATE_VERSION);
    bb_put_le32(at + STATE_LENGTH_AT, (uint32_t)address_size);
    memcpy(at + STATE_CLUSTER_AT, fence->cluster, FENCE_CLUSTER);
    bb_put_le64(at + STATE_INDEX_AT, fence->index);
    bb_put_le64(at + STATE_CHAIN_AT, fence->chain);
    bb_put_le64(at + STATE_EPOCH_AT, fence->epoch);
    bb_put_le64(at + STATE_SEQ_AT, fence->last_seq);
    bb_put_le64(at + STATE_TX_AT, fence->last_tx.us);
    memcpy(at + STATE_HOLDER_AT, fence->holder, FENCE_HOLDER);
    bb_put_le64(at + STATE_COUNT_AT, fence->digest_count);
    for (size_t i = 0; i < FENCE_DIGESTS; i++) {
        bb_put_le64(at + STATE_DIGESTS_AT + 8 * i, fence->digests[i]);
    }
    memcpy(at + STATE_ADDRESS_AT, fence->address, address_size);
    to->size += STATE_ADDRESS_AT + address_size;
    storage_members_encode(&fence->members, to);
    at = bb_buf_reserve(to, STATE_LOG_SIZE);
    bb_put_le64(at, fence->log_node);
    bb_put_le64(at + 8, fence->logged);
    to->size += STATE_LOG_SIZE;
}

static int decode_log(struct bb_ctx *ctx, struct bb_slice *from, struct fence *fence)
{
    if (from->size < STATE_LOG_SIZE) {
        return bb_fail(ctx, BB_CORRUPT, "a state that does not say whose log it had");
    }
    fence->log_node = bb_get_le64(from->data);
    fence->logged = bb_get_le64(from->data + 8);
    *from = bb_slice(from->data + STATE_LOG_SIZE, from->size - STATE_LOG_SIZE);
    return BB_OK;
}

int storage_fence_decode(struct bb_ctx *ctx, struct bb_slice from, struct fence *fence)
{
    const uint8_t *at = from.data;
    size_t address_size;
    uint32_t version;
    struct bb_slice rest;
    int rc = BB_OK;

    if (from.size < STATE_ADDRESS_AT) {
        return bb_fail(ctx, BB_CORRUPT, "a state of %zu bytes", from.size);
    }
    version = bb_get_le32(at + STATE_VERSION_AT);
    if (version < STATE_VERSION1 || version > STATE_VERSION) {
        return bb_fail(ctx, BB_WRONG_VERSION, "a state of format %" PRIu32, version);
    }
    address_size = bb_get_le32(at + STATE_LENGTH_AT);
    if (address_size > FENCE_ADDRESS_MAX || from.size < STATE_ADDRESS_AT + address_size) {
        return bb_fail(ctx, BB_CORRUPT, "a state of %zu bytes with an address of %zu", from.size,
                       address_size);
    }
    *fence = (struct fence){
        .index = bb_get_le64(at + STATE_INDEX_AT),
        .chain = bb_get_le64(at + STATE_CHAIN_AT),
        .epoch = bb_get_le64(at + STATE_EPOCH_AT),
        .last_seq = bb_get_le64(at + STATE_SEQ_AT),
        .last_tx = BB_TX(bb_get_le64(at + STATE_TX_AT)),
        .digest_count = bb_get_le64(at + STATE_COUNT_AT),
    };
    if (fence->digest_count > FENCE_DIGESTS) {
        return bb_fail(ctx, BB_CORRUPT, "a state with %" PRIu64 " digests", fence->digest_count);
    }
    memcpy(fence->cluster, at + STATE_CLUSTER_AT, FENCE_CLUSTER);
    memcpy(fence->holder, at + STATE_HOLDER_AT, FENCE_HOLDER);
    memcpy(fence->address, at + STATE_ADDRESS_AT, address_size);
    for (size_t i = 0; i < FENCE_DIGESTS; i++) {
        fence->digests[i] = bb_get_le64(at + STATE_DIGESTS_AT + 8 * i);
    }
    rest =
        bb_slice(at + STATE_ADDRESS_AT + address_size, from.size - STATE_ADDRESS_AT - address_size);
    if (version >= STATE_VERSION2) {
        rc = storage_members_decode(ctx, &rest, &fence->members);
    }
    if (rc == BB_OK && version >= STATE_VERSION) {
        rc = decode_log(ctx, &rest, fence);
    }
    if (rc != BB_OK) {
        return rc;
    }
    return rest.size == 0 ? BB_OK
                          : bb_fail(ctx, BB_CORRUPT, "a state with %zu bytes too many", rest.size);
}
