/* States of the machine from a disk that lies; what decodes is the same after encoding, in the
 * newest version. */
#include "fence.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bb_ctx ctx = { .env = NULL };
    struct fence fence;
    struct bb_buf again;

    if (storage_fence_decode(&ctx, bb_slice(data, size), &fence) == BB_OK) {
        struct fence same;
        struct bb_buf twice;

        bb_buf_init(&again);
        bb_buf_init(&twice);
        storage_fence_encode(&fence, &again);
        bb_assert(storage_fence_decode(&ctx, bb_buf_slice(&again), &same) == BB_OK);
        storage_fence_encode(&same, &twice);
        bb_assert(bb_slice_equal(bb_buf_slice(&again), bb_buf_slice(&twice)));
        bb_buf_fini(&again);
        bb_buf_fini(&twice);
    }
    return 0;
}
