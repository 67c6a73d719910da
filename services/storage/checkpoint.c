#include "checkpoint.h"

#include <assert.h>

enum {
    HEAD_MAGIC_AT = 0,
    HEAD_VERSION_AT = 4,
    HEAD_CLUSTER_AT = 8,
    HEAD_INDEX_AT = 24,
    HEAD_CHAIN_AT = 32,
    HEAD_EPOCH_AT = 40,
    HEAD_SEQ_AT = 48,
    HEAD_TX_AT = 56,
    HEAD_ZERO_AT = 64,
    HEAD_CRC_AT = 68,
    HEAD_END = 72
};
enum {
    TAIL_MAGIC_AT = 0,
    TAIL_VERSION_AT = 4,
    TAIL_TOTAL_AT = 8,
    TAIL_HASH_AT = 16,
    TAIL_ZERO_AT = 24,
    TAIL_CRC_AT = 28,
    TAIL_END = 32
};
static_assert((int)HEAD_END == (int)CHECKPOINT_HEAD, "the size is part of the format");
static_assert((int)TAIL_END == (int)CHECKPOINT_TAIL, "the size is part of the format");

#define HEAD_MAGIC         0x50434242u /* "BBCP" */
#define TAIL_MAGIC         0x45434242u /* "BBCE" */
#define CHECKPOINT_VERSION 1u

void storage_checkpoint_head_encode(const struct checkpoint_head *head, uint8_t *to)
{
    bb_put_le32(to + HEAD_MAGIC_AT, HEAD_MAGIC);
    bb_put_le32(to + HEAD_VERSION_AT, CHECKPOINT_VERSION);
    memcpy(to + HEAD_CLUSTER_AT, head->cluster, FENCE_CLUSTER);
    bb_put_le64(to + HEAD_INDEX_AT, head->index);
    bb_put_le64(to + HEAD_CHAIN_AT, head->chain);
    bb_put_le64(to + HEAD_EPOCH_AT, head->epoch);
    bb_put_le64(to + HEAD_SEQ_AT, head->last_seq);
    bb_put_le64(to + HEAD_TX_AT, head->last_tx.us);
    bb_put_le32(to + HEAD_ZERO_AT, 0);
    bb_put_le32(to + HEAD_CRC_AT, bb_crc32c(0, to, HEAD_CRC_AT));
}

/* Size, magic, checksum and version, which both parts have in the same places but for the checksum.
 */
static int check_part(struct bb_ctx *ctx, struct bb_slice from, size_t size, uint32_t magic,
                      const char *what)
{
    uint32_t version;

    if (from.size != size || bb_get_le32(from.data) != magic ||
        bb_get_le32(from.data + size - 4) != bb_crc32c(0, from.data, size - 4)) {
        return bb_fail(ctx, BB_CORRUPT, "the %s of the checkpoint is damaged (%zu bytes)", what,
                       from.size);
    }
    version = bb_get_le32(from.data + HEAD_VERSION_AT);
    if (version != CHECKPOINT_VERSION) {
        return bb_fail(ctx, BB_WRONG_VERSION,
                       "the checkpoint has format %" PRIu32 "; this program reads format %u",
                       version, CHECKPOINT_VERSION);
    }
    return BB_OK;
}

int storage_checkpoint_head_decode(struct bb_ctx *ctx, struct bb_slice from,
                                   struct checkpoint_head *head)
{
    int rc = check_part(ctx, from, HEAD_END, HEAD_MAGIC, "head");

    if (rc != BB_OK) {
        return rc;
    }
    *head = (struct checkpoint_head){
        .index = bb_get_le64(from.data + HEAD_INDEX_AT),
        .chain = bb_get_le64(from.data + HEAD_CHAIN_AT),
        .epoch = bb_get_le64(from.data + HEAD_EPOCH_AT),
        .last_seq = bb_get_le64(from.data + HEAD_SEQ_AT),
        .last_tx = BB_TX(bb_get_le64(from.data + HEAD_TX_AT)),
    };
    memcpy(head->cluster, from.data + HEAD_CLUSTER_AT, FENCE_CLUSTER);
    return BB_OK;
}

void storage_checkpoint_tail_encode(const struct checkpoint_tail *tail, uint8_t *to)
{
    bb_put_le32(to + TAIL_MAGIC_AT, TAIL_MAGIC);
    bb_put_le32(to + TAIL_VERSION_AT, CHECKPOINT_VERSION);
    bb_put_le64(to + TAIL_TOTAL_AT, tail->total);
    bb_put_le64(to + TAIL_HASH_AT, tail->hash);
    bb_put_le32(to + TAIL_ZERO_AT, 0);
    bb_put_le32(to + TAIL_CRC_AT, bb_crc32c(0, to, TAIL_CRC_AT));
}

int storage_checkpoint_tail_decode(struct bb_ctx *ctx, struct bb_slice from,
                                   struct checkpoint_tail *tail)
{
    int rc = check_part(ctx, from, TAIL_END, TAIL_MAGIC, "tail");

    if (rc == BB_OK) {
        *tail = (struct checkpoint_tail){ .total = bb_get_le64(from.data + TAIL_TOTAL_AT),
                                          .hash = bb_get_le64(from.data + TAIL_HASH_AT) };
    }
    return rc;
}

uint64_t storage_checkpoint_hash(uint64_t hash, struct bb_slice piece)
{
    return bb_hash64(piece, hash);
}

static bool is_known(const uint8_t *cluster)
{
    static const uint8_t nothing[FENCE_CLUSTER];
    return memcmp(cluster, nothing, FENCE_CLUSTER) != 0;
}

/* At least as far as `than`, and of the same history where both can be compared. */
static bool is_beyond(const struct fence *fence, const struct checkpoint_head *than)
{
    if (fence->index == than->index) {
        return fence->chain == than->chain;
    }
    return fence->index > than->index && fence->epoch >= than->epoch &&
           fence->last_seq >= than->last_seq && fence->last_tx.us >= than->last_tx.us;
}

int storage_checkpoint_check(struct bb_ctx *ctx, const struct fence *fence,
                             const struct checkpoint_head *head,
                             const struct checkpoint_head *wanted)
{
    if (memcmp(fence->cluster, head->cluster, FENCE_CLUSTER) != 0 ||
        (is_known(wanted->cluster) &&
         memcmp(fence->cluster, wanted->cluster, FENCE_CLUSTER) != 0)) {
        return bb_fail(ctx, BB_CORRUPT, "the checkpoint is of another cluster");
    }
    if (!is_beyond(fence, head)) {
        return bb_fail(ctx, BB_CORRUPT,
                       "the checkpoint holds entry %" PRIu64 " and promised %" PRIu64, fence->index,
                       head->index);
    }
    if (!is_beyond(fence, wanted)) {
        return bb_fail(ctx, BB_CORRUPT,
                       "the checkpoint holds entry %" PRIu64 ", of another history or older than "
                       "%" PRIu64 ", which the log asks for",
                       fence->index, wanted->index);
    }
    return BB_OK;
}
