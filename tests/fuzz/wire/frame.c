/* Frames of any bytes: never beyond the input, never without progress. */
#include "bb/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bb_ctx ctx = { .status = 0 };
    struct bb_slice left = bb_slice(data, size);
    struct bb_slice frame;
    size_t used = 0;

    while (bb_frame_next(&ctx, left, &frame, &used) == BB_OK) {
        bb_assert(used >= 4 && used <= left.size);
        bb_assert(frame.data == left.data + 4 && frame.size == used - 4);
        left = bb_slice(left.data + used, left.size - used);
    }
    return 0;
}
