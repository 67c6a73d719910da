/* Head and tail of a checkpoint from a peer that lies; what decodes must encode to the same bytes.
 */
#include "checkpoint.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bb_ctx ctx = { .env = NULL };
    struct checkpoint_head head;
    struct checkpoint_tail tail;
    uint8_t again[CHECKPOINT_HEAD];

    if (storage_checkpoint_head_decode(&ctx, bb_slice(data, size), &head) == BB_OK) {
        storage_checkpoint_head_encode(&head, again);
        bb_assert(size == CHECKPOINT_HEAD && memcmp(again, data, 56) == 0);
    }
    if (storage_checkpoint_tail_decode(&ctx, bb_slice(data, size), &tail) == BB_OK) {
        storage_checkpoint_tail_encode(&tail, again);
        bb_assert(size == CHECKPOINT_TAIL && memcmp(again, data, 24) == 0);
    }
    return 0;
}
