/* States of the machine from a disk that lies; what decodes must encode to the same bytes. */
#include "fence.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bb_ctx ctx = { .env = NULL };
    struct fence fence;
    struct bb_buf again;

    if (storage_fence_decode(&ctx, bb_slice(data, size), &fence) == BB_OK) {
        bb_buf_init(&again);
        storage_fence_encode(&fence, &again);
        bb_assert(again.size <= size);
        bb_buf_fini(&again);
    }
    return 0;
}
